"""Makes the random views that the options name, for images that survive augmentation."""

from collections.abc import Callable

import jax
import numpy as np

import imgopt
from experiments.options.synthesis import ViewConfig

AUGMENTATIONS: dict[str, Callable[["ViewConfig"], imgopt.Augmentation]] = {
    "flip": lambda _: imgopt.flip,
    "crop": lambda config: imgopt.crop(config.pad_px),
}
"""Augmentations by name; a classifier's training has the same two."""

VIEW_FEATURES = ("view_kl", "view_ranking")
"""Features of an image that is measured on views."""


def make_views(
    config: ViewConfig, image_shape: tuple[int, ...], *, seed: int
) -> imgopt.Views | None:
    """Makes the views that the options name; None without augmentations.

    Args:
        config: the options.
        image_shape: height, width and channels of the images.
        seed: seed of the views.

    Raises:
        InputError: there are no views, or an augmentation cannot take such images.
    """
    if not config.augmentations:
        return None
    chosen = tuple(AUGMENTATIONS[name](config) for name in config.augmentations)
    views = imgopt.Views(chosen, count=config.views, seed=seed)
    views.check(jax.ShapeDtypeStruct(image_shape, np.float32))
    return views
