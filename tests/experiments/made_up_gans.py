"""Runs of GANs that nobody trained."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np

from gans.dcgan import DcganConfig
from gans.sampling import GENERATOR, SPEC_FILE, Gan, GanSpec, generator_shapes
from train.storage.checkpoints import save_checkpoint
from train.storage.strict_json import write_json

SAMPLED_CLASSES = ("ant", "bee", "hot dog")

KERNEL_SPREAD = 0.3
"""Standard deviation; with that of a fresh GAN, 0.02, all images are mid-grey."""


def write_gan(
    run: Path, config: DcganConfig, class_names: tuple[str, ...], fill: Callable[[Any], Any]
) -> Gan:
    """Writes a DCGAN and its description; `fill` makes the variables from their shapes."""
    gan = Gan(GanSpec("dcgan", class_names, config), fill(generator_shapes(config)))
    run.mkdir(parents=True)
    write_json(run / SPEC_FILE, {**gan.spec._asdict(), "config": dataclasses.asdict(config)})
    save_checkpoint(run / GENERATOR, 7, gan.variables)
    return gan


def write_sampled_gan(
    run: Path, class_names: tuple[str, ...] = SAMPLED_CLASSES, *, image_size: int = 16
) -> Path:
    """Writes a DCGAN for each class, of kernels that nobody trained, whose images differ."""
    random = np.random.default_rng(5)  # whose images the callable finds of both kinds

    def fill(path: Any, leaf: jax.ShapeDtypeStruct) -> np.ndarray:
        shape = (len(class_names), *leaf.shape)
        if path[-1].key == "kernel":
            return random.normal(0, KERNEL_SPREAD, shape).astype(np.float32)
        return np.full(shape, path[-1].key in ("scale", "var"), np.float32)

    sizes = DcganConfig(image_size=image_size, noise_dim=5, width=2)
    write_gan(run, sizes, class_names, lambda of: jax.tree_util.tree_map_with_path(fill, of))
    return run
