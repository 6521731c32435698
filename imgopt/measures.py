"""What a synthesised image is like: how far it moved, how noisy and how colourful it is.

Images are float32 (n, h, w, c) in [0, 1]; every measure has one value an image.
"""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from imgopt.filters import _distance_from_dc
from imgopt.pixel_maps import MAX_LEVEL


def ranking_as_asked(
    outputs: Float[Array | np.ndarray, "n k"], targets: Float[Array | np.ndarray, "n k"]
) -> Bool[Array, " n"]:
    """Whether the output ranks the classes as the target does.

    Wherever the target sets one class above another, the output must too. Classes that the target
    ties (the zeros of a two-class target) may stand in any order among themselves.

    Args:
        outputs: probabilities.
        targets: probabilities.
    """
    asked = targets[:, :, None] > targets[:, None, :]
    given = outputs[:, :, None] > outputs[:, None, :]
    return jnp.all(~asked | given, axis=(1, 2))


def mean_absolute_change(
    images: Float[Array | np.ndarray, "n h w c"], originals: Float[Array | np.ndarray, "n h w c"]
) -> Float[Array, " n"]:
    """Mean |image - original| over the pixels and channels, in grey levels of 255."""
    return MAX_LEVEL * jnp.abs(images - originals).mean((1, 2, 3))


def high_frequency_energy(
    images: Float[Array | np.ndarray, "n h w c"], *, radius: float = 10
) -> Float[Array, " n"]:
    """Mean square of what an image holds beyond a radius from DC, in squared grey levels.

    By Parseval's theorem, the energy that `imgopt.low_pass(radius)` removes (before it clips):
    noise raises it.

    Args:
        images: in [0, 1].
        radius: in cycles an image.
    """
    height, width, channels = images.shape[1:]
    power = jnp.abs(jnp.fft.rfft2(images * MAX_LEVEL, axes=(1, 2))) ** 2
    beyond = _distance_from_dc(height, width) >= radius
    # A real transform stores one of each pair of conjugate columns; DC and Nyquist have no twin.
    columns = jnp.arange(beyond.shape[1])
    twins = jnp.where((columns == 0) | (2 * columns == width), 1, 2)
    kept = power * (beyond * twins)[None, :, :, None]
    return kept.sum((1, 2, 3)) / (channels * (height * width) ** 2)


def saturation(images: Float[Array | np.ndarray, "n h w c"]) -> Float[Array, " n"]:
    """Mean over the pixels of max - min over the channels, in [0, 1]: 0 is grey (HSV's chroma)."""
    return (jnp.max(images, -1) - jnp.min(images, -1)).mean((1, 2))
