"""`elicit exemplars`: the set that it writes, and what it refuses."""

import json

import numpy as np
import pytest

from tests.experiments.pages.reports import assert_is_report
from train.data.load import load_images

FEW = ("--per-class", 2, "--retrain-steps", 1, "--steps", 2, "--originals-per-step", 16)


@pytest.fixture(scope="module")
def tiny_run(tmp_path_factory, data, elicit, tiny_networks):
    """A classifier of a single convolution, with batch norm: quick to compile twice over."""
    out = tmp_path_factory.mktemp("runs") / "tiny"
    words = ("--model", tiny_networks[0], "--epochs", 2, "--batch-size", 12)
    assert elicit("classifier", "train", "--data", data, *words, "--out", out) == 0
    return out


def command(run, data, out, *words):
    given = ("--classifier", run, "--data", data, "--out", out)
    return ("exemplars", *given, *words)


@pytest.mark.slow
@pytest.mark.usefixtures("blank_pages")
def test_exemplars_are_a_set_with_targets_that_repeats(tiny_run, data, tmp_path, elicit, contents):
    run = tiny_run
    assert elicit(*command(run, data, tmp_path / "one", *FEW)) == 0
    images = load_images(tmp_path / "one")
    originals = load_images(data)
    assert sorted(images.labels) == [0, 0, 1, 1, 2, 2]
    places = [originals.ids.index(name) for name in images.source_ids]
    np.testing.assert_array_equal(originals.labels[places], images.labels)
    moved = np.abs(images.images.astype(int) - originals.images[places])
    assert 0 < moved.max() <= 6  # two updates by Adam of 0.01 each
    np.testing.assert_array_equal(images.targets, np.eye(3)[images.labels])
    retrained = json.loads((tmp_path / "one" / "manifest.json").read_text())["retrained"]
    assert [each["name"] for each in retrained] == [
        "nothing: as trained", "the originals drawn first", "the exemplars",
    ]  # fmt: skip
    assert len({each["loss"] for each in retrained}) == 3
    before = contents(tmp_path / "one")
    assert elicit(*command(run, data, tmp_path / "one", *FEW)) == 0
    assert contents(tmp_path / "one") == before
    assert elicit(*command(run, data, tmp_path / "two", *FEW)) == 0
    assert contents(tmp_path / "two") == before
    assert_is_report(tmp_path / "one" / "report.html")


REFUSED = {
    "too many": ("--per-class 99", "expected at least 99 . 0 images of every class"),
    "none": ("--per-class 0", "per_class must be at least 1, got 0"),
    "no retraining": ("--retrain-steps 0", "retrain_steps must be at least 1, got 0"),
    "no rate": ("--retrain-rate 0", "retrain_rate must be above 0 and finite, got 0.0"),
    "an unknown rule": ("--rule adan2", "unknown update rule 'adan2'"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_does_not_fit_is_refused(case, tiny_run, data, tmp_path, check_refusal):
    words, message = REFUSED[case]
    check_refusal(command(tiny_run, data, tmp_path / "new", *words.split()), message, tmp_path)


def test_a_callable_has_no_parameters_to_retrain(own_classifier, data, tmp_path, check_refusal):
    message = "is a callable, whose parameters cannot be retrained; expected a run"
    check_refusal(command(own_classifier, data, tmp_path / "new"), message, tmp_path)
