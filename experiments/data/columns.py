"""Images on their way into a set: columns of any number of rows, cut to shards of one size."""

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

SHARD_IMAGES = 1024
"""In a file of a set: 2 MiB of CIFAR-10 as PNG. A job's memory holds one or two such shards."""

Columns = dict[str, Any]
"""Features of images by name, each an array or a list with one row an image."""


def count_rows(columns: Columns) -> int:
    """Number of images."""
    return len(columns["label"]) if columns else 0


def join_columns(first: Columns, second: Columns) -> Columns:
    """Puts the images of the second, if any, after those of the first, if any."""
    if not (first and second):
        return first or second
    return {name: _join(column, second[name]) for name, column in first.items()}


def _join(first: Any, second: Any) -> Any:
    return np.concatenate([first, second]) if isinstance(first, np.ndarray) else [*first, *second]


def split_columns(columns: Columns, count: int) -> tuple[Columns, Columns]:
    """The first `count` images, and the others."""
    first = {name: column[:count] for name, column in columns.items()}
    return first, {name: column[count:] for name, column in columns.items()}


def in_shards(parts: Iterable[Columns]) -> Iterator[Columns]:
    """Cuts images that come in parts to shards.

    Args:
        parts: of any sizes; what makes them one by one needs the memory of one.

    Yields:
        The shards, in order, of `SHARD_IMAGES` images but for the last one; none where there is no
        image.
    """
    rest: Columns = {}
    for part in parts:
        rest = join_columns(rest, part)
        while count_rows(rest) >= SHARD_IMAGES:
            shard, rest = split_columns(rest, SHARD_IMAGES)
            yield shard
    if count_rows(rest):
        yield rest
