"""Image filters, applied between the pixel map and the classifier at every update.

A filter turns images (..., h, w, c) in [0, 1] into images of the same shape in [0, 1], each channel
by itself. It is also applied to the finished image, so the classifier sees what the file will hold.
Both filters treat the image as periodic, as the discrete Fourier transform does.
"""

import functools
import math
from collections.abc import Callable

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from imgopt.errors import InputError

ImageFilter = Callable[[Float[Array, "*batch h w c"]], Float[Array, "*batch h w c"]]


@functools.cache
def low_pass(radius: float) -> ImageFilter:
    """The paper's filter: keeps the Fourier coefficients nearer to DC than a radius (A, 2.2.3).

    Fourier transform, multiplication by a disc, inverse transform, real part, clip to [0, 1]. The
    disc's hard edge makes edges in the image ring; `gaussian_low_pass` rings less.

    Args:
        radius: radius in cycles an image, above 0. A coefficient is kept where its distance from DC
            is less than the radius: radius 10 on 32×32 keeps 305 of 1,024.

    Returns:
        The filter.

    Raises:
        InputError: the radius is not above 0 and finite.

    Example:
        >>> images = jnp.full((1, 8, 8, 3), 0.25)
        >>> low_pass(2.0)(images)[0, 0, 0].tolist()
        [0.25, 0.25, 0.25]
    """
    if not 0 < radius < math.inf:
        raise InputError(f"radius must be above 0 cycles an image and finite, got {radius}")

    def disc(height: int, width: int) -> np.ndarray:
        return distance_from_dc(height, width) < radius

    return functools.partial(_multiply_spectrum, mask=disc)


@functools.cache
def gaussian_low_pass(sigma: float) -> ImageFilter:
    """A Gaussian blur: multiplies the spectrum by exp(-2π²σ²(u² + v²)).

    Args:
        sigma: standard deviation of the Gaussian in pixels, above 0; u and v are in cycles a pixel.

    Returns:
        The filter.

    Raises:
        InputError: sigma is not above 0 and finite.

    Example:
        >>> dot = jnp.zeros((1, 8, 8, 1)).at[0, 4, 4, 0].set(1.0)
        >>> bool(gaussian_low_pass(1.0)(dot)[0, 4, 4, 0] < 0.2)
        True
    """
    if not 0 < sigma < math.inf:
        raise InputError(f"sigma must be above 0 pixels and finite, got {sigma}")

    def gaussian(height: int, width: int) -> np.ndarray:
        u, v = np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None]
        return np.exp(-2 * (np.pi * sigma) ** 2 * (u**2 + v**2))

    return functools.partial(_multiply_spectrum, mask=gaussian)


def distance_from_dc(height: int, width: int) -> np.ndarray:
    """Distance from DC of every coefficient of `rfft2`, in cycles an image.

    Args:
        height: height of the image, in pixels.
        width: width of the image, in pixels.

    Returns:
        An array (height, width // 2 + 1).
    """
    return np.hypot(
        np.fft.fftfreq(height, d=1 / height)[:, None], np.fft.rfftfreq(width, d=1 / width)[None]
    )


def _multiply_spectrum(
    images: Float[Array, "*batch h w c"], *, mask: Callable[[int, int], np.ndarray]
) -> Float[Array, "*batch h w c"]:
    # The images and the masks are real, so half of the spectrum determines the other half.
    height, width = images.shape[-3:-1]
    spectrum = jnp.fft.rfft2(images, axes=(-3, -2))
    gain = jnp.asarray(mask(height, width), images.dtype)[..., None].astype(spectrum.dtype)
    gain = jnp.expand_dims(gain, range(spectrum.ndim - gain.ndim))
    filtered = jnp.fft.irfft2(spectrum * gain, s=(height, width), axes=(-3, -2))
    return jnp.clip(filtered, 0, 1)
