"""`elicit experiment closed-loop`, made tiny: three classes, two seeds, a dozen steps."""

import dataclasses
import re
import shutil
import statistics
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

import train.models.networks
from experiments.papers.closed_loop import ARMS
from gans.dcgan import DcganConfig, Generator
from gans.sampling import GENERATOR, SPEC_FILE, GanSpec
from train.data.load import load_images
from train.data.verify import verify
from train.data.write import read_extras
from train.storage.checkpoints import save_checkpoint
from train.storage.runs import read_metrics, read_result
from train.storage.strict_json import read_sealed, write_json

CLASSES = ("ant", "bee", "cow")
WORDS = "--model vgg-small --seeds 2 --steps 12 --batch-size 12 --learning-rate 0.02 --key 5"
SEEDS = (6, 7)
BASELINES = ("real", "real + geometric")


def write_gan(run: Path, *, class_names=CLASSES, image_size=16) -> Path:
    """A run with a DCGAN for each class, all zeros."""
    config = DcganConfig(image_size=image_size, noise_dim=5, width=2)
    shapes = jax.eval_shape(
        lambda: Generator(config).init(jax.random.key(0), jnp.zeros((1, 5)), train=False)
    )
    zeros = jax.tree.map(lambda leaf: np.zeros((len(class_names), *leaf.shape), leaf.dtype), shapes)
    spec = GanSpec("dcgan", class_names, config)
    run.mkdir(parents=True)
    write_json(run / SPEC_FILE, {**spec._asdict(), "config": dataclasses.asdict(config)})
    save_checkpoint(run / GENERATOR, 1, {"image": zeros})
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
    return write_gan(tmp_path_factory.mktemp("gans") / "gan")


@pytest.fixture(scope="module")
def command(data, gan) -> list[Any]:
    """The words of a command, but for --out, the number of images and the squares."""
    return ["experiment", "closed-loop", "--data", data, "--gan", gan, *WORDS.split()]


@pytest.fixture(scope="module")
def whole(command) -> list[Any]:
    return [*command, "--per-class", 6, "--crop-px", 12]


@pytest.fixture(scope="module")
def out(tmp_path_factory, whole, elicit) -> Path:
    out = tmp_path_factory.mktemp("loops") / "loop"
    assert elicit(*whole, "--out", out) == 0
    return out


@pytest.fixture
def copied(out, tmp_path) -> Path:
    shutil.copytree(out, tmp_path / "copied")
    return tmp_path / "copied"


def read(path: Path) -> Any:
    return read_sealed(path)


def arms(out: Path) -> dict[str, dict[str, Any]]:
    return {arm["name"]: arm for arm in read(out / "result.json")["arms"]}


def test_arms_differ_by_the_sets_alone(out):
    assert list(arms(out)) == list(ARMS)
    for index, seed in enumerate(SEEDS):
        configs = [read(out / arm["runs"][index] / "config.json") for arm in arms(out).values()]
        assert [len(config.pop("extra")) for config in configs] == [0, 1, 1, 1, 1, 2]
        assert all(config == configs[0] for config in configs)
        assert configs[0]["key"] == seed


def test_every_training_takes_the_same_steps(out):
    assert read(out / "result.json")["steps"] == 12
    for arm in arms(out).values():
        epochs = -(-12 // (arm["images"] // 12))
        for run in arm["runs"]:
            last = read_metrics(out / run)[-1]
            assert (last["step"], last["epoch"]) == (12, epochs)


def test_arms_hold_the_images_of_their_sets(out, data):
    sizes = {name: len(load_images(out / name).labels) for name in ("geometric", "tp", "fp")}
    assert sizes == {"geometric": 48, "tp": 18, "fp": 18}
    found = {name: arm["images"] for name, arm in arms(out).items()}
    assert list(found.values()) == [48, 96, 66, 66, 66, 114]
    for name in ("geometric", "tp", "fp", "random"):
        assert verify(out / name) == []
    assert load_images(out / "geometric").source_ids == load_images(data).ids


def test_the_selector_is_trained_on_the_real_images_and_sorts(out):
    config, result = read(out / "selector/config.json"), read(out / "result.json")
    real = read(out / "real-6/config.json")
    assert (config.pop("key"), real.pop("key")) == (5, 6)
    assert config == real
    assert result["selector"] == read_result(out / "selector")
    for name, right in (("tp", {True}), ("fp", {False}), ("random", {True, False})):
        predicted = read_extras(out / name, ("predicted",))["predicted"]
        assert set((predicted == load_images(out / name).labels).tolist()) == right
        assert result["selection"][name] == read(out / name / "selection.json")
    # The control is not sorted: the first images of every class.
    assert set(load_images(out / "random").ids) == {
        f"{c}_{n:05d}" for c in CLASSES for n in range(6)
    }


def test_the_statistics_are_those_of_the_runs(out):
    found = arms(out)
    for arm in found.values():
        runs = [read(out / run / "result.json") for run in arm["runs"]]
        assert arm["accuracies"] == [run["test_accuracy"] for run in runs]
        assert all(run["test_images"] == 21 for run in runs)
        assert arm["mean"] == pytest.approx(statistics.mean(arm["accuracies"]))
        assert arm["standard_deviation"] == pytest.approx(statistics.stdev(arm["accuracies"]))
        assert set(arm["differences"]) == set(BASELINES) - {arm["name"]}
        for baseline, difference in arm["differences"].items():
            gains = np.subtract(arm["accuracies"], found[baseline]["accuracies"])
            low = high = gains.mean()
            if gains.std():  # SciPy makes no interval of equal gains
                low, high = scipy.stats.t.interval(0.95, 1, gains.mean(), scipy.stats.sem(gains))
            assert difference == pytest.approx(
                {
                    "mean": gains.mean(),
                    "standard_deviation": gains.std(ddof=1),
                    "n": 2,
                    "low": low,
                    "high": high,
                }
            )


def table(text: str) -> dict[str, list[str]]:
    """The rows of the table in Markdown by their first cell."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return {row[0]: row[1:] for row in rows[2:]}


def test_the_table_holds_the_numbers(out):
    text = (out / "table.md").read_text()
    assert "after 12 optimiser steps" in text
    assert "on 21 test images" in text
    rows = table(text)
    assert list(rows) == list(ARMS)
    for name, (images, count, accuracy, *differences) in rows.items():
        arm = arms(out)[name]
        assert (int(images), int(count)) == (arm["images"], 2)
        numbers = [float(word) for word in accuracy.split(" ± ")]
        assert numbers == pytest.approx(
            [100 * arm["mean"], 100 * arm["standard_deviation"]], abs=0.005
        )
        for baseline, words in zip(BASELINES, differences, strict=True):
            if name == baseline:
                assert words == "–"
                continue
            wanted = arm["differences"][baseline]
            names = ("mean", "standard_deviation", "low", "high")
            numbers = [float(number) for number in re.findall(r"[-+]?\d+\.\d+", words)]
            assert numbers == pytest.approx([100 * wanted[n] for n in names], abs=0.005)


def test_the_report_shows_all_of_it(out):
    page = (out / "report.html").read_text()
    assert page.count("data:image/") == 4
    assert {path.name for path in (out / "figures").iterdir()} == {
        "comparison.svg", "tp.png", "fp.png", "acceptance.svg",
    }  # fmt: skip
    assert (out / "figures/tp.png").read_bytes() == (out / "tp/grid.png").read_bytes()
    for words in ("True positives", *table((out / "table.md").read_text())["real + FP"]):
        assert words in page
    assert "<script" not in page


def test_a_repeated_command_does_nothing_and_prints_the_table(
    out, whole, elicit, contents, monkeypatch, capsys
):
    before = contents(out)
    monkeypatch.delattr("experiments.training.session.fit")
    monkeypatch.delattr("experiments.gan.sample.sample")
    assert elicit(*whole, "--out", out) == 0
    assert contents(out) == before
    printed = capsys.readouterr().out
    assert f"{out} is complete; nothing to do" in printed
    assert all(name in printed for name in ARMS)


def test_an_interrupted_experiment_comes_to_the_same(copied, out, whole, elicit, contents):
    # As if killed in the middle of a training, with one set and one run still to make.
    for name in ("result.json", "report.html", "table.md", "real-fp-6/result.json"):
        (copied / name).unlink()
    for name in ("figures", "random", "real-random-7"):
        shutil.rmtree(copied / name)
    assert elicit(*whole, "--out", copied) == 0
    before, after = contents(out), contents(copied)
    for name in ("result.json", "table.md", "report.html", "real-random-7/metrics.jsonl"):
        assert before[name] == after[name]


@pytest.fixture
def training_is_made_up(monkeypatch):
    def train_classifier(config, *, label):
        config.out.mkdir()
        write_json(config.out / "result.json", {"test_accuracy": len(label) / 100})

    monkeypatch.setattr("experiments.papers.closed_loop.train_classifier", train_classifier)


@pytest.mark.usefixtures("training_is_made_up")
@pytest.mark.filterwarnings("default:fewer images")
def test_a_given_selector_sorts_and_a_class_may_run_dry(
    command, tmp_path, elicit, capsys, monkeypatch
):
    # The colour tells the class.
    (tmp_path / "colours.py").write_text("judge = lambda images: 99 * images.mean((1, 2))")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.dont_write_bytecode", True)
    words = ("--selector", "colours:judge", "--per-class", 20, "--max-tries-per-class", 30)
    out = tmp_path / "loop"
    assert elicit(*command, *words, "--crop-px", 12, "--out", out) == 0
    assert "warning: fewer images than asked for: " in capsys.readouterr().err
    result = read(out / "result.json")
    assert result["selector"] is None
    assert not (out / "selector").exists()
    kept = {kind: len(load_images(out / kind).labels) for kind in ("tp", "fp", "random")}
    assert 3 <= kept["tp"] < 60
    assert kept["random"] == 60
    for kind in ("tp", "fp"):
        classes = result["selection"][kind]["classes"].values()
        assert sum(own["kept"][kind] for own in classes) == kept[kind]
        assert arms(out)[f"real + {kind.upper()}"]["images"] == 48 + kept[kind]
    rows = table((out / "table.md").read_text())
    assert rows["real + TP + geometric"][0] == str(96 + kept["tp"])
    assert "a callable or a run that was given" in (out / "report.html").read_text()


def test_another_configuration_is_refused(out, whole, elicit, contents, capsys):
    before = contents(out)
    assert elicit(*whole, "--steps", 7, "--width", 2, "--out", out) == 2
    assert "train.steps was 12, now 7; width was 1.0, now 2.0" in capsys.readouterr().err
    assert contents(out) == before


BAD_INPUT = {
    "--seeds 1": "seeds must be at least 2, got 1",
    f"--key {2**32 - 2}": f"key must be at least 0 and below 2**32, got {2**32}",
    "--per-class 0": "per_class must be at least 1, got 0",
    "--max-tries-per-class 0": "max_tries_per_class must be at least 1, got 0",
    "--max-tries-per-class 5": "must be at least per_class, which is 6, got 5",
    "--width 0": "width must be above 0 and finite, got 0.0",
    "--loss mixed": "loss must be cross-entropy, got mixed",
    "--steps None": "invalid literal for int()",
    "--steps 0": "steps must be at least 1, got 0",
    "--epochs 3": "give --steps and not --epochs",
    "--batch-size 49": "has 48 images, less than one batch of 49",
    "--crop-px 17": "crop_px must be in [1, 16] for images of 16 x 16 pixels, got 17",
    "--data absent": "expected a data set's directory with dataset_info.json, got 'absent'",
    "--gan DATA": "is not a GAN's run (it has no gan.json)",
    "--gan OTHER": "has the classes ('ant', 'bee', 'dog'), the data set ('ant', 'bee', 'cow')",
    "--gan LARGE": "makes images of shape (32, 32, 3), the data set has (16, 16, 3)",
    "--selector absent": "no classifier at 'absent'",
    "--selector FOUR": "gives logits of 4 classes, the data set has 3",
}


@pytest.mark.parametrize("words", BAD_INPUT)
def test_wrong_input_is_refused_before_anything(
    words, whole, data, elicit, tmp_path, capsys, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.dont_write_bytecode", True)
    places = {"DATA": data, "OTHER": "other", "LARGE": "large", "FOUR": "four:classes"}
    if "OTHER" in words:
        write_gan(Path("other"), class_names=("ant", "bee", "dog"))
    if "LARGE" in words:
        write_gan(Path("large"), image_size=32)
    if "FOUR" in words:
        Path("four.py").write_text(
            "classes = lambda images: images.reshape(len(images), -1)[:, :4]"
        )
    monkeypatch.setattr("train.loop._make_initial", None)
    monkeypatch.setattr("experiments.gan.sample.sample", None)
    given = [places.get(word, word) for word in words.split()]
    assert elicit(*whole, *given, "--out", tmp_path / "out") == 2
    assert BAD_INPUT[words] in re.sub(r"[│╭╮╰╯─\s]+", " ", capsys.readouterr().err)
    assert not (tmp_path / "out").exists()
