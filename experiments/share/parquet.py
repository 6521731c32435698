"""Image sets as Parquet files in the layout of Hugging Face, which `datasets` reads.

An image is the struct of bytes (a PNG) and path that the feature Image of `datasets` is made of. A
row group is a part of the set, so writing and reading hold one part in memory.
"""

import bisect
import itertools
import json
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from experiments.data.resumable_set import Columns
from experiments.share.columns import (
    ExportDescription,
    Parts,
    ReadRows,
    decode_png,
    import_extra,
)
from train.data.spec import EXTRAS
from train.data.write import encode_png
from train.storage.listed_files import broken_set

FILE_BYTES = 2**28
"""Most pixels of the images in a file, in bytes; as PNG they take less."""

FOLDER = "data"


def file_names(of: ExportDescription, split: str) -> list[str]:
    """Names of a split's files below the set's directory."""
    count = math.ceil(of.count(split) / _file_images(of))
    return [f"{FOLDER}/{split}-{index:05d}-of-{count:05d}.parquet" for index in range(count)]


def _file_images(of: ExportDescription) -> int:
    """Images in a file: a whole number of parts."""
    part = of.part_images
    return part * max(1, FILE_BYTES // (part * math.prod(of.image_shape)))


def write_parquet(directory: Path, of: ExportDescription, parts: Parts) -> dict[str, int]:
    """Writes an image set.

    Args:
        directory: an empty directory.
        of: the set.
        parts: its images.

    Returns:
        The bytes in memory of each split's table, as `datasets` counts them.
    """
    (directory / FOLDER).mkdir()
    return {split: _write_split(directory, of, split, parts(split)) for split in of.splits}


def _write_split(
    directory: Path, of: ExportDescription, split: str, parts: Iterator[Columns]
) -> int:
    parquet = import_extra("pyarrow.parquet")
    schema = _schema(of)
    number = size = 0
    for name in file_names(of, split):
        with parquet.ParquetWriter(directory / name, schema, write_page_index=True) as writer:
            for part in itertools.islice(parts, _file_images(of) // of.part_images):
                table = _table(of, schema, part, number)
                writer.write_table(table, row_group_size=of.part_images)
                number, size = number + table.num_rows, size + table.nbytes
    return size


def _schema(of: ExportDescription) -> Any:
    """Types of the columns, with the description of the features that `datasets` reads."""
    arrow = import_extra("pyarrow")
    fields: dict[str, Any] = {
        "id": arrow.string(),
        "image": arrow.struct({"bytes": arrow.binary(), "path": arrow.string()}),
        "label": arrow.int64(),
    }
    fields |= {name: _extra_type(arrow, name) for name in of.extras}
    told = json.dumps({"info": {"features": features(of)}}, sort_keys=True)
    return arrow.schema(fields, metadata={"huggingface": told})


def _extra_type(arrow: Any, name: str) -> Any:
    extra = EXTRAS[name]
    if extra.dtype is str:
        return arrow.string()
    kind = arrow.from_numpy_dtype(extra.dtype)
    return arrow.list_(kind) if extra.per_class else kind


def features(of: ExportDescription) -> dict[str, Any]:
    """The columns as `datasets` describes them in JSON."""
    return {
        "id": {"dtype": "string", "_type": "Value"},
        "image": {"_type": "Image"},
        "label": {"names": list(of.class_names), "_type": "ClassLabel"},
        **{name: _extra_feature(name) for name in of.extras},
    }


def _extra_feature(name: str) -> dict[str, Any]:
    value = {"dtype": extra_dtype(name), "_type": "Value"}
    return {"feature": value, "_type": "Sequence"} if EXTRAS[name].per_class else value


def extra_dtype(name: str) -> str:
    """Type of a column's numbers or text, in the words of `datasets`."""
    kind = EXTRAS[name].dtype
    return "string" if kind is str else np.dtype(kind).name


def _table(of: ExportDescription, schema: Any, part: Columns, number: int) -> Any:
    """Gives a part as a table; `number` is the number of its first image in the split."""
    arrow = import_extra("pyarrow")
    pngs = [
        {"bytes": encode_png(image), "path": f"{number + row:06d}.png"}
        for row, image in enumerate(part["image"])
    ]
    columns = {
        **part,
        "image": pngs,
        **{name: list(part[name]) for name in of.extras if EXTRAS[name].per_class},
    }
    return arrow.table(
        [arrow.array(columns[field.name], field.type) for field in schema], schema=schema
    )


class _Group(NamedTuple):
    """A row group: its file, its place in the file, and the number of its first image."""

    path: Path
    place: int
    start: int


def open_parquet(directory: Path, of: ExportDescription) -> ReadRows:
    """Opens a set that `write_parquet` wrote.

    Args:
        directory: where it lies.
        of: the set.

    Raises:
        InputError: a file is no Parquet, or has other columns or another number of rows.
    """
    groups = {split: _groups(directory, of, split) for split in of.splits}
    return lambda split, start, stop: _read(of, groups[split], start, stop)


def _groups(directory: Path, of: ExportDescription, split: str) -> list[_Group]:
    parquet, arrow = import_extra("pyarrow.parquet"), import_extra("pyarrow")
    groups, start = [], 0
    for name in file_names(of, split):
        path = directory / name
        try:
            metadata = parquet.read_metadata(path)
        except arrow.ArrowException as error:
            raise broken_set(f"a Parquet file {path}", error) from error
        if metadata.schema.to_arrow_schema().names != _schema(of).names:
            raise broken_set(f"the columns {_schema(of).names} in {path}", "others")
        for index in range(metadata.num_row_groups):
            groups.append(_Group(path, index, start))
            start += metadata.row_group(index).num_rows
    if start != of.count(split):
        raise broken_set(f"{of.count(split)} images in {split} of {directory}", start)
    return groups


def _read(of: ExportDescription, groups: Sequence[_Group], start: int, stop: int) -> Columns:
    """Reads some images of a split, from the row groups that hold them."""
    parquet, arrow = import_extra("pyarrow.parquet"), import_extra("pyarrow")
    starts = [group.start for group in groups]
    first = bisect.bisect_right(starts, start) - 1
    last = bisect.bisect_left(starts, stop)
    tables = []
    for group in groups[first:last]:
        with parquet.ParquetFile(group.path) as file:
            tables.append(file.read_row_group(group.place))
    table = arrow.concat_tables(tables).slice(start - starts[first], stop - start)
    return {name: _column(of, name, table[name], groups[first].path) for name in table.column_names}


def _column(of: ExportDescription, name: str, column: Any, path: Path) -> Any:
    values = column.to_pylist()
    if name == "image":
        return np.stack([decode_png(value["bytes"], of.image_shape, path) for value in values])
    if name == "label":
        return np.array(values, np.int32)
    if name == "id" or EXTRAS[name].dtype is str:
        return values
    return np.array(values, EXTRAS[name].dtype)
