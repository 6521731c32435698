"""Pictures that come from the page and go to it: picked by number, uploaded, written as PNG."""

import base64
import hashlib
import tempfile
import threading
from collections import OrderedDict
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from experiments.data.read_picture import NotRead, read_picture
from experiments.explore.subject import Subject
from imgopt.errors import InputError
from train.data.write import encode_png

UPLOAD_LIMIT_BYTES = 20 * 2**20

KEPT_UPLOADS = 64
"""Uploaded pictures that the server remembers, all of the classifier's size."""

COLOURS = 3


class StartPicture(NamedTuple):
    """A picture that an optimisation starts from.

    Attributes:
        pixels: the image, 0 to 255, as the classifier takes it.
        number: its number in the data set; 0 for an upload.
        label: its true class; None for an upload.
        file_name: name of the uploaded file; None for an image of the data set.
    """

    pixels: UInt8[np.ndarray, "h w c"]
    number: int
    label: int | None = None
    file_name: str | None = None


def pick(subject: Subject, index: int) -> StartPicture:
    """Takes an image of the data set by its number.

    Raises:
        InputError: there is no such image, or it can no longer be read.
    """
    if not 0 <= index < len(subject.data):
        raise InputError(
            f"image must be in 0 to {len(subject.data) - 1}, the numbers of split "
            f"{subject.options.split}; got {index}"
        )
    found = subject.data.read(index, index + 1)
    return StartPicture(found.images[0], index, label=int(found.labels[0]))


class Uploads:
    """The pictures that were uploaded last, by their digests."""

    def __init__(self) -> None:
        self._kept: OrderedDict[str, StartPicture] = OrderedDict()
        self._one_at_a_time = threading.Lock()

    def add(self, subject: Subject, content: bytes, file_name: str) -> str:
        """Decodes a file and keeps the picture; gives the name to fetch it by.

        Only one file is decoded at a time, since a large one takes much memory.

        Raises:
            InputError: the file is no picture, is too large, or is damaged.
        """
        name = hashlib.sha256(content).hexdigest()[:32]
        with self._one_at_a_time:
            pixels = fit_picture(content, subject.image_shape)
            picture = StartPicture(pixels, 0, file_name=file_name or "picture")
            self._kept[name] = picture
            while len(self._kept) > KEPT_UPLOADS:
                self._kept.popitem(last=False)
        return name

    def get(self, name: str) -> StartPicture:
        """A picture by its name.

        Raises:
            InputError: it is not kept any longer.
        """
        if name not in self._kept:
            raise InputError("the uploaded picture is no longer kept; upload it again")
        return self._kept[name]


def fit_picture(content: bytes, shape: tuple[int, int, int]) -> UInt8[np.ndarray, "h w c"]:
    """Decodes an untrusted file and brings the picture to a shape; grey ones get three channels.

    Args:
        content: the file.
        shape: height, width and channels, 1 or 3. The middle of the picture is cut out.

    Raises:
        InputError: the file is no picture, is too large, or is damaged; or there are four channels.
    """
    if shape[2] not in (1, COLOURS):
        raise InputError(
            f"uploads need a classifier of 1 or 3 channels, this one takes {shape[2]}; pick an "
            "image by its number"
        )
    if not content:
        raise InputError("the upload is an empty file; choose a picture")
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "upload"
        file.write_bytes(content)
        return picture_of_shape(file, shape)


def picture_of_shape(file: Path, shape: tuple[int, int, int]) -> UInt8[np.ndarray, "h w c"]:
    """Reads a picture as `elicit data import` does, and cuts its middle to a shape.

    Args:
        file: the picture.
        shape: height, width and channels, 1 or 3.

    Raises:
        InputError: the file is no picture, is too large, or is damaged.
    """
    height, width, channels = shape
    size = max(height, width)
    found = read_picture(file, size=size)
    if isinstance(found, NotRead):
        raise InputError(f"the picture cannot be read: {found.reason}; choose another")
    top, left = (size - height) // 2, (size - width) // 2
    pixels = found.pixels[top : top + height, left : left + width]
    if channels == COLOURS:
        return pixels
    return np.asarray(Image.fromarray(pixels).convert("L"))[:, :, None]


def png_text(pixels: UInt8[np.ndarray, "h w c"]) -> str:
    """An image as a PNG file in base 64, as the page takes it."""
    return base64.b64encode(encode_png(pixels)).decode()
