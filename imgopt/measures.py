"""Measures of synthesised images: how far they moved, how noisy and how colourful they are.

Images are float32 (n, h, w, c) in [0, 1]; every measure gives one value an image.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from imgopt.errors import InputError, is_number
from imgopt.filters import distance_from_dc
from imgopt.pixel_maps import MAX_LEVEL, check_images


def ranking_as_asked(
    outputs: Float[Array | np.ndarray, "n k"], targets: Float[Array | np.ndarray, "n k"]
) -> Bool[Array, " n"]:
    """Whether the output ranks the classes as the target does.

    Wherever the target has one class above another, the output must too. Classes with equal
    target probabilities (the zeros of a two-class target) may come in any order. An output with NaN
    does not rank.

    Args:
        outputs: the classifier's probabilities.
        targets: the probabilities asked for.

    Raises:
        InputError: the shapes differ.

    Example:
        >>> asked = jnp.array([[0.7, 0.3, 0.0], [0.7, 0.3, 0.0]])
        >>> ranking_as_asked(jnp.array([[0.5, 0.3, 0.2], [0.5, 0.1, 0.4]]), asked).tolist()
        [True, False]
    """
    if np.shape(outputs) != np.shape(targets) or np.ndim(outputs) != 2:
        raise InputError(
            "outputs and targets must both have shape (n, k), got "
            f"{np.shape(outputs)} and {np.shape(targets)}"
        )
    # Sorted by target, every class must lie above all classes that follow a drop of the target.
    order = jnp.argsort(jnp.asarray(targets), axis=1, descending=True)
    asked, given = (jnp.take_along_axis(jnp.asarray(a), order, 1) for a in (targets, outputs))
    drops = asked[:, :-1] > asked[:, 1:]
    lowest_above = jax.lax.cummin(given, axis=1)[:, :-1]
    highest_below = jax.lax.cummax(given, axis=1, reverse=True)[:, 1:]
    in_order = jnp.all(~drops | (lowest_above > highest_below), axis=1)
    return in_order & ~jnp.isnan(given).any(axis=1)


def mean_absolute_change(
    images: Float[Array | np.ndarray, "n h w c"], originals: Float[Array | np.ndarray, "n h w c"]
) -> Float[Array, " n"]:
    """Mean `|image - original|` over the pixels and channels, in grey levels of 255.

    Raises:
        InputError: the shapes differ, or these are no batches of floats in [0, 1].

    Example:
        >>> mean_absolute_change(jnp.full((1, 4, 4, 3), 0.75), jnp.full((1, 4, 4, 3), 0.5)).tolist()
        [63.75]
    """
    _check_batch(images)
    _check_batch(originals)
    if images.shape != originals.shape:
        raise InputError(
            f"images and originals must have one shape, got {images.shape} and {originals.shape}"
        )
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

    Raises:
        InputError: the images are no batch of floats in [0, 1], or the radius is negative.

    Example:
        >>> stripes = jnp.zeros((1, 32, 32, 3)).at[:, :, ::2].set(1.0)  # 16 cycles an image
        >>> high_frequency_energy(stripes).tolist()
        [16256.25]
    """
    _check_batch(images)
    if not (is_number(radius) and radius >= 0):
        raise InputError(f"radius must be at least 0 cycles an image, got {radius!r}")
    height, width, channels = images.shape[1:]
    power = jnp.abs(jnp.fft.rfft2(images * MAX_LEVEL, axes=(1, 2))) ** 2
    beyond = distance_from_dc(height, width) >= radius
    # A real transform stores one of each pair of conjugate columns; DC and Nyquist have no twin.
    columns = np.arange(beyond.shape[1])
    twins = np.where((columns == 0) | (2 * columns == width), 1, 2)
    kept = power * jnp.asarray((beyond * twins)[None, :, :, None], power.dtype)
    return kept.sum((1, 2, 3)) / float(channels * (height * width) ** 2)  # no int32 holds it


def saturation(images: Float[Array | np.ndarray, "n h w c"]) -> Float[Array, " n"]:
    """Mean over the pixels of max - min over the channels, in [0, 1]: 0 is grey (HSV's chroma).

    Raises:
        InputError: the images are no batch of floats in [0, 1].

    Example:
        >>> orange, grey = [[[1.0, 0.5, 0.25]]], [[[0.5, 0.5, 0.5]]]
        >>> saturation(jnp.array([orange, grey])).tolist()
        [0.75, 0.0]
    """
    _check_batch(images)
    return (jnp.max(images, -1) - jnp.min(images, -1)).mean((1, 2))


def _check_batch(images: Any) -> None:
    check_images(images)
    if images.ndim != 4:
        hint = "; of one image give images[None]" if images.ndim == 3 else ""
        raise InputError(f"images must have shape (n, h, w, c), got {images.shape}{hint}")
