"""A signal during training, at a step of the test's choice: the same bits and lines in the end."""

import json
import os
import signal
import threading

import pytest

import train.loop
from experiments.progress import Progress
from experiments.stopping import stopping_on_signals
from train.checkpoints import latest_checkpoint

STEPS, TOTAL = 4, 24  # an epoch's, and all


@pytest.fixture(autouse=True)
def signals_are_heeded():
    """Shells have what they start in the background ignore SIGINT."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def signal_at(monkeypatch):
    """Sends a signal to this process after a step, once; every call to the device is one step."""
    monkeypatch.setattr(train.loop, "SECONDS_PER_CALL", 0)

    def arrange(step, number):
        original, sent = Progress.update_to, []

        def update_to(self, done):
            original(self, done)
            if done == step and not sent:
                sent.append(number)
                os.kill(os.getpid(), number)

        monkeypatch.setattr(Progress, "update_to", update_to)

    return arrange


@pytest.mark.parametrize(
    ("step", "number"),
    [
        (1, signal.SIGTERM),
        (STEPS, signal.SIGINT),
        (2 * STEPS + 3, signal.SIGINT),
        (TOTAL - 1, signal.SIGTERM),
        (TOTAL, signal.SIGTERM),
    ],
)
def test_training_stops_after_the_step_at_hand_and_goes_on(
    step, number, training, run, tmp_path, elicit, signal_at, capsys
):
    out = tmp_path / "run"
    before = {each: signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)}
    signal_at(step, number)
    assert elicit(*training, "--out", out) == 128 + number
    assert {each: signal.getsignal(each) for each in before} == before
    assert capsys.readouterr().err.splitlines()[-1] == (
        f"elicit classifier train: stopped by {number.name} after step {step}; the same command "
        "goes on from there"
    )
    assert latest_checkpoint(out / "checkpoints").step == step
    assert len((out / "metrics.jsonl").read_text().splitlines()) == step // STEPS
    assert not (out / "result.json").exists()
    assert elicit(*training, "--out", out) == 0
    assert (out / "metrics.jsonl").read_bytes() == (run / "metrics.jsonl").read_bytes()
    found, wanted = (json.loads((place / "result.json").read_text()) for place in (out, run))
    assert found["classifier_sha256"] == wanted["classifier_sha256"]


def test_in_another_thread_there_are_no_handlers_to_install():
    before, found = signal.getsignal(signal.SIGINT), []

    def look():
        with stopping_on_signals():
            found.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=look)
    thread.start()
    thread.join()
    assert found == [before]
