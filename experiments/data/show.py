"""The command `elicit data show`: counts and a contact sheet of a data set."""

import io
import sys
from collections.abc import Mapping, Sequence

import numpy as np
import tensorflow_datasets as tfds
from jaxtyping import UInt8
from PIL import Image, ImageDraw, ImageFont, ImageOps

from experiments.options.data import ShowConfig
from experiments.pages.fonts import FONT_FILE, drawn_names, legend
from experiments.pages.html import Picture, Section, provenance, write_report
from experiments.pages.style import over_white
from experiments.pages.verdict import Verdict
from imgopt.errors import InputError
from train.data import DIGITS
from train.data.image_data import ImageReader, read_rows
from train.data.load import find_directory, list_splits, open_images
from train.data.open_tfds import open_builder
from train.storage.files import atomic_write, check_directory_name, make_directory
from train.storage.runs import environment

SHEET_FILE, PAGE_FILE = "contact_sheet.png", "report.html"

SHEET_IMAGE_PX = 64  # an image of 32 pixels can be recognised at about this size
SHEET_GAP_PX = 2
FONT_PX = 12

Pixels = UInt8[np.ndarray, "h w c"]


def show(config: ShowConfig) -> None:
    """Prints a data set's splits, classes and counts, and writes a contact sheet.

    The images may have several sizes. Without --split, a split that cannot be read, such as one
    without labels, is named and left out.

    Args:
        config: the options.

    Raises:
        InputError: as `open_images`, for the split that was asked for or for all of them; or there
            is less than one column, or `out` is a file.
    """
    if config.columns < 1:
        raise InputError(f"expected --columns of at least 1, got {config.columns}")
    check_directory_name(config.out, of=SHEET_FILE)
    readers = _open_splits(config)
    split, reader = next(iter(readers.items()))
    sides = _sides(config)
    size = "several sizes" if sides is None else f"{sides[0]} x {sides[1]} pixels"
    print(f"images: {size}, {reader.image_shape[2]} channels")
    _print_counts(readers)
    rows = [
        np.flatnonzero(reader.labels == k)[: config.columns] for k in range(len(reader.class_names))
    ]
    images = _read_images(config, split, reader, np.sort(np.concatenate(rows)))
    strips = [[images[row] for row in own] for own in rows]
    make_directory(config.out)
    _write_page(config, split, strips, reader.class_names)
    buffer = io.BytesIO()
    contact_sheet(strips, reader.class_names).save(buffer, "PNG")
    atomic_write(config.out / SHEET_FILE, buffer.getvalue())
    if words := legend(reader.class_names):
        print(f"on the sheet, {words}")
    print(f"contact sheet of {split}: {config.out / SHEET_FILE} and {config.out / PAGE_FILE}")


def contact_sheet(strips: Sequence[Sequence[Pixels]], class_names: Sequence[str]) -> Image.Image:
    """Draws images of each class in a row, with the name of the class on the left.

    Args:
        strips: images of every class, of 1, 3 or 4 channels; at least one image altogether.
        class_names: names of the classes; those that the font lacks are replaced by numbers.

    Returns:
        The sheet, in RGB. Images of one size are enlarged by a whole factor, so that pixels stay
        squares; images of several sizes are scaled to fit into squares.
    """
    drawn = _same_size(strips)
    step_x, step_y = (
        side + SHEET_GAP_PX for side in next(strip for strip in drawn if strip)[0].size
    )
    font, names = ImageFont.truetype(FONT_FILE, FONT_PX), drawn_names(class_names)
    name_px = int(max(font.getlength(name) for name in names)) + 8
    columns = max(map(len, drawn))
    sheet = Image.new("RGB", (name_px + columns * step_x, len(names) * step_y), "white")
    draw = ImageDraw.Draw(sheet)
    for row, (name, strip) in enumerate(zip(names, drawn, strict=True)):
        draw.text((4, row * step_y + step_y // 2), name, fill="black", font=font, anchor="lm")
        for column, image in enumerate(strip):
            sheet.paste(image, (name_px + column * step_x, row * step_y))
    return sheet


def _same_size(strips: Sequence[Sequence[Pixels]]) -> list[list[Image.Image]]:
    """Brings images to one size, in RGB."""
    shapes = {image.shape[:2] for strip in strips for image in strip}
    images = [[_as_rgb(image) for image in strip] for strip in strips]
    if len(shapes) > 1:
        box = (2 * SHEET_IMAGE_PX, 2 * SHEET_IMAGE_PX)
        return [[ImageOps.pad(image, box, color="white") for image in strip] for strip in images]
    factor = max(1, SHEET_IMAGE_PX // max(next(iter(shapes))))
    return [
        [ImageOps.scale(image, factor, Image.Resampling.NEAREST) for image in strip]
        for strip in images
    ]


def _as_rgb(image: Pixels) -> Image.Image:
    image = over_white(image)
    return Image.fromarray(image[:, :, 0] if image.shape[2] == 1 else image).convert("RGB")


def _write_page(
    config: ShowConfig, split: str, strips: Sequence[Sequence[Pixels]], class_names: Sequence[str]
) -> None:
    """Writes a page with a strip of images for each class, and its name below."""
    pictures = []
    for name, strip in zip(class_names, strips, strict=True):
        buffer = io.BytesIO()
        if strip:
            contact_sheet([strip], [" "]).save(buffer, "PNG")
            pictures.append(Picture(buffer.getvalue(), name))
    section = Section("Images of each class", pictures=pictures)
    lead = f"The first images of every class of the split {split}."
    write_report(
        config.out / PAGE_FILE,
        title=f"{config.data}, {split}",
        verdict=Verdict(f"{len(class_names)} classes.", lead),
        facts=[],
        sections=[section],
        footer=provenance(environment(), data=f"{config.data}, {split}"),
    )


def _open_splits(config: ShowConfig) -> dict[str, ImageReader]:
    """Opens the split that was asked for, or all that can be read; the other ones are named."""
    if config.split is not None:
        return {config.split: open_images(config.data, config.split, data_dir=config.data_dir)}
    readers, refusals = {}, {}
    for split in list_splits(config.data, data_dir=config.data_dir):
        try:
            readers[split] = open_images(config.data, split, data_dir=config.data_dir)
        except InputError as error:
            refusals[split] = error
    if not readers:
        raise next(iter(refusals.values()))
    for split, error in refusals.items():
        print(f"split {split} is left out: {error}", file=sys.stderr)
    return readers


def _sides(config: ShowConfig) -> tuple[int, int] | None:
    """Gives height and width of all images; None if they may differ from each other."""
    if config.data == DIGITS:
        return open_images(DIGITS).image_shape[:2]
    builder = open_builder(find_directory(config.data, data_dir=config.data_dir))
    height, width, _ = builder.info.features["image"].shape
    return None if None in (height, width) else (height, width)


def _read_images(
    config: ShowConfig, split: str, reader: ImageReader, rows: np.ndarray
) -> dict[int, Pixels]:
    """Reads images by their numbers; unlike the reader's, they may have several sizes."""
    if _sides(config) is not None:
        return dict(zip(rows.tolist(), read_rows(reader, rows).images, strict=True))
    builder = open_builder(find_directory(config.data, data_dir=config.data_dir))
    source = builder.as_data_source(split, decoders={"image": tfds.decode.SkipDecoding()})
    return {row: _decoded(source[row]["image"]) for row in rows.tolist()}


def _decoded(encoded: bytes) -> Pixels:
    with Image.open(io.BytesIO(encoded), formats=("PNG", "JPEG")) as image:
        return np.asarray(image.convert("RGB"))


def _print_counts(readers: Mapping[str, ImageReader]) -> None:
    for split, reader in readers.items():
        print(f"split {split}: {len(reader):,} images")
    names = next(iter(readers.values())).class_names
    counts = [np.bincount(each.labels, minlength=len(names)) for each in readers.values()]
    indent = max(len(name) for name in ("class", *names))
    print(f"{'class':{indent}}", *(f"{split:>8}" for split in readers))
    for label, name in enumerate(names):
        print(f"{name:{indent}}", *(f"{own[label]:>8,}" for own in counts))
