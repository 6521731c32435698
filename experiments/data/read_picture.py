"""Reads a picture of a user's own: any common format, turned upright, in sRGB, square, of one size.

Files of cameras and editors are often slightly wrong. A fault of the metadata, such as a broken
colour profile, is remarked on and the picture is read all the same.
"""

import contextlib
import functools
import io
import stat
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import UInt8
from PIL import ExifTags, Image, ImageCms, ImageOps, PngImagePlugin

from experiments.options.data import Fit
from imgopt.errors import is_own_fault

FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "TIFF", "GIF")
"""Pillow's names of the formats that are read."""
FORMAT_WORDS = "PNG, JPEG, WebP, BMP, TIFF or GIF"


TEXT_LIMIT_BYTES = 2**26
"""Most bytes of text, or of a colour profile, in a PNG; Pillow's own limit is 1 MiB."""
DRAFT_FACTOR = 2
"""A JPEG is decoded at 1/2, 1/4 or 1/8 of its size if it stays this much larger than asked for."""
DEEP_LEVEL = 257  # levels of 16 bits for each of 8: 65535 / 255
SHALLOW_LEVELS = {"L;2": 85, "L;4": 17}
"""Factor from levels of 2 or 4 bits to levels of 8, by Pillow's name of how a PNG stores them."""

TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""The turn that puts a picture upright, by its EXIF orientation."""

PROFILE_MODES = {"RGB": "RGB", "GRAY": "L", "CMYK": "CMYK"}
"""Pillow's mode of the pictures that a colour profile fits, by the profile's colour space."""


class ReadPicture(NamedTuple):
    """A picture that was read.

    Attributes:
        pixels: the square image, 0 to 255.
        remarks: faults and oddities of the file that did not prevent reading.
    """

    pixels: UInt8[np.ndarray, "size size 3"]
    remarks: tuple[str, ...]


class NotRead(NamedTuple):
    """A file that is not a readable picture.

    Attributes:
        reason: what is wrong with the file.
    """

    reason: str


class _UnknownRangeError(Exception):
    """A picture's levels have no known range."""


def read_picture(path: Path, *, size: int, fit: Fit = "crop") -> ReadPicture | NotRead:
    """Reads a picture; whatever is wrong with the file becomes the reason why it is not read.

    Args:
        path: any path; pipes and devices are not opened.
        size: height and width of the result in pixels, at least 1.
        fit: what becomes of a picture that is not square.
    """
    try:
        if reason := _not_a_file(path):
            return NotRead(reason)
        with _quiet(), _large_texts(), Image.open(path, formats=FORMATS) as image:
            return square(image, size=size, fit=fit)
    except (Image.DecompressionBombWarning, Image.DecompressionBombError):
        return NotRead(f"more than {Image.MAX_IMAGE_PIXELS:,} pixels")
    except Image.UnidentifiedImageError:
        return NotRead(f"no {FORMAT_WORDS}" if path.stat().st_size else "an empty file")
    except PermissionError:
        return NotRead("no permission to read it")
    except MemoryError:
        return NotRead("too large for the memory of this machine")
    except _UnknownRangeError as error:
        return NotRead(str(error))
    except Exception as error:  # damaged bytes raise errors of many kinds in Pillow
        if is_own_fault(error):
            raise
        return NotRead(f"damaged ({' '.join(str(error).split())})")


def _not_a_file(path: Path) -> str:
    """Says what a path is if it is no regular file; opening a pipe would wait for ever."""
    if path.is_dir():
        return "a folder in the folder of a class"
    if not path.exists():
        return "a link to a file that does not exist"
    return "" if stat.S_ISREG(path.stat().st_mode) else "a pipe, socket or device"


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silences Pillow's warnings of odd metadata; a decompression bomb becomes an error.

    Between its limit and twice that Pillow only warns of a bomb.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        yield


@contextlib.contextmanager
def _large_texts() -> Iterator[None]:
    """Lets Pillow read PNGs with large texts and profiles, as programs for drawing write them."""
    before = PngImagePlugin.MAX_TEXT_CHUNK, PngImagePlugin.MAX_TEXT_MEMORY
    PngImagePlugin.MAX_TEXT_CHUNK = PngImagePlugin.MAX_TEXT_MEMORY = TEXT_LIMIT_BYTES
    try:
        yield
    finally:
        PngImagePlugin.MAX_TEXT_CHUNK, PngImagePlugin.MAX_TEXT_MEMORY = before


def square(image: Image.Image, *, size: int, fit: Fit = "crop") -> ReadPicture:
    """Turns a picture upright and into sRGB, and scales it to a square.

    Args:
        image: a picture of any mode and size, not loaded yet if it comes from a file; of an
            animation the first frame is taken. Transparent parts become white, 16 bits become 8.
        size: height and width of the result in pixels, at least 1.
        fit: what becomes of a picture that is not square.

    Raises:
        Exception: the file is damaged or of a kind that cannot be converted.
    """
    remarks = ["animated; its first frame is taken"] if _is_animated(image) else []
    image.draft(None, (DRAFT_FACTOR * size, DRAFT_FACTOR * size))
    rgb = _srgb(_upright(_eight_bits(image), remarks), remarks)
    return ReadPicture(np.asarray(_fitted(rgb, size, fit)), tuple(remarks))


def _is_animated(image: Image.Image) -> bool:
    """Whether a file has several pictures; the further ones of an MPO are mere previews."""
    return image.format != "MPO" and getattr(image, "is_animated", False)


def _eight_bits(image: Image.Image) -> Image.Image:
    """Loads a picture, and brings its levels to 8 bits.

    Pillow's own conversion clips grey levels of 16 bits at 255, so nearly all would become white.
    """
    stored_as = next((str(tile[3]) for tile in getattr(image, "tile", ())), "")
    image.load()
    if image.mode in ("I", "F"):
        raise _UnknownRangeError("levels of 32 bits have no known range: save it with 8 or 16 bits")
    clear = image.info.get("transparency")
    if not image.mode.startswith("I;16"):
        if clear is not None:
            image.info["transparency"] = _clear_level(clear, stored_as)
        return image
    levels = np.asarray(image)
    grey = Image.fromarray((levels // DEEP_LEVEL).astype(np.uint8))
    if clear is not None:
        opacity = np.where(levels == clear, 0, 255).astype(np.uint8)
        grey.putalpha(Image.fromarray(opacity))
    grey.info = {name: image.info[name] for name in ("exif", "icc_profile") if name in image.info}
    return grey


def _clear_level(clear: Any, stored_as: str) -> Any:
    """Brings the transparent colour of a PNG to 8 bits; Pillow does so with other kinds only."""
    if stored_as in SHALLOW_LEVELS:
        return clear * SHALLOW_LEVELS[stored_as]
    return tuple(level >> 8 for level in clear) if stored_as.startswith("RGB;16") else clear


def _upright(image: Image.Image, remarks: list[str]) -> Image.Image:
    """Turns a loaded picture by its orientation; no other tag is looked at.

    Pillow's `exif_transpose` also writes all other tags again, and fails if one is malformed.
    """
    try:
        orientation: Any = image.getexif().get(ExifTags.Base.Orientation)
    except Exception:  # broken EXIF data raise errors of many kinds in Pillow
        remarks.append("its EXIF data are broken; taken as upright")
        return image
    turn = TURNS.get(orientation)
    return image if turn is None else image.transpose(turn)


def _srgb(image: Image.Image, remarks: list[str]) -> Image.Image:
    """Converts a picture by its colour profile, if it has one, and puts it on white."""
    profile = image.info.get("icc_profile")
    if image.mode == "CMYK":
        colours = image
    else:
        colours = image.convert("L" if image.mode in ("1", "L", "LA") else "RGB")
    rgb = _converted(colours, profile, remarks) if profile else colours.convert("RGB")
    if not image.has_transparency_data:
        return rgb
    rgb.putalpha(image.convert("RGBA").getchannel("A"))
    white = Image.new("RGBA", rgb.size, "white")
    return Image.alpha_composite(white, rgb).convert("RGB")


def _converted(image: Image.Image, profile: bytes, remarks: list[str]) -> Image.Image:
    """Converts colours to sRGB; a profile that is broken or of other colours is left out."""
    try:
        mode, transform = _to_srgb(profile)
        if mode == image.mode or (mode, image.mode) == ("RGB", "L"):
            return ImageCms.applyTransform(image.convert(mode), transform) or image.convert("RGB")
        remarks.append(f"its colour profile is for {mode} and not for {image.mode}; ignored")
    except (ImageCms.PyCMSError, OSError, KeyError) as error:
        remarks.append(f"its colour profile is broken ({error}); ignored")
    return image.convert("RGB")


@functools.lru_cache(maxsize=8)
def _to_srgb(profile: bytes) -> tuple[str, ImageCms.ImageCmsTransform]:
    """Gives the mode that a profile fits and the conversion; most folders have few profiles."""
    source: Any = ImageCms.ImageCmsProfile(io.BytesIO(profile))
    mode = PROFILE_MODES[source.profile.xcolor_space.strip()]
    return mode, ImageCms.buildTransform(source, ImageCms.createProfile("sRGB"), mode, "RGB")


def _fitted(rgb: Image.Image, size: int, fit: Fit) -> Image.Image:
    if fit == "crop":
        return ImageOps.fit(rgb, (size, size), Image.Resampling.BICUBIC)
    if fit == "squash":
        return rgb.resize((size, size), Image.Resampling.BICUBIC)
    longer = max(rgb.size)
    inner = tuple(max(1, round(side * size / longer)) for side in rgb.size)
    sheet = Image.new("RGB", (size, size), "white")
    corner = tuple((size - side) // 2 for side in inner)
    sheet.paste(rgb.resize((inner[0], inner[1]), Image.Resampling.BICUBIC), (corner[0], corner[1]))
    return sheet
