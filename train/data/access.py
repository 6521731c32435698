"""Ways to read a split more than once, or only some of its images."""

import dataclasses
import functools
import math

import numpy as np
from jaxtyping import Int

from train.data.image_data import (
    PART_IMAGES,
    ImageData,
    ImageReader,
    join_images,
    slice_images,
    take_images,
)
from train.runtime.memory import machine_memory_bytes

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
