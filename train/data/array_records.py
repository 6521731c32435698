"""Writes ArrayRecord files, and reads their records a few at a time."""

import contextlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from array_record.python import (
    array_record_module,  # pyright: ignore[reportAttributeAccessIssue] -- a compiled module
)

from train.storage.listed_files import broken_set

RECORDS_AT_ONCE = 256
"""Records in memory at once, which bounds the memory that reading a large file takes."""


def write_records(path: Path, records: Iterable[bytes]) -> None:
    """Writes an ArrayRecord file. Its readers reach any record without reading the neighbours.

    Args:
        path: the file.
        records: its records, in order.
    """
    with contextlib.closing(
        array_record_module.ArrayRecordWriter(str(path), "group_size:1")
    ) as writer:
        for record in records:
            writer.write(record)


def count_records(path: Path) -> int:
    """Counts the records of an ArrayRecord file without reading them.

    Args:
        path: the file.

    Raises:
        InputError: the file is missing, or so damaged that it has no count; the message names it.
    """
    with _opened(path) as reader:
        return reader.num_records()


def iter_records(path: Path, start: int = 0, stop: int | None = None) -> Iterator[list[bytes]]:
    """Reads records of an ArrayRecord file, a few at a time.

    Args:
        path: the file.
        start: first record.
        stop: end of the range; None: the end of the file.

    Yields:
        At most `RECORDS_AT_ONCE` records, in order.

    Raises:
        InputError: the file is missing or damaged; the message names it.
    """
    with _opened(path) as reader:
        end = reader.num_records() if stop is None else stop
        for first in range(start, end, RECORDS_AT_ONCE):
            yield reader.read(first, min(first + RECORDS_AT_ONCE, end))


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """Opens an ArrayRecord file, and turns the reader's errors of many kinds into InputError."""
    if not path.is_file():
        raise broken_set(f"a shard at {path}", "no file")
    try:
        with contextlib.closing(array_record_module.ArrayRecordReader(str(path))) as reader:
            yield reader
    except (RuntimeError, ValueError, IndexError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise broken_set("a whole shard", f"the damaged {path} ({reason})") from error
