"""What `elicit classifier train` chooses by the set, and its advice where a split is missing."""

import json

import pytest

from experiments.classifier.fit_to_set import describe_choice, fit_to_set
from experiments.options.classifier import ClassifierTrainConfig
from train.recipes.train_options import TrainConfig

UNGIVEN = TrainConfig(batch_size=None, epochs=None)


@pytest.mark.parametrize(
    ("images", "batch_size", "epochs"),
    [
        (1, 1, 300),
        (5, 5, 300),
        (8, 8, 300),
        (63, 8, 300),
        (100, 8, 300),
        (300, 32, 300),
        (1023, 64, 300),
        (1024, 128, 300),
        (50_000, 128, 300),  # paper A
        (100_000, 128, 149),
        (10_000_000, 128, 1),
    ],
)
def test_batch_and_epochs_fit_the_set(images, batch_size, epochs):
    chosen = fit_to_set(UNGIVEN, images)
    assert (chosen.batch_size, chosen.epochs) == (batch_size, epochs)
    assert chosen.budget.total_steps(images) <= max(117_000, images // 128)
    assert describe_choice(UNGIVEN, chosen, images) == (
        f"for {images:,} training images: batches of {batch_size} (--batch-size) and {epochs} "
        "epochs (--epochs)"
    )


@pytest.mark.parametrize(("images", "devices", "batch_size"), [(100, 3, 6), (5, 2, 4), (1, 2, 2)])
def test_the_batch_can_be_dealt_out_to_the_devices(images, devices, batch_size):
    assert fit_to_set(UNGIVEN, images, devices=devices).batch_size == batch_size


def test_what_is_given_stays():
    given = TrainConfig(batch_size=7, epochs=2)
    assert fit_to_set(given, 100) == given
    assert describe_choice(given, given, 100) is None
    some = TrainConfig(batch_size=7, epochs=None, steps=9)
    assert describe_choice(some, fit_to_set(some, 100), 100) is None
    assert TrainConfig().budget == UNGIVEN.budget
    assert ClassifierTrainConfig("digits", "out").train == UNGIVEN


NETWORK = """
import flax.linen as nn


class Linear(nn.Module):
    num_classes: int

    @nn.compact
    def __call__(self, images):
        return nn.Dense(self.num_classes)(images.reshape(len(images), -1))
"""


@pytest.mark.usefixtures("blank_pages")
def test_a_small_set_is_trained_on_as_typed(make_set, tmp_path, monkeypatch, elicit, capsys):
    small, out = make_set(tmp_path / "small", counts={"train": 20, "test": 6}), tmp_path / "out"
    (tmp_path / "linear_network.py").write_text(NETWORK)  # compiles in no time
    monkeypatch.chdir(tmp_path)
    words = ["--data", small, "--model", "linear_network:Linear", "--steps", 2]
    assert elicit("classifier", "train", *words, "--out", out) == 0
    assert "for 20 training images: batches of 8 (--batch-size)\n" in capsys.readouterr().out
    assert json.loads((out / "config.json").read_text())["train"]["batch_size"] == 8


def test_a_missing_test_split_names_the_options_that_do_without(make_set, tmp_path, check_refusal):
    small = make_set(tmp_path / "data" / "small", counts={"train": 20})
    check_refusal(
        [
            "classifier",
            "train",
            "--model",
            "vgg-small",
            "--data",
            small,
            "--out",
            tmp_path / "o",
        ],
        r"split among \['train'\], got 'test'.*--test-split, .*--test-data.*--test-split ''",
        tmp_path,
    )
