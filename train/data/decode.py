"""Decodes the usual PNG and JPEG quickly; what is unusual or damaged is left to Pillow.

Pillow takes two to seven times as long for a small image and holds Python's lock meanwhile. Where
both decode an image, the pixels are the same (tested); what is accepted here, Pillow accepts.
"""

import numpy as np
from imagecodecs import SpngError, spng_decode
from jaxtyping import UInt8
from simplejpeg import decode_jpeg, decode_jpeg_header

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
JPEG_SIGNATURE = b"\xff\xd8"
JPEG_COLOURS = {1: ("Gray",), 3: ("YCbCr", "RGB", "Gray")}
"""By number of channels, the colours of files of which Pillow makes the same levels."""


def decode_into(encoded: bytes, pixels: UInt8[np.ndarray, "h w c"]) -> bool:
    """Decodes an image of 8 bits a channel and of just this shape.

    An image of another size is refused by its header, before anything is decoded.

    Args:
        encoded: a whole file.
        pixels: where to, contiguous.

    Returns:
        Whether it could; if not, the pixels may hold anything.
    """
    height, width, channels = pixels.shape
    try:
        if encoded.startswith(PNG_SIGNATURE):
            spng_decode(encoded, out=pixels if channels > 1 else pixels.reshape(height, width))
            return True
        if encoded.startswith(JPEG_SIGNATURE) and channels in JPEG_COLOURS:
            *size, colours, _ = decode_jpeg_header(encoded)
            if size == [height, width] and colours in JPEG_COLOURS[channels]:
                decode_jpeg(encoded, "GRAY" if channels == 1 else "RGB", buffer=pixels)
                return True
    except (ValueError, SpngError):
        pass  # Pillow will say what it is
    return False
