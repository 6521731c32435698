"""Means and spreads against Python's own module of statistics."""

import statistics

import pytest

from experiments.statistics import mean_and_deviation, paired_difference

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
    mean, deviation = paired_difference(values, baseline)
    assert mean == pytest.approx(0.01)
    assert deviation == pytest.approx(statistics.stdev(gains))
    assert deviation < statistics.stdev(baseline)


def test_unpaired_values_are_refused():
    with pytest.raises(ValueError, match="pairs, got 2 values and 3"):
        paired_difference([1.0, 2.0], [1.0, 2.0, 3.0])
