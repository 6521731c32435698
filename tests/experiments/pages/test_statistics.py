"""Means and spreads against Python's own module of statistics."""

import statistics

import pytest
import scipy.stats

from experiments.pages.statistics import (
    PairedDifference,
    difference_words,
    mean_and_deviation,
    mean_words,
    paired_difference,
    welch_difference,
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


def test_welch_s_interval_is_that_of_the_formula():
    """d ± t(0.975, ν) s, s² = s₁²/n₁ + s₂²/n₂, ν = s⁴ / Σ (sᵢ²/nᵢ)² / (nᵢ - 1).

    Welch 1947; Satterthwaite 1946.
    """
    values, baseline = [0.5, 0.25, 8.0, 3.0], [1.0, 1.5]
    first, second = statistics.variance(values) / 4, statistics.variance(baseline) / 2
    freedom = (first + second) ** 2 / (first**2 / 3 + second**2 / 1)
    half = scipy.stats.t.ppf(0.975, freedom) * (first + second) ** 0.5
    mean = statistics.fmean(values) - statistics.fmean(baseline)
    expected = (mean, mean - half, mean + half)
    assert welch_difference(values, baseline) == pytest.approx(expected, rel=1e-9)


def test_without_any_spread_an_interval_has_no_length():
    assert welch_difference([2.0, 2.0], [1.5, 1.5, 1.5]) == (0.5, 0.5, 0.5)
    found = paired_difference([0.95, 0.85], [0.90, 0.80])  # equal but for their last bits
    assert (found.low, found.high) == pytest.approx((0.05, 0.05), abs=1e-12)


def test_means_and_differences_in_words():
    assert mean_words([61.0, 62.5]) == "61.75 ± 1.06"
    assert mean_words([61.0]) == "61.00"
    assert difference_words(None) == "–"
    difference = PairedDifference(1.2, 0.31, 3, -0.43, 1.97)
    assert difference_words(difference) == "+1.20 ± 0.31 [-0.43, +1.97]"
