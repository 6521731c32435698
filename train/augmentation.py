"""Random transformations of training images, on the device, from keys."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Key, UInt8


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
