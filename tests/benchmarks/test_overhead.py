"""The benchmark of checkpoints and digests, on networks that compile in no time."""

import json

import overhead
import pytest

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(("aim", "status"), [(1e9, 0), (0.0, 1)])
@pytest.mark.usefixtures("tiny_networks")
def test_shares_are_told_and_judged(aim, status, monkeypatch, capsys):
    monkeypatch.setattr(overhead, "AIM", aim)
    monkeypatch.setattr(overhead, "keep_memory", lambda: None)
    config = overhead.OverheadConfig("tiny", batch_size=2, updates=6, updates_timed=1, rounds=2)
    assert overhead.main(config) == status
    found = json.loads(capsys.readouterr().out)
    training, synthesis = found["training"], found["synthesis"]
    assert training["share"] == pytest.approx(training["seconds"]["median"] / 60)
    costs = synthesis["keeping_seconds"]["median"] + synthesis["digests_seconds"]["median"]
    assert synthesis["share"] == pytest.approx(costs / synthesis["batch_seconds"])
    assert found["aim_met"] is (status == 0)
