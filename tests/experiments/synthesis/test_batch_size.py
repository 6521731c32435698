"""The batch of `elicit synthesize`: chosen from the memory there is, and kept by the set."""

import json

import numpy as np
import pytest

import experiments.synthesis.command as command
from train.data.load import load_images
from train.runtime import memory


@pytest.fixture
def make(data, own_classifier, no_report, elicit, tmp_path):
    """Makes a set of 5 images, without --batch-size, and gives it."""
    del no_report

    def synthesize(name, *words, status=0):
        given = ["--classifier", own_classifier, "--data", data, "--out", tmp_path / name]
        assert elicit("synthesize", *given, "--stop", 5, "--steps", 2, *words) == status
        return tmp_path / name

    return synthesize


@pytest.fixture
def limit(monkeypatch):
    """Makes the memory such that batches of so many images take their share of it."""
    planned = []

    def record(*words, **options):
        planned.append(memory.footprint(*words, **options))
        return planned[-1]

    monkeypatch.setattr(command, "footprint", record)

    def set_limit(images):
        found = planned[0]
        each = (found.needed_bytes - found.fixed_bytes) / found.batch_size
        room = int((found.fixed_bytes + images * each) / memory.FITTING_SHARE)
        monkeypatch.setattr(memory, "device_memory_bytes", lambda: room)

    return set_limit


def batch_size(directory):
    return json.loads((directory / "config.json").read_text())["batch_size"]


def test_a_batch_is_chosen_by_the_memory_and_kept(make, limit, contents, compilations):
    with compilations() as names:
        whole = make("whole")
    assert batch_size(whole) == command.MOST_IMAGES_ON_CPUS
    assert names.count("_update") == 1
    limit(3.9)
    small = make("small")
    assert batch_size(small) == 2
    a, b = (load_images(out).images.astype(int) for out in (whole, small))
    assert np.abs(a - b).max() <= 1  # an image does not depend on its batch, except by rounding
    limit(1000)
    (small / "manifest.json").unlink()  # as if it had been killed before the last step
    assert contents(make("small")) == contents(make("given", "--batch-size", 2))


def test_a_directory_of_other_files_is_refused_before_anything_is_compiled(
    make, tmp_path, capsys, monkeypatch
):
    monkeypatch.setattr(command, "_footprint", lambda *_: pytest.fail("compiled"))
    (tmp_path / "mine.txt").touch()
    make(".", status=2)
    assert "is not an image set" in capsys.readouterr().err
