"""`elicit verify --rerun`: what was computed comes out again, and what was changed does not."""

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

import experiments.classifier.train
import experiments.papers.engine.make_pieces
import experiments.verify.rerun
from experiments.options.classifier import ClassifierTrainConfig
from experiments.options.gan import GanSampleConfig, GanTrainConfig
from experiments.options.papers import PresetConfig
from experiments.options.synthesis import RuleConfig, SynthesizeConfig
from experiments.papers import registry
from experiments.papers.engine.experiment import PresetExperiment, Source
from experiments.papers.engine.plan import Arm, At, Build, Plan, Row
from experiments.papers.engine.results import training_record
from experiments.papers.engine.run import run_preset
from experiments.verify.rerun import RepeatedPart, compare
from gans.dcgan import DcganConfig
from gans.sampling import GENERATOR, Gan, gan_digest
from tests.experiments.made_up_gans import write_gan
from tests.experiments.papers.written_results import piece
from train.data.load import load_images, read_extras
from train.data.spec import EXTRAS, ImageSetSpec
from train.data.verify import read_manifest
from train.data.write import write_shard
from train.recipes.train_options import TrainConfig
from train.storage.checkpoints import save_checkpoint
from train.storage.files import sha256_of
from train.storage.runs import RESULT_FILE, append_metrics, read_metrics, read_result, write_result
from train.storage.strict_json import read_json, read_sealed, write_json, write_sealed


@dataclasses.dataclass(frozen=True)
class Settings:
    """Settings of the experiment that is made up here."""

    epochs: int = 2


def write_run(config: GanTrainConfig) -> None:
    """In the place of training one: kernels wide enough that the images are not all mid-grey."""
    sizes = DcganConfig(image_size=16, noise_dim=5, width=2, num_classes=3)
    random = np.random.default_rng(1)

    def fill(shapes: Any) -> Any:
        filled = jax.tree.map(lambda leaf: random.normal(0.2, 0.4, leaf.shape).astype("f4"), shapes)
        filled["image"]["batch_stats"] = jax.tree.map(np.abs, filled["image"]["batch_stats"])
        return filled

    gan = write_gan(config.out, sizes, ("ant", "bee", "cow"), fill)
    line = {"epoch": 1, "step": 7, "stage": "gan"}
    append_metrics(config.out, line)
    write_json(config.out / RESULT_FILE, {"gan_sha256": gan_digest(gan), "last": {"gan": line}})


def make_plan(settings: Settings, source: Source, key: int) -> Plan:
    """A teacher, images by it, a training with some of them, and a sample of a GAN."""
    network: Any = "plain"  # of the fixture tiny_networks
    train = TrainConfig(epochs=settings.epochs, batch_size=12, pad_px=2)

    def teacher(_: At, out: Path) -> ClassifierTrainConfig:
        return ClassifierTrainConfig(source.dataset, out, model=network, key=key, train=train)

    def images(at: At, out: Path) -> SynthesizeConfig:
        return SynthesizeConfig(
            str(at("teacher")), source.dataset, out,
            start=5, rule=RuleConfig(steps=3), batch_size=8, batches_per_shard=2, key=key,
        )  # fmt: skip

    def replaced(at: At, out: Path) -> ClassifierTrainConfig:
        return dataclasses.replace(teacher(at, out), replace=at("images"), key=key + 1)

    def gan(_: At, out: Path) -> GanTrainConfig:
        return GanTrainConfig(source.dataset, out, key=key)

    def samples(at: At, out: Path) -> GanSampleConfig:
        return GanSampleConfig(str(at("gan")), out, per_class=5, key=key, batch_size=8)

    builds: dict[str, Build] = {
        "teacher": teacher, "images": images, "replaced": replaced, "gan": gan, "samples": samples,
    }  # fmt: skip
    arms = (Arm("replaced", key + 1, "epochs", "replaced"), Arm("samples", key, "", "samples"))
    return Plan((Row("replaced", "replaced"), Row("samples", "samples")), arms, builds)


def record(piece: Path) -> dict[str, Any]:
    if (piece / RESULT_FILE).is_file():
        return training_record(piece)
    return {"device": (read_manifest(piece) or {})["device_kind"]}


@pytest.fixture(scope="module")
def experiment(data, blank_pages):
    """It is what the registry finds, and its pieces draw no reports."""
    del blank_pages
    made_up = PresetExperiment(
        name="made-up",
        about="",
        presets={"smoke": Settings()},
        source=lambda _, data_dir: Source(str(data), data_dir, ("train", "test")),
        plan=make_plan,
        record=record,
        write_pages=lambda *_: None,
    )
    makers = experiments.papers.engine.make_pieces.MAKERS
    gan = makers[GanTrainConfig]._replace(make=lambda config, _: write_run(config))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(registry, "find_experiment", {"made-up": made_up}.__getitem__)
        patch.setitem(makers, GanTrainConfig, gan)
        yield made_up


@pytest.fixture(scope="module")
def whole(experiment, tiny_networks, tmp_path_factory) -> Path:
    """The results, with their pieces."""
    assert "plain" in tiny_networks
    out = tmp_path_factory.mktemp("rerun") / "results"
    run_preset(experiment, PresetConfig(out=out, preset="smoke", key=7))
    return out


@pytest.fixture
def results(whole, tmp_path) -> Path:
    """A copy to change."""
    return shutil.copytree(whole, tmp_path / "copy")


@pytest.fixture
def elsewhere(monkeypatch) -> None:
    """As on a machine with another kind of device."""
    here = experiments.verify.rerun.preset_identity

    def identity(*args: Any) -> dict[str, Any]:
        return {**here(*args), "device_kind": "another"}

    monkeypatch.setattr(experiments.verify.rerun, "preset_identity", identity)


def rewrite_set(directory: Path, **changes: Any) -> None:
    """Changes columns of a set, and everything in it that would tell."""
    data, extras = load_images(directory), read_extras(directory, ("kl", "max_error", "steps"))
    extras = {name: column.astype(EXTRAS[name].dtype) for name, column in extras.items()}
    columns = {
        "id": data.ids, "image": data.images, "label": data.labels, "target": data.targets,
        "output": data.outputs, "source_id": data.source_ids,
        "source_sha256": data.source_digests, **extras,
    }  # fmt: skip
    columns = {name: changes.get(name, lambda c: c)(column) for name, column in columns.items()}
    spec = ImageSetSpec(
        "synthesised", data.class_names, data.images.shape[1:],
        extras=("target", "output", "kl", "max_error", "steps", "source_id", "source_sha256"),
    )  # fmt: skip
    manifest = read_sealed(directory / "manifest.json")
    first = 0
    for index, shard in enumerate(manifest["shards"]):
        last = first + shard["num_examples"]
        part = {name: column[first:last] for name, column in columns.items()}
        write_shard(directory, spec, split="train", index=index, columns=part)
        shard["sha256"] = sha256_of(directory / shard["file"])
        first = last
    write_sealed(directory / "manifest.json", manifest)


def rewrite_first_epoch(run: Path, **changes: float) -> None:
    first, *others = read_metrics(run)
    assert changes.keys() <= first.keys()
    lines = [{**first, **changes}, *others]
    (run / "metrics.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    write_result(run, read_result(run), of=experiments.classifier.train.PARTS)


@pytest.mark.slow
def test_all_is_the_same_bit_by_bit(whole, elicit, capsys, contents):
    before = contents(whole)
    assert elicit("verify", whole, "--rerun", 9) == 0
    printed = capsys.readouterr().out.splitlines()
    assert "a part of all 4 pieces (9 were asked for), compared bit by bit" in printed[-5]
    assert all(line.endswith(": equal") for line in printed[-4:])
    for what in ("the batch of images", "the first epoch", "8 of 15 samples (", "of 43"):
        assert any(what in line for line in printed[-4:])
    assert contents(whole) == before


@pytest.mark.slow
def test_the_key_draws_the_pieces_and_what_of_them(whole, elicit, capsys):
    def lines(key):
        assert elicit("verify", whole, "--rerun", 2, "--key", key) == 0
        return capsys.readouterr().out.splitlines()[-3:]

    first, again, other = lines(0), lines(0), lines(3)
    assert "of 2 of 4 pieces" in first[0]
    assert first == again
    assert first != other


def brighter(images: np.ndarray, *, every: int = 1) -> np.ndarray:
    """By one grey level where there is room, in one row of so many."""
    changed = images.copy()
    changed[:, ::every] += images[:, ::every] < 255
    return changed


@pytest.mark.slow
def test_what_was_changed_with_its_digests_is_caught(results, elicit, capsys):
    rewrite_set(
        piece(results, "images"),
        image=brighter,
        output=lambda column: np.roll(column, 1, axis=1),
        kl=lambda column: column + np.float32(0.25),
        # A batch is found by its first image; the last one of 8 begins at 35 of 43.
        id=lambda column: tuple(
            name if i % 8 in (0, 35 % 8) else f"{name}x" for i, name in enumerate(column)
        ),
    )
    rewrite_first_epoch(piece(results, "teacher"), train_loss=0.5, test_accuracy=0.125)
    assert elicit("verify", results) == 0
    assert elicit("verify", results, "--rerun", 4) == 2
    captured = capsys.readouterr()
    images, teacher = (
        next(line for line in captured.err.splitlines() if f"/{name}-" in line)
        for name in ("images", "teacher")
    )
    for difference in ("id is another", "image by 1", "kl by 0.25", "output by"):
        assert difference in images
    assert "label" not in images
    assert "the first epoch: differs: test_accuracy by 0." in teacher
    assert "train_loss by" in teacher
    assert "test_loss" not in teacher
    assert captured.out.count(": equal") == 1  # the samples; the other training saw the images


@pytest.mark.slow
def test_samples_of_another_gan_are_caught(results, elicit, capsys):
    gan = piece(results, "gan")
    spec, variables = experiments.verify.rerun.load_gan(gan)
    turned = jax.tree.map(lambda leaf: -leaf if leaf.ndim == 4 else leaf, variables)
    save_checkpoint(gan / GENERATOR, 7, turned)
    result = read_json(gan / RESULT_FILE)
    write_json(gan / RESULT_FILE, {**result, "gan_sha256": gan_digest(Gan(spec, turned))})
    assert elicit("verify", results, "--rerun", 4) == 2
    assert "15 samples" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.usefixtures("elsewhere")
def test_another_device_compares_within_tolerances(results, elicit, capsys):
    one_more = read_metrics(piece(results, "teacher"))[0]["train_loss"] + 0.01
    rewrite_first_epoch(piece(results, "teacher"), train_loss=one_more)
    rewrite_set(piece(results, "images"), image=lambda images: brighter(images, every=3))
    assert elicit("verify", results, "--rerun", 4) == 0
    printed = capsys.readouterr().out
    assert "compared within tolerances: the kind of device" in printed
    assert "equal within tolerance: train_loss by 0.01" in printed
    assert "equal within tolerance: image by" in printed
    rewrite_first_epoch(piece(results, "teacher"), train_loss=one_more + 0.5)
    assert elicit("verify", results, "--rerun", 4) == 2
    assert "differs: train_loss by 0.51" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("stored", "repeated", "is_alike", "words", "is_well"),
    [
        ({"kl": [0.5]}, {"kl": [0.5]}, True, "equal", True),
        ({"kl": [0.5]}, {"kl": [0.5001]}, True, "differs: kl by 0.0001", False),
        ({"kl": [0.5]}, {"kl": [0.5001]}, False, "equal within tolerance: kl by 0.0001", True),
        ({"kl": [0.5]}, {"kl": [0.6]}, False, "differs: kl by 0.1", False),
        ({"kl": [0.5]}, {"kl": [0.5, 0.5]}, False, "differs: kl is another", False),
        ({"id": ("a",)}, {"id": ("b",)}, False, "differs: id is another", False),
        ({"label": [1, 2]}, {"label": [1, 4]}, False, "label by 1 on average, 2 at most", False),
        ({"epoch": 1}, {}, False, "differs: epoch is another", False),
        ({"train_loss": np.nan}, {"train_loss": 1.0}, False, "differs: train_loss", False),
    ],
)
def test_comparison(stored, repeated, is_alike, words, is_well):
    found = compare(RepeatedPart("it", stored, repeated), is_alike=is_alike)
    assert words in found[0]
    assert found[1] == is_well


@pytest.mark.slow
def test_pieces_may_lie_elsewhere(results, tmp_path, elicit, capsys):
    shared = (results / "pieces").rename(tmp_path / "shared")
    assert elicit("verify", results, "--rerun", 1, "--pieces", shared) == 0
    assert str(shared) in capsys.readouterr().out


@pytest.mark.slow
def test_other_settings_or_data_cannot_be_repeated(
    results, experiment, monkeypatch, elicit, capsys
):
    monkeypatch.setitem(experiment.presets, "smoke", Settings(epochs=3))
    assert elicit("verify", results) == 0
    assert elicit("verify", results, "--rerun", 1) == 2
    assert "settings.epochs was 2, now 3" in capsys.readouterr().err
    monkeypatch.delitem(experiment.presets, "smoke")
    assert elicit("verify", results, "--rerun", 1) == 2
    assert "there is no preset smoke now" in capsys.readouterr().err


@pytest.mark.slow
def test_other_options_cannot_be_repeated(results, monkeypatch, elicit, capsys):
    digests = read_json(results / RESULT_FILE)["pieces"]
    monkeypatch.setattr(experiments.verify.rerun, "place", lambda *_: {})
    assert elicit("verify", results, "--rerun", 1) == 2
    assert f"{', '.join(digests)} would now be made with other" in capsys.readouterr().err


def test_only_an_experiment_can_be_repeated(data, elicit, capsys):
    assert elicit("verify", data, "--rerun", 1) == 2
    assert "expected results of an experiment" in capsys.readouterr().err
