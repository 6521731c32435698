"""The command `elicit data import`: pictures in one folder a class, as an image set."""

import re
import sys
import warnings
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageOps
from tyro.conf import Positional

from experiments.data.resumable_set import Columns, ResumableSet
from imgopt.errors import InputError
from train.data.image_data import ImageData, take_images
from train.data.load import data_digest
from train.data.spec import ImageSetSpec
from train.data.subsets import shuffled_classes


@dataclass(frozen=True)
class ImportConfig:
    """Makes a data set from a folder of pictures (PNG or JPEG) with one subfolder a class."""

    folder: Positional[Path]
    """The folder; the names of its subfolders are the names of the classes."""
    out: Path
    """The directory of the new data set."""
    size: int = 32
    """Height and width of the images in pixels. A picture's middle square is scaled to it."""
    name: str | None = None
    """Name of the data set; by default the name of the folder."""
    test_fraction: float = 0.0
    """Share of each class's pictures that becomes the split test, in [0, 1)."""
    key: int = 0
    """Key by which the pictures of the split test are drawn."""


def import_folder(config: ImportConfig) -> None:
    """Turns a folder of pictures into an image set; unreadable files are listed, not fatal.

    The id of an image is its class and file name, such as "ship/0001.jpg". The same command on the
    same pictures does nothing once the set is complete.

    Args:
        config: the options.

    Raises:
        InputError: there is no such folder, no class, or a class without a readable picture; `out`
            holds something else; the size is below 1; the fraction is outside [0, 1) or too small
            to draw a picture.
    """
    _check_import(config)
    spec = ImageSetSpec(
        name=config.name or _set_name(config.folder),
        class_names=_class_names(config.folder),
        image_shape=(config.size, config.size, 3),
        splits=("train", "test") if config.test_fraction else ("train",),
        description="Pictures of a user's own, made square and of one size.",
    )
    pictures, unreadable = _read_folder(config.folder, config.size)
    for file, reason in unreadable:
        print(f"unreadable: {file}: {reason}", file=sys.stderr)
    data = _as_data(pictures, spec.class_names)
    splits = _draw_splits(data, config)
    image_set = ResumableSet(config.out, spec, _identity(config, spec, data, unreadable))
    if image_set.is_complete():
        return
    with image_set.open_for_writing():
        image_set.write_shards({split: [partial(_columns, own)] for split, own in splits.items()})
    counts = ", ".join(f"{len(own.labels):,} {split}" for split, own in splits.items())
    found = f"{len(spec.class_names)} classes, {len(unreadable)} unreadable files"
    print(f"{config.out}: {counts}, {found}")


Picture = UInt8[np.ndarray, "size size 3"]
"""A user's picture, made square: pixels, 0 to 255."""


class Unreadable(NamedTuple):
    """A file that is not a readable picture.

    Attributes:
        file: path below the folder.
        reason: what is wrong with the file.
    """

    file: str
    reason: str


def _check_import(config: ImportConfig) -> None:
    if not config.folder.is_dir():
        raise InputError(
            f"expected a folder with one subfolder a class, got {config.folder}, which is no "
            "folder; check the path"
        )
    if not _class_names(config.folder):
        raise InputError(
            f"expected one subfolder a class in {config.folder}, got none; "
            "put the pictures of each class into a folder of its name"
        )
    if config.size < 1:
        raise InputError(f"expected --size of at least 1 pixel, got {config.size}")
    if not 0 <= config.test_fraction < 1:
        raise InputError(f"expected --test-fraction in [0, 1), got {config.test_fraction}")


def _visible(folder: Path) -> list[Path]:
    """Lists a folder by name, without the hidden files that file managers leave in it."""
    return sorted(path for path in folder.iterdir() if not path.name.startswith("."))


def _class_names(folder: Path) -> tuple[str, ...]:
    return tuple(path.name for path in _visible(folder) if path.is_dir())


def _read_folder(folder: Path, size: int) -> tuple[dict[str, Picture], list[Unreadable]]:
    """Reads every picture, in the order of classes and names.

    Returns:
        The pictures by their paths below the folder, the class first, and all other files.
    """
    pictures: dict[str, Picture] = {}
    unreadable: list[Unreadable] = []
    for path in _visible(folder):
        if not path.is_dir():
            unreadable.append(Unreadable(path.name, "outside the folders of the classes"))
            continue
        before = len(pictures)
        for inner in _visible(path):
            file = f"{path.name}/{inner.name}"
            read = _read_picture(inner, file, size)
            if isinstance(read, Unreadable):
                unreadable.append(read)
            else:
                pictures[file] = read
        if len(pictures) == before:
            raise InputError(
                f"expected at least one PNG or JPEG in every class, got none that can be read in "
                f"{path}; add pictures or remove the folder"
            )
    return pictures, unreadable


def _read_picture(path: Path, file: str, size: int) -> Picture | Unreadable:
    if path.is_dir():
        return Unreadable(file, "a folder in the folder of a class")
    try:
        file.encode()
        with warnings.catch_warnings():
            # Between its limit and twice that Pillow only warns of a decompression bomb.
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path, formats=("PNG", "JPEG")) as image:
                return square(image, size)
    except UnicodeEncodeError:
        return Unreadable(ascii(file), "its name is not valid text")
    except (Image.DecompressionBombWarning, Image.DecompressionBombError):
        return Unreadable(file, f"more than {Image.MAX_IMAGE_PIXELS:,} pixels")
    except Image.UnidentifiedImageError:
        return Unreadable(file, "neither a PNG nor a JPEG")
    # Pillow has no class of its own.
    except (OSError, SyntaxError, ValueError, zlib.error) as error:
        return Unreadable(file, f"damaged ({error})")


def square(image: Image.Image, size: int) -> Picture:
    """Turns a picture upright and into RGB, scales its shorter side, and cuts out the middle.

    Args:
        image: a picture of any mode and size; transparent parts become white, 16 bits become 8.
        size: height and width of the result in pixels, at least 1.

    Returns:
        The pixels, 0 to 255.
    """
    rgb = _rgb(ImageOps.exif_transpose(image))
    return np.asarray(ImageOps.fit(rgb, (size, size), Image.Resampling.BICUBIC))


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):
        # Pillow's own conversion clips 16-bit levels at 255, so nearly all would become white.
        return Image.fromarray((np.asarray(image) // 257).astype(np.uint8)).convert("RGB")
    if image.has_transparency_data:
        coloured = image.convert("RGBA")
        white = Image.new("RGBA", coloured.size, "white")
        return Image.alpha_composite(white, coloured).convert("RGB")
    return image.convert("RGB")


def _as_data(pictures: Mapping[str, Picture], class_names: tuple[str, ...]) -> ImageData:
    labels = [class_names.index(file.partition("/")[0]) for file in pictures]
    return ImageData(
        images=np.stack(list(pictures.values())),
        labels=np.array(labels, np.int32),
        ids=tuple(pictures),
        class_names=class_names,
    )


def _draw_splits(data: ImageData, config: ImportConfig) -> dict[str, ImageData]:
    """Draws the same share of every class for the split test; both splits keep the order."""
    if config.test_fraction == 0:
        return {"train": data}
    is_test = np.zeros(len(data.labels), bool)
    key = jax.random.key(config.key)
    for own in shuffled_classes(key, data.labels, num_classes=len(data.class_names)):
        # A class must not vanish from training.
        count = min(round(config.test_fraction * len(own)), len(own) - 1)
        is_test[own[:count]] = True
    if not is_test.any():
        raise InputError(
            f"expected --test-fraction that draws a picture, got {config.test_fraction}, which "
            "draws none of so few; raise it or leave it out"
        )
    masks = {"train": ~is_test, "test": is_test}
    return {split: take_images(data, np.flatnonzero(mask)) for split, mask in masks.items()}


def _columns(data: ImageData) -> Columns:
    return {"id": data.ids, "image": data.images, "label": data.labels}


def _set_name(folder: Path) -> str:
    """Turns the folder's name into one that TFDS accepts."""
    name = re.sub(r"[^a-z0-9]+", "_", folder.resolve().name.lower()).strip("_")
    return name if name[:1].isalpha() else f"images_{name}".strip("_")


def _identity(
    config: ImportConfig, spec: ImageSetSpec, data: ImageData, unreadable: Sequence[Unreadable]
) -> dict[str, Any]:
    """Everything that the set's bytes depend on."""
    return {
        "name": spec.name,
        "source": str(config.folder),
        "images_sha256": data_digest(data),
        "size": config.size,
        "test_fraction": config.test_fraction,
        "key": config.key,
        "unreadable": [entry._asdict() for entry in unreadable],
    }
