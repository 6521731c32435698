"""Writes a set whose images come as a sequence, in rounds that do not fit the shards."""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

from experiments.data.resumable_set import NOTES, SHARD_IMAGES, Columns, ResumableSet, Shard


class Round(NamedTuple):
    """One step of the work that makes a sequence of images.

    Attributes:
        before: state from which this round and all later ones can be repeated, as JSON types.
        columns: features of the round's images; a round may have no image.
        after: state after the round.
        is_last: whether no round follows.
    """

    before: Any
    columns: Columns
    after: Any
    is_last: bool


def write_rounds(
    image_set: ResumableSet, split: str, rounds_from: Callable[[Any], Iterator[Round]]
) -> tuple[list[Shard], Any]:
    """Writes each shard as soon as it is full; whole shards of an earlier call are kept.

    Args:
        image_set: the set, open for writing.
        split: the split that the images belong to.
        rounds_from: gives the rounds from a state `Round.before` on, or all rounds for None. They
            are the same in every call, and at least one.

    Returns:
        The shards, not committed yet, and the state after the last round.
    """
    shards = list(_leading_shards(image_set, split))
    before, used = (
        (shards[-1].made_from[name] for name in ("before", "used")) if shards else (None, 0)
    )
    rest: Columns = {}
    after = before
    for each in rounds_from(before):
        _, new = _split(each.columns, used)
        rest, after, used = _join(rest, new), each.after, 0
        while _count(rest) >= (1 if each.is_last else SHARD_IMAGES):
            columns, rest = _split(rest, SHARD_IMAGES)
            # All that is left comes from this round: earlier ones left less than a shard.
            used_here = _count(each.columns) - _count(rest)
            made_from = {"before": each.before, "used": used_here}
            shards.append(image_set.write(split, len(shards), columns, made_from=made_from))
    return shards, after


def _leading_shards(image_set: ResumableSet, split: str) -> Iterator[Shard]:
    """Finds the shards in front of the first one that has to be made again."""
    for index in range(len(list(image_set.directory.glob(NOTES)))):
        shard = image_set.find(split, index)
        if shard is None or not shard.made_from:
            return
        yield shard


def _count(columns: Columns) -> int:
    return len(columns["label"]) if columns else 0


def _join(first: Columns, second: Columns) -> Columns:
    """Appends the second images to the first ones; either may be empty."""
    if not (first and second):
        return first or second
    return {
        name: np.concatenate([column, second[name]])
        if isinstance(column, np.ndarray)
        else [*column, *second[name]]
        for name, column in first.items()
    }


def _split(columns: Columns, count: int) -> tuple[Columns, Columns]:
    """Gives the first `count` images, and the remaining ones."""
    first = {name: column[:count] for name, column in columns.items()}
    return first, {name: column[count:] for name, column in columns.items()}
