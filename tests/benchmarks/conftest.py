"""Puts the folder of the benchmarks on the path, since they are scripts and not a package."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))


@pytest.fixture
def tiny(monkeypatch, tiny_networks):
    """Networks that compile quickly, few updates, and a small matrix product."""
    from harness import jobs, timing

    monkeypatch.setitem(jobs.FLOP_OF_A_CALL, "cpu", 1)
    monkeypatch.setitem(timing.MATRIX_SIZES, "cpu", 8)
    monkeypatch.setattr(timing, "PAUSE_SECONDS", 0)
    monkeypatch.setattr(jobs, "WHOLE_SYNTHESIS_STEPS", 2)
    return tiny_networks
