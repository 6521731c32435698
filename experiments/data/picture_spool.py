"""Square pictures on their way into an image set, in a temporary file instead of in memory."""

import hashlib
import math
import tempfile
from pathlib import Path

import numpy as np
from jaxtyping import Int, UInt8

from train.storage.files import naming

IN_MEMORY_BYTES = 2**25
"""Pixels of a small folder stay in memory; the file is made once there are more."""


class PictureSpool:
    """Pictures of one size, added one after the other and taken in any order.

    The file has no name, so nothing is left of it however the process ends.

    Attributes:
        sha256: digest of the names and pixels of all pictures so far.
    """

    def __init__(self, out: Path, image_shape: tuple[int, int, int]) -> None:
        """Makes an empty spool.

        Args:
            out: where the finished set will be, which has to have room for it anyway.
            image_shape: height, width and channels of every picture.
        """
        self._out, self._image_shape = out, image_shape
        self._image_bytes = math.prod(image_shape)
        parent = next(path for path in out.resolve().parents if path.is_dir())
        self._file = tempfile.SpooledTemporaryFile(IN_MEMORY_BYTES, dir=str(parent))  # noqa: SIM115 -- closed with the spool
        self._digest = hashlib.sha256()

    def __enter__(self) -> "PictureSpool":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    @property
    def sha256(self) -> str:
        """The digest, in hexadecimal."""
        return self._digest.hexdigest()

    def add(self, name: str, pixels: UInt8[np.ndarray, "h w c"]) -> None:
        """Appends a picture.

        Args:
            name: what the picture is called; it enters the digest only.
            pixels: the picture.

        Raises:
            OSError: there is no room for it.
        """
        content = pixels.tobytes()
        self._digest.update(f"{name}\n".encode())
        self._digest.update(content)
        with naming(self._out):
            self._file.write(content)

    def take(self, rows: Int[np.ndarray, " n"]) -> UInt8[np.ndarray, "n h w c"]:
        """Reads pictures.

        Args:
            rows: their numbers in the order in which they were added, from 0.
        """
        images = np.empty((len(rows), *self._image_shape), np.uint8)
        for image, row in zip(images, rows, strict=True):
            self._file.seek(int(row) * self._image_bytes)
            content = self._file.read(self._image_bytes)
            image[...] = np.frombuffer(content, np.uint8).reshape(self._image_shape)
        return images
