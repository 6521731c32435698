"""Options of `elicit gan train`: they reach the stages and networks; wrong input is refused."""

import json
from pathlib import Path

import pytest

import experiments.gan.stages
import experiments.gan.train
from gans.options.training import GameConfig, LossWeights
from train.learner import TrainState


def read(run, file="result.json"):
    return json.loads((run / file).read_text())


# ---- plans


@pytest.mark.usefixtures("memory_is_not_asked")
@pytest.mark.parametrize(
    ("options", "cut_points", "stages"),
    [
        ("--preset paper", ["pool2"], ["encoder", "level-pool2", "level-image"]),
        ("--preset official", ["fc3"], ["encoder", "level-fc3", "level-image"]),
        (
            "--cut-points pool1 pool2 fc3 --joint-epochs 5",
            ["pool1", "pool2", "fc3"],
            ["encoder", "level-fc3", "level-pool2", "level-pool1", "level-image", "joint"],
        ),
        ("--cut-points pool1", ["pool1"], ["encoder", "level-pool1", "level-image"]),
    ],
)
def test_stages_go_from_the_label_down(
    options, cut_points, stages, data, elicit, tmp_path, monkeypatch
):
    seen = []

    def plan(_, name, learner, budget, **options):
        targets = [pair.target for pair in getattr(learner, "pairs", ())]
        seen.append((name, targets, budget, {k for k, v in options.items() if v is not None}))
        networks = {target: {"params": {}} for target in targets}
        return TrainState({"generators": networks, "discriminators": networks}, None)

    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(experiments.gan.stages.Stages, "train", plan)
    monkeypatch.setattr(experiments.gan.train, "_summarise", stop)
    out = tmp_path / "run"
    given = ("--model", "sgan", "--batch-size", 8, "--steps", 9, "--encoder-epochs", 4)
    words = ("gan", "train", "--data", data, *given, *options.split(), "--out", out)
    assert elicit(*words) == 130
    assert [stage[0] for stage in seen] == stages
    assert read(out, "gan.json")["config"]["cut_points"] == cut_points
    known = {
        "encoder": ([], 24, set()),
        "level-image": (["image"], 9, {"constants", "preview"}),
        "joint": (["image", *cut_points], 30, {"constants", "preview", "begin"}),
    }
    for name, targets, budget, options in seen:
        wanted = known.get(name, ([name.removeprefix("level-")], 9, {"constants"}))
        assert (targets, budget.total_steps(48), options) == wanted


@pytest.mark.usefixtures("memory_is_not_asked")
@pytest.mark.parametrize("model", ["dcgan", "sgan"])
def test_every_option_reaches_the_networks_that_are_trained(
    model, data, elicit, tmp_path, monkeypatch
):
    learners = []

    def look(_, name, learner, *_words, **_options):
        if name == "encoder":
            assert learner.config.encoder_learning_rate == 0.005
            return TrainState({"params": {}}, None)
        learners.append(learner)
        raise KeyboardInterrupt

    monkeypatch.setattr(experiments.gan.stages.Stages, "train", look)
    options = "--augmentations cut-out translation --spectral-norm --precision bfloat16 --width 3"
    options += " --learning-rate 0.003 --averaging 0.7 --form saturating --generator-steps adaptive"
    options += " --r1 0.5 --r2 0.25"
    if model == "sgan":
        options += " --entropy 2 --conditional 3 --adversarial 4 --encoder-learning-rate 0.005"
    words = ("gan", "train", "--data", data, "--model", model, "--batch-size", 8)
    assert elicit(*words, *options.split(), "--out", tmp_path / "run") == 130
    (learner,) = learners
    (pair,) = learner.pairs
    assert pair.augmentations == ("cut-out", "translation")
    assert pair.spectral_norm
    assert (pair.precision, pair.config.width) == ("bfloat16", 3)
    assert learner.learning_rate == 0.003
    assert learner.config == GameConfig("adaptive", "saturating", 0.7, r1=0.5, r2=0.25)
    if model == "sgan":
        assert pair.weights == LossWeights(adversarial=4, conditional=3, entropy=2)


@pytest.mark.parametrize(
    ("model", "habit"), [("dcgan", (64, 100, 2e-4)), ("sgan", (100, 200, 1e-4))]
)
def test_what_is_not_given_is_as_in_the_papers(model, habit):
    config = experiments.gan.train.GanTrainConfig("digits", Path("out"), model=model)
    assert (config.budget.batch_size, config.budget.epochs, config.rate) == habit
    assert config.budget.steps is None


# ---- wrong input


SGAN = "--model sgan --batch-size 8"
CASES = {
    "a batch above the data": ("--batch-size 49", "training set has 48 images, .* batch of 49"),
    "a habitual batch above it": ("", "48 images, less .* of 64; lower --batch-size to at most 48"),
    "a batch above it for a stack": ("--model sgan", "48 images, less than one batch of 100"),
    "a batch above a class": (
        "--data few --one-per-class --batch-size 9",
        "class bee has 8 images, less than one batch of 9; lower --batch-size",
    ),
    "a batch of nothing": ("--batch-size 0", "batch_size must be at least 1, got 0"),
    "no epochs": ("--epochs 0", "epochs must be at least 1, got 0"),
    "no steps": ("--steps 0", "steps must be at least 1, got 0"),
    "no sheets": ("--grids 0", "grids must be at least 1, got 0"),
    "negative joint epochs": (f"{SGAN} --joint-epochs=-1", "joint_epochs must be at least 0.*-1"),
    "no encoder epochs": (f"{SGAN} --encoder-epochs 0", "encoder_epochs must be at least 1.*0"),
    "sides that cannot be halved": (f"{SGAN} --data small", "multiple of 4; got 14×14"),
    "sides that are no multiple of 16": (
        "--data medium --batch-size 8", "multiple of 16.*got 24"
    ),
    "sides below 16": ("--data small --batch-size 8", "multiple of 16.*got 14"),
    "sides that differ": ("--data odd --batch-size 8", "takes square images, got 20×16"),
    "one class": ("--data one --batch-size 8", "at least 2 classes, got 1"),
    "one class for a stack": (f"{SGAN} --data one", "at least 2 classes, got 1"),
    "no channels": ("--batch-size 8 --width 0", "width must be at least 1, got 0"),
    "no channels of the encoder": (f"{SGAN} --encoder-width 0", "at least 1, got 0"),
    "an unknown cut point": (f"{SGAN} --cut-points pool3", "pool1, pool2, fc3, got 'pool3'"),
    "unordered cut points": (f"{SGAN} --cut-points fc3 pool2", "in this order; got .'fc3', 'pool2"),
    "repeated cut points": (f"{SGAN} --cut-points fc3 fc3", "each once.*got .'fc3', 'fc3'"),
    "a stack per class": (f"{SGAN} --one-per-class", "--one-per-class is for dcgan"),
    "a stack's option without a stack": (
        "--batch-size 8 --joint-epochs 2", "--joint-epochs 2.*--model sgan"
    ),
    "a stack's weights without a stack": ("--batch-size 8 --entropy 1", "--entropy 1.0 has no"),
    "a preset beside cut points": (
        f"{SGAN} --preset official --cut-points fc3", "--preset official .*with --cut-points"
    ),
    "a number of no skipped steps": ("--max-skipped 2", "--max-skipped 2.*--on-nonfinite skip"),
    "no learning rate": ("--learning-rate 0", "learning_rate must be above 0 and finite, got 0"),
    "no number for a rate": ("--learning-rate nan", "learning_rate must be above 0.*got nan"),
    "an encoder's rate": (f"{SGAN} --encoder-learning-rate inf", "encoder_learning_rate.*got inf"),
    "an unknown augmentation": ("--augmentations mixup", "brightness.*cut-out, got 'mixup'"),
    "an augmentation twice": ("--augmentations cut-out cut-out", "each once; got .*cut-out"),
    "a key beyond 32 bits": (f"--key {2**32}", f"key must be at least 0.*got {2**32}"),
    "an average of all": ("--averaging 1", r"averaging must be in \[0, 1\), got 1"),
    "a negative weight": (f"{SGAN} --entropy=-1", "entropy weight must be at least 0.*got -1"),
    "a negative penalty": ("--r1=-1", "r1 must be at least 0 and finite, got -1"),
    "an unknown loss": ("--form hinge", "non-saturating, saturating, relativistic, got 'hinge'"),
    "acceptance without a classifier": (
        "--batch-size 8 --acceptance-every 2", "--acceptance-every 2 .*without --classifier"
    ),
    "samples without a classifier": (
        "--batch-size 8 --acceptance-images 2", "--acceptance-images 2 .*without --classifier"
    ),
    "no epochs between": (
        "--classifier run --acceptance-every 0", "acceptance_every must be at least 1, got 0"
    ),
    "no samples": (
        "--classifier run --acceptance-images 0", "acceptance_images must be at least 1, got 0"
    ),
    "an absent classifier": ("--batch-size 8 --classifier absent", "no classifier at 'absent'"),
    "a classifier of other images": (
        "--data odd --model sgan --batch-size 8 --classifier run", r"the GAN has .20, 16, 3"
    ),
    "unknown generator's steps": ("--generator-steps 4", "adaptive, got '4'"),
    "unknown model": ("--model vae", "dcgan, sgan, got 'vae'"),
    "absent data": ("--data absent", "absent"),
    "an unknown split": ("--split dev", "split.*'dev'"),
    "a directory of the user's": ("--batch-size 8 --out plain", "plain is there.*another --out"),
    "a directory below a file": ("--batch-size 8 --out plain/note.txt/new", "note.txt"),
}  # fmt: skip


@pytest.mark.parametrize(("options", "message"), CASES.values(), ids=CASES)
def test_wrong_input_is_one_message_and_nothing_else(options, message, check_wrong_input):
    check_wrong_input(f"gan train --data data --out new {options}", message)
