"""`elicit experiment closed-loop`, made tiny: three classes, two seeds, a dozen steps."""

import re
import shutil
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

import train.models.networks
from experiments.options.classifier import ClassifierTrainConfig
from experiments.pages.saved_strips import read_strips
from experiments.pages.statistics import mean_words
from experiments.papers.closed_loop import SETS
from experiments.papers.engine.make_pieces import MAKERS
from gans.dcgan import DcganConfig
from tests.experiments.made_up_gans import write_gan
from tests.experiments.pages.reports import assert_is_report
from tests.experiments.papers.written_results import arms, piece, table, timeless
from train.data.load import load_images, read_extras
from train.data.verify import verify
from train.storage.runs import read_metrics, read_result
from train.storage.strict_json import read_sealed, write_json, write_sealed

CLASSES = ("ant", "bee", "cow")
WORDS = (
    "--model vgg-small --seeds 2 --steps 12 --batch-size 12 --learning-rate 0.02 --key 5 "
    "--per-class 6 --crop-px 12"
)
SEEDS = (6, 7)
BASELINES = ("real", "real + geometric")


def write_zeros(run: Path, *, class_names=CLASSES, image_size=16) -> Path:
    """A run with a DCGAN for each class, all zeros."""

    def fill(shapes):
        return jax.tree.map(
            lambda leaf: np.zeros((len(class_names), *leaf.shape), leaf.dtype), shapes
        )

    write_gan(run, DcganConfig(image_size=image_size, noise_dim=5, width=2), class_names, fill)
    return run


@pytest.fixture(scope="module", autouse=True)
def tiny_network(blank_pages):
    """In place of vgg-small; it compiles in no time. The trainings draw no reports of their own."""
    del blank_pages
    with pytest.MonkeyPatch.context() as patch:
        network = train.models.networks.Architecture((6, "M", "M"))
        patch.setitem(train.models.networks.NETWORKS, "vgg-small", network)
        yield


@pytest.fixture(scope="module", autouse=True)
def mixed_up(data):
    """In place of a GAN's: real images, by their keys, half of them of any class."""
    real = load_images(data)

    def sample(gan, keys, labels, *, batch_size):
        del gan, batch_size
        bits = np.asarray(jax.vmap(lambda key: jax.random.bits(key, (2,)))(keys))
        of_class = np.argsort(real.labels, kind="stable").reshape(3, 16)
        own = of_class[labels, bits[:, 1] % 16]
        return real.images[np.where(bits[:, 0] % 2, own, bits[:, 1] % 48)]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("experiments.gan.sample.sample", sample)
        yield


@pytest.fixture(scope="module")
def gan(tmp_path_factory) -> Path:
    return write_zeros(tmp_path_factory.mktemp("gans") / "gan")


@pytest.fixture(scope="module")
def whole(data, gan) -> list[Any]:
    """The words of a command, but for --out."""
    return ["experiment", "closed-loop", "--data", data, "--gan", gan, *WORDS.split()]


@pytest.fixture(scope="module")
def out(tmp_path_factory, whole, elicit) -> Path:
    out = tmp_path_factory.mktemp("loops") / "loop"
    assert elicit(*whole, "--out", out) == 0
    return out


@pytest.fixture
def copied(out, tmp_path) -> Path:
    shutil.copytree(out, tmp_path / "copied")
    return tmp_path / "copied"


@pytest.mark.slow
def test_arms_differ_by_the_sets_alone(out):
    assert list(arms(out)) == list(SETS)
    for index, seed in enumerate(SEEDS):
        runs = [piece(out, own[index]["piece"]) for own in arms(out).values()]
        configs = [read_sealed(run / "config.json") for run in runs]
        assert [len(config.pop("extra")) for config in configs] == [0, 1, 1, 1, 1, 2]
        assert all(config == configs[0] for config in configs)
        assert configs[0]["key"] == seed
        assert [own[index]["seed"] for own in arms(out).values()] == [seed] * len(SETS)


@pytest.mark.slow
def test_every_training_takes_the_same_steps(out):
    for arm in (arm for own in arms(out).values() for arm in own):
        epochs = -(-12 // (arm["train_images"] // 12))
        last = read_metrics(piece(out, arm["piece"]))[-1]
        assert (last["step"], last["epoch"]) == (arm["step"], arm["epoch"]) == (12, epochs)


@pytest.mark.slow
def test_arms_hold_the_images_of_their_sets(out, data):
    sets = {name: piece(out, name) for name in ("geometric", "tp", "fp", "random")}
    sizes = {name: len(load_images(at).labels) for name, at in sets.items()}
    assert sizes == {"geometric": 48, "tp": 18, "fp": 18, "random": 18}
    images = [{arm["train_images"] for arm in own} for own in arms(out).values()]
    assert images == [{48}, {96}, {66}, {66}, {66}, {114}]
    assert all(verify(at) == [] for at in sets.values())
    assert load_images(sets["geometric"]).source_ids == load_images(data).ids


@pytest.mark.slow
def test_the_selector_is_trained_on_the_real_images_and_sorts(out):
    selector = piece(out, "selector")
    config, result = read_sealed(selector / "config.json"), read_sealed(out / "result.json")
    real = read_sealed(piece(out, "real-seed-6") / "config.json")
    assert (config.pop("key"), real.pop("key")) == (5, 6)
    assert config == real
    assert result["selector"]["test_accuracy"] == read_result(selector)["test_accuracy"]
    for name, right in (("tp", {True}), ("fp", {False}), ("random", {True, False})):
        at = piece(out, name)
        predicted = read_extras(at, ("predicted",))["predicted"]
        assert set((predicted == load_images(at).labels).tolist()) == right
        assert result["selection"][name] == read_sealed(at / "selection.json")
    # The control is not sorted: the first images of every class.
    assert set(load_images(piece(out, "random")).ids) == {
        f"{c}_{n:05d}" for c in CLASSES for n in range(6)
    }


@pytest.mark.slow
def test_the_table_holds_the_numbers(out):
    text = (out / "table.md").read_text()
    assert "12 optimiser steps" in text
    assert "on 21 test images" in text
    rows = table(out / "table.md")
    assert list(rows) == ["trained on", *(name for name, _ in SETS.values())]
    for slug, own in arms(out).items():
        name, percent = SETS[slug][0], [100 * arm["test_accuracy"] for arm in own]
        _, count, accuracy, *differences = rows[name]
        assert (count, accuracy) == ("2", mean_words(percent))
        assert [words == "–" for words in differences] == [name == base for base in BASELINES]


@pytest.mark.slow
def test_the_report_shows_all_of_it(out):
    page = (out / "report.html").read_text().replace("\u00a0", " ")
    strips = [strip for group in read_strips(out / "figures", "sets") for strip in group.strips]
    assert {strip.label for strip in strips} <= {"geometric", "random", "TP", "FP"}
    assert len(assert_is_report(out / "report.html").attributes("img")) == len(strips) > 2
    assert {path.name for path in (out / "figures").iterdir() if path.suffix != ".png"} == {
        "steps.svg", "steps-to-real.svg", "steps-to-geometric.svg", "sets.json", "acceptance.svg",
    }  # fmt: skip
    for words in ("True positives", *table(out / "table.md")["real + FP"]):
        assert words in page
    assert "<script" not in page


@pytest.mark.slow
def test_pieces_do_not_depend_on_where_data_and_gan_lie(
    out, whole, data, gan, tmp_path, elicit, monkeypatch
):
    shutil.copytree(data, tmp_path / "data" / data.name / "1.0.0")
    shutil.copytree(gan, tmp_path / gan.name)
    places = {data: data.name, gan: tmp_path / gan.name}
    moved = [*(places.get(word, word) for word in whole), "--data-dir", tmp_path / "data"]
    monkeypatch.delattr("experiments.training.session.fit")
    assert elicit(*moved, "--pieces", out / "pieces", "--out", tmp_path / "out") == 0
    assert timeless(tmp_path / "out") == timeless(out)


@pytest.mark.slow
def test_one_row_alone_makes_what_it_needs(whole, tmp_path, elicit):
    out = tmp_path / "loop"
    assert elicit(*whole, "--only", "real,6", "--out", out) == 0
    assert {path.name[:-13] for path in (out / "pieces").iterdir()} == {"real-seed-6"}
    assert read_sealed(out / "result.json")["selection"] == {}
    assert elicit("report", out) == 0


@pytest.mark.slow
def test_results_are_verified_and_reported_like_those_of_any_experiment(
    out, copied, elicit, capsys
):
    assert elicit("verify", out) == 0
    page = (copied / "report.html").read_bytes()
    (copied / "report.html").unlink()
    assert elicit("report", copied) == 0
    assert (copied / "report.html").read_bytes() == page
    assert elicit("report", out, copied) == 0
    assert "- nothing" in capsys.readouterr().out
    assert elicit("verify", out, "--rerun", 1) == 2
    assert "do not say where its data and its GAN lie" in capsys.readouterr().err
    result = read_sealed(copied / "result.json")
    result["selection"]["tp"]["per_class"] = 7
    write_sealed(copied / "result.json", result)
    assert elicit("verify", copied) == 2
    assert "selection.tp.per_class was 7, now 6" in capsys.readouterr().err


@pytest.mark.slow
def test_a_dry_run_counts_the_given_networks_and_makes_nothing(whole, tmp_path, elicit, capsys):
    assert elicit(*whole, "--dry-run", "--out", tmp_path / "loop") == 0
    printed = capsys.readouterr().out
    assert "12 of 12 measurements" in printed
    for name in ("selector", "geometric", "tp", "fp", "random", "real-seed-6"):
        assert re.search(rf"(?m)^{name} +", printed)
    assert not re.search(r"(?m)^(gan|data) ", printed)
    assert not (tmp_path / "loop").exists()


@pytest.mark.slow
def test_a_dry_run_knows_a_given_classifier_by_its_run(whole, data, tmp_path, elicit, capsys):
    run = tmp_path / "selector"
    words = "--model vgg-small --epochs 1 --batch-size 12 --out"
    assert elicit("classifier", "train", "--data", data, *words.split(), run) == 0
    command = [*whole, "--dry-run", "--out", tmp_path / "loop", "--classifier"]
    capsys.readouterr()
    assert elicit(*command, run) == 0
    assert not re.search(r"(?m)^selector ", capsys.readouterr().out)


@pytest.fixture
def training_is_made_up(monkeypatch):
    def train_classifier(config, label):
        config.out.mkdir(parents=True)
        images = 48 + sum(len(load_images(extra).labels) for extra in config.extra)
        record = {
            "classifier_sha256": "0", "device": "made up", "epoch": 1, "step": 12,
            "test_accuracy": len(label) / 100, "test_images": 21, "train_images": images,
            "timing": {"seconds_of_last_session": 1.0, "peak_memory_mib": 1.0},
        }  # fmt: skip
        write_json(config.out / "result.json", record)

    maker = MAKERS[ClassifierTrainConfig]._replace(make=train_classifier)
    monkeypatch.setitem(MAKERS, ClassifierTrainConfig, maker)


@pytest.mark.slow
@pytest.mark.usefixtures("training_is_made_up")
@pytest.mark.filterwarnings("default:fewer images")
def test_a_given_selector_sorts_and_a_class_may_run_dry(
    whole, tmp_path, elicit, capsys, monkeypatch
):
    # The colour tells the class.
    (tmp_path / "colours.py").write_text("judge = lambda images: 99 * images.mean((1, 2))")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.dont_write_bytecode", True)
    words = ("--classifier", "colours:judge", "--per-class", 20, "--max-tries-per-class", 30)
    out = tmp_path / "loop"
    assert elicit(*whole, *words, "--out", out) == 0
    assert "warning: fewer images than asked for: " in capsys.readouterr().err
    result = read_sealed(out / "result.json")
    assert result["selector"] is None
    assert not list((out / "pieces").glob("selector-*"))
    kept = {kind: len(load_images(piece(out, kind)).labels) for kind in ("tp", "fp", "random")}
    assert 3 <= kept["tp"] < 60
    assert kept["random"] == 60
    for kind in ("tp", "fp"):
        classes = result["selection"][kind]["classes"].values()
        assert sum(own["kept"][kind] for own in classes) == kept[kind]
        assert {arm["train_images"] for arm in arms(out)[kind]} == {48 + kept[kind]}
    rows = table(out / "table.md")
    assert rows["real + TP + geometric"][0] == str(96 + kept["tp"])
    assert "Sorted by a classifier that was given" in (out / "report.html").read_text()


BAD_INPUT = {
    "--seeds 1": "seeds must be at least 2, got 1",
    f"--key {2**32 - 2}": f"key must be at least 0 and below 2**32, got {2**32}",
    "--per-class 0": "per_class must be at least 1, got 0",
    "--max-tries-per-class 0": "max_tries_per_class must be at least 1, got 0",
    "--max-tries-per-class 5": "must be at least per_class, which is 6, got 5",
    "--width 0": "width must be above 0 and finite, got 0.0",
    "--loss mixed": "loss must be cross-entropy, got mixed",
    "--steps None": "--steps must be a whole number, got 'None'",
    "--steps 0": "steps must be at least 1, got 0",
    "--epochs 3": "give --steps and not --epochs",
    "--batch-size 49": "has 48 images, less than one batch of 49",
    "--crop-px 17": "crop_px must be in [1, 16] for images of 16 x 16 pixels, got 17",
    "--data absent": "expected a data set's directory with dataset_info.json, got 'absent'",
    "--gan DATA": "is not a GAN's run (it has no gan.json)",
    "--gan other": "has the classes ('ant', 'bee', 'dog'), the data set ('ant', 'bee', 'cow')",
    "--gan large": "makes images of shape (32, 32, 3), the data set has (16, 16, 3)",
    "--classifier absent": "no classifier at 'absent'",
    "--dry-run --classifier three:classes": "cannot tell the costs of the callable three:classes",
    "--classifier four:classes": "gives logits of 4 classes, the data set has 3",
}


@pytest.mark.slow
@pytest.mark.parametrize("words", BAD_INPUT)
def test_wrong_input_is_refused_before_anything(
    words, whole, data, elicit, tmp_path, capsys, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.dont_write_bytecode", True)
    if "other" in words:
        write_zeros(Path("other"), class_names=("ant", "bee", "dog"))
    if "large" in words:
        write_zeros(Path("large"), image_size=32)
    Path("four.py").write_text("classes = lambda images: images.reshape(len(images), -1)[:, :4]")
    Path("three.py").write_text("classes = lambda images: images.mean((1, 2))")
    monkeypatch.setattr("train.loop._make_initial", None)
    monkeypatch.setattr("experiments.gan.sample.sample", None)
    given = [data if word == "DATA" else word for word in words.split()]
    assert elicit(*whole, *given, "--out", tmp_path / "out") == 2
    assert BAD_INPUT[words] in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
