"""`elicit classifier train` with made images, teachers and an average, and what it refuses."""

import json

import numpy as np
import pytest

import experiments.training.session
from train.classifiers import digest, load_classifier
from train.storage.checkpoints import latest_checkpoint
from train.storage.strict_json import read_sealed

RECIPE = "--cutout 4 --label-smoothing 0.1 --average 0.9 --labels set --separate-statistics"
EPOCHS = ("--epochs", 2)

NETWORK = """
import flax.linen as nn


class Linear(nn.Module):
    num_classes: int

    @nn.compact
    def __call__(self, images):
        return nn.Dense(self.num_classes)(images.reshape(len(images), -1))
"""


def read(run, name="result.json"):
    return json.loads((run / name).read_text())


@pytest.fixture(scope="module")
def whole(tmp_path_factory, synthesis, elicit):
    """A set synthesised from all training images."""
    out = tmp_path_factory.mktemp("sets") / "whole"
    assert elicit(*synthesis, "--steps", 2, "--batch-size", 48, "--out", out) == 0
    return out


@pytest.mark.usefixtures("blank_pages")
def test_a_recipe_is_resumed_evaluated_and_recorded(
    whole, run, training, tmp_path, elicit, monkeypatch
):
    words = [*training, *RECIPE.split(), *EPOCHS, "--teacher", run, run, "--add", whole]
    words += ["--add-as", "second-view"]
    assert elicit(*words, "--out", tmp_path / "whole") == 0
    monkeypatch.setattr(experiments.training.session, "CHECKPOINT_EVERY_SECONDS", 0)
    save, out = experiments.training.session.save_checkpoint, tmp_path / "resumed"

    def save_and_interrupt(directory, step, state):
        save(directory, step, state)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(experiments.training.session, "save_checkpoint", save_and_interrupt)
        assert elicit(*words, "--out", out) == 130
    assert elicit(*words, "--out", out) == 0
    assert (out / "metrics.jsonl").read_bytes() == (
        tmp_path / "whole" / "metrics.jsonl"
    ).read_bytes()
    assert digest(load_classifier(out)) == read(out)["classifier_sha256"]
    config = read(out, "config.json")
    assert [len(teacher["sha256"]) for teacher in config["teacher"]] == [64, 64]
    assert len(config["second_view"]["sha256"]) == 64
    assert config["train"]["recipe"]["cutout"] == 4
    kept = latest_checkpoint(out / "checkpoints").state["opt_state"]
    assert len(kept) > 2 * len(load_classifier(out).variables["params"])


@pytest.mark.usefixtures("blank_pages")
def test_images_are_made_in_training(data, tmp_path, monkeypatch, elicit):
    (tmp_path / "linear_recipe.py").write_text(NETWORK)  # compiles in no time
    monkeypatch.chdir(tmp_path)
    words = ["--data", data, "--model", "linear_recipe:Linear", "--batch-size", 12]
    words += ["--synthesize-every", 3, "--synthesize-rule", "sgd", "--synthesize-updates", 2]
    out = tmp_path / "run"
    assert elicit("classifier", "train", *words, "--loss", "mixed", *EPOCHS, "--out", out) == 0
    assert np.isfinite(read(out)["train_loss"])
    assert read(out, "config.json")["train"]["recipe"]["synthesis"]["synthesize_every"] == 3


@pytest.mark.usefixtures("blank_pages")
def test_outputs_alone_and_rare_tests(whole, training, tmp_path, elicit):
    words = [*training, *EPOCHS, "--replace", whole, "--fraction", 1, "--loss", "mixed"]
    rare = [*words, "--labels-only", "--test-every", 3, "--out", tmp_path / "outputs"]
    assert elicit(*rare) == 0
    assert elicit(*words, "--out", tmp_path / "pixels") == 0
    found, pixels = (
        [json.loads(line) for line in (tmp_path / name / "metrics.jsonl").read_text().splitlines()]
        for name in ("outputs", "pixels")
    )
    assert ["test_accuracy" in line for line in found] == [False, True]
    assert ["test_accuracy" in line for line in pixels] == [True, True]
    assert found[0]["train_loss"] != pixels[0]["train_loss"]
    configs = [read_sealed(tmp_path / name / "config.json") for name in ("outputs", "pixels")]
    assert configs[0].pop("test_every") == 3
    assert configs[0].pop("replace") != configs[1].pop("replace")
    assert configs[0] == configs[1]


def test_options_of_a_recipe_that_are_not_given_leave_no_trace(run):
    config = read(run, "config.json")
    assert not {"teacher", "second_view"} & config.keys()
    assert not {"recipe", "optimizer", "schedule"} & config["train"].keys()


TRAIN = (
    "classifier train --data data --out new --model vgg-small --width 0.05 --epochs 1 "
    "--batch-size 16"
)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--add made --replace made", "--add and --replace name the same set, made"),
        ("--add made --replace ./made", "--add and --replace name the same set"),
        ("--add data", "--add data has no outputs.*elicit synthesize.*--extra"),
        ("--add absent", "data set's directory.*'absent'"),
        ("--add made --add-as second-view", "every image of split train .* lacks 38, such as tr"),
        ("--add made --add-as second-view --extra data", "--extra images have no second view"),
        ("--add-as second-view", "--add-as second-view has no effect without --add"),
        ("--data large --teacher run", r"--teacher run: .*image_shape \(32, 32, 3\).*\(16, 16"),
        ("--data other --teacher run", "--teacher run: .*class_names .*'dog'.*'cow'"),
        ("--teacher absent", "absent is not a classifier's run"),
        ("--labels-only", "--labels-only has no effect without --replace and --add"),
        ("--test-every 0", "test_every must be at least 1, got 0"),
        ("--test-every 2 --test-split=", "--test-every 2 has no effect without --test-split"),
        ("--teacher run --teacher-weight 0", "--teacher has no effect with --teacher-weight 0"),
        ("--teacher-weight 0.3", "--teacher-weight 0.3 has no effect without --teacher"),
        ("--labels teacher --add made", "--labels teacher .* need a teacher, got none"),
        ("--labels set", "--labels set has no effect without made images"),
        (
            "--labels class --loss mixed --add made",
            "--loss mixed learns from outputs, got --labels",
        ),
        ("--separate-statistics", "--separate-statistics needs made images beside"),
        ("--separate-statistics --add made", "--separate-statistics needs made images beside"),
        ("--synthesize-own 0.7", "--synthesize-own 0.7 has no effect without --synthesize-every"),
        ("--synthesize-every 4", "--synthesize-every 4 is never reached in 3 steps"),
        ("--synthesize-every 1 --synthesize-from average", "needs --average"),
        ("--synthesize-every 1 --synthesize-from teacher", "need a teacher, got none"),
        ("--synthesize-every 1 --synthesize-rule adan2", "unknown update rule 'adan2'"),
        ("--optimizer adamw", "adamw needs a learning rate of its own"),
        (
            "--optimizer adamw --learning-rate 0.001 --momentum 0.5",
            "--momentum 0.5 has no effect with --optimizer adamw",
        ),
        ("--cutout 33", "cutout must be at most 32 for images of 16 x 16 pixels, got 33"),
        ("--mixup=-1", "mixup must be at least 0"),
        ("--mixup 1 --loss mixed --add made --kl model||target", r"soft targets need kl target"),
    ],
)
def test_what_does_not_fit_is_refused_before_compilation(words, message, check_wrong_input):
    words = words.replace("model||target", "'model||target'")
    check_wrong_input(f"{TRAIN} {words}", message)
