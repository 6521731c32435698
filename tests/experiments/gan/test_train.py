"""`elicit gan train`: its stages, resuming to the same bits, and trainings that fail.

Compiling takes nearly all the time: three runs are made once, and what follows uses their programs.
"""

import json
import re
import shutil
import signal

import jax
import numpy as np
import pytest
from PIL import Image

import experiments.gan.stages
import experiments.gan.train
import experiments.training.session
from gans.sampling import gan_digest, image_keys, load_gan, sample
from train.classifiers import classify_function, load_classifier
from train.storage.checkpoints import latest_checkpoint

COMMON = "--batch-size 8 --width 2 --grids 2"
OPTIONS = {
    "dcgan": f"{COMMON} --epochs 3",
    "per class": f"{COMMON} --epochs 3 --one-per-class --form relativistic --r1 0.1 --r2 0.2",
    "stack": f"{COMMON} --epochs 2 --model sgan --preset official --encoder-width 2 "
    "--encoder-epochs 2 --joint-epochs 2 --averaging 0.9",
}
MEASURED = {"dcgan": {2, 3}, "per class": {2, 3}, "stack": set()}  # epochs, for acceptance

STAGES = {  # with the number of epochs
    "dcgan": {"gan": 3},
    "per class": {"gan": 3},
    "stack": {"encoder": 2, "level-fc3": 2, "level-image": 2, "joint": 2},
}
STEPS_PER_EPOCH = {"dcgan": 6, "per class": 2, "stack": 6}  # 48 images, 16 of each class
SHEETS = {name: ["gan-00002.png", "gan-00003.png"] for name in ("dcgan", "per class")}
SHEETS["stack"] = [f"{stage}-0000{n}.png" for stage in ("joint", "level-image") for n in (1, 2)]
LONG = [pytest.param(name, marks=pytest.mark.slow) for name in ("per class", "stack")]
PARAMETERS = {"dcgan": ["image"], "per class": ["image"], "stack": ["fc3", "image"]}

GAME = {"generator_loss", "generator_steps", "discriminator_loss", "discriminator_accuracy"}
PENALISED = GAME | {"r1_penalty", "r2_penalty"}
LEVEL = GAME | {"entropy_error", "feature_error"}
REPORTED = {
    ("dcgan", "gan"): GAME,
    ("per class", "gan"): PENALISED | {"by_class"},
    ("stack", "encoder"): {"loss", "accuracy"},
    ("stack", "level-fc3"): LEVEL,
    ("stack", "level-image"): LEVEL,
    ("stack", "joint"): {"generator_steps"}
    | {f"{name}_{target}" for name in LEVEL - {"generator_steps"} for target in ("fc3", "image")},
}


@pytest.fixture(scope="module")
def words(data, run):
    judged = ("--classifier", run, "--acceptance-every", 2, "--acceptance-images", 4)
    return {
        name: ["gan", "train", "--data", data, *o.split(), *(judged if MEASURED[name] else ())]
        for name, o in OPTIONS.items()
    }


@pytest.fixture(scope="module")
def runs(words, elicit, tmp_path_factory):
    """The three runs, each trained when a test first asks for it."""
    made = {}

    def run(name):
        if name not in made:
            made[name] = tmp_path_factory.mktemp("gans") / name
            with pytest.MonkeyPatch.context() as patch:  # whichever test comes first
                patch.setattr(experiments.training.session, "CHECKPOINT_EVERY_SECONDS", 60)
                assert elicit(*words[name], "--out", made[name]) == 0
        return made[name]

    return run


@pytest.fixture(params=["dcgan", *LONG])
def name(request):
    return request.param


@pytest.fixture
def save_every_epoch(monkeypatch):
    monkeypatch.setattr(experiments.training.session, "CHECKPOINT_EVERY_SECONDS", 0)


def read(run, file="result.json"):
    return json.loads((run / file).read_text())


def read_lines(run):
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def last_checkpoint(run, stage):
    found = latest_checkpoint(run / "checkpoints" / stage)
    assert found is not None
    return found


def lasting(run):
    """Everything in a run that must not depend on interruptions."""
    sheets = {path.name: path.read_bytes() for path in (run / "samples").iterdir()}
    return {
        "metrics": (run / "metrics.jsonl").read_bytes(),
        "gan": (run / "gan.json").read_bytes(),
        "sha256": read(run)["gan_sha256"],
        **sheets,
    }


# ---- one undisturbed run


def test_what_a_run_leaves(name, runs):
    run = runs(name)
    assert {path.name for path in run.iterdir()} == {
        "config.json", "gan.json", "generator", "checkpoints", "samples", "metrics.jsonl",
        "result.json", "report.html", "figures", "options.json",
    }  # fmt: skip
    assert {path.name for path in (run / "checkpoints").iterdir()} == STAGES[name].keys()
    for stage, epochs in STAGES[name].items():
        assert last_checkpoint(run, stage).step == epochs * STEPS_PER_EPOCH[name]
    result = read(run)
    gan = load_gan(run)
    assert gan_digest(gan) == result["gan_sha256"]
    assert gan.spec.class_names == ("ant", "bee", "cow")
    assert gan.spec.is_per_class == (name == "per class")
    assert sorted(gan.variables) == PARAMETERS[name]
    parameters = jax.tree.leaves([v["params"] for v in gan.variables.values()])
    assert result["parameters_of_generators"] == sum(leaf.size for leaf in parameters)
    assert result["training_images"] == 48
    assert result["last"].keys() == STAGES[name].keys()
    assert {"device", "versions", "command", "timing", "key"} <= result.keys()


def test_a_line_for_every_epoch_of_every_stage(name, runs):
    lines = read_lines(runs(name))
    assert [(line["stage"], line["epoch"], line["step"]) for line in lines] == [
        (stage, epoch, epoch * STEPS_PER_EPOCH[name])
        for stage, epochs in STAGES[name].items()
        for epoch in range(1, epochs + 1)
    ]
    for line in lines:
        measured = {"acceptance", "by_class"} if line["epoch"] in MEASURED[name] else set()
        assert line.keys() - {"stage", "epoch", "step"} == REPORTED[name, line["stage"]] | measured
        numbers = {key: value for key, value in line.items() if isinstance(value, float)}
        assert np.isfinite(list(numbers.values())).all()
        assert all(0 <= value <= 1 for key, value in numbers.items() if "accuracy" in key)
        assert all(value == 1 for key, value in numbers.items() if key == "generator_steps")


@pytest.mark.slow
def test_numbers_of_every_class_beside_their_mean(runs):
    for line in read_lines(runs("per class")):
        measured = {"acceptance"} if line["epoch"] in MEASURED["per class"] else set()
        assert line["by_class"].keys() == PENALISED | measured
        for found, values in line["by_class"].items():
            assert len(values) == 3
            assert line[found] == pytest.approx(np.mean(values), rel=1e-6)
        assert len(set(line["by_class"]["discriminator_loss"])) == 3


@pytest.mark.parametrize("name", ["dcgan", "per class"], indirect=True)
def test_the_last_acceptance_is_that_of_the_generators_in_the_run(name, runs, run):
    out = runs(name)
    key = jax.random.fold_in(jax.random.key(0), experiments.gan.train.ACCEPTANCE_STREAM)
    lines = [line for line in read_lines(out) if "acceptance" in line]
    for label, share in enumerate(lines[-1]["by_class"]["acceptance"]):
        keys, labels = image_keys(key, label, np.arange(4)), np.full(4, label)
        images = sample(load_gan(out), keys, labels, batch_size=4)
        logits = jax.jit(classify_function(load_classifier(run)))(np.float32(images) / 255)
        assert share == (logits.argmax(1) == label).mean()
    assert read(out)["best"]["share"] == max(line["acceptance"] for line in lines)
    assert "95% interval" in (out / "report.html").read_text()


def test_sheets_at_even_intervals(name, runs):
    run = runs(name)
    assert sorted(path.name for path in (run / "samples").iterdir()) == SHEETS[name]
    assert len({path.read_bytes() for path in (run / "samples").iterdir()}) == len(SHEETS[name])
    with Image.open(run / "samples" / SHEETS[name][0]) as sheet:
        # 8 samples of 3 classes, 16×16 twice enlarged, 2 between.
        assert sheet.size == (8 * 32 + 7 * 2, 3 * 32 + 2 * 2)


@pytest.mark.slow  # the run of a stack compiles four stages
def test_the_spec_has_the_sizes_of_the_data(runs):
    sizes = {name: read(runs(name), "gan.json")["config"] for name in OPTIONS}
    assert [sizes[name]["num_classes"] for name in ("dcgan", "per class")] == [3, None]
    assert sizes["dcgan"]["image_size"] == 16
    assert sizes["stack"]["cut_points"] == ["fc3"]
    assert sizes["stack"]["image_shape"] == [16, 16, 3]
    assert read(runs("stack"), "gan.json")["model"] == "sgan"


@pytest.mark.slow  # the run of a stack compiles four stages
def test_the_sampled_generators_are_the_averages(runs):
    run = runs("stack")
    saved = last_checkpoint(run, "joint").state["variables"]
    found = load_gan(run).variables
    assert jax.tree.all(jax.tree.map(np.array_equal, found, saved["average"]))
    assert not jax.tree.all(jax.tree.map(np.array_equal, found, saved["generators"]))


def test_a_complete_run_is_left_as_it_is(name, runs, words, elicit, contents, monkeypatch, capsys):
    before = contents(runs(name))
    monkeypatch.delattr(experiments.training.session, "fit")
    assert elicit(*words[name], "--out", runs(name)) == 0
    assert "complete; nothing to do" in capsys.readouterr().out
    assert contents(runs(name)) == before


# ---- the same bits


@pytest.mark.slow
@pytest.mark.usefixtures("save_every_epoch")
def test_interrupted_again_and_again_it_ends_as_if_it_had_not_been(
    name, runs, words, elicit, tmp_path, monkeypatch
):
    """Two interrupts in every epoch: between line of metrics and checkpoint, and after that."""
    wanted = lasting(runs(name))
    original = experiments.training.session.save_checkpoint
    sessions = []

    def interrupt(directory, step, state):
        sessions.append((directory.name, step))
        if sessions.count(sessions[-1]) > 1:
            original(directory, step, state)
        raise KeyboardInterrupt

    monkeypatch.setattr(experiments.training.session, "save_checkpoint", interrupt)
    out = tmp_path / "run"
    while (status := elicit(*words[name], "--out", out)) == 130:
        assert not (out / "result.json").exists()
    assert status == 0
    ends = [
        (stage, (e + 1) * STEPS_PER_EPOCH[name])
        for stage, count in STAGES[name].items()
        for e in range(count)
    ]
    assert sessions == [end for end in ends for _ in range(2)]
    assert lasting(out) == wanted


@pytest.mark.slow  # the run of a stack compiles four stages
def test_stopped_within_an_epoch_of_every_stage_it_ends_as_if_it_had_not_been(
    runs, words, elicit, tmp_path, signal_at, capsys
):
    wanted, out, stages = lasting(runs("stack")), tmp_path / "run", list(STAGES["stack"])
    signal_at(8, signal.SIGTERM)
    while (status := elicit(*words["stack"], "--out", out)) == 128 + signal.SIGTERM:
        assert "elicit gan train: stopped by SIGTERM after step 8;" in capsys.readouterr().err
        assert last_checkpoint(out, stages.pop(0)).step == 8
    assert status == 0
    assert stages == []
    assert lasting(out) == wanted


@pytest.mark.slow  # the run of a stack compiles four stages
@pytest.mark.filterwarnings("default:checkpoint .* is damaged")
@pytest.mark.parametrize("kept", ["none", "one before"])
def test_a_stage_whose_last_checkpoint_is_damaged_is_done_again_with_all_that_follows(
    kept, runs, words, elicit, tmp_path, monkeypatch, capsys
):
    out = tmp_path / "run"
    if kept == "none":
        shutil.copytree(runs("stack"), out)
    else:
        monkeypatch.setattr(experiments.training.session, "CHECKPOINT_EVERY_SECONDS", 0)
        assert elicit(*words["stack"], "--out", out) == 0
    (out / "result.json").unlink()
    for path in (out / "checkpoints" / "encoder" / "12").rglob("*"):
        if path.is_file():
            path.write_bytes(path.read_bytes()[:-1])
    capsys.readouterr()
    assert elicit(*words["stack"], "--out", out) == 0
    complaint = capsys.readouterr().err
    assert "checkpoints/encoder/12 is damaged" in complaint
    assert "encoder: 12/12" in complaint
    assert "level-fc3: 12/12" in complaint
    assert "joint: 12/12" in complaint
    assert lasting(out) == lasting(runs("stack"))


@pytest.mark.slow  # the run of a stack compiles four stages
def test_a_run_killed_before_its_result_only_writes_that(
    runs, words, elicit, tmp_path, monkeypatch
):
    out = tmp_path / "run"
    shutil.copytree(runs("stack"), out)
    for name in ("result.json", "report.html"):
        (out / name).unlink()
    shutil.rmtree(out / "generator")
    monkeypatch.delattr(experiments.training.session, "fit")
    assert elicit(*words["stack"], "--out", out) == 0
    assert lasting(out) == lasting(runs("stack"))
    assert gan_digest(load_gan(out)) == read(out)["gan_sha256"]
    assert (out / "report.html").is_file()


def test_the_key_decides(runs, words, elicit, tmp_path):
    out = tmp_path / "run"
    assert elicit(*words["dcgan"], "--key", 1, "--out", out) == 0
    found, wanted = lasting(out), lasting(runs("dcgan"))
    assert found.keys() == wanted.keys()
    assert found["gan"] == wanted["gan"]
    assert all(found[part] != wanted[part] for part in found.keys() - {"gan"})


def test_a_budget_in_steps_cuts_the_last_epoch_short(runs, words, elicit, tmp_path):
    out = tmp_path / "run"
    assert elicit(*words["dcgan"], "--steps", 8, "--out", out) == 0
    first, last = read_lines(out)
    assert first == read_lines(runs("dcgan"))[0]
    assert (last["epoch"], last["step"]) == (2, 8)
    assert sorted(path.name for path in (out / "samples").iterdir()) == [
        "gan-00001.png", "gan-00002.png",
    ]  # fmt: skip


@pytest.mark.slow  # the run of a stack compiles four stages
@pytest.mark.usefixtures("save_every_epoch", "memory_is_not_asked")
def test_a_diverging_level_stops_and_what_was_trained_is_kept(
    words, runs, elicit, tmp_path, capsys
):
    out = tmp_path / "run"
    assert elicit(*words["stack"], "--learning-rate", 1e30, "--out", out) == 1
    complaint = capsys.readouterr().err
    assert re.search(
        r"not finite at step \d \(epoch 1\): the .*; a lower --learning-rate may", complaint
    )
    assert "Traceback" not in complaint
    assert [path.name for path in (out / "checkpoints").iterdir()] == ["encoder"]
    assert last_checkpoint(out, "encoder").step == 12
    assert read_lines(out) == read_lines(runs("stack"))[:2]
    assert not (out / "result.json").exists()
    with pytest.raises(ValueError, match="holds no generator: its training is not finished"):
        load_gan(out)


@pytest.mark.slow
def test_so_many_steps_are_skipped_and_no_more(words, elicit, tmp_path, capsys):
    skipping = ("--learning-rate", 1e30, "--on-nonfinite", "skip", "--max-skipped", 3)
    assert elicit(*words["dcgan"], *skipping, "--out", tmp_path / "run") == 1
    assert re.search(
        r"not finite at step [3-5] \(epoch 1\): the .* \(skipped before it: 3\); a lower",
        capsys.readouterr().err,
    )


@pytest.mark.usefixtures("save_every_epoch")
@pytest.mark.parametrize("name", ["dcgan", "per class"], indirect=True)
def test_a_discriminator_that_has_won_stops_it(
    name, words, runs, elicit, tmp_path, monkeypatch, capsys
):
    first_line = read_lines(runs(name))[:1]
    original = experiments.training.session.save_checkpoint

    def save_and_win(*given):
        original(*given)
        monkeypatch.setattr(experiments.gan.stages, "WON_LOSS", 10.0)

    monkeypatch.setattr(experiments.training.session, "save_checkpoint", save_and_win)
    out = tmp_path / "run"
    assert elicit(*words[name], "--out", out) == 1
    complaint = capsys.readouterr().err
    whose = r" of (ant|bee|cow)" if name == "per class" else ""
    assert re.search(f"the discriminator{whose} has won: its mean loss was", complaint)
    assert "in epoch 2" in complaint
    assert "--spectral-norm may help" in complaint
    assert "Traceback" not in complaint
    assert last_checkpoint(out, "gan").step == STEPS_PER_EPOCH[name]
    assert read_lines(out) == first_line
    assert not (out / "result.json").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--epochs 4", "holds a run of another configuration: epochs was 3, now 4. Choose another"),
        ("--acceptance-images 5", "acceptance.acceptance_images was 4, now 5"),
        ("--r1 0.5", "game.r1 was None, now 0.5"),
        ("--averaging 0.5", "game.averaging was 0.0, now 0.5"),
        ("--split test", "dataset.split was 'train', now 'test'"),
    ],
)
def test_a_run_of_another_configuration_is_left_alone(options, message, runs, words, check_refusal):
    run = runs("dcgan")
    check_refusal([*words["dcgan"], *options.split(), "--out", run], message, run)
