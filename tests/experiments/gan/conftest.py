"""Fixtures for the tests of `elicit gan train`."""

import pytest

import experiments.training.run


@pytest.fixture
def memory_is_not_asked(monkeypatch):
    """Skips the check of the memory, which would compile the steps of the largest stage."""
    monkeypatch.setattr(experiments.training.run, "check_batch_fits", lambda _: None)
