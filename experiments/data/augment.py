"""The command `elicit augment`: geometric augmentation as an image set (B, 3.2.1)."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import jax
import numpy as np

from experiments.data.complete_set import is_complete
from imgopt.errors import InputError
from train.augmentation import check_crop, crop_and_zoom
from train.data.load import ImageData, data_digest, load_images
from train.data.spec import ImageSetSpec
from train.data.write import write_splits
from train.storage.files import building_directory
from train.storage.runs import check_key

SPLIT = "train"
"""Of the new set: what it holds is meant for training, whatever it was made from."""


@dataclass(frozen=True)
class AugmentConfig:
    """Makes new images of those of a set by moving their pixels, labels kept."""

    data: str
    """The directory of a data set, or "digits"."""
    out: Path
    """Directory of the new image set."""
    method: Literal["crop-zoom"] = "crop-zoom"
    """A random square of every image, enlarged bilinearly to its size (paper B, 3.2.1)."""
    copies: int = 1
    """New images of each image."""
    split: str = "train"
    """Split to start from; the new images are a split train in any case."""
    key: int = 0
    """Key by which the squares are drawn."""
    crop_px: int = 24
    """Side of the square in pixels; paper B's is 24 of 32."""

    def __post_init__(self) -> None:
        """Raises InputError for what can be told from the options alone."""
        check_key(self.key)
        if self.copies < 1:
            raise InputError(f"copies must be at least 1, got {self.copies}")


def augment(config: AugmentConfig) -> None:
    """Runs the command.

    Copy c of the split's image i is drawn by fold_in(fold_in(key, c), i) alone, so a set of more
    copies begins with the images of one of fewer. An image's `source_id` is that of the image that
    it was made of, or its id where that has none.

    Args:
        config: what to make.

    Raises:
        InputError: something does not fit, found before anything is compiled or written.
    """
    data = load_images(config.data, config.split)
    check_crop(config.crop_px, data.images.shape[1:3])
    identity = {
        "dataset": {
            "name": Path(config.data).name,
            "split": config.split,
            "sha256": data_digest(data),
        },
        "method": config.method,
        "copies": config.copies,
        "key": config.key,
        "crop_px": config.crop_px,
    }
    if is_complete(config.out, identity):
        return
    spec = ImageSetSpec(
        name="augmented",
        class_names=data.class_names,
        image_shape=data.images.shape[1:],
        extras=("source_id",),
        splits=(SPLIT,),
        description="Images made of others by moving their pixels, labels kept (elicit).",
    )
    with building_directory(config.out) as partial:
        shards = {SPLIT: _copies(config, data)}
        write_splits(partial, spec, shards, num_shards=config.copies, manifest=identity)
    count = config.copies * len(data.labels)
    print(
        f"{config.out}: {count:,} {SPLIT}, {config.copies} of each of {len(data.labels):,} images"
    )


def _copies(config: AugmentConfig, data: ImageData) -> Iterator[dict[str, Any]]:
    """Gives the columns of one copy after another, each a shard."""
    key = jax.random.key(config.key)
    for copy in range(config.copies):
        made = crop_and_zoom(jax.random.fold_in(key, copy), data.images, crop_px=config.crop_px)
        yield {
            "id": [f"{config.method}_{copy}_{name}" for name in data.ids],
            "image": np.asarray(made),
            "label": data.labels,
            "source_id": data.source_ids or data.ids,
        }
