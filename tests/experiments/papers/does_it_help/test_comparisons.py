"""Differences between arms: corrected intervals by SciPy, and what the verdict says of them."""

import math

import numpy as np
import pytest
import scipy.stats

from experiments.pages.statistics import PairedDifference
from experiments.papers.does_it_help.arms import ARMS, BASE
from experiments.papers.does_it_help.comparisons import (
    Comparison,
    to_base,
    to_controls,
    verdict,
)
from experiments.papers.engine.accuracy_table import RowResult

RANDOM = np.random.default_rng(3)


def row(slug, values, *, first=1):
    accuracies = {first + n: float(value) for n, value in enumerate(values)}
    return RowResult(slug, ARMS[slug].name, None, accuracies, {}, 50)


@pytest.fixture
def rows():
    slugs = (BASE, "mixup", "teacher", "teacher-cutmix", "survives", "survives-cutmix")
    return [row(slug, RANDOM.normal(60, 2, 7)) for slug in slugs]


@pytest.mark.parametrize(
    ("compare", "pairs"),
    [
        (to_base, dict.fromkeys(("mixup", "teacher", "survives"), BASE)),
        (to_controls, {"survives": "teacher", "survives-cutmix": "teacher-cutmix"}),
    ],
)
def test_intervals_are_corrected_for_the_number_of_comparisons(rows, compare, pairs):
    found = {each.arm: each for each in compare(rows)}
    values = {each.slug: np.array(each.values) for each in rows}
    for arm, against in pairs.items():
        assert found[arm].against == against
        difference = values[arm] - values[against]
        standard_error = difference.std(ddof=1) / math.sqrt(7)
        reach = scipy.stats.t.ppf(1 - 0.05 / 2 / len(found), 6) * standard_error
        mean = difference.mean()
        assert found[arm].difference == pytest.approx(
            (mean, difference.std(ddof=1), 7, mean - reach, mean + reach)
        )
    assert len(compare(rows)) == (5 if compare is to_base else 2)


def test_only_common_seeds_are_compared_and_one_is_not_enough():
    rows = [row(BASE, [50, 51, 52]), row("mixup", [53, 55], first=2), row("cutmix", [9], first=3)]
    (found,) = to_base(rows)
    assert (found.arm, found.difference.n) == ("mixup", 2)
    assert found.difference.mean == pytest.approx(((53 - 51) + (55 - 52)) / 2)
    assert to_controls(rows) == []


@pytest.mark.parametrize(
    ("low", "high", "outcome"),
    [
        (0.1, 2.0, "helps"),
        (-2.0, -0.1, "harms"),
        (-0.4, 0.5, "no difference"),
        (-0.4, 0.6, "not decided"),
        (0.0, 0.7, "not decided"),
        (math.nan, math.nan, "not decided"),
    ],
)
def test_an_interval_says_what_is_shown(low, high, outcome):
    difference = PairedDifference((low + high) / 2, 1.0, 12, low, high)
    assert Comparison("survives", "teacher", difference).outcome == outcome


def near(base, offset):
    """Accuracies around an offset to the base, so alike that every difference is decided."""
    return base + offset + RANDOM.normal(0, 0.01, len(base))


def test_the_verdict_compares_made_images_with_their_controls_and_then_with_the_base():
    base = RANDOM.normal(60, 2, 12)
    offsets = {BASE: 0, "teacher": -2, "survives": -1, "paper-labels": 0, "paper": 0.5,
               "during": -3, "mixup": 4}  # fmt: skip
    words = verdict([row(slug, near(base, offset)) for slug, offset in offsets.items()])
    beside, whole = words.split(" The intervals hold for all 3 together. ")
    name = {slug: ARMS[slug].name for slug in offsets}
    assert beside.startswith(
        "Of 3 ways to use made images, 2 are shown to be better than the matched control, and 1 is "
        "shown to be better than the base. "
        f"Better than their matched controls: {name['paper']}, +0."
    )
    assert f"; {name['survives']}, +1.00 points (95% interval " in beside
    assert f"Worse than their matched controls: {name['during']}, -3.00 points" in beside
    assert f"Better than the base: {name['paper']}" in whole
    assert f"Worse than the base: {name['survives']}, -1.00 points" in whole
    assert whole.endswith("The intervals hold for all 6 together.")
    assert name["during"] not in whole  # whose control is the base
    assert name["mixup"] not in words  # which has no made images


def test_without_two_seeds_the_verdict_decides_nothing():
    assert verdict([]).startswith("Not decided")
    assert verdict([row(BASE, [50]), row("survives", [51])]).startswith("Not decided")
