"""`elicit quickstart`, made tiny: 100 digits, two epochs, three updates; with --gan too."""

import warnings
from pathlib import Path
from typing import Any

import pytest

import experiments.quickstart.gan
import experiments.quickstart.synthesis
import train.data.load
import train.models.networks
from experiments.options.papers import SameStepsConfig
from experiments.options.quickstart import QuickstartConfig
from experiments.options.synthesis import RuleConfig
from experiments.papers.closed_loop import piece_count
from tests.experiments.pages.reports import assert_is_report
from train.recipes.train_options import TrainConfig
from train.storage.runs import read_result
from train.storage.strict_json import read_sealed

COUNTS = {"train": 100, "test": 60}
load_digits = train.data.load.load_digits


def few_digits(split: str) -> train.data.load.ImageData:
    digits = load_digits(split)
    images, labels, ids = (column[: COUNTS[split]] for column in digits[:3])
    return digits._replace(images=images, labels=labels, ids=ids)


@pytest.fixture(scope="module", autouse=True)
def tiny(blank_pages):
    del blank_pages
    with pytest.MonkeyPatch.context() as patch:
        training = TrainConfig(epochs=2, batch_size=20, flip=False, pad_px=2)
        patch.setattr(train.data.load, "load_digits", few_digits)
        patch.setattr(experiments.quickstart.synthesis, "WIDTH", 1.0)
        tiny_network = train.models.networks.Architecture((6, "M", "M", 8, "M", "M"))
        patch.setitem(train.models.networks.NETWORKS, "vgg-small", tiny_network)
        patch.setattr(experiments.quickstart.synthesis, "TRAINING", training)
        patch.setattr(experiments.quickstart.synthesis, "RULE", RuleConfig(steps=3))
        training = SameStepsConfig(steps=3, batch_size=10, flip=False, pad_px=2)
        of_gan = {"PER_CLASS": 4, "GAN_WIDTH": 2, "GAN_STEPS": 2, "GAN_BATCH_SIZE": 10, "SHEETS": 2}
        for name, value in {**of_gan, "WIDTH": 1.0, "TRAINING": training, "TRIES": 8}.items():
            assert hasattr(experiments.quickstart.gan, name)
            patch.setattr(experiments.quickstart.gan, name, value)
        yield


@pytest.fixture(scope="module")
def out(tmp_path_factory, elicit) -> Path:
    out = tmp_path_factory.mktemp("quickstart") / "run"
    assert elicit("quickstart", "--out", out, "--seeds", 2, "--fraction", 0.25) == 0
    return out


def read(path: Path) -> Any:
    return read_sealed(path)


@pytest.mark.slow
def test_the_arms_differ_by_the_replacement_alone(out):
    for seed in (1, 2):
        plain, mixed = (
            read(out / f"{arm}-{seed}/config.json") for arm in ("originals", "replaced")
        )
        assert plain["replace"] is None
        assert mixed["replace"]["fraction"] == 0.25
        assert (plain["train"]["loss"], mixed["train"]["loss"]) == ("cross-entropy", "mixed")
        for config in (plain, mixed):
            assert config["key"] == seed
            del config["replace"], config["train"]["loss"]
        assert plain == mixed


@pytest.mark.slow
def test_the_result_is_that_of_the_runs(out):
    result = read(out / "result.json")
    accuracies = result["accuracies"]
    assert set(accuracies) == {"originals only", "25% replaced"}
    for arm, name in (("originals only", "originals"), ("25% replaced", "replaced")):
        runs = [read(out / f"{name}-{seed}" / "result.json") for seed in (1, 2)]
        assert accuracies[arm] == [run["test_accuracy"] for run in runs]
        assert all(run["test_images"] == 60 for run in runs)
    pairs = zip(accuracies["originals only"], accuracies["25% replaced"], strict=True)
    gains = [replaced - plain for plain, replaced in pairs]
    assert result["difference"]["mean"] == pytest.approx(sum(gains) / 2)
    assert result["difference"]["n"] == 2
    assert result["synthesis"]["images"] == 100


@pytest.fixture(scope="module")
def gan_out(tmp_path_factory, elicit) -> Path:
    out = tmp_path_factory.mktemp("quickstart-gan") / "run"
    with warnings.catch_warnings():  # so young a GAN makes few digits or none
        warnings.simplefilter("ignore", UserWarning)
        assert elicit("quickstart", "--gan", "--out", out, "--seeds", 2, "--key", 3) == 0
    return out


@pytest.mark.slow
def test_a_gan_s_whole_loop_runs(gan_out):
    result = read(gan_out / "result.json")
    assert result["gan"] == read_result(gan_out / "gan")
    assert result["gan"]["training_images"] == 40
    assert result["comparison"] == read_result(gan_out / "loop")
    assert (result["key"], result["comparison"]["key"], result["gan"]["key"]) == (3, 3, 3)
    # The steps of the progress, beside the GAN's.
    assert len(list((gan_out / "loop/pieces").iterdir())) == piece_count(2)
    arms = result["comparison"]["arms"]
    assert [arm["seed"] for arm in arms] == [4] * 6 + [5] * 6
    images = {arm["row"]: arm["train_images"] for arm in arms}
    assert len(images) == 6
    assert (images["real"], images["geometric"]) == (40, 80)


SHOWN = {
    "out": (18, 4, ["Images of every class", "Do they help?", "How they learn", "25% replaced"]),
    "gan_out": (
        30, 4, ["What the GAN has learnt", "The same steps for every row", "real + TP"],
    ),
}  # fmt: skip
"""Numbers of images (without a closed loop's), of charts, and some of the words, by the job."""


@pytest.mark.slow
@pytest.mark.parametrize("made", SHOWN)
def test_the_report_shows_all_of_it(made, request):
    place = request.getfixturevalue(made)
    page = assert_is_report(place / "report.html")
    images, charts, words = SHOWN[made]
    of_loop = len(list(place.glob("loop/figures/*.png")))  # a class may have no FP
    assert len(page.attributes("img")) == images + of_loop
    assert len([each for each in page.attributes("svg") if each.get("role")]) == charts
    assert all(word in " ".join(page.words) for word in words)
    assert "Not decided, against" in "".join(page.by_class["verdict"])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("made", "words"), [("out", ["--fraction", 0.25]), ("gan_out", ["--gan", "--key", 3])]
)
def test_a_repeated_command_trains_nothing_and_ends_with_the_report_s_path(
    made, words, request, elicit, contents, monkeypatch, capsys
):
    out = request.getfixturevalue(made)
    before = contents(out)
    monkeypatch.delattr("experiments.training.session.fit")
    monkeypatch.delattr("experiments.data.resumable_set.write_shard")
    assert elicit("quickstart", "--out", out, "--seeds", 2, *words) == 0
    assert capsys.readouterr().out.splitlines()[-1] == str(out / "report.html")
    after = contents(out)
    assert set(after) == set(before)
    # The report says how long this session took.
    assert {name for name in after if after[name] != before[name]} <= {"report.html"}


@pytest.mark.slow
def test_the_two_jobs_do_not_share_a_directory(gan_out, out, elicit, capsys):
    assert QuickstartConfig().directory != QuickstartConfig(gan=True).directory
    assert elicit("quickstart", "--out", gan_out, "--seeds", 2, "--key", 3) == 2
    assert "gan was True, now False" in capsys.readouterr().err
    assert elicit("quickstart", "--gan", "--out", out, "--seeds", 2) == 2
    assert "gan was False, now True" in capsys.readouterr().err


def test_a_gan_replaces_nothing(elicit, tmp_path, capsys):
    words = ("quickstart", "--gan", "--fraction", 0.5, "--out", tmp_path / "run")
    assert elicit(*words) == 2
    assert "--fraction is for synthesised images" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
