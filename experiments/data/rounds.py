"""Writes a set whose images come as a sequence, in rounds that do not fit the shards."""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from experiments.data.columns import SHARD_IMAGES, Columns, count_rows, join_columns, split_columns
from experiments.data.resumable_set import NOTES, ResumableSet, Shard


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
        _, new = split_columns(each.columns, used)
        rest, after, used = join_columns(rest, new), each.after, 0
        while count_rows(rest) >= (1 if each.is_last else SHARD_IMAGES):
            columns, rest = split_columns(rest, SHARD_IMAGES)
            # All that is left comes from this round: earlier ones left less than a shard.
            used_here = count_rows(each.columns) - count_rows(rest)
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
