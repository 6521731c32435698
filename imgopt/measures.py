"""Measures of synthesised images: how far they moved, how noisy and how colourful they are.

Images are float32 (n, h, w, c) in [0, 1]; every measure gives one value an image.
"""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from imgopt.filters import distance_from_dc
from imgopt.pixel_maps import MAX_LEVEL


def ranking_as_asked(
    outputs: Float[Array | np.ndarray, "n k"], targets: Float[Array | np.ndarray, "n k"]
) -> Bool[Array, " n"]:
    """Whether the output ranks the classes as the target does.

    Wherever the target has one class above another, the output must too. Classes with equal
    target probabilities (the zeros of a two-class target) may come in any order.

    Args:
        outputs: the classifier's probabilities.
        targets: the probabilities asked for.
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
    """Mean square of an image's Fourier components beyond a radius, in squared grey levels.

    By Parseval's theorem this is the energy that `imgopt.low_pass(radius)` removes before it
    clips. Noise raises it.

    Args:
        images: images in [0, 1].
        radius: distance from DC in cycles an image.
    """
    height, width, channels = images.shape[1:]
    power = jnp.abs(jnp.fft.rfft2(images * MAX_LEVEL, axes=(1, 2))) ** 2
    beyond = distance_from_dc(height, width) >= radius
    # A real transform stores one of each pair of conjugate columns; DC and Nyquist have no twin.
    columns = np.arange(beyond.shape[1])
    twins = np.where((columns == 0) | (2 * columns == width), 1, 2)
    kept = power * jnp.asarray((beyond * twins)[None, :, :, None], power.dtype)
    return kept.sum((1, 2, 3)) / float(channels * (height * width) ** 2)  # no int32 holds it


def saturation(images: Float[Array | np.ndarray, "n h w c"]) -> Float[Array, " n"]:
    """Mean over the pixels of max - min over the channels, in [0, 1]: 0 is grey (HSV's chroma)."""
    return (jnp.max(images, -1) - jnp.min(images, -1)).mean((1, 2))
