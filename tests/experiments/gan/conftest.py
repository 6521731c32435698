"""Fixtures for the tests of `elicit gan train`."""

import re
from collections.abc import Callable, Sequence
from typing import Any

import pytest

import experiments.gan.stages
import experiments.training.run
import train.loop


@pytest.fixture
def memory_is_not_asked(monkeypatch):
    """Skips the check of the memory, which would compile the steps of the largest stage."""
    monkeypatch.setattr(experiments.training.run, "check_batch_fits", lambda _: None)


@pytest.fixture
def nothing_runs(monkeypatch):
    """Makes a test fail if a training or a sample would be compiled."""

    def refuse(*_, **__):
        raise AssertionError("something was compiled")

    monkeypatch.setattr(train.loop, "_make_run_steps", refuse)
    monkeypatch.setattr(train.loop, "_make_initial", refuse)
    monkeypatch.setattr(experiments.gan.stages, "sample", refuse)


@pytest.fixture
def check_refusal(elicit, capfd) -> Callable[[Sequence[Any], str], None]:
    """Checks that a command is refused: status 2, one message, nothing printed."""

    def check(words: Sequence[Any], message: str) -> None:
        assert elicit(*words) == 2
        printed, complaint = capfd.readouterr()
        assert printed == ""
        plain = re.sub(r"[│╭╮╰╯─\s]+", " ", complaint)  # tyro draws a box
        assert re.search(message, plain), plain
        assert "Traceback" not in complaint
        assert len(re.findall(r"(?m)^elicit.*: error: |^╭", complaint)) == 1

    return check
