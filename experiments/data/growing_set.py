"""A new image set that is made shard by shard, and goes on where it stopped.

Until it is complete it lies beside its place: the set NAME in `.NAME.partial/`, with the
configuration and, after every shard, a note of where the next one begins.
"""

import contextlib
import shutil
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from experiments.data.columns import SHARD_IMAGES, Columns, count_rows, join_columns, split_columns
from imgopt.errors import InputError
from train.data.spec import ImageSetSpec, ShardRecord
from train.data.verify import SHARDS, shard_problem
from train.data.write import write_shard
from train.storage.runs import open_run
from train.storage.strict_json import read_sealed, write_sealed

SET = "set"
NOTE_FILE = "progress.json"


class Part(NamedTuple):
    """Some of a set's images, which come in parts of any size.

    Attributes:
        before: all that is needed to make this part and those after it again, as JSON's own types.
        columns: its images' features, perhaps of no image.
        after: the next part's `before`.
        is_last: whether no part follows.
    """

    before: Any
    columns: Columns
    after: Any
    is_last: bool


def discard_work(out: Path) -> None:
    """Removes what a killed command has left beside a set that is complete.

    Args:
        out: the set.
    """
    shutil.rmtree(_work(out), ignore_errors=True)


@contextlib.contextmanager
def growing_directory(out: Path, identity: dict[str, Any]) -> Iterator[Path]:
    """Gives the directory of an unfinished set, which takes its own name at the end.

    After an interruption it is kept, for the same command to go on with; after an error that a
    repetition would run into again nothing is left.

    Args:
        out: the new set, which does not exist; parents are made where they lack.
        identity: what the bytes of the set depend on.

    Yields:
        The directory for the set's files.

    Raises:
        InputError: an unfinished set of another configuration lies there, or a parent is a file.
    """
    work, made = _work(out), [parent for parent in out.parents if not parent.exists()]
    try:
        open_run(work, identity)
        (work / SET).mkdir(exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        raise InputError(
            f"expected a directory to make {out.name} in, got {out.parent}, which is or passes "
            "through a file; choose another place"
        ) from error
    try:
        yield work / SET
    except (ValueError, FloatingPointError):
        shutil.rmtree(work)
        for parent in made:
            with contextlib.suppress(OSError):  # another process may have put something there
                parent.rmdir()
        raise
    (work / SET).rename(out)
    discard_work(out)


def write_parts(
    directory: Path,
    spec: ImageSetSpec,
    parts_from: Callable[[Any], Iterator[Part]],
    *,
    split: str,
) -> tuple[list[ShardRecord], Any]:
    """Writes images as shards, each as soon as it is complete.

    Args:
        directory: as `growing_directory` gives it; whole shards that lie there are kept.
        spec: the set.
        parts_from: gives the parts from a `Part.before` on, from the first one for None; always the
            same ones, and at least one.
        split: of the set.

    Returns:
        The shards' records, and the last part's `after`.

    Warns:
        UserWarning: shards or the note of them are damaged; each file is named.
    """
    shards, before, used = _read_note(directory)
    rest: Columns = {}
    after = before
    for part in parts_from(before):
        _, fresh = split_columns(part.columns, used)
        rest, after, used = join_columns(rest, fresh), part.after, 0
        while count_rows(rest) >= (1 if part.is_last else SHARD_IMAGES):
            shard, rest = split_columns(rest, SHARD_IMAGES)
            shards.append(
                write_shard(directory, spec, split=split, index=len(shards), columns=shard)
            )
            # Whatever is left is of this part: of the one before it was less than a shard.
            used_here = count_rows(part.columns) - count_rows(rest)
            write_sealed(_note_path(directory), _note(shards, part.before, used_here))
    return shards, after


def _read_note(directory: Path) -> tuple[list[ShardRecord], Any, int]:
    """The shards that are whole, the part in which they end, and how much of it lies in them.

    Where a shard or the note itself is damaged, all of it is made again.
    """
    path = _note_path(directory)
    note = _note([], None, 0)
    try:
        note = read_sealed(path) if path.is_file() else note
        shards = [ShardRecord(**record) for record in note["shards"]]
        problems = [shard_problem(directory, shard._asdict()) for shard in shards]
        before, used = note["before"], note["used"]
    except (ValueError, KeyError, TypeError) as error:
        shards, before, used, problems = [], None, 0, [f"{path}: {error}"]
    lost = [problem for problem in problems if problem is not None]
    # A kill leaves one shard that is not noted yet.
    if not lost and len(list(directory.glob(SHARDS))) > len(shards) + 1:
        lost = [f"{path}: missing"]
    if lost:
        warnings.warn(
            f"{directory} is damaged and is made again from the beginning: {'; '.join(lost)}",
            stacklevel=2,
        )
        return [], None, 0
    return shards, before, used


def _note(shards: Sequence[ShardRecord], before: Any, used: int) -> dict[str, Any]:
    return {"shards": [shard._asdict() for shard in shards], "before": before, "used": used}


def _note_path(directory: Path) -> Path:
    return directory.with_name(NOTE_FILE)


def _work(out: Path) -> Path:
    return out.with_name(f".{out.name}.partial")
