"""Image data: a split in memory, or a split on disk that is read range by range."""

import dataclasses
import functools
import hashlib
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float32, Int, Int32, UInt8

from train.runtime.memory import machine_memory_bytes

PART_IMAGES = 1024
"""Images read at once by default: 3 MiB of CIFAR-10, 150 MiB at 224×224."""


class ImageData(NamedTuple):
    """A split of an image set.

    Attributes:
        images: n images, 0 to 255.
        labels: true classes, in [0, k).
        ids: text that identifies each image.
        class_names: names of the k classes, in the order of the labels.
        targets: distributions asked for; None if the set has none.
        outputs: the classifier's outputs for the finished images; None if the set has none.
        source_ids: ids of the images that these were made from; None if the set has none.
        source_digests: digests of those images, as `image_digests` gives them; None if the set has
            none.
    """

    images: UInt8[np.ndarray, "n h w c"]
    labels: Int32[np.ndarray, " n"]
    ids: tuple[str, ...]
    class_names: tuple[str, ...]
    targets: Float32[np.ndarray, "n k"] | None = None
    outputs: Float32[np.ndarray, "n k"] | None = None
    source_ids: tuple[str, ...] | None = None
    source_digests: tuple[str, ...] | None = None


def image_digests(images: UInt8[np.ndarray, "n h w c"]) -> tuple[str, ...]:
    """SHA-256 of each image's grey levels, in hexadecimal; it tells images of equal ids apart."""
    return tuple(hashlib.sha256(np.ascontiguousarray(image).data).hexdigest() for image in images)


def source_columns(data: ImageData) -> dict[str, tuple[str, ...]]:
    """Features `source_id` and `source_sha256` of images that are made from these.

    Args:
        data: the images. Where they have sources themselves, those are the sources; a digest that
            an older set lacks is then empty.
    """
    if data.source_ids is None:
        return {"source_id": data.ids, "source_sha256": image_digests(data.images)}
    unknown = ("",) * len(data.ids)
    return {"source_id": data.source_ids, "source_sha256": data.source_digests or unknown}


def copied_columns(data: ImageData) -> dict[str, Any]:
    """All features of images that another set takes over, with their sources."""
    own = {"id": data.ids, "image": data.images, "label": data.labels}
    return {**own, **source_columns(data)}


@dataclass(frozen=True)
class ImageReader:
    """A split of an image set on disk; only its labels are in memory, 4 bytes an image.

    Attributes:
        labels: true classes of all images, in [0, k).
        class_names: names of the k classes, in the order of the labels.
        image_shape: height, width and channels of every image.
        read: reads the images from a start to a stop (excluded), with all their columns. It raises
            InputError if the files are damaged.
        iter_ids: gives the ids of all images in order, without decoding an image.
    """

    labels: Int32[np.ndarray, " n"]
    class_names: tuple[str, ...]
    image_shape: tuple[int, int, int]
    read: Callable[[int, int], ImageData]
    iter_ids: Callable[[], Iterator[str]]

    def __len__(self) -> int:
        """Number of images."""
        return len(self.labels)


def reader_of(data: ImageData) -> ImageReader:
    """Makes a reader of data in memory.

    Args:
        data: the whole split.
    """
    return ImageReader(
        labels=data.labels,
        class_names=data.class_names,
        image_shape=data.images.shape[1:],
        read=lambda start, stop: slice_images(data, start, stop),
        iter_ids=lambda: iter(data.ids),
    )


def slice_images(data: ImageData, start: int, stop: int) -> ImageData:
    """Gives the images from `start` to `stop` (excluded), with all their columns.

    Args:
        data: the images.
        start: number of the first one.
        stop: number after the last one.
    """
    part = {name: column[start:stop] for name, column in _columns(data).items()}
    return data._replace(**part)


def take_images(data: ImageData, rows: Int[np.ndarray, " m"]) -> ImageData:
    """Gives the images with certain numbers, with all their columns.

    Args:
        data: the images.
        rows: the numbers, in the order of the result.
    """
    taken: dict[str, Any] = {
        name: column[rows] if isinstance(column, np.ndarray) else tuple(column[r] for r in rows)
        for name, column in _columns(data).items()
    }
    return data._replace(**taken)


def join_images(parts: Sequence[ImageData]) -> ImageData:
    """Joins parts of a split.

    Args:
        parts: at least one, in order, all with the same classes and columns.
    """
    joined: dict[str, Any] = {}
    for name, first in _columns(parts[0]).items():
        column = [getattr(part, name) for part in parts]
        is_array = isinstance(first, np.ndarray)
        joined[name] = np.concatenate(column) if is_array else tuple(chain(*column))
    return parts[0]._replace(**joined)


def _columns(data: ImageData) -> dict[str, Any]:
    """Gives the columns, which have one value an image, by name."""
    return {
        name: column
        for name, column in data._asdict().items()
        if name != "class_names" and column is not None
    }


def iter_parts(
    reader: ImageReader, *, start: int = 0, stop: int | None = None, size: int | None = None
) -> Iterator[ImageData]:
    """Reads a range part by part.

    Args:
        reader: the split.
        start: number of the first image.
        stop: number after the last one; None: the end of the split.
        size: images in a part, `PART_IMAGES` by default; the last part may have fewer.

    Yields:
        The parts, in order.
    """
    end, step = len(reader) if stop is None else stop, size or PART_IMAGES
    for first in range(start, end, step):
        yield reader.read(first, min(first + step, end))


MEMORY_SHARE = 0.25
"""Largest share of the machine's free memory that the decoded images of a split may take."""


def decode_once(reader: ImageReader) -> ImageReader:
    """Gives a reader that decodes every image once, if the decoded split fits in memory.

    The first call of `read` then decodes the whole split, and all others take slices of it.

    Args:
        reader: the split.

    Returns:
        The new reader; `reader` itself if the images would take more than `MEMORY_SHARE` of the
        free memory.
    """
    size = len(reader) * math.prod(reader.image_shape)
    if size > MEMORY_SHARE * machine_memory_bytes():
        return reader

    @functools.cache
    def whole() -> ImageData:
        return reader.read(0, len(reader))

    return dataclasses.replace(reader, read=lambda start, stop: slice_images(whole(), start, stop))


def read_rows(reader: ImageReader, rows: Int[np.ndarray, " m"]) -> ImageData:
    """Reads some images of a split, a part of at most `PART_IMAGES` neighbours at a time.

    Args:
        reader: the split.
        rows: numbers of the images, at least one, ascending.
    """
    chosen = []
    for part in np.unique(rows // PART_IMAGES):
        own = rows[rows // PART_IMAGES == part]
        neighbours = reader.read(int(own[0]), int(own[-1]) + 1)
        chosen.append(take_images(neighbours, own - own[0]))
    return join_images(chosen)
