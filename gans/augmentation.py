"""Differentiable augmentation of all images that a discriminator sees.

After Zhao et al. 2020, "Differentiable augmentation for data-efficient GAN training", figure 4.
Real and generated images are changed in the same way, for discriminator and generator updates. So
the discriminator seldom sees an image twice and cannot memorise a small data set. And since the
gradient passes through the change, the generator does not learn to generate changed images.
Magnitudes are those of the authors' code, mit-han-lab/data-efficient-gans, whose "color" is
brightness, saturation and contrast.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from gans.options.training import AugmentationName, check_augmentations
from imgopt.errors import InputError

Augmentation = Callable[[Key[Array, ""], Float[Array, "h w c"]], Float[Array, "h w c"]]
"""Changes one image, by its own key."""

BRIGHTNESS = (-0.5, 0.5)
"""Range of the number that is added; a quarter of the range [-1, 1] up or down."""

SATURATION = (0.0, 2.0)
"""Range of the factor on a pixel's difference from its grey value."""

CONTRAST = (0.5, 1.5)
"""Range of the factor on an image's difference from its mean."""

TRANSLATION_PART = 8
"""An image moves by at most this part of its height and width: 1/8."""

CUT_OUT_PART = 2
"""The rectangle that is cut out has this part of the image's height and width: 1/2."""


def augment(
    key: Key[Array, ""],
    images: Float[Array, "n h w c"],
    names: tuple[AugmentationName, ...],
) -> Float[Array, "n h w c"]:
    """Applies the named augmentations to each image, in the order of `AUGMENTATIONS`.

    The change of image i depends on fold_in(key, i) only; each augmentation draws the same numbers
    whether other ones are on or off.

    Args:
        key: PRNG key; real and generated images need different ones.
        images: in [-1, 1] (see `gans.blocks.to_signed`).
        names: augmentations to apply; an empty tuple leaves the images unchanged.

    Returns:
        Images of the same shape. The first three augmentations may leave [-1, 1]; clipping would
        stop the gradient.

    Raises:
        InputError: a name is unknown or given twice, or the images are not floats.

    Example:
        >>> grey = jnp.zeros((2, 16, 16, 3))
        >>> brighter = augment(jax.random.key(0), grey, ("brightness",))
        >>> brighter.shape, bool((brighter[0] != brighter[1]).all())
        ((2, 16, 16, 3), True)
    """
    check_augmentations(names)
    if not jnp.issubdtype(images.dtype, jnp.floating):
        raise InputError(f"images must be floats in [-1, 1], got {images.dtype}; see to_signed")

    def change(index: Int[Array, ""], image: Float[Array, "h w c"]) -> Float[Array, "h w c"]:
        own_keys = jax.random.split(jax.random.fold_in(key, index), len(AUGMENTATIONS))
        for own_key, (name, augmentation) in zip(own_keys, AUGMENTATIONS.items(), strict=True):
            if name in names:
                image = augmentation(own_key, image)
        return image

    numbers = jnp.arange(len(images), dtype=jnp.int32)
    return jax.vmap(change)(numbers, images) if names else images


def change_brightness(key: Key[Array, ""], image: Float[Array, "h w c"]) -> Float[Array, "h w c"]:
    """Adds one number from U(-0.5, 0.5): x + b."""
    return image + _draw(key, BRIGHTNESS, image)


def change_saturation(key: Key[Array, ""], image: Float[Array, "h w c"]) -> Float[Array, "h w c"]:
    """Scales each pixel's difference from its channels' mean m: m + s·(x - m), s from U(0, 2)."""
    grey = image.mean(-1, keepdims=True)
    return grey + _draw(key, SATURATION, image) * (image - grey)


def change_contrast(key: Key[Array, ""], image: Float[Array, "h w c"]) -> Float[Array, "h w c"]:
    """Scales all differences from the image's mean m: m + s·(x - m), s from U(0.5, 1.5)."""
    mean = image.mean()
    return mean + _draw(key, CONTRAST, image) * (image - mean)


def translate(key: Key[Array, ""], image: Float[Array, "h w c"]) -> Float[Array, "h w c"]:
    """Moves the image by whole pixels, at most an eighth of each side (rounded down).

    Vertical and horizontal shifts are drawn independently and uniformly. The pixels that become
    free are 0, mid-grey.
    """
    height, width, _ = image.shape
    most = (height // TRANSLATION_PART, width // TRANSLATION_PART)
    padded = jnp.pad(image, (*((side, side) for side in most), (0, 0)))
    offset = jax.random.randint(key, (2,), 0, 2 * jnp.array(most, jnp.int32) + 1, jnp.int32)
    return jax.lax.dynamic_slice(padded, (*offset, jnp.int32(0)), image.shape)


def cut_out(key: Key[Array, ""], image: Float[Array, "h w c"]) -> Float[Array, "h w c"]:
    """Sets a rectangle of half the height and half the width (rounded down) to 0, mid-grey.

    Its centre is drawn uniformly: from the pixels along a side if the rectangle's side is odd, from
    the edges between pixels, including the two ends, if it is even. The part outside the image is
    ignored.
    """
    lengths = jnp.array(image.shape[:2], jnp.int32)
    sizes = lengths // CUT_OUT_PART
    centres = jax.random.randint(key, (2,), 0, lengths + 1 - sizes % 2, jnp.int32)
    starts = centres - sizes // 2
    places = jnp.moveaxis(jnp.indices(image.shape[:2], jnp.int32), 0, -1)
    starts, ends = starts[None, None], (starts + sizes)[None, None]
    inside = ((starts <= places) & (places < ends)).all(-1, keepdims=True)
    return jnp.where(inside, 0, image)


AUGMENTATIONS: dict[AugmentationName, Augmentation] = {
    "brightness": change_brightness,
    "saturation": change_saturation,
    "contrast": change_contrast,
    "translation": translate,
    "cut-out": cut_out,
}
"""The augmentations by name, in the order in which they are applied."""


def _draw(key: Array, bounds: tuple[float, float], image: Array) -> Array:
    low, high = bounds
    return jax.random.uniform(key, (), image.dtype, low, high)
