"""Strips of images for pages: small PNGs, with the name of their class and notes as text.

The words are text of the page, so they have any script, grow with the reader's letters and can be
read on a narrow page. A pixel of an image is a pixel of the PNG, which the page enlarges.
"""

import io
from collections.abc import Mapping, Sequence

import numpy as np
import PIL.Image
from jaxtyping import Float, Int, UInt8

from experiments.pages.html import Strip, Strips
from experiments.pages.image_sheets import GAP_PX as SHEET_GAP_PX
from experiments.pages.image_sheets import GRID_SCALE
from experiments.pages.style import over_white
from train.data.image_data import ImageData

MAX_STRIPS = 20
"""Most classes that are shown; of more, the first ones."""

MAX_COLUMNS = 6
"""Most images of a class: two strips of small images stand side by side on a wide page."""

SET_COLUMNS = 3
"""Most images of a class and set, where several sets are compared."""

IMAGE_PX = 64
"""Width to which the page enlarges an image, about; a larger image keeps its size."""

GAP_PX = 1
"""Gap between two images, in their own pixels."""

DIFFERENCE_GAIN = 5.0
"""Factor on the differences in grey levels, which are drawn around mid-grey."""

MAX_NAMED_CLASSES, LEAST_NAMED = 3, 0.005
"""Most classes of a target that a note names, and the smallest probability of one."""


def image_row(images: Sequence[UInt8[np.ndarray, "h w c"]]) -> bytes:
    """Lays images of one shape side by side as PNG, with a transparent gap between them.

    Args:
        images: at least one, of 1, 3 or 4 channels; images with opacity are laid over white.
    """
    return image_rows(np.stack(images)[None])


def image_rows(images: UInt8[np.ndarray, "rows columns h w c"]) -> bytes:
    """Lays rows of images below each other as PNG, with transparent gaps.

    Args:
        images: of 1, 3 or 4 channels; images with opacity are laid over white.
    """
    flat = over_white(images)
    gap = ((0, 0), (0, 0), (0, GAP_PX), (0, GAP_PX), (0, 0))
    opaque = np.full((*flat.shape[:-1], 1), 255, np.uint8)
    spaced = np.pad(np.concatenate([flat, opaque], -1), gap)
    rows, columns, height, width, channels = spaced.shape
    pixels = spaced.transpose(0, 2, 1, 3, 4).reshape(rows * height, columns * width, channels)
    buffer = io.BytesIO()
    PIL.Image.fromarray(pixels[:-GAP_PX, :-GAP_PX]).save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def amplified(images: np.ndarray, originals: np.ndarray, gain: float) -> np.ndarray:
    """Differences in grey levels times a gain, around mid-grey and clipped.

    Args:
        images: the changed images.
        originals: the images that they were made from.
        gain: factor, above 0.
    """
    difference = images.astype(np.float64) - originals
    return np.clip(np.rint(128 + gain * difference), 0, 255).astype(np.uint8)


def kl_nats(targets: np.ndarray, outputs: np.ndarray) -> np.ndarray:
    """Σ q* log(q*/q) of each row; q is at least the smallest normal number of float32."""
    floor = np.finfo(np.float32).tiny
    ratios = np.log(np.maximum(targets, floor)) - np.log(np.maximum(outputs, floor))
    return np.maximum(np.sum(targets * ratios, axis=1), 0)


def enlarged(width_px: int) -> int:
    """CSS pixels for each pixel of an image of this width."""
    return max(IMAGE_PX // width_px, 1)


def elicited_strips(
    originals: UInt8[np.ndarray, "n h w c"],
    made: UInt8[np.ndarray, "n h w c"],
    targets: Float[np.ndarray, "n k"],
    outputs: Float[np.ndarray, "n k"],
    labels: Int[np.ndarray, " n"],
    class_names: Sequence[str],
    *,
    caption: str,
) -> Strips:
    """Shows each original, the image made from it, and their difference, with asked and reached.

    Args:
        originals: the original images.
        made: the images made from them.
        targets: the distributions asked for.
        outputs: the classifier's outputs for the made images.
        labels: classes of the originals.
        class_names: names of all classes.
        caption: what is shown; the order within a strip is added to it.
    """
    strips = []
    rows = zip(labels, originals, made, targets, outputs, kl_nats(targets, outputs), strict=True)
    for label, original, image, target, output, kl in rows:
        likeliest = np.argsort(-target, kind="stable")[:MAX_NAMED_CLASSES]
        named = [k for k in likeliest.tolist() if target[k] >= LEAST_NAMED]
        named += {int(output.argmax())}.difference(named)
        asked, reached = (_shares(each, named, class_names) for each in (target, output))
        difference = amplified(over_white(image), over_white(original), DIFFERENCE_GAIN)
        notes = (f"asked {asked}", f"reached {reached}", f"KL {kl:.2g} nats ↓")
        strips.append(
            Strip(
                class_names[int(label)],
                image_row([over_white(original), over_white(image), difference]),
                notes,
                f"{class_names[label]}: original, made image and difference",
            )
        )
    order = f"Original, made image, and their difference, {DIFFERENCE_GAIN:g}-fold on mid-grey."
    return Strips(strips, f"{caption} {order} ↓ lower is better.", enlarged(made.shape[2]))


def _shares(distribution: np.ndarray, classes: Sequence[int], class_names: Sequence[str]) -> str:
    return ", ".join(f"{class_names[k]}: {distribution[k]:.1%}" for k in classes)


def changed_strips(
    originals: UInt8[np.ndarray, "n h w c"],
    made: Mapping[str, UInt8[np.ndarray, "n h w c"]],
    labels: Int[np.ndarray, " n"],
    class_names: Sequence[str],
    *,
    caption: str,
) -> Strips:
    """Shows each original beside the images made from it in several ways, above their differences.

    Args:
        originals: the original images.
        made: images made from them, in the same order, by the name of the way.
        labels: classes of the originals.
        class_names: names of all classes.
        caption: what is shown; the order within a strip is added to it.
    """
    flat = over_white(originals)
    images = np.stack([flat, *map(over_white, made.values())])
    rows = np.stack([images, amplified(images, flat, DIFFERENCE_GAIN)])
    ways = "; ".join(made)  # a name may hold a comma
    strips = [
        Strip(
            class_names[int(label)],
            image_rows(rows[:, :, number]),
            (),
            f"{class_names[label]}: original; {ways}; below, their differences from the original",
        )
        for number, label in enumerate(labels)
    ]
    order = (
        f"From left to right: original; {ways}. Below, the differences from the original, "
        f"{DIFFERENCE_GAIN:g}-fold on mid-grey."
    )
    return Strips(strips, f"{caption} {order}", enlarged(originals.shape[2]))


def class_strips(
    images: UInt8[np.ndarray, "n h w c"],
    labels: Int[np.ndarray, " n"],
    class_names: Sequence[str],
    *,
    caption: str,
) -> Strips:
    """Shows the first images of every class, a strip a class.

    Args:
        images: the images.
        labels: their classes; one without images has no strip.
        class_names: names of all classes.
        caption: what the images are.
    """
    found = np.unique(labels)
    strips = [
        Strip(
            class_names[int(label)],
            image_row(list(images[labels == label][:MAX_COLUMNS])),
            (),
            f"Images of {class_names[label]}",
        )
        for label in found[:MAX_STRIPS]
    ]
    return Strips(strips, caption + shown_of(len(found)), enlarged(images.shape[2]))


def sets_by_class(sets: Mapping[str, ImageData]) -> list[Strips]:
    """Shows the first images of every class in several sets, a group of strips a class.

    Args:
        sets: sets of the same classes, by name; one without images of a class has no strip there.
    """
    class_names = next(iter(sets.values())).class_names
    groups = []
    for label, class_name in enumerate(class_names[:MAX_STRIPS]):
        found = {name: data.images[data.labels == label] for name, data in sets.items()}
        strips = [
            Strip(name, image_row(list(images[:SET_COLUMNS])), (), f"{name}: {class_name}")
            for name, images in found.items()
            if len(images)
        ]
        scale = enlarged(next(iter(found.values())).shape[2])
        left_out = shown_of(len(class_names)) if label == 0 else ""
        groups.append(Strips(strips, f"Images of {class_name}.{left_out}", scale))
    return [group for group in groups if group.strips]


def shown_of(classes: int) -> str:
    """Says that only the first classes are shown, if there are more; begins with a space."""
    return (
        f" The first {MAX_STRIPS} of {classes} classes are shown." if classes > MAX_STRIPS else ""
    )


def sheet_strips(
    png: bytes, class_names: Sequence[str], *, caption: str, columns: int | None = None
) -> Strips:
    """Cuts a sheet of `sample_grid` into its rows, one a class, and names them.

    Args:
        png: the sheet.
        class_names: names of the classes of its rows.
        caption: what the sheet shows.
        columns: number of columns, of which the first few are shown; None to show all.
    """
    strips = []
    with PIL.Image.open(io.BytesIO(png), formats=("PNG",)) as sheet:
        pitch = (sheet.height + SHEET_GAP_PX) // len(class_names)
        width = sheet.width
        if columns is not None:
            width = (width + SHEET_GAP_PX) // columns * min(columns, MAX_COLUMNS) - SHEET_GAP_PX
        for row, name in enumerate(class_names[:MAX_STRIPS]):
            box = (0, row * pitch, width, (row + 1) * pitch - SHEET_GAP_PX)
            size = (width // GRID_SCALE, (pitch - SHEET_GAP_PX) // GRID_SCALE)
            buffer = io.BytesIO()
            part = sheet.crop(box).resize(size, PIL.Image.Resampling.NEAREST)
            part.save(buffer, "PNG", optimize=True)
            strips.append(Strip(name, buffer.getvalue(), (), f"Images of {name}"))
    return Strips(strips, caption + shown_of(len(class_names)), GRID_SCALE)
