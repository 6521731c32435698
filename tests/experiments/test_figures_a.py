"""`elicit experiment figures-a`, with a classifier that compiles in no time."""

import json
import shutil
from pathlib import Path

import pytest

import experiments.synthesize
from experiments.figures_a import COLUMNS, RULES
from train.datasets import load_images


@pytest.fixture
def command(data, own_classifier, monkeypatch):
    """The words of the command but for --out; the sets have no reports of their own."""
    monkeypatch.setattr(experiments.synthesize, "write_set_report", lambda *_: None)
    given = ["--classifier", own_classifier, "--dataset", data, "--images", 12, "--batch-size", 8]
    return ["experiment", "figures-a", *given, "--out"]


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    """Where the first test that needs the figures makes them."""
    return tmp_path_factory.mktemp("figures") / "out"


@pytest.fixture
def out(command, finished, elicit, tmp_path) -> Path:
    """A copy of the finished figures."""
    if not finished.exists():
        assert elicit(*command, finished) == 0
    shutil.copytree(finished, tmp_path / "out")
    return tmp_path / "out"


def rules(out: Path) -> dict[str, dict]:
    return json.loads((out / "result.json").read_text())["rules"]


def table(out: Path) -> dict[str, list[str]]:
    """The rows of the table in Markdown by their first cell."""
    lines = (out / "result.md").read_text().splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if "|" in line]
    return {row[0]: row[1:] for row in rows}


def test_every_rule_makes_a_set_of_the_same_images(out, data):
    assert set(rules(out)) == set(RULES)
    for row in rules(out).values():
        assert set(COLUMNS) <= set(row)
        assert row["images"] == 12
        assert load_images(out / row["set"]).source_ids == load_images(data, "test").ids[:12]


def test_the_numbers_are_as_the_rules_are(out):
    found = rules(out)
    plain, filtered = found["momentum"], found["momentum, low-pass 10"]
    assert filtered["high_frequency_energy"] < 0.2 * filtered["high_frequency_energy_of_originals"]
    assert plain["high_frequency_energy"] > 2 * filtered["high_frequency_energy"]
    # The printed form's rate is γ², so it moves the images less.
    assert found["momentum, as printed"]["mean_change_levels"] < plain["mean_change_levels"]
    assert plain["kl_mean"] < found["momentum, as printed"]["kl_mean"]


def test_table_figure_and_report_hold_every_rule(out):
    rows = table(out)
    assert list(rows) == ["rule", "---", "originals", *RULES]
    assert {len(row) for row in rows.values()} == {len(COLUMNS)}
    for rule in RULES:
        assert rows[rule][0] == f"{rules(out)[rule]['kl_mean']:.4f}"
    assert (out / "figures" / "rules.png").read_bytes().startswith(b"\x89PNG")
    page = (out / "report.html").read_text()
    assert page.count("data:image/png") == 1
    assert all(rule in page for rule in RULES)


def test_a_repeated_command_ends_with_the_same_bytes(out, command, elicit, contents, capsys):
    before = contents(out)
    (out / "result.json").unlink()
    (out / "sgd" / "manifest.json").unlink()  # as if killed there
    assert elicit(*command, out) == 0
    assert contents(out) == before
    assert capsys.readouterr().out.splitlines()[-1] == str(out / "report.html")


def test_a_lost_timing_is_a_gap_in_the_table(out, command, elicit):
    (out / "momentum-timing.json").unlink()  # killed between the set and its timing
    assert elicit(*command, out) == 0
    assert rules(out)["momentum"]["images_per_second"] is None
    assert table(out)["momentum"][-1] == "–"
    assert rules(out)["SGD"]["images_per_second"] > 0
