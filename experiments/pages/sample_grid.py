"""Sheets of generated images: one row a class, as PNG."""

import io

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from imgopt.errors import InputError

GAP_PX = 2
"""White between two images, and none around them."""


def sample_grid(images: UInt8[np.ndarray, "rows columns h w c"], *, scale: int = 2) -> bytes:
    """Lays images out in rows and columns, every pixel a square.

    Args:
        images: grey levels; c is 1 (grey), 3 (colour) or 4 (colour and opacity).
        scale: whole factor by which they are enlarged, at least 1.

    Returns:
        The bytes of a PNG; equal images give equal bytes.

    Raises:
        InputError: images of another type or shape, or a scale below 1.
    """
    is_grid = images.dtype == np.uint8 and images.ndim == 5 and images.size > 0
    if not (is_grid and images.shape[-1] in (1, 3, 4)):
        raise InputError(
            "expected images as uint8 (rows, columns, h, w, 1, 3 or 4), at least one, got "
            f"{images.dtype} {images.shape}"
        )
    if scale < 1:
        raise InputError(f"scale must be at least 1, got {scale}")
    large = images.repeat(scale, axis=2).repeat(scale, axis=3)
    gap = ((0, 0), (0, 0), (0, GAP_PX), (0, GAP_PX), (0, 0))
    spaced = np.pad(large, gap, constant_values=255)
    rows, columns, height, width, channels = spaced.shape
    sheet = spaced.transpose(0, 2, 1, 3, 4).reshape(rows * height, columns * width, channels)
    buffer = io.BytesIO()
    pixels = sheet[:-GAP_PX, :-GAP_PX]
    Image.fromarray(pixels[:, :, 0] if channels == 1 else pixels).save(buffer, "PNG", optimize=True)
    return buffer.getvalue()
