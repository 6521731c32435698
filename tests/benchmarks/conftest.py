"""The benchmarks are scripts in a folder and no package: their modules are found by place."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))


@pytest.fixture
def tiny(monkeypatch, tiny_networks):
    """Jobs of the fewest updates, networks that compile quickly, and a small ceiling."""
    import jobs
    import timing

    monkeypatch.setitem(jobs.FLOP_OF_A_CALL, "cpu", 1)
    monkeypatch.setitem(timing.MATRIX_SIZES, "cpu", 8)
    monkeypatch.setattr(timing, "PAUSE_SECONDS", 0)
    monkeypatch.setattr(jobs, "WHOLE_SYNTHESIS_STEPS", 2)
    return tiny_networks
