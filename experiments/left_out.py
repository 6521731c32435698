"""Images that a synthesis could not finish, and that its set therefore lacks.

Beside a shard that lacks some lies a note of them, written after it. The note is bound to the
shard's bytes: a shard without its note is taken for one that is too short, and made again.
"""

from pathlib import Path
from typing import NamedTuple

from train.files import read_json, write_json
from train.image_sets import ShardRecord


class Covered(NamedTuple):
    """What a shard was made from.

    Attributes:
        rows: numbers of the originals in their split.
        left_out: ids of those of which it holds no image.
    """

    rows: range
    left_out: tuple[str, ...]


def note_left_out(shard: Path, record: ShardRecord, covered: Covered) -> None:
    """Writes down what a shard lacks, or that it lacks nothing any more.

    Args:
        shard: on disk.
        record: of it.
        covered: what it was made from.
    """
    if not covered.left_out:
        _note(shard).unlink(missing_ok=True)
        return
    note = {
        "shard_sha256": record.sha256,
        "start": covered.rows.start,
        "stop": covered.rows.stop,
        "left_out": list(covered.left_out),
    }
    write_json(_note(shard), note)


def covered_by(shard: Path, record: ShardRecord, *, start: int) -> Covered:
    """What a shard was made from: without a note of its own, one original for each image.

    Args:
        shard: on disk.
        record: of it.
        start: number of the first original that belongs into it.
    """
    whole = Covered(range(start, start + record.num_examples), ())
    try:
        note = read_json(_note(shard))
        if note["shard_sha256"] != record.sha256:
            return whole
        return Covered(range(note["start"], note["stop"]), tuple(map(str, note["left_out"])))
    except (FileNotFoundError, ValueError, KeyError, TypeError):  # none, or a damaged one
        return whole


def _note(shard: Path) -> Path:
    return shard.with_name(f"{shard.name}.left_out.json")
