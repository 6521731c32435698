"""`elicit verify`: whatever byte is damaged, it is found and its file named."""

import functools
import json
import re
import shutil
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.papers import registry
from experiments.papers.engine.experiment import Experiment
from experiments.papers.engine.results import training_record
from gans.dcgan import DcganConfig
from gans.sampling import gan_digest
from tests.experiments.made_up_gans import write_gan
from train.classifiers import Classifier, ClassifierSpec, digest
from train.storage.checkpoints import CHECKPOINTS, save_checkpoint
from train.storage.runs import append_metrics, as_json, write_result
from train.storage.strict_json import write_json, write_sealed

CLASSES = ("ant", "bee", "cow")
DIGEST = "0123456789abcdef" * 4
PARTS = ["config.json", "classifier.json", "gan.json", "metrics.jsonl", "checkpoints", "generator"]
TEACHER = "results/pieces/teacher-0123456789ab"
SET = "results/pieces/images-0123456789ab"


def fill(shapes: Any, seed: int) -> Any:
    random = np.random.default_rng(seed)
    return jax.tree.map(lambda leaf: random.uniform(0.5, 1, leaf.shape).astype("f4"), shapes)


def write_classifier(run: Path) -> None:
    """A finished run of two epochs that nobody trained."""
    spec = ClassifierSpec("plain", 1.0, CLASSES, (16, 16, 3), (0.5,) * 3, (0.25,) * 3)
    empty = jax.ShapeDtypeStruct((1, 16, 16, 3), jnp.float32)
    shapes = jax.eval_shape(lambda x: spec.build().init(jax.random.key(0), x, train=False), empty)
    variables = fill(shapes, seed=0)
    run.mkdir(parents=True)
    write_json(run / "config.json", {"model": "plain"})
    write_json(run / "classifier.json", as_json(spec._asdict()))
    for epoch in (1, 2):
        line = {"epoch": epoch, "step": 4 * epoch, "test_accuracy": 0.25 * epoch}
        append_metrics(run, line)
        save_checkpoint(run / CHECKPOINTS, epoch, {"variables": variables})
    result = {
        "classifier_sha256": digest(Classifier(spec, variables)),
        "device": "made up",
        "parameters": 5,
        "test_images": 21,
        "timing": {"seconds_of_last_session": 1.5},
        "train_images": 48,
    }
    write_result(run, {**line, **result}, of=PARTS)


def write_gan_run(run: Path) -> None:
    """A finished run of a DCGAN for all classes that nobody trained."""
    config = DcganConfig(image_size=16, noise_dim=5, width=2, num_classes=3)
    gan = write_gan(run, config, CLASSES, functools.partial(fill, seed=1))
    write_json(run / "config.json", {"model": "dcgan"})
    line = {"epoch": 1, "step": 7, "stage": "gan", "generator_loss": 0.75}
    append_metrics(run, line)
    save_checkpoint(run / CHECKPOINTS / "gan", 1, gan.variables)
    fields = {"gan_sha256": gan_digest(gan), "parameters_of_generators": 5}
    write_result(run, {**fields, "last": {"gan": line}}, of=PARTS)


def write_results(out: Path, teacher: Path) -> None:
    """Results of an experiment with one arm, which was measured on its only training."""
    config = {"experiment": "made-up", "preset": "smoke", "key": 7}
    arm = {"row": "0", "seed": 1, "budget": "epochs", "piece": "teacher"}
    write_json(out / "config.json", config)
    arms = [{**arm, **training_record(teacher)}]
    result = {**config, "arms": arms, "rows": [], "missing": [], "settings": {}}
    pieces = {"teacher": DIGEST, "images": DIGEST}
    write_result(out, {**result, "pieces": pieces}, of=["config.json"])


@pytest.fixture(scope="module")
def whole(tmp_path_factory, make_set, tiny_networks) -> Path:
    """A folder with an experiment of a training and a set, and beside it a GAN."""
    assert "plain" in tiny_networks
    folder = tmp_path_factory.mktemp("verify") / "folder"
    write_classifier(folder / TEACHER)
    make_set(folder / SET, shards=2)
    write_gan_run(folder / "gan")
    write_results(folder / "results", folder / TEACHER)
    return folder


@pytest.fixture(autouse=True)
def made_up_experiment(monkeypatch):
    """An experiment that the registry finds, of which nothing but the record is needed here."""
    nothing: Any = None
    made_up = Experiment(name="made-up", about="", record=training_record, write_pages=nothing)
    find = registry.find_experiment
    monkeypatch.setattr(
        registry, "find_experiment", lambda name: made_up if name == "made-up" else find(name)
    )


@pytest.fixture
def folder(whole, tmp_path) -> Path:
    """A copy to damage."""
    return shutil.copytree(whole, tmp_path / "copy")


def flip(path: Path, place: float = 0.5) -> None:
    content = bytearray(path.read_bytes())
    content[int(place * (len(content) - 1))] ^= 1
    path.write_bytes(bytes(content))


def change(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert text.count(old) == 1
    path.write_text(text.replace(old, new))


def forge(path: Path, old: str, new: str) -> None:
    """Changes a file and has it hold the digest of what it is now."""
    change(path, old, new)
    value = json.loads(path.read_text())
    del value["sha256"]
    write_sealed(path, value)


def array_file(checkpoint: Path) -> Path:
    """The largest of a checkpoint's files, which holds the arrays."""
    return max((p for p in checkpoint.rglob("*") if p.is_file()), key=lambda p: p.stat().st_size)


def test_what_is_whole_is_counted(whole, elicit, capsys, contents):
    before = contents(whole)
    assert elicit("verify", whole) == 0
    printed = capsys.readouterr().out
    counts = dict(line.rsplit(maxsplit=1) for line in printed.splitlines()[:-1])
    assert {name: int(count) for name, count in counts.items()} == {
        "JSON files": 13, "image sets": 1, "directories of checkpoints": 3,
        "results with their files": 3, "classifiers": 1, "GANs": 1, "experiments": 1,
    }  # fmt: skip
    assert "all as it was written" in printed
    assert contents(whole) == before


@pytest.mark.parametrize("part", [TEACHER, SET, "gan", "results"])
def test_a_single_thing_is_verified_too(whole, part, elicit, capsys):
    assert elicit("verify", whole / part) == 0
    assert "all as it was written" in capsys.readouterr().out


DAMAGE = {
    "manifest": (
        lambda at: (at / SET / "manifest.json").write_bytes(b'{"shards": \xff'),
        "images-0123456789ab/manifest.json",
    ),
    "manifest's shards": (
        lambda at: forge(at / SET / "manifest.json", '"shards"', '"sharts"'),
        "expected a list of shards",
    ),
    "metadata": (
        lambda at: change(at / SET / "dataset_info.json", '"10"', '"12"'),
        "dataset_info.json: damaged",
    ),
    "manifest of other images": (
        lambda at: forge(at / SET / "manifest.json", '"num_examples": 11', '"num_examples": 12'),
        "test was 22, now 21",
    ),
    "checkpoint and its digests gone": (
        lambda at: [
            shutil.rmtree(at / TEACHER / "checkpoints/2"),
            (at / TEACHER / "checkpoints/2.json").unlink(),
            write_json(at / TEACHER / "result.json", {"epoch": 2, "parameters": 5}),
        ],
        "does not agree with checkpoints: classifier_sha256",
    ),
    "description": (
        lambda at: change(at / TEACHER / "classifier.json", '"plain"', '"plaid"'),
        "plaid",
    ),
    "training's result": (
        lambda at: forge(
            at / TEACHER / "result.json", '"test_accuracy": 0.5', '"test_accuracy": 0.7'
        ),
        "does not agree with metrics.jsonl: test_accuracy was 0.7, now 0.5",
    ),
    "metrics": (
        lambda at: flip(at / TEACHER / "metrics.jsonl", 0),
        "teacher-0123456789ab/metrics.jsonl",
    ),
    "no metrics": (
        lambda at: (at / TEACHER / "metrics.jsonl").write_text(""),
        "teacher-0123456789ab/metrics.jsonl, got none",
    ),
    "GAN's digest": (
        lambda at: forge(at / "gan/result.json", '"gan_sha256"', '"gan_sha265"'),
        "does not agree with generator: gan_sha256 was None",
    ),
    "arm": (
        lambda at: forge(
            at / "results/result.json", '"test_accuracy": 0.5', '"test_accuracy": 0.9'
        ),
        "test_accuracy was 0.9, now 0.5",
    ),
    "configuration": (
        lambda at: change(at / "results/config.json", '"key": 7', '"key": 3'),
        "does not agree with config.json: key was 7, now 3",
    ),
    "pieces": (
        lambda at: forge(at / "results/result.json", '"pieces": {', '"pleces": {'),
        "expected digests of pieces",
    ),
    "piece": (
        lambda at: shutil.rmtree(at / SET),
        "images-0123456789ab: no finished piece is there",
    ),
    "experiment's name": (
        lambda at: [
            change(at / "results/config.json", '"made-up"', '"made-down"'),
            forge(at / "results/result.json", '"made-up"', '"made-down"'),
        ],
        "got 'made-down'",
    ),
}


FLIPPED = [
    f"{SET}/made_up-train.array_record-00001", f"{TEACHER}/checkpoints/1",
    f"{TEACHER}/checkpoints/2.json", "gan/generator/7", "gan/checkpoints/gan/1",
]  # fmt: skip
"""Files with digests, and checkpoints."""


@pytest.mark.parametrize("name", FLIPPED)
def test_a_flipped_byte_is_found_and_its_place_named(name, folder, elicit, capsys):
    place = folder / name
    flip(array_file(place) if place.is_dir() else place)
    assert elicit("verify", folder) == 2
    assert name.removesuffix(".json") in capsys.readouterr().err.replace("\n", " ")


@pytest.mark.parametrize("name", DAMAGE)
def test_damage_is_found_and_named(name, folder, elicit, capsys):
    damage, message = DAMAGE[name]
    damage(folder)
    assert elicit("verify", folder) == 2
    captured = capsys.readouterr()
    assert message in captured.err.replace("\n", " ")
    assert "all as it was written" not in captured.out


@pytest.mark.parametrize(
    "gone",
    [
        *(f"{TEACHER}/{name}" for name in ("config.json", "classifier.json", "metrics.jsonl")),
        f"{SET}/features.json", f"{SET}/made_up-test.array_record-00000", "gan/gan.json",
         "gan/config.json", "results/config.json",
    ],
)  # fmt: skip
def test_a_file_that_is_gone_is_named_and_nothing_else_is_said(gone, folder, elicit, capsys):
    (folder / gone).unlink()
    assert elicit("verify", folder) == 2
    complaint = capsys.readouterr().err
    assert re.search(rf"{(folder / gone).parent}\S* ?{Path(gone).name}(:| is) missing", complaint)
    assert "Error" not in complaint


def test_all_problems_are_told_at_once(folder, elicit, capsys):
    flip(folder / FLIPPED[0])
    flip(array_file(folder / FLIPPED[1]))
    DAMAGE["GAN's digest"][0](folder)
    assert elicit("verify", folder) == 2
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].endswith("is not as it was written:")
    assert len(lines) == 5  # the checkpoint by its own digests, and by those of its run


@pytest.mark.slow
def test_no_flipped_byte_is_a_traceback(folder, elicit, capsys):
    """Every byte of a shard or a checkpoint counts; some bytes of other files mean nothing."""
    random = np.random.default_rng(0)
    checkpoints = [folder / TEACHER / "checkpoints/1", folder / "gan/generator/7"]
    digested = [*map(array_file, checkpoints), *folder.rglob("*.array_record-*")]
    for path in [*digested, *sorted(folder.rglob("*.json*"))]:
        content = path.read_bytes()
        flip(path, random.uniform())
        status = elicit("verify", folder)
        assert status == 2 or (status == 0 and path not in digested)
        assert status == 0 or str(folder) in capsys.readouterr().err
        path.write_bytes(content)
    assert elicit("verify", folder) == 0


def test_pieces_may_lie_elsewhere(folder, tmp_path, elicit, capsys):
    shared = (folder / "results/pieces").rename(tmp_path / "shared")
    assert elicit("verify", folder) == 2
    assert "results/pieces has none of the pieces" in capsys.readouterr().err
    assert elicit("verify", folder, "--pieces", shared) == 0
    flip(array_file(shared / Path(TEACHER).name / "checkpoints/2"))
    assert elicit("verify", folder, "--pieces", shared) == 2
    assert str(shared) in capsys.readouterr().err


def test_what_has_no_digests_is_named_and_no_problem(folder, elicit, capsys):
    other = folder / "other"
    shutil.copytree(folder / SET, other)
    (other / "manifest.json").unlink()
    assert elicit("verify", folder) == 0
    assert f"no digests: {other}" in capsys.readouterr().out


def test_a_training_that_goes_on_is_no_problem(folder, elicit, capsys):
    run = folder / "unfinished"
    shutil.copytree(folder / TEACHER, run)
    (run / "result.json").unlink()
    with (run / "metrics.jsonl").open("a") as file:
        file.write('{"epoch": 3, "st')
    assert elicit("verify", run) == 0
    assert "directories of checkpoints" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "got no finished image set, run or experiment"),
        (("--rerun", -1), "rerun must be at least 0, got -1"),
        (("--data-dir", "data"), "--data-dir is for --rerun"),
    ],
)
def test_bad_input(words, message, tmp_path, elicit, capsys):
    (tmp_path / "notes.json").write_text(json.dumps({"nothing": "here"}))
    assert elicit("verify", tmp_path, *words) == 2
    assert message in capsys.readouterr().err


def test_pieces_are_an_experiments(folder, tmp_path, elicit, capsys):
    assert elicit("verify", folder / "gan", "--pieces", tmp_path) == 2
    assert "is for the results of experiments, got none" in capsys.readouterr().err


def test_a_result_kept_without_its_run_is_not_taken_for_one(folder, elicit, capsys):
    for name in ("classifier.json", "gan.json", "result.json"):
        (folder / "kept").mkdir(exist_ok=True)
        write_json(folder / "kept" / name, {"test_accuracy": 0.5})
    assert elicit("verify", folder) == 0
    printed = " ".join(capsys.readouterr().out.split())
    assert "classifiers 1 GANs 1 experiments 1" in printed


def test_there_must_be_a_directory(tmp_path, elicit, capsys):
    assert elicit("verify", tmp_path / "none") == 2
    assert "none, which is none" in capsys.readouterr().err


RESULTS = Path(__file__).parents[3] / "experiments" / "results"


KEPT = (".", "table-a", "figures-b", "closed-loop", "quickstart", "quickstart-gan")


@pytest.mark.parametrize("name", KEPT)
def test_committed_results_are_read_and_said_to_be_kept_alone(name, elicit, capsys):
    assert elicit("verify", RESULTS / name) == 0
    said = capsys.readouterr().out
    assert f"kept alone: {RESULTS / 'table-a' if name == '.' else RESULTS / name} (the" in said
    assert said.endswith("all that could be compared is whole\n")


def test_a_committed_result_that_cannot_be_read_is_named(folder, elicit, capsys):
    shutil.copytree(RESULTS / "table-a", folder / "kept")
    change(folder / "kept" / "result.json", '"arms"', '"armz"')
    assert elicit("verify", folder) == 2
    assert "kept/result.json" in capsys.readouterr().err


def test_a_result_beside_its_pieces_needs_its_configuration(folder, elicit, capsys):
    (folder / "results" / "pieces").mkdir(exist_ok=True)
    (folder / "results" / "config.json").unlink()
    assert elicit("verify", folder) == 2
    assert "results/config.json" in capsys.readouterr().err
