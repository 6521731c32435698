"""Means with their spread."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import scipy.stats

from imgopt.errors import InputError


def mean_and_deviation(values: Sequence[float]) -> tuple[float, float]:
    """Mean and sample standard deviation (n - 1); the latter is 0 for a single value."""
    array = np.asarray(values, np.float64)
    return float(array.mean()), float(array.std(ddof=1)) if len(array) > 1 else 0.0


class PairedDifference(NamedTuple):
    """Differences of pairs: mean, sample standard deviation, n, and the mean's 95% interval."""

    mean: float
    standard_deviation: float
    n: int
    low: float
    high: float


def mean_words(values: Sequence[float]) -> str:
    """Such as "61.70 ± 0.41": mean and standard deviation, which a single value has none of."""
    mean, deviation = mean_and_deviation(values)
    return f"{mean:.2f} ± {deviation:.2f}" if len(values) > 1 else f"{mean:.2f}"


def difference_words(difference: PairedDifference | None, *, factor: float = 1.0) -> str:
    """Such as "+1.20 ± 0.31 [+0.43, +1.97]"; a dash where there is none.

    Args:
        difference: of pairs.
        factor: on all its numbers, such as 100 for points of a percentage.
    """
    if difference is None:
        return "–"
    mean, deviation, _, low, high = difference
    numbers = (factor * number for number in (mean, deviation, low, high))
    return "{:+.2f} ± {:.2f} [{:+.2f}, {:+.2f}]".format(*numbers)


def paired_difference(values: Sequence[float], baseline: Sequence[float]) -> PairedDifference:
    """The differences of pairs, such as two trainings from one seed, with Student's interval.

    Args:
        values: at least 2.
        baseline: as many.

    Raises:
        InputError: the two are not of one length, or are too short.
    """
    count = len(values)
    if count != len(baseline) or count < 2:
        raise InputError(f"expected 2 pairs or more, got {count} values and {len(baseline)}")
    mean, deviation = mean_and_deviation(np.subtract(values, baseline).tolist())
    half = float(scipy.stats.t.ppf(0.975, count - 1)) * deviation / count**0.5
    return PairedDifference(mean, deviation, count, mean - half, mean + half)
