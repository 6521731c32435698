"""The shards of a synthesised set that are whole, and the notes that say so until it is committed.

ArrayRecord's own checks do not cover every byte, so a shard is compared with its digest: in a note
beside it, written after it, and once the set is committed in the manifest. The note also says which
originals the shard was made from, and which of them left no image that is finite; only such a note
stays when the set is committed, for the day that the set grows.
"""

import warnings
from pathlib import Path
from typing import Any, NamedTuple

from imgopt.errors import InputError
from train.data.spec import ImageSetSpec, ShardRecord, shard_path
from train.data.verify import description_problems, read_manifest, shard_problem
from train.data.write import describe_shard
from train.storage.files import partial_name
from train.storage.strict_json import read_sealed, write_sealed

SPLIT = "train"
"""Of the new set: what it holds is meant for training, whatever it was made from."""


class Shard(NamedTuple):
    """A shard on disk.

    Attributes:
        record: of its file.
        rows: numbers of the originals in their split.
        left_out: ids of those of which it holds no image.
    """

    record: ShardRecord
    rows: range
    left_out: tuple[str, ...] = ()


def note_shard(out: Path, shard: Shard) -> None:
    """Notes that a shard is whole.

    Args:
        out: the set's directory.
        shard: in it.
    """
    note = {
        "shard": shard.record._asdict(),
        "start": shard.rows.start,
        "stop": shard.rows.stop,
        "left_out": list(shard.left_out),
    }
    write_sealed(_note(out / shard.record.file), note)


def forget_note(out: Path, shard: Shard) -> None:
    """Removes the note of a shard of a committed set, unless it says what the manifest does not."""
    note = _note(out / shard.record.file)
    partial_name(note).unlink(missing_ok=True)
    if not shard.left_out:
        note.unlink(missing_ok=True)


def whole_shards(out: Path, spec: ImageSetSpec, ranges: dict[int, range]) -> dict[int, Shard]:
    """The shards on disk that need not be made again.

    Not whole are those that differ from their digest, those without one that cannot be read, and
    those that are too short because the set has grown.

    Args:
        out: the set's directory.
        spec: the set.
        ranges: the originals of each shard, by its index.

    Warns:
        UserWarning: a shard that was whole once, a file of the metadata or a note is damaged.

    Raises:
        InputError: the set on disk holds more images than are asked for.
    """
    committed = _committed_records(out)
    found = {
        index: _find(shard_path(out, spec, split=SPLIT, index=index), rows, committed)
        for index, rows in ranges.items()
    }
    there = {index: shard for index, shard in found.items() if shard is not None}
    too_many = any(shard.rows.stop > ranges[index].stop for index, shard in there.items())
    if too_many or shard_path(out, spec, split=SPLIT, index=len(ranges)).exists():
        raise InputError(
            f"{out} already holds more images than are asked for; choose another --out"
        )
    return {index: shard for index, shard in there.items() if shard.rows == ranges[index]}


def _find(path: Path, rows: range, committed: dict[str, ShardRecord]) -> Shard | None:
    """A shard as it is known, or else as it can be read; None for one that has to be made."""
    known = _read_note(path)
    if known is None and path.name in committed:
        known = _as_read(committed[path.name], rows)
    if known is not None:
        problem = shard_problem(path.parent, known.record._asdict())
        if problem is not None:
            warnings.warn(f"made again: {path.parent / problem}", stacklevel=4)
        return known if problem is None else None
    try:
        return _as_read(describe_shard(path), rows) if path.is_file() else None
    except ValueError as error:
        warnings.warn(f"made again: {error}", stacklevel=4)
        return None


def _as_read(record: ShardRecord, rows: range) -> Shard:
    """Without a note, a shard has one original for each image."""
    return Shard(record, range(rows.start, rows.start + record.num_examples))


def _committed_records(out: Path) -> dict[str, ShardRecord]:
    """What the manifest says of shards, by the name of the file."""
    try:
        manifest = read_manifest(out)
        if problems := description_problems(out, manifest or {}):
            warnings.warn(f"written again in {out}: {'; '.join(problems)}", stacklevel=3)
    except ValueError as error:
        warnings.warn(f"written again: {error}", stacklevel=3)
        manifest = None
    shards = (manifest or {"shards": []})["shards"]
    return {shard["file"]: _record(shard) for shard in shards}


def _record(fields: dict[str, Any]) -> ShardRecord:
    return ShardRecord(**{name: fields[name] for name in ShardRecord._fields})


def _read_note(path: Path) -> Shard | None:
    """What the note beside a shard says of it; None where there is none."""
    try:
        note = read_sealed(_note(path))
        rows = range(note["start"], note["stop"])
        return Shard(_record(note["shard"]), rows, tuple(map(str, note["left_out"])))
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError) as error:
        warnings.warn(f"written again: {error}", stacklevel=5)
        return None


def _note(shard: Path) -> Path:
    return shard.with_name(f"{shard.name.replace('.array_record', '')}.note.json")
