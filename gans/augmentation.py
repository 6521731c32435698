"""Differentiable augmentation: a discriminator sees changed images, and the gradient goes through.

After Zhao et al. 2020, "Differentiable augmentation for data-efficient GAN training", figure 4.
Real and generated images are changed alike, in the discriminator's step and in the generator's: so
the discriminator, which hardly ever sees an image twice, does not learn a small data set by heart,
and the generator does not learn to make changed images. Magnitudes are those of the authors' code,
mit-han-lab/data-efficient-gans, whose "color" is brightness, saturation and contrast.
"""

from collections.abc import Callable, Sequence
from typing import Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from imgopt.errors import InputError

AugmentationName = Literal["brightness", "saturation", "contrast", "translation", "cut-out"]
Augmentation = Callable[[Key[Array, ""], Float[Array, "h w c"]], Float[Array, "h w c"]]
"""Changes one image by a key of its own."""

BRIGHTNESS = (-0.5, 0.5)
"""What is added, between these; a quarter of the range [-1, 1] up or down."""

SATURATION = (0.0, 2.0)
"""Factor on a pixel's differences from its grey, between these."""

CONTRAST = (0.5, 1.5)
"""Factor on an image's differences from its mean, between these."""

TRANSLATION_PART = 8
"""An image moves by an eighth of its height and of its width at most."""

CUT_OUT_PART = 2
"""The rectangle that is cut out has half of the image's height and width."""


def augment(
    key: Key[Array, ""],
    images: Float[Array, "n h w c"],
    names: tuple[AugmentationName, ...],
) -> Float[Array, "n h w c"]:
    """Augments each image by the named augmentations, in the order of `AUGMENTATIONS`.

    What happens to image i is drawn by fold_in(key, i) alone, and for each augmentation as if the
    others were off.

    Args:
        key: the randomness; real and generated images get keys of their own.
        images: in [-1, 1] (see `gans.to_signed`).
        names: which; none leaves the images as they are.

    Returns:
        Images of the same shape. The first three augmentations may lead out of [-1, 1]: clipping
        would stop the gradient.

    Raises:
        InputError: as `check_augmentations`.
    """
    check_augmentations(names)

    def change(index: Int[Array, ""], image: Float[Array, "h w c"]) -> Float[Array, "h w c"]:
        own_keys = jax.random.split(jax.random.fold_in(key, index), len(AUGMENTATIONS))
        for own_key, (name, augmentation) in zip(own_keys, AUGMENTATIONS.items(), strict=True):
            if name in names:
                image = augmentation(own_key, image)
        return image

    return jax.vmap(change)(jnp.arange(len(images)), images) if names else images


def check_augmentations(names: Sequence[str]) -> None:
    """Raises InputError for a name that is not one of `AUGMENTATIONS`, or that comes twice."""
    known = ", ".join(AUGMENTATIONS)
    unknown = [name for name in names if name not in AUGMENTATIONS]
    if unknown:
        raise InputError(f"unknown augmentations {', '.join(unknown)}; expected some of {known}")
    if len(set(names)) < len(names):
        raise InputError(f"augmentations must be some of {known}, each once; got {tuple(names)}")


def change_brightness(key: Key[Array, ""], image: Float[Array, "h w c"]) -> Float[Array, "h w c"]:
    """Adds one number from U(-0.5, 0.5): x + b."""
    return image + _draw(key, BRIGHTNESS, image)


def change_saturation(key: Key[Array, ""], image: Float[Array, "h w c"]) -> Float[Array, "h w c"]:
    """Moves each pixel from its channels' mean m or towards it: m + s·(x - m), s from U(0, 2)."""
    grey = image.mean(-1, keepdims=True)
    return grey + _draw(key, SATURATION, image) * (image - grey)


def change_contrast(key: Key[Array, ""], image: Float[Array, "h w c"]) -> Float[Array, "h w c"]:
    """Moves all from the image's mean m or towards it: m + s·(x - m), s from U(0.5, 1.5)."""
    mean = image.mean()
    return mean + _draw(key, CONTRAST, image) * (image - mean)


def translate(key: Key[Array, ""], image: Float[Array, "h w c"]) -> Float[Array, "h w c"]:
    """Moves the image by whole pixels, at most an eighth of each side (rounded down).

    Up or down and left or right are drawn apart, every number of pixels as likely as any other. 0,
    mid-grey, fills what gets free.
    """
    height, width, _ = image.shape
    most = (height // TRANSLATION_PART, width // TRANSLATION_PART)
    padded = jnp.pad(image, (*((side, side) for side in most), (0, 0)))
    offset = jax.random.randint(key, (2,), 0, 2 * jnp.array(most) + 1)
    return jax.lax.dynamic_slice(padded, (*offset, 0), image.shape)


def cut_out(key: Key[Array, ""], image: Float[Array, "h w c"]) -> Float[Array, "h w c"]:
    """Puts 0, mid-grey, on a rectangle of half the height and half the width (rounded down).

    Its middle is any of the image's, each as likely: of a side of odd length a pixel, of an even
    one a border of pixels, the image's own two among them. What sticks out of the image is lost.
    """
    lengths = jnp.array(image.shape[:2])
    sizes = lengths // CUT_OUT_PART
    starts = jax.random.randint(key, (2,), 0, lengths + 1 - sizes % 2) - sizes // 2
    places = jnp.moveaxis(jnp.indices(image.shape[:2]), 0, -1)
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
"""By name, in the order in which they are applied."""


def _draw(key: Array, bounds: tuple[float, float], image: Array) -> Array:
    low, high = bounds
    return jax.random.uniform(key, (), image.dtype, low, high)
