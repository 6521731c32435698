"""All columns of an image set, read part by part, and what an exported set says of itself."""

import importlib
import io
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from jaxtyping import UInt8
from PIL import Image

from experiments.data.resumable_set import SHARD_IMAGES, Columns
from imgopt.errors import InputError, is_own_fault
from train.data import DIGITS
from train.data.image_data import ImageReader
from train.data.load import find_directory, list_splits, open_images, read_extras
from train.data.open_tfds import open_builder
from train.data.read_split import PILLOW_MODES
from train.data.spec import EXTRAS, ImageSetSpec
from train.data.verify import DESCRIPTION_FILES, MANIFEST_FILE, read_manifest
from train.storage.listed_files import broken_set, check_digests
from train.storage.runs import as_json
from train.storage.strict_json import read_sealed
from train.storage.typed_json import from_json

DESCRIPTION_FILE = "export.json"
"""Description of an exported set, with the digests of its files; `elicit data import` reads it."""

PART_BYTES = 2**25
"""Most pixels of a part, which is in memory as a whole, in bytes."""

NOT_PROVENANCE = ("shards", "files")
"""Fields of a manifest that say where a set lies, not how it was made."""

BASIC = ("id", "image", "label")
"""Features of every image set."""


@dataclass(frozen=True)
class ExportDescription:
    """Description of an exported set: its format, classes, columns, splits and origin.

    Attributes:
        format: one of the values of --to.
        source: last part of the path, or name, of the set that was exported.
        name: the set's name in TFDS.
        class_names: names of the classes, in the order of their labels.
        image_shape: height, width and channels of every image.
        extras: names of the features besides id, image and label.
        splits: names of the splits, in order.
        counts: number of images in each split.
        description: a sentence for readers.
        licence: licence of the originals, as the user gave it.
        made_by: how the set was made, from its manifest; empty if it has none.
    """

    format: str
    source: str
    name: str
    class_names: tuple[str, ...]
    image_shape: tuple[int, int, int]
    extras: tuple[str, ...]
    splits: tuple[str, ...]
    counts: tuple[int, ...]
    description: str
    licence: str
    made_by: dict

    @property
    def part_images(self) -> int:
        """Most images in a part."""
        return max(1, min(SHARD_IMAGES, PART_BYTES // math.prod(self.image_shape)))

    def count(self, split: str) -> int:
        """Number of images in a split."""
        return self.counts[self.splits.index(split)]

    def spec(self) -> ImageSetSpec:
        """The image set that an import makes.

        Raises:
            InputError: as `ImageSetSpec`.
        """
        return ImageSetSpec(
            name=self.name,
            class_names=self.class_names,
            image_shape=self.image_shape,
            extras=self.extras,
            splits=self.splits,
            description=self.description,
        )


ReadRows = Callable[[str, int, int], Columns]
"""Reads the images of a split from a start to a stop (excluded)."""

Parts = Callable[[str], Iterator[Columns]]
"""Gives the parts of a split in order, each of at most `part_images`."""


def iter_starts(of: ExportDescription, split: str) -> range:
    """Numbers of the first image of each part of a split."""
    return range(0, of.count(split), of.part_images)


def open_set(
    name_or_directory: str,
    *,
    data_dir: Path | None = None,
    splits: Sequence[str] = (),
    form: str,
    licence: str,
) -> tuple[ExportDescription, ReadRows]:
    """Opens an image set with all columns in `EXTRAS`; prints which other columns are left out.

    Args:
        name_or_directory: as in `train.data.load.load_images`.
        data_dir: as there.
        splits: splits to open; by default all.
        form: the description's `format`.
        licence: the description's `licence`.

    Raises:
        InputError: there is no such set or split, or it is damaged.
    """
    counts = list_splits(name_or_directory, data_dir=data_dir)
    readers = {
        split: open_images(name_or_directory, split, data_dir=data_dir)
        for split in (splits or counts)
    }
    builder, made_by = None, {}
    if name_or_directory != DIGITS:
        directory = find_directory(name_or_directory, data_dir=data_dir)
        builder = open_builder(directory)
        made_by = set_provenance(directory)
    first = next(iter(readers.values()))
    extras = () if builder is None else _extras(builder, len(first.class_names))
    told = ExportDescription(
        format=form,
        source=Path(name_or_directory).name,
        name=DIGITS if builder is None else builder.info.name,
        class_names=first.class_names,
        image_shape=first.image_shape,
        extras=extras,
        splits=tuple(readers),
        counts=tuple(map(len, readers.values())),
        description=DIGITS_WORDS if builder is None else builder.info.description.strip(),
        licence=licence,
        made_by=made_by,
    )
    told.spec()  # raises InputError for names that no import could read
    return told, lambda split, start, stop: _read(builder, readers, extras, split, (start, stop))


DIGITS_WORDS = "Handwritten digits of scikit-learn, enlarged to 32 x 32 pixels."


def set_provenance(directory: Path) -> dict[str, Any]:
    """How a set was made: its manifest, without the list of its files.

    Raises:
        InputError: the manifest is damaged.
    """
    manifest = read_manifest(directory) or {}
    return without_paths(
        {name: value for name, value in manifest.items() if name not in NOT_PROVENANCE}
    )


def without_paths(value: Any) -> Any:
    """JSON whose absolute paths are cut to their last part: where files lay stays private.

    Args:
        value: JSON's types.
    """
    if isinstance(value, dict):
        return {name: without_paths(item) for name, item in value.items()}
    if isinstance(value, list):
        return [without_paths(item) for item in value]
    is_path = isinstance(value, str) and Path(value).is_absolute()
    return Path(value).name if is_path else value


def _extras(builder: Any, num_classes: int) -> tuple[str, ...]:
    """Names of the set's features that `EXTRAS` has with the same type; prints the rest."""
    features = builder.info.features
    known = tuple(name for name in EXTRAS if _is_extra(name, features, num_classes))
    others = sorted({*features} - {*BASIC, *known})
    if others:
        print(f"left out, since an image set has no such columns: {', '.join(others)}")
    return known


def _is_extra(name: str, features: Any, num_classes: int) -> bool:
    if name not in features:
        return False
    wanted, found = EXTRAS[name], features[name]
    if wanted.dtype is str or isinstance(found, tfds.features.Text):
        return wanted.dtype is str and isinstance(found, tfds.features.Text)
    shape = (num_classes,) if wanted.per_class else ()
    return found.shape == shape and found.np_dtype == wanted.dtype


def _read(
    builder: Any,
    readers: dict[str, ImageReader],
    extras: tuple[str, ...],
    split: str,
    rows: tuple[int, int],
) -> Columns:
    """Reads some images of a split; TFDS reads the columns that `ImageReader` leaves out."""
    data = readers[split].read(*rows)
    columns: Columns = {"id": list(data.ids), "image": data.images, "label": data.labels}
    if extras:
        found = read_extras(Path(builder.data_dir), extras, split=split, rows=range(*rows))
        columns |= {name: _as_column(name, values) for name, values in found.items()}
    return columns


def _as_column(name: str, values: np.ndarray) -> Any:
    if EXTRAS[name].dtype is str:
        return [value.decode() for value in values]
    return values.astype(EXTRAS[name].dtype)


def is_export(directory: Path) -> bool:
    """Whether a directory was written by `elicit export` of an image set."""
    return (directory / DESCRIPTION_FILE).is_file()


def is_set(directory: Path) -> bool:
    """Whether a directory seems to hold an image set, perhaps a damaged one."""
    return any((directory / name).is_file() for name in (*DESCRIPTION_FILES, MANIFEST_FILE))


def read_description(directory: Path) -> tuple[ExportDescription, dict[str, str]]:
    """Reads what an exported set says of itself, which anyone may have written.

    Args:
        directory: where `elicit export` wrote it.

    Returns:
        The description, and the digests of the set's files.

    Raises:
        InputError: the description is damaged, or names a file outside the directory.
    """
    path = directory / DESCRIPTION_FILE
    fields = read_sealed(path)
    files = fields.pop("files", None) if isinstance(fields, dict) else None
    check_digests(path, files)
    try:
        told = from_json(ExportDescription, fields)
        told.spec()
        if len(told.counts) != len(told.splits) or min(told.counts, default=0) < 1:
            raise InputError(f"expected a number of images for each split, got {told.counts}")
    except InputError as error:
        raise InputError(f"{path} does not describe an exported set: {error}") from error
    return told, files or {}


def describe(of: ExportDescription, files: dict[str, str]) -> dict[str, Any]:
    """The description as JSON types, with the digests of the set's files."""
    return {**as_json(of), "files": files}


class ForwardReader:
    """Reads ranges of rows from a file that can only be read from the start.

    A range behind the last one costs nothing more than its rows; one before it starts again.
    """

    def __init__(self, begin: Callable[[], Callable[[int], Columns]], *, most: int) -> None:
        """Opens nothing yet.

        Args:
            begin: opens the first row, and gives a function that reads so many rows on.
            most: most rows that are read at once.
        """
        self._begin, self._most = begin, most
        self._next: Callable[[int], Columns] | None = None
        self._place = 0

    def read(self, start: int, stop: int) -> Columns:
        """Reads the rows from `start` to `stop` (excluded)."""
        if self._next is None or start < self._place:
            self._next, self._place = self._begin(), 0
        while self._place < start:
            count = min(self._most, start - self._place)
            self._next(count)
            self._place += count
        self._place = stop
        return self._next(stop - start)


def import_extra(name: str) -> Any:
    """Imports a library of the extra `share`.

    Args:
        name: the module.

    Raises:
        InputError: it is not installed; the message says how to install it.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise InputError(
            f"expected the package {name.split('.')[0]} for this export, got none; "
            "pip install 'elicit-jax[share]'"
        ) from error


def decode_png(
    content: bytes, shape: tuple[int, int, int], path: Path
) -> UInt8[np.ndarray, "h w c"]:
    """Decodes a PNG, which anyone may have written.

    Args:
        content: its bytes.
        shape: height, width and channels that it must have.
        path: where it lies, for messages.

    Raises:
        InputError: it is no PNG, or has another shape.
    """
    height, width, channels = shape
    try:
        with Image.open(io.BytesIO(content), formats=("PNG",)) as image:
            found = (image.height, image.width, image.mode)
            if found == (height, width, PILLOW_MODES[channels]):
                return np.asarray(image).reshape(shape)
    except Exception as error:  # damaged bytes raise errors of many kinds in Pillow
        if is_own_fault(error):
            raise
        raise broken_set(f"a PNG in {path}", error) from error
    raise broken_set(f"images of shape {shape} in {path}", found)
