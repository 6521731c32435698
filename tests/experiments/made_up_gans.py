"""Runs of GANs that nobody trained."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

from gans.dcgan import DcganConfig
from gans.sampling import GENERATOR, SPEC_FILE, Gan, GanSpec, generator_shapes
from train.storage.checkpoints import save_checkpoint
from train.storage.strict_json import write_json


def write_gan(
    run: Path, config: DcganConfig, class_names: tuple[str, ...], fill: Callable[[Any], Any]
) -> Gan:
    """Writes a DCGAN and its description; `fill` makes the variables from their shapes."""
    gan = Gan(GanSpec("dcgan", class_names, config), fill(generator_shapes(config)))
    run.mkdir(parents=True)
    write_json(run / SPEC_FILE, {**gan.spec._asdict(), "config": dataclasses.asdict(config)})
    save_checkpoint(run / GENERATOR, 7, gan.variables)
    return gan
