"""Names and images, made ready to be shown."""

import numpy as np
from jaxtyping import UInt8

MAX_NAME_CHARACTERS = 22


def short(name: str, limit: int = MAX_NAME_CHARACTERS) -> str:
    """Returns a name on one line, with printable characters only, shortened to the limit."""
    clean = "".join(c if c.isprintable() else " " for c in name).strip()
    return clean if len(clean) <= limit else clean[: limit - 1] + "…"


def over_white(images: UInt8[np.ndarray, "*n h w c"]) -> UInt8[np.ndarray, "*n h w _"]:
    """Lays images with opacity, of four channels, over white; others stay as they are."""
    if images.shape[-1] != 4:
        return images
    opacity = images[..., 3:] / 255
    return np.rint(images[..., :3] * opacity + 255 * (1 - opacity)).astype(np.uint8)
