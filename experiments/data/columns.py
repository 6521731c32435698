"""Features of images on their way into a set, as columns with one row an image."""

from typing import Any

import numpy as np

SHARD_IMAGES = 1024
"""Images in a shard: 2 MiB of CIFAR-10 as PNG. A job holds one or two shards in memory."""

Columns = dict[str, Any]
"""Features by name, each an array or a list with one row an image."""


def count_rows(columns: Columns) -> int:
    """Number of images."""
    return len(columns["label"]) if columns else 0


def join_columns(first: Columns, second: Columns) -> Columns:
    """Appends the images of the second to those of the first; either may be empty."""
    if not (first and second):
        return first or second
    return {name: _join(column, second[name]) for name, column in first.items()}


def _join(first: Any, second: Any) -> Any:
    return np.concatenate([first, second]) if isinstance(first, np.ndarray) else [*first, *second]


def split_columns(columns: Columns, count: int) -> tuple[Columns, Columns]:
    """Splits off the first `count` images; gives them, and the others."""
    first = {name: column[:count] for name, column in columns.items()}
    return first, {name: column[count:] for name, column in columns.items()}
