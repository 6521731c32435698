"""Image sets on the page: originals beside the images made from them, filtered and sorted."""

import contextlib
import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from experiments.explore.pictures import png_text
from experiments.explore.subject import Subject
from imgopt.errors import InputError
from train.data.image_data import ImageReader, read_rows
from train.data.load import find_directory, open_images, read_extras
from train.data.open_tfds import INFO_FILE, open_builder
from train.data.spec import EXTRAS

PAGE_IMAGES = 24


@dataclass(frozen=True)
class Query:
    """Which images of a set to show, and in which order."""

    page: int = 0
    """Number of the page, from 0."""
    label: int | None = None
    """Only images of this class."""
    verdict: Literal["all", "tp", "fp"] = "all"
    """Only true or only false positives."""
    least_kl: float | None = None
    """Only images of at least this KL."""
    sort: str = "number"
    """Column to sort by."""
    descending: bool = False
    """Largest first."""


class _Opened(NamedTuple):
    """A set in memory, but for its images.

    Attributes:
        reader: reads the images.
        columns: numbers of each image by the name of the column, one row an image.
        distributions: target and output of each image, if the set has them.
        source_ids: ids of the originals; None if the set has none.
        ids: ids of the images.
    """

    reader: ImageReader
    columns: dict[str, np.ndarray]
    distributions: dict[str, np.ndarray]
    source_ids: tuple[str, ...] | None
    ids: tuple[str, ...]


@dataclass(frozen=True)
class ShownSet:
    """An image set in a directory; it is read again when it has changed on disk.

    Attributes:
        directory: the set's directory.
        split: split that is shown.
    """

    directory: Path
    split: str

    def describe(self) -> dict[str, Any]:
        """Name, split, class names, number of images and columns, as JSON for the page."""
        opened = self._opened()
        return {
            "name": str(self.directory),
            "split": self.split,
            "class_names": opened.reader.class_names,
            "images": len(opened.reader),
            "columns": list(opened.columns),
        }

    def page(self, query: Query, subject: Subject | None) -> dict[str, Any]:
        """Images of a page, and how many there are in all.

        Args:
            query: which images, and in which order.
            subject: its data set may hold the originals; None while it is not ready.

        Raises:
            InputError: a column or class is unknown, or the set is damaged or gone.
        """
        opened = self._opened()
        rows = _chosen(opened, query)
        shown = rows[query.page * PAGE_IMAGES : (query.page + 1) * PAGE_IMAGES]
        return {
            "total": len(rows),
            "pages": max(1, -(-len(rows) // PAGE_IMAGES)),
            "images": [self._summary(opened, int(row), subject) for row in shown],
        }

    def details(self, row: int, subject: Subject | None) -> dict[str, Any]:
        """All numbers of an image.

        Raises:
            InputError: there is no such image, or the set is damaged or gone.
        """
        opened = self._opened()
        if not 0 <= row < len(opened.reader):
            raise InputError(f"image must be in 0 to {len(opened.reader) - 1}, got {row}")
        per_class = {
            name: [float(f"{value:.6g}") for value in values[row]]
            for name, values in opened.distributions.items()
        }
        return self._summary(opened, row, subject) | per_class

    def _summary(self, opened: _Opened, row: int, subject: Subject | None) -> dict[str, Any]:
        with self._gone_if_missing():
            pixels = read_rows(opened.reader, np.array([row])).images[0]
        original = _original(opened, row, subject)
        return {
            "row": row,
            "id": opened.ids[row],
            "image": png_text(pixels),
            "original": None if original is None else png_text(original),
            "source_id": None if opened.source_ids is None else opened.source_ids[row],
            "numbers": {name: _number(values[row]) for name, values in opened.columns.items()},
        }

    def _opened(self) -> _Opened:
        with self._gone_if_missing():
            changed = (self.directory / INFO_FILE).stat().st_mtime_ns
            return _open(self.directory, self.split, changed)

    @contextlib.contextmanager
    def _gone_if_missing(self) -> Iterator[None]:
        """Says that the set is gone, whatever error its absence causes deep inside."""
        try:
            yield
        except Exception as error:
            if not (self.directory / INFO_FILE).is_file():
                message = f"the image set {self.directory} is gone; start elicit explore again"
                raise InputError(message) from error
            raise


def open_sets(directories: Sequence[Path]) -> tuple[ShownSet, ...]:
    """Finds image sets, and reads all of them but the images.

    Args:
        directories: the sets' directories.

    Raises:
        InputError: a directory is no image set, or is damaged.
    """
    found = []
    for directory in directories:
        place = find_directory(directory)
        split = next(iter(open_builder(place).info.splits))
        shown = ShownSet(place, split)
        shown.describe()
        found.append(shown)
    return tuple(found)


@functools.lru_cache(maxsize=8)
def _open(directory: Path, split: str, changed: int) -> _Opened:
    """Reads a set; `changed` is when its description was written, so changes are read."""
    del changed
    reader = open_images(directory, split)
    features = open_builder(directory).info.features
    names = [name for name in EXTRAS if name in features]
    of_one = [n for n in names if not EXTRAS[n].per_class and EXTRAS[n].dtype is not str]
    read = read_extras(directory, names, split=split) if names else {}
    columns = {"number": np.arange(len(reader)), "label": reader.labels}
    distributions = {name: read[name] for name in names if EXTRAS[name].per_class}
    if "output" in distributions and "predicted" not in of_one:
        columns["predicted"] = distributions["output"].argmax(1)
    columns |= {name: read[name] for name in of_one}
    sources = read.get("source_id")
    texts = None if sources is None else tuple(map(_text, sources))
    return _Opened(reader, columns, distributions, texts, tuple(reader.iter_ids()))


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def _chosen(opened: _Opened, query: Query) -> np.ndarray:
    """Numbers of the images that a query asks for, in its order."""
    columns, num_classes = opened.columns, len(opened.reader.class_names)
    if query.sort not in columns:
        raise InputError(f"sort must be one of {', '.join(columns)}, got {query.sort!r:.40}")
    keep = np.ones(len(opened.reader), bool)
    if query.label is not None:
        if not 0 <= query.label < num_classes:
            raise InputError(f"class must be in 0 to {num_classes - 1}, got {query.label}")
        keep &= columns["label"] == query.label
    if query.verdict != "all":
        if "predicted" not in columns:
            raise InputError("this set holds no predictions, so nothing is known of TP and FP")
        keep &= (columns["predicted"] == columns["label"]) == (query.verdict == "tp")
    if query.least_kl is not None:
        if "kl" not in columns:
            raise InputError("this set holds no KL")
        keep &= columns["kl"] >= query.least_kl
    rows = np.flatnonzero(keep)
    values = columns[query.sort][rows].astype(np.float64)
    return rows[np.argsort(-values if query.descending else values, kind="stable")]


def _original(opened: _Opened, row: int, subject: Subject | None) -> np.ndarray | None:
    """The image that one was made from, if the subject's data set holds it."""
    if opened.source_ids is None or subject is None:
        return None
    number = subject.row_by_id.get(opened.source_ids[row])
    if number is None:
        return None
    return subject.data.read(number, number + 1).images[0]


def _number(value: Any) -> float | int | None:
    """A number as JSON has it; None for NaN."""
    if isinstance(value, np.integer | int):
        return int(value)
    return float(f"{value:.6g}") if np.isfinite(value) else None
