"""Means and spreads against Python's own module of statistics."""

import statistics

import pytest

from experiments.pages.statistics import (
    PairedDifference,
    difference_words,
    mean_and_deviation,
    mean_words,
    paired_difference,
)

VALUES = [[0.91, 0.934, 0.927], [5.0, 5.0], [-1.5, 2.25, 1e3, 0.0]]


@pytest.mark.parametrize("values", VALUES)
def test_mean_and_sample_deviation(values):
    mean, deviation = mean_and_deviation(values)
    assert mean == pytest.approx(statistics.fmean(values), rel=1e-14)
    assert deviation == pytest.approx(statistics.stdev(values), rel=1e-14)


def test_a_single_value_has_no_spread():
    assert mean_and_deviation([0.7]) == (0.7, 0.0)


def test_a_paired_difference_forgets_what_the_pairs_share():
    baseline = [0.90, 0.95, 0.80, 0.99]
    gains = [0.01, 0.02, 0.03, -0.02]
    values = [b + g for b, g in zip(baseline, gains, strict=True)]
    found = paired_difference(values, baseline)
    assert found.mean == pytest.approx(0.01)
    assert found.standard_deviation == pytest.approx(statistics.stdev(gains))
    assert found.standard_deviation < statistics.stdev(baseline)
    assert found.n == 4


def test_the_interval_is_student_s():
    # Student 1908 in any table: for 4 values, 3.182 standard errors to either side.
    found = paired_difference([1.0, 2.0, 3.0, 6.0], [0.0, 0.0, 0.0, 0.0])
    error = statistics.stdev([1.0, 2.0, 3.0, 6.0]) / 2
    assert found.high - found.mean == pytest.approx(3.182 * error, rel=1e-3)
    assert found.mean - found.low == pytest.approx(3.182 * error, rel=1e-3)


def test_a_single_pair_has_no_interval():
    with pytest.raises(ValueError, match="2 pairs or more, got 1 values and 1"):
        paired_difference([1.0], [2.0])


def test_unpaired_values_are_refused():
    with pytest.raises(ValueError, match="2 pairs or more, got 2 values and 3"):
        paired_difference([1.0, 2.0], [1.0, 2.0, 3.0])


def test_means_and_differences_in_words():
    assert mean_words([61.0, 62.5]) == "61.75 ± 1.06"
    assert mean_words([61.0]) == "61.00"
    assert difference_words(None) == "–"
    difference = PairedDifference(0.012, 0.0031, 3, -0.0043, 0.0197)
    assert difference_words(difference, factor=100) == "+1.20 ± 0.31 [-0.43, +1.97]"
    assert difference_words(difference) == "+0.01 ± 0.00 [-0.00, +0.02]"
