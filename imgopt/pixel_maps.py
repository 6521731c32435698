"""Pixel maps: from an image in [0, 1] to the unconstrained weights of an optimiser, and back.

Every map first clips the image to [margin, 1 - margin], because 0 and 1 have no finite weight, and
float32 `tan` wraps there: black would silently come back as white. A margin below half a grey
level keeps the uint8 round trip exact. The price: near 0 and 1 the map is almost flat, so pixels
there hardly move (see `imgopt.Synthesis.frozen`).
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Float, UInt8

from imgopt.errors import InputError, is_number

MAX_LEVEL = 255
"""The largest grey level of an 8-bit image."""

DEFAULT_MARGIN = 1e-3
"""Distance kept from 0 and 1. It is below half a grey level, 0.00196."""

MIN_MARGIN = 1e-7
"""Smallest margin. Float32 numbers just below 1 are 6e-8 apart: 1 - margin must not be 1."""


class PixelMap(NamedTuple):
    """A pair of elementwise functions, each the inverse of the other on [margin, 1 - margin].

    Attributes:
        to_weights: image in [0, 1] → weights, any shape. Values outside [margin, 1 - margin],
            also those outside [0, 1], are clipped first, never wrapped.
        to_image: weights → image in [0, 1], same shape.
    """

    to_weights: Callable[[Float[Array, "..."]], Float[Array, "..."]]
    to_image: Callable[[Float[Array, "..."]], Float[Array, "..."]]


@functools.cache
def arctan_map(*, margin: float = DEFAULT_MARGIN) -> PixelMap:
    """The paper's map: w = tan((x - 1/2)π) and x = arctan(w)/π + 1/2 (A, eqs. 2 and 4).

    Its slope dx/dw = sin²(πx)/π is 0.318 in mid-grey and 3e-6 at the default margin.

    Args:
        margin: distance kept from 0 and 1, at least 1e-7 and below 0.5/255.

    Raises:
        InputError: the margin is outside its range.

    Example:
        >>> weights = arctan_map().to_weights(jnp.array([0.25, 0.5, 0.75]))
        >>> [round(float(weight), 3) for weight in weights]
        [-1.0, 0.0, 1.0]
        >>> to_uint8(arctan_map().to_image(weights)).tolist()
        [64, 128, 191]
    """
    return _clipped_map(
        to_weights=lambda x: jnp.tan((x - 0.5) * jnp.pi),
        to_image=lambda w: jnp.arctan(w) / jnp.pi + 0.5,
        margin=margin,
    )


@functools.cache
def tanh_map(*, margin: float = DEFAULT_MARGIN) -> PixelMap:
    """The map w = artanh(2x - 1), x = (tanh(w) + 1)/2; its slope is 2x(1 - x).

    Args:
        margin: distance kept from 0 and 1, at least 1e-7 and below 0.5/255.

    Raises:
        InputError: the margin is outside its range.

    Example:
        >>> tanh_map().to_image(jnp.array([0.0])).tolist()
        [0.5]
    """
    return _clipped_map(
        to_weights=lambda x: jnp.arctanh(2 * x - 1),
        to_image=lambda w: (jnp.tanh(w) + 1) / 2,
        margin=margin,
    )


@functools.cache
def sigmoid_map(*, margin: float = DEFAULT_MARGIN) -> PixelMap:
    """The map w = log(x/(1 - x)), x = 1/(1 + exp(-w)); its slope is x(1 - x).

    Args:
        margin: distance kept from 0 and 1, at least 1e-7 and below 0.5/255.

    Raises:
        InputError: the margin is outside its range.

    Example:
        >>> sigmoid_map().to_image(jnp.array([0.0])).tolist()
        [0.5]
    """
    return _clipped_map(to_weights=jax.scipy.special.logit, to_image=jax.nn.sigmoid, margin=margin)


def slope(pixel_map: PixelMap, weights: Float[Array, "..."]) -> Float[Array, "..."]:
    """The derivative d image / d weight at every pixel, by automatic differentiation.

    Args:
        pixel_map: an elementwise map.
        weights: any shape.

    Returns:
        The derivatives, in the shape of `weights`, at least 0.

    Example:
        >>> pixel_map = arctan_map()
        >>> weights = pixel_map.to_weights(jnp.array([0.5, 0.0]))  # mid-grey, black
        >>> [round(float(each), 6) for each in slope(pixel_map, weights)]
        [0.31831, 3e-06]
    """
    return jax.jvp(pixel_map.to_image, (weights,), (jnp.ones_like(weights),))[1]


def to_float(images: UInt8[Array | np.ndarray, "..."]) -> Float[Array, "..."]:
    """Converts uint8 grey levels 0 to 255 to float32 in [0, 1].

    Raises:
        InputError: the images are not uint8.

    Example:
        >>> to_float(np.array([0, 255], np.uint8)).tolist()
        [0.0, 1.0]
    """
    found = getattr(images, "dtype", type(images).__name__)
    if found != jnp.uint8:
        raise InputError(f"images must be uint8 grey levels, got {found}")
    return jnp.asarray(images, jnp.float32) / MAX_LEVEL


def to_uint8(images: Float[Array | np.ndarray, "..."]) -> UInt8[Array, "..."]:
    """Rounds float images in [0, 1] to the nearest uint8 grey levels, as files hold them.

    Raises:
        InputError: the images are no floats in [0, 1]. Values are not looked at under `jax.jit`.

    Example:
        >>> to_uint8(np.array([0, 0.5, 1])).tolist()
        [0, 128, 255]
    """
    check_images(images)
    return jnp.round(jnp.asarray(images) * MAX_LEVEL).astype(jnp.uint8)


def check_images(images: Any) -> None:
    """Raises InputError unless images are floats in [0, 1]; NaN passes.

    Values are looked at only where they are known, so not under `jax.jit`.
    """
    found = getattr(images, "dtype", None)
    if found is None:
        raise InputError(
            f"images must be an array, floating point in [0, 1], got {type(images).__name__}; make "
            "one with numpy.asarray"
        )
    if not jnp.issubdtype(found, jnp.floating):
        raise InputError(
            f"images must be floating point in [0, 1], got {found}; divide 8-bit images by 255"
        )
    if isinstance(images, Tracer) or not np.size(images):
        return
    # fmin and fmax leave NaN out.
    low, high = (float(each.reduce(images, axis=None)) for each in (np.fmin, np.fmax))
    if low < 0 or high > 1:
        hint = "; divide grey levels by 255" if high > 2 else ""
        raise InputError(f"images must be in [0, 1], got values from {low:.8g} to {high:.8g}{hint}")


def _clipped_map(
    *,
    to_weights: Callable[[Float[Array, "..."]], Float[Array, "..."]],
    to_image: Callable[[Float[Array, "..."]], Float[Array, "..."]],
    margin: float,
) -> PixelMap:
    if not (is_number(margin) and MIN_MARGIN <= margin < 0.5 / MAX_LEVEL):
        raise InputError(
            f"margin must be at least {MIN_MARGIN} and below 0.5/255 = {0.5 / MAX_LEVEL:.5f}, so "
            f"that black and white come back as black and white; got {margin!r}"
        )
    return PixelMap(lambda x: to_weights(jnp.clip(x, margin, 1 - margin)), to_image)
