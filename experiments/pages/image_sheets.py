"""Sheets of images as PNG: originals beside the images made from them."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from experiments.pages.style import (
    BLUE,
    INK,
    MAX_CLASS_CHARACTERS,
    PALE,
    SHEET_WIDTH_PX,
    SOFT_INK,
    Px,
    expect,
    expect_images,
    image_box,
    make_sheet,
    png,
    short,
    style,
)

MAX_PAIRS, MAX_CLASSES = 8, 16


def _grid_width(
    shape: tuple[int, ...], count: int, left: Px, gap: Px, margin: Px
) -> tuple[tuple[Px, Px], Px]:
    """Size of each of a row's images that fit beside the labels, and the whole sheet's width."""
    room = (SHEET_WIDTH_PX - left - margin - gap * (count - 1)) / count
    size = image_box(shape, room)
    return size, left + count * (size[0] + gap) - gap + margin


def _shown_classes(targets: np.ndarray, outputs: np.ndarray) -> list[int]:
    """Indices, in their own order, of the at most MAX_CLASSES classes that hold the most mass."""
    mass = np.maximum(targets, outputs).max(axis=0)
    return np.sort(np.argsort(-mass, kind="stable")[:MAX_CLASSES]).tolist()


def _kl_nats(targets: np.ndarray, outputs: np.ndarray) -> np.ndarray:
    """Σ q* log(q*/q) of each row; outputs below float32's smallest normal number count as it."""
    floor = np.finfo(np.float32).tiny
    ratios = np.log(np.maximum(targets, floor)) - np.log(np.maximum(outputs, floor))
    return np.maximum(np.sum(targets * ratios, axis=1), 0)


def _distribution_bars(axes: Axes, target: np.ndarray, output: np.ndarray) -> None:
    """Draws one image's target as wide pale bars with the achieved output as slim bars on them."""
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


def image_pairs(
    originals: UInt8[np.ndarray, "n h w c"],
    synthesised: UInt8[np.ndarray, "n h w c"],
    targets: Float[np.ndarray, "n k"],
    outputs: Float[np.ndarray, "n k"],
    class_names: Sequence[str],
) -> bytes:
    """Shows what synthesis did: originals, the images made of them, and what a classifier says.

    A column an image: the original, the synthesised image below it, and below that the target (wide
    pale bars) against the output (slim blue bars) of every class, with the divergence in nats. Of
    more than 16 classes the 16 with the most mass are shown.

    Args:
        originals: the images before, n from 1 to 8, c 1 or 3.
        synthesised: the images after, in the same order.
        targets: the distributions asked for; rows sum to 1.
        outputs: the distributions achieved.
        class_names: the k names, in the order of the columns of ``targets``.

    Returns:
        The bytes of a PNG, at most 920 CSS pixels wide, at twice the screen's resolution.

    Raises:
        InputError: a shape, dtype or count differs from the above.
    """
    expect_images("originals", originals)
    expect_images("synthesised", synthesised, originals.shape)
    count = len(originals)
    expect(count <= MAX_PAIRS, f"at most {MAX_PAIRS} images", count)
    shape = (count, len(class_names))
    expect(targets.shape == shape, f"targets of shape {shape}", targets.shape)
    expect(outputs.shape == shape, f"outputs of shape {shape}", outputs.shape)
    classes = _shown_classes(targets, outputs)
    names = [short(class_names[i], MAX_CLASS_CHARACTERS) for i in classes]
    notes = [f"KL {kl:.2g} nats" for kl in _kl_nats(targets, outputs)]
    distributions = (targets[:, classes], outputs[:, classes])
    columns = list(zip(originals, synthesised, *distributions, notes, strict=True))
    with style():
        return png(_pairs_figure(columns, names))


def _pairs_figure(columns: Sequence[tuple[Any, ...]], names: Sequence[str]) -> Figure:
    """Lays `image_pairs` out in columns of (original, synthesised, target, output, note)."""
    left, gap, margin = 86, 8, 6
    size, total_width = _grid_width(columns[0][0].shape, len(columns), left, gap, margin)
    width, height = size
    second_top = margin + height + 6
    bars_top, bars_height = second_top + height + 18, 15 * len(names)
    bars_end = bars_top + bars_height
    sheet = make_sheet(max(total_width, 400), bars_end + 64)
    for column, (original, synthesised, target, output, note) in enumerate(columns):
        x = left + column * (width + gap)
        sheet.image(original, x, margin, size)
        sheet.image(synthesised, x, second_top, size)
        axes = sheet.axes(x, bars_top, width, bars_height)
        _distribution_bars(axes, target, output)
        if column == 0:
            axes.set_yticks(range(len(names)), names, fontsize=7.5, color=INK)
            axes.tick_params(axis="y", pad=7.5)
        sheet.text(x + width / 2, bars_end + 24, note, "center", fontsize=7.5, color=SOFT_INK)
    for words, top in (("original", margin), ("synthesised", second_top)):
        sheet.text(left - 10, top + height / 2, words, weight="bold", fontsize=8)
    keys = {"asked for": PALE, "what the classifier says": BLUE}
    patches = [Patch(color=colour, label=label) for label, colour in keys.items()]
    corner = (left / sheet.width_px, 0.0)
    sheet.figure.legend(handles=patches, ncols=2, loc="lower left", bbox_to_anchor=corner)
    return sheet.figure


def rules_grid(
    originals: UInt8[np.ndarray, "n h w c"],
    by_rule: Mapping[str, UInt8[np.ndarray, "n h w c"]],
    *,
    captions: Mapping[str, str],
    difference_gain: float | None = None,
) -> bytes:
    """Compares update rules on the same images, as figures 3 to 5 of paper A do.

    A column an image; the first row holds the originals, then one row a rule. With a gain, each
    rule is followed by its differences from the originals, amplified around mid-grey.

    Args:
        originals: the images before, n from 1 to 16, c 1 or 3.
        by_rule: for each rule's name, the images it made, in the same order.
        captions: a line to write below a rule's name, for some or all of the rules.
        difference_gain: what differences, in grey levels, are multiplied by; above 0.

    Returns:
        The bytes of a PNG, at most 920 CSS pixels wide, at twice the screen's resolution.

    Raises:
        InputError: a shape or dtype differs from the above, or a caption has no rule.
    """
    expect_images("originals", originals)
    expect(len(originals) <= 2 * MAX_PAIRS, f"at most {2 * MAX_PAIRS} images", len(originals))
    for rule, images in by_rule.items():
        expect_images(f"by_rule[{rule!r}]", images, originals.shape)
    expect(set(captions) <= set(by_rule), f"captions of {sorted(by_rule)}", sorted(captions))
    gain = difference_gain
    expect(gain is None or 0 < gain < np.inf, "difference_gain above 0, or None", gain)
    rows = [("original", "", originals)]
    for rule, images in by_rule.items():
        rows.append((short(rule), short(captions.get(rule, "")), images))
        if gain is not None:
            rows.append(("", f"difference, {gain:g}-fold", _amplified(images, originals, gain)))
    with style():
        return png(_rows_figure(rows))


def _amplified(images: np.ndarray, originals: np.ndarray, gain: float) -> np.ndarray:
    difference = images.astype(np.float64) - originals
    return np.clip(np.rint(128 + gain * difference), 0, 255).astype(np.uint8)


def _rows_figure(rows: Sequence[tuple[str, str, np.ndarray]]) -> Figure:
    """A sheet of rows: (name, caption, images)."""
    gap, margin = 6, 6
    # Room for the longest name, whose bold letters are about 7 pixels wide.
    left = max(138, 20 + 7 * max(len(name) for name, _, _ in rows))
    originals = rows[0][2]
    size, total_width = _grid_width(originals.shape[1:], len(originals), left, gap, margin)
    pitch = max(size[1], 34) + gap
    sheet = make_sheet(total_width, 2 * margin + pitch * len(rows) - gap)
    for row, (name, caption, images) in enumerate(rows):
        top = margin + row * pitch
        middle, offset = top + size[1] / 2, 8 if name and caption else 0
        sheet.text(left - 12, middle - offset, name, weight="bold", fontsize=8)
        sheet.text(left - 12, middle + offset, caption, fontsize=7.5, color=SOFT_INK)
        for column, image in enumerate(images):
            sheet.image(image, left + column * (size[0] + gap), top, size)
    return sheet.figure
