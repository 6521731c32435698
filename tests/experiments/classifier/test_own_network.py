"""A Linen module of the user's, from the command line: trained, resumed, loaded, measured, used."""

import json
import shutil
import sys

import numpy as np
import pytest

from imgopt import synthesize, to_float
from train.classifiers import classify_function, digest, load_classifier
from train.data.load import load_images

MODULE = """
import flax.linen as nn


class Net(nn.Module):
    num_classes: int

    @nn.compact
    def __call__(self, images, training):
        x = nn.relu(nn.Dense(8)(images.reshape(len(images), -1)))
        x = nn.BatchNorm(use_running_average=not training)(x)
        return nn.Dense(self.num_classes)(nn.Dropout(0.2, deterministic=not training)(x))


class Ours:
    net = "no module"
"""
WORDS = ["--model", "my_networks:Net", "--epochs", 2, "--batch-size", 12, "--learning-rate", 0.02]


@pytest.fixture(scope="module")
def trained(tmp_path_factory, data, elicit, blank_pages):
    """The directory with the user's module, and a run of it there."""
    del blank_pages
    place = tmp_path_factory.mktemp("mine")
    (place / "my_networks.py").write_text(MODULE)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        words = ["classifier", "train", "--data", data, *WORDS, "--out", place / "run"]
        assert elicit(*words) == 0
        yield place
    sys.modules.pop("my_networks", None)


def test_a_run_holds_the_modules_place_and_its_statistics(trained):
    config = json.loads((trained / "run" / "config.json").read_text())
    assert config["model"] == "my_networks:Net"
    classifier = load_classifier(trained / "run")
    assert classifier.spec.network == "my_networks:Net"
    result = json.loads((trained / "run" / "result.json").read_text())
    assert digest(classifier) == result["classifier_sha256"]
    assert result["parameters"] == (16 * 16 * 3 + 1) * 8 + 2 * 8 + (8 + 1) * 3
    statistics = classifier.variables["batch_stats"]["BatchNorm_0"]
    assert (np.asarray(statistics["mean"]) != 0).any()


def test_it_is_measured_and_synthesised_with_as_any_other(trained, data, tmp_path, elicit):
    shutil.copytree(trained / "run", tmp_path / "run")
    assert elicit("classifier", "evaluate", tmp_path / "run") == 0
    classify = classify_function(load_classifier(trained / "run"))
    images = to_float(load_images(data).images[:4])
    made = synthesize(classify, images, np.full((4, 3), 1 / 3, np.float32), steps=2)
    assert np.isfinite(made.kl).all()


def test_without_its_module_a_run_says_what_it_lacks(trained, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "my_networks")
    with pytest.raises(ValueError, match=r"classifier.json does not describe.*my_networks:Net"):
        load_classifier(trained / "run")


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("my_networks:Nett", "cannot import network 'my_networks:Nett': AttributeError"),
        ("my_networks:Ours.net", "must be a Flax Linen module, its class or a function.*got str"),
        ("train:Net", "train is a package of Elicit, which hides a module of yours"),
    ],
)
def test_what_cannot_be_trained_is_refused(model, message, trained, data, check_refusal):
    words = ["classifier", "train", "--data", data, "--model", model, "--out", trained / "new"]
    check_refusal(words, message, trained)
