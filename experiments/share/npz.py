"""Image sets as NumPy's .npz: one compressed file a split, with one plain array a column.

Arrays are written and read in pieces, so memory holds a part of the set. A column waits in a
temporary file until its split is complete, since an array's header says how long it is.
"""

import contextlib
import json
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from experiments.data.resumable_set import Columns
from experiments.share.columns import BASIC, ExportDescription, ForwardReader, Parts, ReadRows
from imgopt.errors import InputError
from train.data.spec import EXTRAS
from train.storage.listed_files import broken_set

EPOCH = (1980, 1, 1, 0, 0, 0)
"""Time of every file in the archive, the earliest that zip has: the same bytes every time."""

CLASS_NAMES = "class_names"
"""Array with the names of the classes."""

COPY_BYTES = 2**20


class _Column(NamedTuple):
    """A column of a split that is being written.

    Attributes:
        name: its name.
        file: temporary file with its values: raw numbers, or a line of JSON for each text.
        like: an array of no rows, of the column's type and shape; None for text.
    """

    name: str
    file: BinaryIO
    like: np.ndarray | None


def write_npz(directory: Path, of: ExportDescription, parts: Parts) -> None:
    """Writes an image set; `numpy.load` reads it without pickle.

    Args:
        directory: an empty directory.
        of: the set.
        parts: its images.
    """
    for split in of.splits:
        with tempfile.TemporaryDirectory(dir=directory) as scratch, contextlib.ExitStack() as stack:
            files = {
                name: stack.enter_context((Path(scratch) / name).open("w+b"))
                for name in (*BASIC, *of.extras)
            }
            columns = _spool(files, parts(split))
            with zipfile.ZipFile(directory / f"{split}.npz", "w") as archive:
                for column in columns:
                    _write_array(archive, column, of.count(split))
                with _member(archive, CLASS_NAMES) as file:
                    np.lib.format.write_array(file, np.array(of.class_names), allow_pickle=False)


def open_npz(directory: Path, of: ExportDescription) -> ReadRows:
    """Opens a set that `write_npz` wrote.

    Args:
        directory: where it lies.
        of: the set.
    """
    readers = {
        split: ForwardReader(lambda split=split: _begin(directory / f"{split}.npz", of, split),
                        most=of.part_images)
        for split in of.splits
    }  # fmt: skip
    return lambda split, start, stop: readers[split].read(start, stop)


def _spool(files: Mapping[str, BinaryIO], parts: Iterator[Columns]) -> list[_Column]:
    """Writes every column of a split into its temporary file."""
    likes: dict[str, np.ndarray] = {}
    for part in parts:
        for name, file in files.items():
            if _is_text(name):
                file.writelines(f"{json.dumps(text)}\n".encode() for text in part[name])
            else:
                array = np.ascontiguousarray(part[name])
                file.write(array.data)
                likes[name] = array[:0].copy()
    return [_Column(name, file, likes.get(name)) for name, file in files.items()]


def _is_text(name: str) -> bool:
    return name == "id" or (name in EXTRAS and EXTRAS[name].dtype is str)


def _write_array(archive: zipfile.ZipFile, column: _Column, count: int) -> None:
    column.file.seek(0)
    with _member(archive, column.name) as target:
        if column.like is None:
            _write_text(target, column.file, count)
            return
        _write_header(target, column.like.dtype, (count, *column.like.shape[1:]))
        while block := column.file.read(COPY_BYTES):
            target.write(block)


def _write_text(target: Any, lines: BinaryIO, count: int) -> None:
    """Writes texts as an array of the longest one's width."""
    width = max(len(json.loads(line)) for line in lines)
    lines.seek(0)
    kind = np.dtype(f"<U{max(1, width)}")
    _write_header(target, kind, (count,))
    for line in lines:
        target.write(np.array(json.loads(line), kind).tobytes())


def _write_header(target: Any, kind: np.dtype, shape: tuple[int, ...]) -> None:
    header = {
        "descr": np.lib.format.dtype_to_descr(kind),
        "fortran_order": False,
        "shape": shape,
    }
    np.lib.format.write_array_header_2_0(target, header)


def _member(archive: zipfile.ZipFile, name: str) -> Any:
    """Opens an array of the archive for writing."""
    info = zipfile.ZipInfo(f"{name}.npy", EPOCH)
    info.compress_type = zipfile.ZIP_DEFLATED
    return archive.open(info, "w", force_zip64=True)


def _begin(path: Path, of: ExportDescription, split: str) -> Callable[[int], Columns]:
    """Opens all arrays of a split at their first rows."""
    archive = zipfile.ZipFile(path)
    arrays = {
        name: _open_array(archive, name, path, of.count(split)) for name in (*BASIC, *of.extras)
    }

    def take(count: int) -> Columns:
        return {name: read(count) for name, read in arrays.items()}

    return take


def _open_array(archive: zipfile.ZipFile, name: str, path: Path, rows: int) -> Callable[[int], Any]:
    """Gives a function that reads so many rows of an array on."""
    try:
        file = archive.open(f"{name}.npy")
        version = np.lib.format.read_magic(file)
        if version != (2, 0):
            raise broken_set(f"an array {name} of version 2.0 in {path}", f"version {version}")
        shape, is_fortran, kind = np.lib.format.read_array_header_2_0(file)
    except InputError:
        raise
    except (KeyError, ValueError) as error:
        raise broken_set(f"an array {name} in {path}", error) from error
    if is_fortran or kind.hasobject or shape[:1] != (rows,):
        raise broken_set(f"an array {name} of {rows} rows in {path}", f"{kind} {shape}")
    size = kind.itemsize * int(np.prod(shape[1:]))

    def read(count: int) -> Any:
        content = file.read(count * size)
        if len(content) < count * size:
            raise InputError(f"expected {rows} rows of {name} in {path}, got fewer; copy it again")
        array = np.frombuffer(content, kind).reshape(count, *shape[1:])
        return array.tolist() if _is_text(name) else array

    return read
