"""Reports from the files alone, and two results compared."""

import json
import re

import numpy as np
import pytest
import scipy.stats

from experiments.papers.engine.results import parse_result
from experiments.papers.report import compare_results
from tests.experiments.pages.reports import assert_is_report

ROWS = [
    {"slug": "0", "name": "0% replaced", "paper": 92.476, "is_control": False},
    {"slug": "30", "name": "30% replaced", "paper": None, "is_control": False},
]


def arm(row, seed, accuracy):
    return {
        "row": row, "seed": seed, "budget": "epochs", "piece": f"replaced-{row}-seed-{seed}",
        "classifier_sha256": "0", "device": "1 × cpu (cpu)", "epoch": 2, "step": 20,
        "test_accuracy": accuracy, "test_images": 360, "train_images": 1437,
        "timing": {"seconds_of_last_session": 1.0, "peak_memory_mib": 100.0},
    }  # fmt: skip


def results(accuracies, **fields):
    """The content of a result.json of table-a, with accuracies in percent by row."""
    arms = [
        arm(row, seed, value / 100)
        for row, values in accuracies.items()
        for seed, value in enumerate(values, 1)
    ]
    return {
        "experiment": "table-a", "preset": "smoke", "key": 0, "rows": ROWS, "arms": arms,
        "settings": {"model": "vgg-small", "width": 0.25, "train": {"epochs": 2}},
        "data": {"name": "digits", "sha256": {"train": "1", "test": "2"}},
        "device": "1 × cpu (cpu)", "device_kind": "cpu", "versions": {"jax": "0.10.2"},
        "command": "elicit experiment table-a", "missing": [], "pieces": {}, **fields,
    }  # fmt: skip


@pytest.fixture
def write(tmp_path):
    def at(name, result):
        (tmp_path / name).mkdir()
        (tmp_path / name / "result.json").write_text(json.dumps(result))
        return tmp_path / name

    return at


def compare(a, b, *, names):
    return compare_results(parse_result(a), parse_result(b), names=names)


A = {"0": [60.0, 61.5, 60.75], "30": [62.0, 61.0]}
B = {"0": [61.0, 63.0], "30": [64.0]}


def cells(page, row):
    (line,) = re.findall(rf"(?m)^\| {re.escape(row)} \| (.*) \|$", page)
    return line.split(" | ")


def test_a_directory_of_results_alone_gives_its_pages(write, elicit, capsys):
    directory = write("a", results(A))
    assert elicit("report", directory) == 0
    *decided, path = capsys.readouterr().out.splitlines()
    assert decided[0].startswith(("Better than", "Not decided"))
    assert path == str(directory / "report.html")
    table = (directory / "table.md").read_text()
    assert "| 0% replaced | 1,437 | 3 | 60.75 ± 0.75 | 92.476 |" in table
    assert_is_report(directory / "report.html")
    page = (directory / "report.html").read_bytes()
    (directory / "report.html").unlink()
    (directory / "table.md").unlink()
    assert elicit("report", directory) == 0
    assert (directory / "report.html").read_bytes() == page


def test_two_results_stand_side_by_side(write, elicit, capsys, tmp_path):
    a, b = write("a", results(A)), write("b", results(B))
    out = tmp_path / "both"
    assert elicit("report", a, b, "--out", out) == 0
    page = capsys.readouterr().out
    assert (out / "comparison.md").read_text() == page
    budget, of_a, of_b, difference = cells(page, "0% replaced")
    assert budget == "epochs"
    assert of_a == f"60.75 ± {np.std(A['0'], ddof=1):.2f} (n = 3)"
    assert of_b == f"62.00 ± {np.std(B['0'], ddof=1):.2f} (n = 2)"
    low, high = scipy.stats.ttest_ind(B["0"], A["0"], equal_var=False).confidence_interval(0.95)
    assert difference == f"+1.25 [{low:+.2f}, {high:+.2f}]"
    assert "- nothing" in page
    assert not (a / "table.md").exists()


def test_a_single_training_has_no_interval():
    page = compare(results(A), results(B), names=("a", "b"))
    assert cells(page, "30% replaced")[1:] == ["61.50 ± 0.71 (n = 2)", "64.00 (n = 1)", "+2.50"]


def test_rows_of_one_alone_are_listed():
    page = compare(results({"0": [50.0]}), results({"30": [40.0, 42.0]}), names=("a", "b"))
    assert cells(page, "0% replaced")[1:] == ["50.00 (n = 1)", "–", "–"]
    assert cells(page, "30% replaced")[1:] == ["–", "41.00 ± 1.41 (n = 2)", "–"]


def test_what_differs_in_the_configurations_is_told():
    other = results(B, key=3, device_kind="gpu", command="another", missing=["0,3"])
    other["settings"] = {**other["settings"], "train": {"epochs": 5}}
    page = compare(results(A), other, names=("a", "b"))
    told = re.findall("(?m)^- (.*)$", page)
    assert told == [
        "device_kind was 'cpu', now 'gpu'",
        "key was 0, now 3",
        "settings.train.epochs was 2, now 5",
    ]


BAD = {
    "another experiment": (
        results({"0": [1.0]}, experiment="table-b"), "one experiment, got table-a .* and table-b",
    ),
    "no measurement": (results({}), "with a measurement, got none in .*b"),
    "no results": ({"arms": []}, "expected results of an experiment, got another result"),
    "unknown experiment": (results({}, experiment="c"), "an experiment among .*, got 'c'"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_results_that_cannot_be_compared_are_refused(name, write, elicit, capsys, tmp_path):
    other, words = BAD[name]
    out = tmp_path / "both"
    status = elicit("report", write("a", results(A)), write("b", other), "--out", out)
    assert status == 2
    assert re.search(words, capsys.readouterr().err)
    assert not out.exists()


@pytest.mark.parametrize("field", ["test_accuracy", "step", "seconds_of_last_session"])
@pytest.mark.parametrize("value", ["", "a" * 1000, None, [1.0], {}])
def test_results_whose_numbers_are_none_are_named(field, value, write, elicit, capsys):
    wrong = results(A)
    for each in wrong["arms"]:
        (each if field in each else each["timing"])[field] = value
    assert elicit("report", write("b", wrong)) == 2
    complaint = capsys.readouterr().err
    assert "expected results as elicit experiment writes them" in complaint
    assert "b/result.json" in complaint
    assert len(complaint) < 500
    if field == "test_accuracy":
        assert elicit("report", write("a", results(A)), wrong_place := write("c", wrong)) == 2
        assert str(wrong_place) in capsys.readouterr().err


def test_figures_are_not_compared():
    arms = [{"row": "sgd", "seed": 0, "budget": "", "piece": "sgd", "kl_mean": 0.1}]
    figures = results({}, experiment="figures-a", arms=arms)
    with pytest.raises(ValueError, match=r"expected results of a table, .* got a of figures-a"):
        compare(figures, figures, names=("a", "b"))


def test_a_directory_without_results_is_refused(elicit, tmp_path, capsys):
    assert elicit("report", tmp_path) == 2
    assert "has no result.json" in capsys.readouterr().err


def test_a_file_for_the_comparison_of_one_is_refused(write, elicit, tmp_path, capsys):
    assert elicit("report", write("a", results(A)), "--out", tmp_path / "both") == 2
    printed = re.sub(r"[\s│]+", " ", capsys.readouterr().err)
    assert "give two directories of results, got one" in printed
