"""Sheets of images as PNG: grids of images, and originals beside the images made from them."""

import io
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import PIL.Image
from jaxtyping import Float, UInt8
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from experiments.pages.fonts import drawn_names
from experiments.pages.style import (
    BLUE,
    INK,
    MAX_CLASS_CHARACTERS,
    PALE,
    SHEET_WIDTH_PX,
    SOFT_INK,
    Px,
    image_box,
    make_sheet,
    over_white,
    png,
    short,
    style,
)

GAP_PX = 2
"""White between two images of a grid, in their own pixels."""

GRID_SCALE = 2
"""Factor by which the images of a grid without words are enlarged."""

MARGIN_PX = 6
"""White around a sheet, in CSS pixels."""

MAX_CLASSES = 16

CLASS_NAMES_PX, SET_NAMES_PX, SET_GAP_PX = 98, 26, 14
"""Room for the names of classes and of sets, and between two sets, in CSS pixels."""


def sample_grid(images: UInt8[np.ndarray, "rows columns h w c"]) -> bytes:
    """Lays images out in rows and columns, without any words; every pixel becomes a square.

    Args:
        images: grey levels; c is 1 (grey), 3 (colour) or 4 (colour and opacity).

    Returns:
        The bytes of a PNG; equal images give equal bytes.
    """
    pixels = _tiled(images.repeat(GRID_SCALE, axis=2).repeat(GRID_SCALE, axis=3))
    buffer = io.BytesIO()
    picture = PIL.Image.fromarray(pixels[:, :, 0] if pixels.shape[-1] == 1 else pixels)
    picture.save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def _tiled(images: UInt8[np.ndarray, "rows columns h w c"]) -> UInt8[np.ndarray, "h2 w2 c"]:
    """One picture of all images, with white between them."""
    gap = ((0, 0), (0, 0), (0, GAP_PX), (0, GAP_PX), (0, 0))
    spaced = np.pad(images, gap, constant_values=255)
    rows, columns, height, width, channels = spaced.shape
    sheet = spaced.transpose(0, 2, 1, 3, 4).reshape(rows * height, columns * width, channels)
    return sheet[:-GAP_PX, :-GAP_PX]


def class_sheet(
    sets: Mapping[str, Sequence[UInt8[np.ndarray, "_ h w c"]]],
    class_names: Sequence[str],
    *,
    columns: int,
) -> bytes:
    """Shows the first images of each class in several sets, as in paper B's figure 3.

    A row is a class. The sets stand side by side, each with a few columns. Where a set has too few
    images of a class, the sheet stays white.

    Args:
        sets: for each set's name its images of every class, all of one shape; c is 1, 3 or 4.
        class_names: the k names, in the order of the classes.
        columns: most images to show for each class and set.

    Returns:
        The bytes of a PNG, at most 920 CSS pixels wide, at twice the screen's resolution.
    """
    blocks = {}
    for name, classes in sets.items():
        rows = [_filled_row(images[:columns], columns) for images in classes]
        blocks[name] = _tiled(np.stack(rows))
    with style():
        return png(_class_figure(blocks, class_names))


def _filled_row(
    images: UInt8[np.ndarray, "_ h w c"], columns: int
) -> UInt8[np.ndarray, "columns h w c"]:
    """Images of a class, with white images in the missing places."""
    images = over_white(images)
    missing = ((0, columns - len(images)), (0, 0), (0, 0), (0, 0))
    return np.pad(images, missing, constant_values=255)


def _class_figure(blocks: Mapping[str, np.ndarray], class_names: Sequence[str]) -> Figure:
    """Lays out blocks of images, one for each set, side by side."""
    first, left = next(iter(blocks.values())), CLASS_NAMES_PX
    (width, height), total_width = _fit_row(first.shape, len(blocks), left, SET_GAP_PX)
    sheet = make_sheet(total_width, SET_NAMES_PX + height + MARGIN_PX)
    for name, block in blocks.items():
        sheet.image(block, left, SET_NAMES_PX, (width, height))
        middle = left + width / 2
        sheet.text(middle, SET_NAMES_PX / 2, short(name), "center", weight="bold", fontsize=8)
        left += width + SET_GAP_PX
    gap = GAP_PX * width / first.shape[1]
    pitch = (height + gap) / len(class_names)
    for row, name in enumerate(drawn_names(class_names)):
        middle = SET_NAMES_PX + row * pitch + (pitch - gap) / 2
        sheet.text(CLASS_NAMES_PX - 10, middle, short(name, MAX_CLASS_CHARACTERS), fontsize=8)
    return sheet.figure


def _fit_row(shape: tuple[int, ...], count: int, left: Px, gap: Px) -> tuple[tuple[Px, Px], Px]:
    """Size of each image in a row right of its label, and width of the whole sheet."""
    room = (SHEET_WIDTH_PX - left - MARGIN_PX - gap * (count - 1)) / count
    size = image_box(shape, room)
    return size, left + count * (size[0] + gap) - gap + MARGIN_PX


class _PairColumn(NamedTuple):
    """A column of `image_pairs`, with distributions over the classes that are shown."""

    original: np.ndarray
    synthesised: np.ndarray
    target: np.ndarray
    output: np.ndarray
    note: str


def image_pairs(
    originals: UInt8[np.ndarray, "n h w c"],
    synthesised: UInt8[np.ndarray, "n h w c"],
    targets: Float[np.ndarray, "n k"],
    outputs: Float[np.ndarray, "n k"],
    class_names: Sequence[str],
) -> bytes:
    """Shows originals, the images synthesised from them, targets, and a classifier's outputs.

    A column is an image: the original, the synthesised image, and below them bars of the target
    (wide and pale) and of the output (slim and blue) for every class, with their divergence in
    nats. Of more than 16 classes, the 16 with the largest probabilities are shown.

    Args:
        originals: the original images, n from 1 to 8, c is 1, 3 or 4.
        synthesised: the synthesised images, in the same order.
        targets: the target distributions; rows sum to 1.
        outputs: the classifier's output distributions.
        class_names: the k names, in the order of the columns of ``targets``.

    Returns:
        The bytes of a PNG, at most 920 CSS pixels wide, at twice the screen's resolution.
    """
    originals, synthesised = over_white(originals), over_white(synthesised)
    classes = _shown_classes(targets, outputs)
    drawn = drawn_names(class_names)
    names = [short(drawn[i], MAX_CLASS_CHARACTERS) for i in classes]
    notes = [f"KL {kl:.2g} nats" for kl in kl_nats(targets, outputs)]
    distributions = (targets[:, classes], outputs[:, classes])
    columns = map(_PairColumn, originals, synthesised, *distributions, notes)
    with style():
        return png(_pairs_figure(list(columns), names))


def _shown_classes(targets: np.ndarray, outputs: np.ndarray) -> list[int]:
    """Indices of the classes with the largest probabilities, at most MAX_CLASSES, in order."""
    largest = np.maximum(targets, outputs).max(axis=0)
    return np.sort(np.argsort(-largest, kind="stable")[:MAX_CLASSES]).tolist()


def kl_nats(targets: np.ndarray, outputs: np.ndarray) -> np.ndarray:
    """Σ q* log(q*/q) of each row; q is at least the smallest normal number of float32."""
    floor = np.finfo(np.float32).tiny
    ratios = np.log(np.maximum(targets, floor)) - np.log(np.maximum(outputs, floor))
    return np.maximum(np.sum(targets * ratios, axis=1), 0)


def _pairs_figure(columns: Sequence[_PairColumn], names: Sequence[str]) -> Figure:
    """Lays out the columns of `image_pairs`."""
    left, gap = 86, 8
    size, total_width = _fit_row(columns[0].original.shape, len(columns), left, gap)
    width, height = size
    second_top = MARGIN_PX + height + 6
    bars_top, bars_height = second_top + height + 18, 15 * len(names)
    bars_end = bars_top + bars_height
    sheet = make_sheet(max(total_width, 400), bars_end + 64)
    for number, column in enumerate(columns):
        x = left + number * (width + gap)
        sheet.image(column.original, x, MARGIN_PX, size)
        sheet.image(column.synthesised, x, second_top, size)
        axes = sheet.axes(x, bars_top, width, bars_height)
        _distribution_bars(axes, column.target, column.output)
        if number == 0:
            axes.set_yticks(range(len(names)), names, fontsize=7.5, color=INK)
            axes.tick_params(axis="y", pad=7.5)
        middle = x + width / 2
        sheet.text(middle, bars_end + 24, column.note, "center", fontsize=7.5, color=SOFT_INK)
    for words, top in (("original", MARGIN_PX), ("synthesised", second_top)):
        sheet.text(left - 10, top + height / 2, words, weight="bold", fontsize=8)
    keys = {"asked for": PALE, "what the classifier says": BLUE}
    patches = [Patch(color=colour, label=label) for label, colour in keys.items()]
    corner = (left / sheet.width_px, 0.0)
    sheet.figure.legend(handles=patches, ncols=2, loc="lower left", bbox_to_anchor=corner)
    return sheet.figure


def _distribution_bars(axes: Axes, target: np.ndarray, output: np.ndarray) -> None:
    """Draws the target of one image as wide pale bars, with the output as slim bars on them."""
    places = np.arange(len(target))
    axes.barh(places, target, height=0.86, color=PALE)
    axes.barh(places, output, height=0.4, color=BLUE)
    axes.set(xlim=(0, 1), ylim=(len(target) - 0.5, -0.5), yticks=[])
    axes.set_xticks([0, 0.5, 1], ["0", "½", "1"], fontsize=7)
    # A column's 1 must not meet the next one's 0.
    for label, side in zip(axes.get_xticklabels(), ("left", "center", "right"), strict=True):
        label.set_horizontalalignment(side)
    axes.grid(axis="x")
    axes.spines["bottom"].set_visible(False)


class _SheetRow(NamedTuple):
    """A row of `rules_grid`."""

    name: str
    caption: str
    images: np.ndarray


def rules_grid(
    originals: UInt8[np.ndarray, "n h w c"],
    by_rule: Mapping[str, UInt8[np.ndarray, "n h w c"]],
    *,
    captions: Mapping[str, str],
    difference_gain: float | None = None,
) -> bytes:
    """Compares update rules on the same images, as in figures 3 to 5 of paper A.

    A column is an image. The first row shows the originals, and each further row the images of one
    rule. With a gain, the differences from the originals follow each rule, amplified and centred
    on mid-grey.

    Args:
        originals: the original images, n from 1 to 16, c is 1, 3 or 4.
        by_rule: for each rule's name its images, in the same order.
        captions: a line below the name, for some or all of the rules.
        difference_gain: factor on the differences in grey levels, above 0.

    Returns:
        The bytes of a PNG, at most 920 CSS pixels wide, at twice the screen's resolution.
    """
    originals = over_white(originals)
    rows = [_SheetRow("original", "", originals)]
    for rule, made in by_rule.items():
        images = over_white(made)
        rows.append(_SheetRow(short(rule), short(captions.get(rule, "")), images))
        if difference_gain is not None:
            shown = amplified(images, originals, difference_gain)
            rows.append(_SheetRow("", f"difference, {difference_gain:g}-fold", shown))
    with style():
        return png(_rules_figure(rows))


def amplified(images: np.ndarray, originals: np.ndarray, gain: float) -> np.ndarray:
    """Differences in grey levels times a gain, around mid-grey and clipped.

    Args:
        images: the changed images.
        originals: the images that they were made from.
        gain: factor, above 0.
    """
    difference = images.astype(np.float64) - originals
    return np.clip(np.rint(128 + gain * difference), 0, 255).astype(np.uint8)


def _rules_figure(rows: Sequence[_SheetRow]) -> Figure:
    """Lays out the rows of `rules_grid`."""
    gap = 6
    # Room for the longest name, whose bold letters are about 7 pixels wide.
    left = max(138, 20 + 7 * max(len(row.name) for row in rows))
    originals = rows[0].images
    size, total_width = _fit_row(originals.shape[1:], len(originals), left, gap)
    pitch = max(size[1], 34) + gap
    sheet = make_sheet(total_width, 2 * MARGIN_PX + pitch * len(rows) - gap)
    for number, (name, caption, images) in enumerate(rows):
        top = MARGIN_PX + number * pitch
        middle, offset = top + size[1] / 2, 8 if name and caption else 0
        sheet.text(left - 12, middle - offset, name, weight="bold", fontsize=8)
        sheet.text(left - 12, middle + offset, caption, fontsize=7.5, color=SOFT_INK)
        for column, image in enumerate(images):
            sheet.image(image, left + column * (size[0] + gap), top, size)
    return sheet.figure
