"""`elicit quickstart`, made tiny: 100 digits, two epochs, three updates."""

import json
import time
from pathlib import Path
from typing import Any

import pytest

import experiments.quickstart
import train.datasets
import train.networks
from experiments.synthesis_options import RuleConfig
from train.loop import TrainConfig

COUNTS = {"train": 100, "test": 60}
load_digits = train.datasets._load_digits


def few_digits(split: str) -> train.datasets.ImageData:
    digits = load_digits(split)
    images, labels, ids = (column[: COUNTS[split]] for column in digits[:3])
    return digits._replace(images=images, labels=labels, ids=ids)


@pytest.fixture(scope="module", autouse=True)
def tiny():
    with pytest.MonkeyPatch.context() as patch:
        training = TrainConfig(epochs=2, batch_size=20, flip=False, pad_px=2)
        patch.setattr(train.datasets, "_load_digits", few_digits)
        patch.setattr(experiments.quickstart, "WIDTH", 1.0)
        tiny_network = train.networks._Architecture((6, "M", "M", 8, "M", "M"))
        patch.setitem(train.networks.NETWORKS, "vgg-small", tiny_network)
        patch.setattr(experiments.quickstart, "TRAINING", training)
        patch.setattr(experiments.quickstart, "RULE", RuleConfig(steps=3))
        yield


@pytest.fixture(scope="module")
def out(tmp_path_factory, elicit) -> Path:
    out = tmp_path_factory.mktemp("quickstart") / "run"
    assert elicit("quickstart", "--out", out, "--seeds", 2, "--fraction", 0.25) == 0
    return out


def read(path: Path) -> Any:
    return json.loads(path.read_text())


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


def test_the_report_shows_all_of_it(out):
    page = (out / "report.html").read_text()
    assert page.count("data:image/") == 4
    for words in ("Asked for, and achieved", "Do they help?", "How they learn", "25% replaced"):
        assert words in page
    assert "<script" not in page


def test_a_repeated_command_trains_nothing_and_ends_with_the_report_s_path(
    out, elicit, contents, monkeypatch, capsys
):
    before = contents(out)
    monkeypatch.delattr("experiments.classifier_train.fit")
    monkeypatch.delattr("experiments.synthesize.write_shard")
    began = time.monotonic()
    assert elicit("quickstart", "--out", out, "--seeds", 2, "--fraction", 0.25) == 0
    assert time.monotonic() - began < 20
    assert capsys.readouterr().out.splitlines()[-1] == str(out / "report.html")
    after = contents(out)
    assert set(after) == set(before)
    # The report says how long this session took.
    assert {name for name in after if after[name] != before[name]} <= {"report.html"}
