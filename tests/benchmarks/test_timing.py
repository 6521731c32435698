"""Statistics of times, and the order in which calls are timed."""

import pytest
from harness import timing

pytestmark = pytest.mark.slow


def test_ratios_are_taken_pair_by_pair():
    # The ratio of the medians would be 2 / 4.
    found = timing.ratios([1.0, 2.0, 9.0], [4.0, 8.0, 3.0])
    assert found == (0.25, 0.25, 3.0, 3)


def test_calls_are_timed_in_turn(monkeypatch):
    monkeypatch.setattr(timing, "PAUSE_SECONDS", 0)
    called = []
    calls = {name: lambda name=name: called.append(name) for name in ("ours", "peer")}
    seconds = timing.time_in_turn(calls, rounds=3)
    assert called == ["ours", "peer"] * 3
    assert {name: len(found) for name, found in seconds.items()} == {"ours": 3, "peer": 3}


def test_compilation_is_what_the_first_call_takes_beyond_a_later_one(monkeypatch):
    durations = iter([5.0, 2.0, 1.5])
    results = iter("abc")
    monkeypatch.setattr(timing, "timed", lambda call: (next(durations), call()))
    found = timing.warm_up(lambda: next(results))
    assert found == (3.5, 1.5, "c")


def test_the_pause_is_not_timed(monkeypatch):
    monkeypatch.setattr(timing, "PAUSE_SECONDS", 0.2)
    seconds, result = timing.timed(lambda: "done")
    assert seconds < 0.1
    assert result == "done"


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_machine_has_a_ceiling(tiny, precision):
    del tiny
    assert timing.matrix_product_flops(precision) > 0
