"""Random transformations of training images, computed on the device from keys."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key, UInt8

from imgopt.errors import InputError
from train.checks import check_grey_levels

CROPS_AT_ONCE = 1024  # 12 MB as float32 at CIFAR's size, however large the set is


def flip_and_crop(
    key: Key[Array, ""], images: UInt8[Array, "n h w c"], *, flip: bool, pad_px: int
) -> UInt8[Array, "n h w c"]:
    """Mirrors at random, then pads with black and cuts a random window out (A, 3.2).

    Each image is mirrored left to right with probability 1/2. The window has the image's size.

    Args:
        key: Source of every image's own mirroring and offset.
        images: Grey levels.
        flip: Whether to mirror.
        pad_px: Black pixels added on each side before the cut; 0 for no cut.

    Returns:
        Images of the same shape.

    Raises:
        InputError: The images are not grey levels.
    """
    check_grey_levels(images)
    flip_key, crop_key = jax.random.split(key)
    count, *shape = images.shape
    if flip:
        mirrored = jax.random.bernoulli(flip_key, jnp.float32(0.5), (count, 1, 1, 1))
        images = jnp.where(mirrored, images[:, :, ::-1], images)
    if pad_px:
        padded = jnp.pad(images, ((0, 0), (pad_px, pad_px), (pad_px, pad_px), (0, 0)))
        offsets = jax.random.randint(crop_key, (count, 2), 0, 2 * pad_px + 1, jnp.int32)

        def cut(image: Array, offset: Array) -> Array:
            return jax.lax.dynamic_slice(image, (*offset, jnp.int32(0)), shape)

        images = jax.vmap(cut)(padded, offsets)
    return images


@functools.partial(jax.jit, static_argnames="crop_px")
def crop_and_zoom(
    key: Key[Array, ""], images: UInt8[Array | np.ndarray, "n h w c"], *, crop_px: int
) -> UInt8[Array, "n h w c"]:
    """Cuts a random square out of every image and enlarges it to the image's size (B, 3.2.1).

    The cut of image i depends on fold_in(key, i) alone; every place has the same probability. The
    result is rounded to the nearest grey level, halves to the even one.

    Args:
        key: Source of the cuts.
        images: Grey levels.
        crop_px: Side of the square, in [1, min(h, w)]; paper B takes 24 of 32 pixels.

    Returns:
        Images of the same shape.

    Raises:
        InputError: The images are not grey levels, or crop_px is outside its range.
    """
    check_grey_levels(images)
    _, height, width, channels = images.shape
    check_crop(crop_px, (height, width))
    places = jnp.array([height - crop_px + 1, width - crop_px + 1], jnp.int32)

    def zoom(numbered: tuple[Int[Array, ""], UInt8[Array, "h w c"]]) -> UInt8[Array, "h w c"]:
        index, image = numbered
        offset = jax.random.randint(jax.random.fold_in(key, index), (2,), 0, places, jnp.int32)
        cut = jax.lax.dynamic_slice(image, (*offset, jnp.int32(0)), (crop_px, crop_px, channels))
        # Grey levels, not [0, 1]: 24 to 32 pixels is then exact in float32, so every device rounds
        # a value halfway between two levels in the same way.
        levels = resize_bilinear(cut.astype(jnp.float32), height=height, width=width)
        return jnp.round(levels).astype(jnp.uint8)

    numbered = (jnp.arange(len(images), dtype=jnp.int32), jnp.asarray(images))
    return jax.lax.map(zoom, numbered, batch_size=CROPS_AT_ONCE)


def check_crop(crop_px: int, size_px: tuple[int, int]) -> None:
    """Raises InputError for an empty square, or one larger than the images.

    Args:
        crop_px: Side of the square.
        size_px: Height and width of the images.
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
        image: Values of any range.
        height: Height of the result, in pixels.
        width: Width of the result, in pixels.
    """
    shape = (height, width, image.shape[2])
    # JAX's default precision here is the full one; half of it would show in 8 bits.
    return jax.image.resize(jnp.asarray(image), shape, "bilinear", antialias=False)
