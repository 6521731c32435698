"""Records of ArrayRecord files, read a few at a time, after a look at what they unpack to.

The files are Riegeli's: blocks of 64 KiB, each with a header, and between the headers one chunk of
compressed records after the other. In front of its data a chunk says how many bytes they unpack to,
and Riegeli's decoder holds it to that, so that a bomb is known before it is unpacked.
"""

import contextlib
import functools
import heapq
import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from array_record.python import (
    array_record_module,  # pyright: ignore[reportAttributeAccessIssue] -- a compiled module
)

from imgopt.errors import InputError
from train.runtime.memory import check_host_room

RECORDS_AT_ONCE = 256
"""Of a file: bounds what reading a large one holds in memory."""

BLOCK_BYTES, BLOCK_HEADER_BYTES = 2**16, 24
CHUNK_HEADER = struct.Struct("<5Q")
"""Hash of the header, size of the data, hash of the data, kind and records, unpacked size."""

KINDS = b"spr"
"""Of chunks: the file's signature, padding, and records one after the other. Transposed ones ("t")
unpack through buffers whose sizes no header tells; nobody writes images so."""

RECORD_BYTES = 8
"""What Riegeli keeps for each record beside its bytes."""


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
        stop: end of the range, at most the file's; None: the file's.

    Yields:
        Serialised examples in their order, at most `RECORDS_AT_ONCE`.

    Raises:
        InputError: the file is missing or damaged; the message names it.
    """
    with _opened(path) as reader:
        end = reader.num_records() if stop is None else stop
        for first in range(start, end, RECORDS_AT_ONCE):
            yield reader.read(first, min(first + RECORDS_AT_ONCE, end))


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """Gives a reader of an ArrayRecord file, whose errors are of many kinds."""
    if not path.is_file():
        raise InputError(f"expected a shard at {path}, got no file; make the set again")
    status = path.stat()
    _check_unpacked(path, status.st_size, status.st_mtime_ns)
    try:
        with contextlib.closing(array_record_module.ArrayRecordReader(str(path))) as reader:
            yield reader
    except (RuntimeError, ValueError, IndexError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(
            f"expected a whole shard, got the damaged {path} ({reason}); make the set again"
        ) from error


class _Chunk(NamedTuple):
    """What a chunk's header claims."""

    records: int
    unpacked_bytes: int


@functools.lru_cache(maxsize=1024)  # by size and time of change too: a file is looked at once
def _check_unpacked(path: Path, size: int, changed_ns: int) -> None:
    """Raises InputError for a file of which a few records may take more memory than there is."""
    del changed_ns
    unpacked = (
        chunk.unpacked_bytes + RECORD_BYTES * chunk.records for chunk in _chunks(path, size)
    )
    check_host_room(
        sum(heapq.nlargest(RECORDS_AT_ONCE, unpacked)),  # they lie in no more chunks than that
        of=f"reading {path}",
        remedy="if it is not an attack, write the set again in smaller groups of records",
    )


def _chunks(path: Path, size: int) -> Iterator[_Chunk]:
    """All chunks, as far as their headers lead from one to the next; the reader finds damage.

    Raises:
        InputError: a chunk is of another kind.
    """
    with path.open("rb") as file:
        place = 0  # among the bytes between the blocks' headers
        while place < size:
            header = _read_between(file.fileno(), place, CHUNK_HEADER.size)
            if len(header) < CHUNK_HEADER.size:
                return
            _, data_bytes, _, kind_and_records, unpacked_bytes = CHUNK_HEADER.unpack(header)
            records, kind = divmod(kind_and_records, 256)
            if kind not in KINDS:
                raise InputError(
                    f"expected records one after the other, got others (kind {kind}) in {path}, "
                    "which is damaged or transposed; make the set again"
                )
            yield _Chunk(records, unpacked_bytes)
            # A chunk takes at least a byte of the file for each record, for them to have positions.
            least = _between(_position(place) + records)
            place = max(place + CHUNK_HEADER.size + data_bytes, least)


def _position(place: int) -> int:
    """Where in the file a chunk begins; one at the start of a block, in front of its header."""
    block, offset = divmod(place, BLOCK_BYTES - BLOCK_HEADER_BYTES)
    return block * BLOCK_BYTES + (offset and BLOCK_HEADER_BYTES + offset)


def _between(position: int) -> int:
    """The place between the blocks' headers at a position in the file, or after it."""
    block, offset = divmod(position, BLOCK_BYTES)
    return block * (BLOCK_BYTES - BLOCK_HEADER_BYTES) + max(offset - BLOCK_HEADER_BYTES, 0)


def _read_between(descriptor: int, place: int, count: int) -> bytes:
    """Reads bytes between the blocks' headers, fewer than a block has; at the file's end less."""
    block, offset = divmod(place, BLOCK_BYTES - BLOCK_HEADER_BYTES)
    start = block * BLOCK_BYTES + BLOCK_HEADER_BYTES + offset
    found = os.pread(descriptor, count + BLOCK_HEADER_BYTES, start)
    left = (block + 1) * BLOCK_BYTES - start
    return (found[:left] + found[left + BLOCK_HEADER_BYTES :])[:count]
