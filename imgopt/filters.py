"""What stands between the pixel map and the classifier: image filters, and random views.

A filter turns images (..., h, w, c) in [0, 1] into images of the same shape in [0, 1], each channel
by itself. It is also applied to the finished image, so the classifier sees what the file will hold.
Both filters treat the image as periodic, as the discrete Fourier transform does.

Views are random transformations of an image, such as flips and crops. Synthesis then asks that the
classifier gives the target on average over the views. The finished image itself has none of them.
"""

import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key

from imgopt.errors import InputError, is_integer, is_number

ImageFilter = Callable[[Float[Array, "*batch h w c"]], Float[Array, "*batch h w c"]]

Augmentation = Callable[[Key[Array, ""], Any], Any]
"""A random transformation (key, image) → image of the same shape and type, traceable by JAX."""

VIEWS = 4
"""Views of an image by default."""

MEASURED_VIEWS_STREAM = 2**32 - 1
"""Folded into an image's key for the views on which it is measured; updates have smaller
numbers."""


@dataclass(frozen=True)
class Views:
    """Random views of every image, over which the loss is averaged.

    The views of image i in update t are drawn with the key fold_in(fold_in(key(seed), i), t), so
    they do not depend on the batch. The finished image is measured on as many other views.

    Attributes:
        augmentations: at least one; a view is the result of all, one after another.
        count: number of views of an image in every update, at least 1. An update costs as much as
            one of that many images.
        seed: seed of the views, at least 0.

    Raises:
        InputError: there is no augmentation, or a number is outside its range.

    Example:
        >>> views = Views((flip, crop(4)), count=8)
        >>> views.draw(jax.random.key(0), jnp.zeros((32, 32, 3))).shape
        (8, 32, 32, 3)
    """

    augmentations: Sequence[Augmentation]
    count: int = VIEWS
    seed: int = 0

    def __post_init__(self) -> None:
        given = self.augmentations
        if not (isinstance(given, Sequence) and given and all(map(callable, given))):
            raise InputError(
                "augmentations must be a list of at least one function (key, image) → image, such "
                f"as imgopt.flip; got {given!r}"
            )
        object.__setattr__(self, "augmentations", tuple(map(as_hashable, given)))
        for name, number, least in (("count", self.count, 1), ("seed", self.seed, 0)):
            if not is_integer(number, least=least):
                raise InputError(f"{name} of views must be at least {least}, got {number!r}")

    def keys(self, indices: Int[Array, " n"]) -> Key[Array, " n"]:
        """Each image's own key, by its index in the whole data set."""
        return jax.vmap(functools.partial(jax.random.fold_in, jax.random.key(self.seed)))(indices)

    def draw(self, key: Key[Array, ""], image: Any) -> Any:
        """Draws the views of one image.

        Args:
            key: source of the randomness.
            image: one image, or a pytree of arrays.

        Returns:
            The views, with a first axis of length `count`.
        """

        def view(key: Key[Array, ""]) -> Any:
            keys = jax.random.split(key, len(self.augmentations))
            seen = image
            for own_key, augment in zip(keys, self.augmentations, strict=True):
                seen = augment(own_key, seen)
            return seen

        return jax.vmap(view)(jax.random.split(key, self.count))

    def check(self, image: Any) -> None:
        """Raises InputError unless every augmentation takes such an image; computes nothing.

        Args:
            image: shape and type of one image, or a pytree of them.
        """
        expected = _shapes(image)
        for augment in self.augmentations:
            name = getattr(augment, "__name__", repr(augment))
            try:
                found = _shapes(jax.eval_shape(augment, jax.eval_shape(jax.random.key, 0), image))
            except InputError:
                raise
            except Exception as error:  # a function of the user's raises errors of any kind
                words = " ".join(str(error).split()) or type(error).__name__
                raise InputError(f"augmentation {name} cannot take {expected}: {words}") from error
            if found != expected:
                raise InputError(
                    f"augmentation {name} must give an image like the one given, {expected}; got "
                    f"{found}"
                )


def as_hashable(function: Callable) -> Callable:
    """Gives an object's own method in place of an object that cannot be hashed.

    Compiled programs are kept by their functions. An object that compares by value, such as a
    dataclass that is not frozen, has no hash; its bound methods have one by identity.
    """
    return function if type(function).__hash__ else function.__call__


def _shapes(image: Any) -> Any:
    return jax.tree.map(lambda leaf: f"{leaf.dtype}{list(leaf.shape)}", image)


def flip(key: Key[Array, ""], image: Float[Array, "h w c"]) -> Float[Array, "h w c"]:
    """Mirrors an image left to right with probability 1/2.

    Args:
        key: source of the choice.
        image: one image.

    Example:
        >>> image = jnp.array([[[1.0], [2.0], [3.0]]])  # one row of three pixels
        >>> sorted({tuple(flip(jax.random.key(i), image).ravel().tolist()) for i in range(8)})
        [(1.0, 2.0, 3.0), (3.0, 2.0, 1.0)]
    """
    is_mirrored = jax.random.bernoulli(key, jnp.float32(0.5))
    return jnp.where(is_mirrored, image[:, ::-1], image)


@functools.cache
def crop(pad_px: int = 4) -> Augmentation:
    """Pads an image with black and cuts a random window of the image's size out (A, 3.2).

    Args:
        pad_px: black pixels added on each side, at least 1, and less than the image's height and
            width.

    Returns:
        The augmentation; every place of the window has the same probability.

    Raises:
        InputError: `pad_px` is below 1. The augmentation raises it for an image that is too small.

    Example:
        >>> image = jnp.ones((8, 8, 3))
        >>> moved = crop(2)(jax.random.key(1), image)
        >>> moved.shape, bool(moved.mean() <= 1)
        ((8, 8, 3), True)
    """
    if not is_integer(pad_px, least=1):
        raise InputError(f"pad_px must be an integer of at least 1, got {pad_px!r}")

    def crop(key: Key[Array, ""], image: Float[Array, "h w c"]) -> Float[Array, "h w c"]:
        if pad_px >= min(image.shape[:2]):
            raise InputError(
                f"pad_px must be below the images' height and width, {image.shape[:2]}, got "
                f"{pad_px}: some windows would show none of the image"
            )
        padded = jnp.pad(image, ((pad_px, pad_px), (pad_px, pad_px), (0, 0)))
        offset = jax.random.randint(key, (2,), 0, 2 * pad_px + 1, jnp.int32)
        return jax.lax.dynamic_slice(padded, (*offset, jnp.int32(0)), image.shape)

    return crop


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
    if not (is_number(radius) and 0 < radius < math.inf):
        raise InputError(f"radius must be above 0 cycles an image and finite, got {radius!r}")

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
    if not (is_number(sigma) and 0 < sigma < math.inf):
        raise InputError(f"sigma must be above 0 pixels and finite, got {sigma!r}")

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
