"""Means, standard deviations and differences of means with 95% confidence intervals.

`scipy.stats` is imported where it is used: its import takes longer than many a command's work.
"""

import functools
import warnings
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

CONFIDENCE = 0.95
"""Confidence of an interval that is not corrected for the number of comparisons."""


class PairedDifference(NamedTuple):
    """Differences within pairs: mean, sample standard deviation, n, and the mean's interval."""

    mean: float
    standard_deviation: float
    n: int
    low: float
    high: float


class WelchDifference(NamedTuple):
    """Difference of two means with its 95% interval."""

    mean: float
    low: float
    high: float


def mean_and_deviation(values: Sequence[float]) -> tuple[float, float]:
    """Mean and sample standard deviation (n - 1); the deviation of a single value is 0."""
    array = np.asarray(values, np.float64)
    return float(array.mean()), float(array.std(ddof=1)) if len(array) > 1 else 0.0


def mean_words(values: Sequence[float]) -> str:
    """Mean and standard deviation as text, such as "61.70 ± 0.41"; for one value only the mean."""
    mean, deviation = mean_and_deviation(values)
    return f"{mean:.2f} ± {deviation:.2f}" if len(values) > 1 else f"{mean:.2f}"


def difference_words(difference: PairedDifference | None) -> str:
    """A difference as text, such as "+1.20 ± 0.31 [+0.43, +1.97]"; a dash for None."""
    if difference is None:
        return "–"
    mean, deviation, _, low, high = difference
    return f"{mean:+.2f} ± {deviation:.2f} [{low:+.2f}, {high:+.2f}]"


def difference_sign(difference: PairedDifference) -> int:
    """1 or -1 where the whole interval lies above or below 0; 0 where that is not decided.

    Pairs that all differ by the same decide nothing: accuracies are shares of few images, so that
    the deviation of a few pairs may be 0 by chance.
    """
    if difference.low == difference.high:
        return 0
    return int(difference.low > 0) - int(difference.high < 0)


def paired_difference(
    values: Sequence[float], baseline: Sequence[float], *, confidence: float = CONFIDENCE
) -> PairedDifference:
    """Differences within pairs, such as two trainings with one seed, with Student's interval.

    Args:
        values: at least 2 values.
        baseline: the other value of each pair.
        confidence: probability with which the interval holds the true mean, in (0, 1).
    """
    import scipy.stats

    mean, deviation = mean_and_deviation(np.subtract(values, baseline).tolist())
    low, high = _interval(lambda: scipy.stats.ttest_rel(values, baseline), confidence)
    return PairedDifference(mean, deviation, len(values), low, high)


class Share(NamedTuple):
    """A share of images, in [0, 1], with Wilson's 95% interval, and the number of images."""

    share: float
    low: float
    high: float
    n: int

    @property
    def words(self) -> str:
        """Share and interval, such as "31.0% (95% interval 28.2% to 33.9%, n = 1,000)"."""
        interval = f"95% interval {self.low:.1%} to {self.high:.1%}"
        return f"{self.share:.1%} ({interval}, n = {self.n:,})"


def share_of(count: int, n: int) -> Share:
    """The share of images that have a property.

    Args:
        count: images that have it.
        n: all images, at least 1.
    """
    import scipy.stats

    low, high = scipy.stats.binomtest(count, n).proportion_ci(CONFIDENCE, method="wilson")
    return Share(count / n, float(low), float(high), n)


def welch_difference(values: Sequence[float], baseline: Sequence[float]) -> WelchDifference:
    """Difference of the means of two independent samples, with Welch's interval.

    Args:
        values: at least 2 values.
        baseline: at least 2 values, with any standard deviation.
    """
    import scipy.stats

    difference = mean_and_deviation(values)[0] - mean_and_deviation(baseline)[0]
    test = functools.partial(scipy.stats.ttest_ind, values, baseline, equal_var=False)
    low, high = _interval(test, CONFIDENCE)
    return WelchDifference(difference, low, high)


def _interval(test: Callable[[], Any], confidence: float) -> tuple[float, float]:
    """Confidence interval of a test of SciPy's; an empty one where all values are equal."""
    with warnings.catch_warnings():
        # SciPy doubts its digits where values are equal; the interval is right all the same.
        warnings.simplefilter("ignore", RuntimeWarning)
        low, high = test().confidence_interval(confidence)
    return float(low), float(high)
