"""The shards of a synthesised set that are whole, and the note of their digests until it is one.

ArrayRecord's own checks do not cover every byte, so a shard is compared with its digest: in the
manifest, once the set is committed, and before in a note beside the shards.
"""

import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from train.files import read_sealed, write_sealed
from train.image_sets import (
    ImageSetSpec,
    ShardRecord,
    describe_shard,
    description_problems,
    read_manifest,
    shard_path,
    shard_problem,
)

SPLIT = "train"
"""Of the new set: what it holds is meant for training, whatever it was made from."""

NOTE_FILE = "progress.json"


def note_shards(out: Path, shards: Iterable[ShardRecord]) -> None:
    """Notes the shards that are whole, while the set grows.

    Args:
        out: the set's directory.
        shards: their records.
    """
    write_sealed(out / NOTE_FILE, {"shards": [shard._asdict() for shard in shards]})


def forget_note(out: Path) -> None:
    """Removes the note of a set that is committed."""
    (out / NOTE_FILE).unlink(missing_ok=True)


def whole_shards(out: Path, spec: ImageSetSpec, counts: dict[int, int]) -> dict[int, ShardRecord]:
    """The shards on disk that need not be made again.

    Not whole are those that differ from their digest, those without one that cannot be read, and
    those that are too short because the set has grown.

    Args:
        out: the set's directory.
        spec: the set.
        counts: images that each shard is to have, by its index.

    Warns:
        UserWarning: a shard that was whole once, a file of the metadata or the note is damaged.

    Raises:
        ValueError: the set on disk holds more images than are asked for.
    """
    known = _known_records(out)
    whole, problems = {}, []
    too_many = shard_path(out, spec, split=SPLIT, index=len(counts)).exists()
    for index, count in counts.items():
        path = shard_path(out, spec, split=SPLIT, index=index)
        problem = shard_problem(out, known[path.name]) if path.name in known else None
        record = _describe(path, known.get(path.name)) if problem is None else None
        if problem is not None:
            problems.append(f"{out / problem}")
        elif record is not None and record.num_examples == count:
            whole[index] = record
        too_many |= record is not None and record.num_examples > count
    if too_many:
        raise ValueError(
            f"{out} already holds more images than are asked for; choose another --out"
        )
    if problems:
        warnings.warn(f"made again: {'; '.join(problems)}", stacklevel=2)
    return whole


def _describe(path: Path, known: dict[str, Any] | None) -> ShardRecord | None:
    """The record of a shard, which is as it is known; None for one that has to be made."""
    if known is not None:
        return ShardRecord(**{name: known[name] for name in ShardRecord._fields})
    try:
        return describe_shard(path) if path.is_file() else None
    except ValueError as error:
        warnings.warn(f"made again: {error}", stacklevel=3)
        return None


def _known_records(out: Path) -> dict[str, dict[str, Any]]:
    """What the manifest, or else the note, says of shards, by the name of the file."""
    try:
        manifest = read_manifest(out)
        if manifest is None and (out / NOTE_FILE).is_file():
            manifest = read_sealed(out / NOTE_FILE)
        elif problems := description_problems(out, manifest or {}):
            warnings.warn(f"written again in {out}: {'; '.join(problems)}", stacklevel=3)
    except ValueError as error:
        warnings.warn(f"written again: {error}", stacklevel=3)
        manifest = None
    return {shard["file"]: shard for shard in (manifest or {"shards": []})["shards"]}
