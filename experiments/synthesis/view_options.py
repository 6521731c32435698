"""Options of `elicit synthesize` for images that survive augmentation: their random views."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import jax
import numpy as np

import imgopt
from experiments.console.options import check_unused
from imgopt.errors import InputError
from imgopt.filters import VIEWS

AUGMENTATIONS: dict[str, Callable[["ViewConfig"], imgopt.Augmentation]] = {
    "flip": lambda _: imgopt.flip,
    "crop": lambda config: imgopt.crop(config.pad_px),
}
"""Augmentations by name; both are those of a classifier's training."""

VIEW_FEATURES = ("view_kl", "view_ranking")
"""Features of an image that is measured on views."""


@dataclass(frozen=True)
class ViewConfig:
    """Random transformations that the outputs shall survive."""

    augmentations: tuple[Literal["flip", "crop"], ...] = ()
    """Random transformations, one after another; the output is the target on average over them.
    flip: left to right; crop: a window of the image padded by --pad-px. Without any, only the image
    itself counts."""
    views: int = VIEWS
    """Random views of an image in every update; it costs as much as that many images. The finished
    image is measured on as many."""
    pad_px: int = 4
    """For crop: black pixels added on each side."""

    def __post_init__(self) -> None:
        """Raises InputError for an option without effect, or a name that is given twice."""
        if not self.augmentations:
            check_unused(self, "views", why="without --augmentations")
        if "crop" not in self.augmentations:
            check_unused(self, "pad_px", why="without --augmentations crop")
        if len(set(self.augmentations)) < len(self.augmentations):
            raise InputError(
                f"augmentations must differ, got {' '.join(self.augmentations)}; give each once"
            )

    def describe(self) -> dict[str, object]:
        """Everything that the images depend on; empty without augmentations."""
        if not self.augmentations:
            return {}
        crop = {"pad_px": self.pad_px} if "crop" in self.augmentations else {}
        return {"augmentations": list(self.augmentations), "count": self.views, **crop}


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
