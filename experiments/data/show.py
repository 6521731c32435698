"""The command `elicit data show`: counts and a contact sheet of a data set."""

import io
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from tyro.conf import Positional

from imgopt.errors import InputError
from train.data.image_data import ImageData
from train.data.load import list_splits, load_images
from train.storage.files import atomic_write

SHEET_IMAGE_PX = 64  # an image of 32 pixels can be recognised at about this size
SHEET_GAP_PX = 2


@dataclass(frozen=True)
class ShowConfig:
    """Prints the splits and classes of a data set and draws its first images, a row a class."""

    data: Positional[str]
    """The directory of a data set, or "digits", or with --data-dir its name."""
    data_dir: Path | None = None
    """TFDS's data directory."""
    out: Path = Path("contact_sheet.png")
    """PNG file of the contact sheet; an older one is replaced."""
    columns: int = 10
    """Images of each class on the contact sheet."""


def show(config: ShowConfig) -> None:
    """Prints a data set's splits, classes and counts, and writes a contact sheet.

    Args:
        config: the options; the sheet shows the first split.

    Raises:
        InputError: as `load_images`; or there is less than one column, `out` does not end in .png,
            or its directory does not exist.
    """
    if config.columns < 1:
        raise InputError(f"expected --columns of at least 1, got {config.columns}")
    if config.out.suffix.lower() != ".png" or not config.out.parent.is_dir():
        raise InputError(
            f"expected --out as a .png file in an existing directory, got {config.out}"
        )
    splits = list_splits(config.data, data_dir=config.data_dir)
    data = {name: load_images(config.data, name, data_dir=config.data_dir) for name in splits}
    _print_summary(data)
    first = next(iter(data.values()))
    buffer = io.BytesIO()
    contact_sheet(first, columns=config.columns).save(buffer, "PNG")
    atomic_write(config.out, buffer.getvalue())
    print(f"contact sheet: {config.out}")


def contact_sheet(data: ImageData, *, columns: int) -> Image.Image:
    """Draws the first images of each class in a row, with the name of the class on the left.

    Args:
        data: the images.
        columns: number of images in a row, at least 1.

    Returns:
        The sheet, in RGB; images are enlarged by a whole factor, so that pixels stay squares.
    """
    height, width = data.images.shape[1:3]
    factor = max(1, SHEET_IMAGE_PX // max(height, width))
    step_y, step_x = height * factor + SHEET_GAP_PX, width * factor + SHEET_GAP_PX
    font = ImageFont.load_default()
    name_px = int(max(font.getlength(name) for name in data.class_names)) + 8
    size = (name_px + columns * step_x, len(data.class_names) * step_y)
    sheet = Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(sheet)
    for row, name in enumerate(data.class_names):
        middle = row * step_y + step_y // 2
        draw.text((4, middle), name, fill="black", font=font, anchor="lm")
        for column, index in enumerate(np.flatnonzero(data.labels == row)[:columns]):
            enlarged = data.images[index].repeat(factor, axis=0).repeat(factor, axis=1)
            image = Image.fromarray(enlarged[:, :, 0] if enlarged.shape[2] == 1 else enlarged)
            sheet.paste(image.convert("RGB"), (name_px + column * step_x, row * step_y))
    return sheet


def _print_summary(data: Mapping[str, ImageData]) -> None:
    first = next(iter(data.values()))
    height, width, channels = first.images.shape[1:]
    print(f"images: {height} x {width} pixels, {channels} channels")
    for split, part in data.items():
        print(f"split {split}: {len(part.labels):,} images")
    counts = {split: Counter(part.labels.tolist()) for split, part in data.items()}
    indent = max(len(name) for name in ("class", *first.class_names))
    print(f"{'class':{indent}}", *(f"{split:>8}" for split in data))
    for label, name in enumerate(first.class_names):
        print(f"{name:{indent}}", *(f"{counts[split][label]:>8,}" for split in data))
