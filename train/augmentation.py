"""Random transformations of training images, on the device, from keys."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key, UInt8

from imgopt.errors import InputError

CROPS_AT_ONCE = 1024  # of CIFAR's size: 12 MB as float32, however large the set


def flip_and_crop(
    key: Key[Array, ""], images: UInt8[Array, "n h w c"], *, flip: bool, pad_px: int
) -> UInt8[Array, "n h w c"]:
    """Mirrors left to right with probability 1/2, pads with black and cuts the size out (A, 3.2).

    Args:
        key: every image draws its own mirroring and offset.
        images: grey levels.
        flip: whether to mirror.
        pad_px: black pixels added at each side before the random cut; 0 for no cut.

    Returns:
        Images of the same shape.
    """
    flip_key, crop_key = jax.random.split(key)
    count, *shape = images.shape
    if flip:
        mirrored = jax.random.bernoulli(flip_key, shape=(count, 1, 1, 1))
        images = jnp.where(mirrored, images[:, :, ::-1], images)
    if pad_px:
        padded = jnp.pad(images, ((0, 0), (pad_px, pad_px), (pad_px, pad_px), (0, 0)))
        offsets = jax.random.randint(crop_key, (count, 2), 0, 2 * pad_px + 1)

        def cut(image: Array, offset: Array) -> Array:
            return jax.lax.dynamic_slice(image, (*offset, 0), shape)

        images = jax.vmap(cut)(padded, offsets)
    return images


@functools.partial(jax.jit, static_argnames="crop_px")
def crop_and_zoom(
    key: Key[Array, ""], images: UInt8[Array | np.ndarray, "n h w c"], *, crop_px: int
) -> UInt8[Array, "n h w c"]:
    """Cuts a random square out of every image and enlarges it to the image's size (B, 3.2.1).

    Image i's cut is drawn by fold_in(key, i) alone, each place with the same probability; the
    result is rounded to the nearest grey level, halves to the even one.

    Args:
        key: draws the cuts.
        images: grey levels.
        crop_px: side of the square, in [1, min(h, w)]; paper B's is 24 of 32.

    Returns:
        Images of the same shape.

    Raises:
        InputError: as `check_crop`.
    """
    _, height, width, channels = images.shape
    check_crop(crop_px, (height, width))
    places = jnp.array([height - crop_px + 1, width - crop_px + 1])

    def zoom(numbered: tuple[Int[Array, ""], UInt8[Array, "h w c"]]) -> UInt8[Array, "h w c"]:
        index, image = numbered
        offset = jax.random.randint(jax.random.fold_in(key, index), (2,), 0, places)
        cut = jax.lax.dynamic_slice(image, (*offset, 0), (crop_px, crop_px, channels))
        # In grey levels rather than [0, 1]: 24 to 32 pixels is then exact in float32, so that what
        # falls between two levels is rounded alike on every device.
        levels = resize_bilinear(cut.astype(jnp.float32), height=height, width=width)
        return jnp.round(levels).astype(jnp.uint8)

    numbered = (jnp.arange(len(images)), jnp.asarray(images))
    return jax.lax.map(zoom, numbered, batch_size=CROPS_AT_ONCE)


def check_crop(crop_px: int, size_px: tuple[int, int]) -> None:
    """Raises InputError for a square of nothing, or one larger than the images.

    Args:
        crop_px: its side.
        size_px: height and width of the images.
    """
    if not 1 <= crop_px <= min(size_px):
        raise InputError(
            f"crop_px must be in [1, {min(size_px)}] for images of {size_px[0]} x {size_px[1]} "
            f"pixels, got {crop_px}"
        )


def resize_bilinear(
    image: Float[Array | np.ndarray, "h w c"], *, height: int, width: int
) -> Float[Array, "height width c"]:
    """Resizes bilinearly, as PyTorch does with align_corners=False and without antialiasing.

    Args:
        image: of any range.
        height: of the result, in pixels.
        width: of the result, in pixels.
    """
    shape = (height, width, image.shape[2])
    # At full precision, which JAX's default here is: half of it would show in 8 bits.
    return jax.image.resize(jnp.asarray(image), shape, "bilinear", antialias=False)
