"""Fixtures for the tests of GANs."""

import pytest

import experiments.training.run
from tests.experiments.made_up_gans import write_sampled_gan


@pytest.fixture
def memory_is_not_asked(monkeypatch):
    """Skips the check of the memory, which would compile the steps of the largest stage."""
    monkeypatch.setattr(experiments.training.run, "check_batch_fits", lambda *_: None)


@pytest.fixture(scope="module")
def gan(tmp_path_factory):
    """A GAN to sample from."""
    return write_sampled_gan(tmp_path_factory.mktemp("gans") / "gan")


@pytest.fixture
def draw(gan, tmp_path, elicit):
    """Samples from it into a set."""

    def run_command(*words, name="made", status=0):
        out = tmp_path / name
        given = ("gan", "sample", "--gan", gan, "--out", out, "--key", 7)
        sizes = () if "--batch-size" in words else ("--batch-size", 8)
        assert elicit(*given, *sizes, *words) == status
        return out

    return run_command
