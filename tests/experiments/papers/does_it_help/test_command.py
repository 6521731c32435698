"""`elicit experiment does-it-help`, made tiny: three classes, two seeds, a dozen steps."""

from pathlib import Path
from typing import Any

import pytest

from experiments.papers.does_it_help.arms import ARMS, BASE
from tests.experiments.pages.reports import assert_is_report
from tests.experiments.papers.written_results import arms, table
from train.storage.strict_json import read_sealed

ARMS_HERE = (BASE, "two-views", "teacher", "paper-labels", "paper", "survives", "during")
WORDS = (
    "--model tiny --per-class 8 --seeds 2 --other-seeds 2 --epochs 4 --batch-size 12 "
    "--learning-rate 0.02 --key 5 --updates 2 --views 2 --pad-px 2 "
    "--arms two-views survives paper during"
)


@pytest.fixture(scope="module", autouse=True)
def tiny_pieces(blank_pages, tiny_networks):
    """The networks compile in no time, and the pieces draw no reports of their own."""
    del blank_pages, tiny_networks


@pytest.fixture(scope="module")
def out(tmp_path_factory, data, elicit) -> Path:
    out = tmp_path_factory.mktemp("help") / "out"
    assert elicit(*command(data), "--out", out) == 0
    return out


def command(data) -> list[Any]:
    return ["experiment", "does-it-help", "--data", data, *WORDS.split()]


@pytest.mark.slow
def test_every_arm_is_measured_with_both_budgets(out):
    found = arms(out)
    assert tuple(found) == ARMS_HERE
    for own in found.values():
        assert [(arm["seed"], arm["budget"]) for arm in own] == [
            (6, "steps"), (6, "compute"), (7, "steps"), (7, "compute"),
        ]  # fmt: skip
        assert {arm["test_images"] for arm in own} == {21}
        assert {arm["train_images"] for arm in own} == {24}
        assert own[0]["step"] == 8 <= own[1]["step"]
    assert found[BASE][1]["step"] > 8
    assert read_sealed(out / "result.json")["missing"] == []


@pytest.mark.slow
def test_the_page_opens_with_the_verdict(out):
    text, page = (out / "table.md").read_text(), (out / "report.html").read_text()
    assert_is_report(out / "report.html")
    verdict = text.split("\n\n")[1]
    assert any(words in verdict for words in ("Not decided", "Better than", "Worse than", "Within"))
    for words in ("With equal compute", "With equal steps", "Is the base trained out?"):
        assert words in text
        assert words in page
    assert ARMS["survives"].name in verdict
    assert list(table(out / "table.md")) == ["arm", *(ARMS[slug].name for slug in ARMS_HERE)]
    assert (out / "figures" / "compute-controls.svg").is_file()


@pytest.mark.slow
def test_a_second_call_makes_nothing(out, data, elicit, monkeypatch):
    monkeypatch.delattr("experiments.training.session.fit")
    before = read_sealed(out / "result.json")["arms"]
    assert elicit(*command(data), "--out", out) == 0
    assert read_sealed(out / "result.json")["arms"] == before


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--seeds 1", "seeds must be at least 2, since one training gives no interval, got 1"),
        ("--seeds 3 --other-seeds 4", "other_seeds must be at most seeds, which is 3, got 4"),
        ("--arms survive", "expected arms among base, .*, got survive"),
        ("--per-class 17", "--per-class 17 takes more images than there are: class ant has 16"),
        ("--per-class 9 --arms more-real", "the arm more-real takes 18 images a class"),
        ("--loss mixed", "--loss, --labels and --synthesize-every belong to arms"),
        ("--synthesize-every 2", "--loss, --labels and --synthesize-every belong to arms"),
        ("--no-flip --pad-px 0", "expected an augmentation for images to survive"),
        ("--teachers 0", "teachers must be at least 1, got 0"),
        ("--model nothing", "nothing"),
        ("--shard 3/2", "--shard must be NUMBER/COUNT"),
    ],
)
def test_what_does_not_fit_is_refused_before_compilation(data, words, message, check_wrong_input):
    given = words if "--per-class" in words else f"--per-class 4 {words}"
    check_wrong_input(f"experiment does-it-help --data {data} --out new {given}", message)
