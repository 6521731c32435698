"""Means with their spread."""

from collections.abc import Sequence

import numpy as np


def mean_and_deviation(values: Sequence[float]) -> tuple[float, float]:
    """Mean and sample standard deviation (n - 1); the latter is 0 for a single value."""
    array = np.asarray(values, np.float64)
    return float(array.mean()), float(array.std(ddof=1)) if len(array) > 1 else 0.0


def paired_difference(values: Sequence[float], baseline: Sequence[float]) -> tuple[float, float]:
    """Mean and sample standard deviation of the differences of pairs, such as runs of one seed.

    Raises:
        ValueError: the two are not of one length.
    """
    if len(values) != len(baseline):
        raise ValueError(f"expected pairs, got {len(values)} values and {len(baseline)}")
    return mean_and_deviation(np.subtract(values, baseline).tolist())
