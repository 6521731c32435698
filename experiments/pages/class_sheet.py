"""A sheet of image sets side by side, class by class, as paper B's figure 3."""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import UInt8

from experiments.pages.style import (
    MAX_CLASS_CHARACTERS,
    SHEET_WIDTH_PX,
    Px,
    expect,
    expect_images,
    image_box,
    make_sheet,
    png,
    short,
    style,
)

LEFT_PX, TOP_PX, MARGIN_PX, SET_GAP_PX = 98, 26, 6, 14
"""Of the sheet, in CSS pixels: room for the names of classes and sets, and between sets."""

IMAGE_GAP_PX = 2
"""White between the images of a set, in their own pixels."""


def class_sheet(
    sets: Mapping[str, Sequence[UInt8[np.ndarray, "_ h w c"]]],
    class_names: Sequence[str],
    *,
    columns: int = 3,
) -> bytes:
    """Shows the first images of each class, a row a class and a few columns a set.

    A set that lacks images of a class leaves their places white.

    Args:
        sets: for each set's name its images of every class, all of one shape; c 1 or 3.
        class_names: the k names, in the order of the classes.
        columns: images shown of a class and set, at most.

    Returns:
        The bytes of a PNG, at most 920 CSS pixels wide, at twice the screen's resolution.

    Raises:
        InputError: no set, a set of another number of classes, or images of another type or shape.
    """
    expect(bool(sets) and columns > 0, "at least one set and one column", (len(sets), columns))
    shape = next(iter(sets.values()))[0].shape[1:]
    mosaics = {}
    for name, classes in sets.items():
        expect(len(classes) == len(class_names), f"{len(class_names)} classes", len(classes))
        rows = [_row(name, images[:columns], shape, columns) for images in classes]
        mosaics[name] = _mosaic(np.stack(rows))
    with style():
        return _draw(mosaics, class_names)


def _row(name: str, images: np.ndarray, shape: tuple[int, ...], columns: int) -> np.ndarray:
    """A class's images, filled up with white ones."""
    row = np.concatenate([images, np.full((columns - len(images), *shape), 255, images.dtype)])
    expect_images(name, row, (columns, *shape))
    return row


def _mosaic(images: UInt8[np.ndarray, "rows columns h w c"]) -> UInt8[np.ndarray, "h2 w2 c"]:
    """One picture of all images, with white between them."""
    gap = ((0, 0), (0, 0), (0, IMAGE_GAP_PX), (0, IMAGE_GAP_PX), (0, 0))
    spaced = np.pad(images, gap, constant_values=255)
    rows, columns, height, width, channels = spaced.shape
    sheet = spaced.transpose(0, 2, 1, 3, 4).reshape(rows * height, columns * width, channels)
    return sheet[:-IMAGE_GAP_PX, :-IMAGE_GAP_PX]


def _draw(mosaics: Mapping[str, np.ndarray], class_names: Sequence[str]) -> bytes:
    count = len(mosaics)
    room: Px = (SHEET_WIDTH_PX - LEFT_PX - MARGIN_PX - SET_GAP_PX * (count - 1)) / count
    first = next(iter(mosaics.values()))
    width, height = image_box(first.shape, room)
    sheet = make_sheet(
        LEFT_PX + count * (width + SET_GAP_PX) - SET_GAP_PX + MARGIN_PX,
        TOP_PX + height + MARGIN_PX,
    )
    for column, (name, mosaic) in enumerate(mosaics.items()):
        left = LEFT_PX + column * (width + SET_GAP_PX)
        sheet.image(mosaic, left, TOP_PX, (width, height))
        sheet.text(left + width / 2, TOP_PX / 2, short(name), "center", weight="bold", fontsize=8)
    gap = IMAGE_GAP_PX * width / first.shape[1]
    pitch = (height + gap) / len(class_names)
    for row, name in enumerate(class_names):
        middle = TOP_PX + row * pitch + (pitch - gap) / 2
        sheet.text(LEFT_PX - 10, middle, short(name, MAX_CLASS_CHARACTERS), fontsize=8)
    return png(sheet.figure)
