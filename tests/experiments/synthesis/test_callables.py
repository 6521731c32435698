"""Sets that a callable of the user's makes: which callable it was, and images of four channels."""

import importlib
import json

import numpy as np
import pytest

from tests.experiments.pages.reports import assert_is_report
from train.data.load import load_images


def test_a_callable_s_set_says_whose_it_is(by_own, own_classifier):
    manifest = json.loads((by_own("--steps", 0) / "manifest.json").read_text())
    assert manifest["classifier"]["callable"] == own_classifier
    assert len(manifest["classifier"]["approximate_outputs"]) == 8


@pytest.mark.usefixtures("no_report")
@pytest.mark.parametrize(("change", "status"), [(1.1, 2), (1 + 1e-5, 0)])
def test_a_set_is_extended_by_the_same_callable_alone(
    change, status, data, own_classifier, tmp_path, elicit, contents, monkeypatch, capsys
):
    """Other weights under the same name are another classifier; other rounding is not."""
    words = ["synthesize", "--classifier", own_classifier, "--data", data, "--rule", "sgd"]
    words += ["--steps", 1, "--batch-size", 2, "--batches-per-shard", 1, "--out", tmp_path / "set"]
    assert elicit(*words, "--stop", 2) == 0
    before = contents(tmp_path / "set")
    module = importlib.import_module("own_classifiers")
    monkeypatch.setattr(module, "WEIGHTS", module.WEIGHTS * np.float32(change))
    assert elicit(*words, "--stop", 4) == status
    if status == 2:
        assert "classifier.approximate_outputs was [" in capsys.readouterr().err
        assert contents(tmp_path / "set") == before
    else:
        config = (tmp_path / "set" / "config.json").read_text()
        outputs = json.loads(config)["classifier"]["approximate_outputs"]
        manifest = json.loads((tmp_path / "set" / "manifest.json").read_text())
        assert manifest["classifier"]["approximate_outputs"] == outputs


def test_images_with_opacity_are_made_and_shown(make_set, own_classifier, tmp_path, elicit):
    """Narrower ones of four channels, with as many numbers as the callable takes."""
    source, out = make_set(tmp_path / "data", shape=(16, 12, 4)), tmp_path / "set"
    words = ("--classifier", own_classifier, "--data", source, "--stop", 3, "--steps", 1)
    assert elicit("synthesize", *words, "--rule", "sgd", "--out", out) == 0
    assert_is_report(out / "report.html")
    colours = load_images(out).images[..., :3].astype(float) / 255
    saturation = json.loads((out / "summary.json").read_text())["saturation"]
    assert saturation == pytest.approx((colours.max(-1) - colours.min(-1)).mean(), abs=1e-5)
