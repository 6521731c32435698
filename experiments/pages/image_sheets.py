"""Grids of images as PNG, without any words."""

import io

import numpy as np
import PIL.Image
from jaxtyping import UInt8

GAP_PX = 2
"""White between two images of a grid, in their own pixels."""

GRID_SCALE = 2
"""Factor by which the images of a grid are enlarged."""


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
