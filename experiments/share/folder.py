"""Image sets as PNG files, in one folder a split and class, with a table of the other columns.

`torchvision.datasets.ImageFolder` reads the folder of a split, and `datasets` the whole folder.
"""

import csv
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from experiments.data.resumable_set import Columns
from experiments.share.columns import (
    ExportDescription,
    ForwardReader,
    Parts,
    ReadRows,
    decode_png,
)
from train.data.image_data import image_digests
from train.data.spec import EXTRAS
from train.data.write import encode_png
from train.storage.listed_files import broken_set, check_inside

TABLE = "metadata.csv"
"""Table of a split: the path of each image below the split's folder, and all other columns."""

FIRST_COLUMNS = ("file_name", "label", "class", "id")
DIGEST = "pixels_sha256"
"""Column with the digest of an image's grey levels."""

FIELD_BYTES = 2**24
"""Longest cell of a table: a distribution over a million classes."""


def class_folders(names: tuple[str, ...]) -> tuple[str, ...]:
    """Names of the classes' folders: the class names, changed where a file system needs it."""
    plain = [re.sub(r"[^\w .+-]", "_", name).rstrip(" .") for name in names]
    lower = [name.lower() for name in plain]
    return tuple(
        name if name and name[0] not in ".- " and lower.count(name.lower()) == 1
        else f"{label:03d}_{name}".rstrip("_ .")
        for label, name in enumerate(plain)
    )  # fmt: skip


def write_folder(directory: Path, of: ExportDescription, parts: Parts) -> None:
    """Writes an image set.

    Args:
        directory: an empty directory.
        of: the set.
        parts: its images.
    """
    for split in of.splits:
        place = directory / split
        for name in class_folders(of.class_names):
            (place / name).mkdir(parents=True)
        _write_split(place, of, parts(split))


def _write_split(place: Path, of: ExportDescription, parts: Iterator[Columns]) -> None:
    folders, number = class_folders(of.class_names), 0
    with (place / TABLE).open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file, quoting=csv.QUOTE_NONNUMERIC, lineterminator="\n")
        table.writerow([*FIRST_COLUMNS, *of.extras, DIGEST])
        for part in parts:
            digests = image_digests(part["image"])
            for row, image in enumerate(part["image"]):
                label = int(part["label"][row])
                name = f"{folders[label]}/{number:06d}.png"
                (place / name).write_bytes(encode_png(image))
                extras = [_cell(part[extra][row]) for extra in of.extras]
                first = [name, label, of.class_names[label], part["id"][row]]
                table.writerow([*first, *extras, digests[row]])
                number += 1


def _cell(value: Any) -> Any:
    """A number, a text, or a distribution as JSON; numbers come back with all their bits."""
    if isinstance(value, str):
        return value
    return json.dumps(value.tolist()) if np.ndim(value) else value.item()


def open_folder(directory: Path, of: ExportDescription) -> ReadRows:
    """Opens a set that `write_folder` wrote.

    Args:
        directory: where it lies.
        of: the set.
    """
    readers = {
        split: ForwardReader(lambda split=split: _begin(directory / split, of), most=of.part_images)
        for split in of.splits
    }
    return lambda split, start, stop: readers[split].read(start, stop)


def _iter_rows(table: Path) -> Iterator[dict[str, str]]:
    csv.field_size_limit(FIELD_BYTES)
    with table.open(newline="", encoding="utf-8") as file:
        yield from csv.DictReader(file)


def _begin(place: Path, of: ExportDescription) -> Callable[[int], Columns]:
    """Opens a split's table at its first row."""
    rows = _iter_rows(place / TABLE)

    def take(count: int) -> Columns:
        found = [row for _, row in zip(range(count), rows, strict=False)]
        if len(found) != count:
            raise broken_set(f"{of.count(place.name)} rows in {place / TABLE}", "fewer")
        return _columns(place, of, found)

    return take


def _columns(place: Path, of: ExportDescription, rows: list[dict[str, str]]) -> Columns:
    try:
        names, digests, ids = ([row[key] for row in rows] for key in ("file_name", DIGEST, "id"))
        labels = np.array([int(row["label"]) for row in rows], np.int32)
        extras = {name: _extra(name, [row[name] for row in rows]) for name in of.extras}
    except (LookupError, TypeError, ValueError) as error:
        columns = ", ".join(("id", "file_name", "label", *of.extras))
        raise broken_set(f"columns {columns} in {place / TABLE}", error) from error
    images = np.stack([_read_image(place / name, place, of) for name in names])
    for name, wanted, digest in zip(names, digests, image_digests(images), strict=True):
        if wanted != digest:
            raise broken_set(f"the image of {TABLE}", f"another in {place / name}")
    return {"id": ids, "image": images, "label": labels, **extras}


def _read_image(path: Path, place: Path, of: ExportDescription) -> np.ndarray:
    if ".." in path.parts or not path.is_relative_to(place):
        raise broken_set(f"a file below {place}", path)
    check_inside(place, path)
    if not path.is_file():
        raise broken_set(f"the image {path}", "no such file")
    return decode_png(path.read_bytes(), of.image_shape, path)


def _extra(name: str, cells: list[str]) -> Any:
    extra = EXTRAS[name]
    if extra.dtype is str:
        return cells
    return np.array([json.loads(cell) for cell in cells], extra.dtype)
