"""The command `elicit data resize`: a data set with its images scaled to one size."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from experiments.data.resumable_set import SHARD_IMAGES, Columns, ResumableSet, dataset_identity
from imgopt.errors import InputError
from train.data.image_data import ImageReader, copied_columns
from train.data.load import list_splits, open_images
from train.data.spec import ImageSetSpec

LARGEST_PX = 4096
"""Longest side of an image; a limit against typing errors."""


@dataclass(frozen=True)
class ResizeConfig:
    """Scales all images of a data set, such as MNIST's 28 x 28 pixels to 32 x 32."""

    data: str
    """Name of a data set, such as cifar10 or digits, or the directory of an image set."""
    out: Path
    """Directory of the new image set, with the same splits."""
    size: tuple[int, ...]
    """New side in pixels, or height and width, such as: 32, or 32 48."""
    data_dir: Path | None = None
    """TFDS's data directory, for a data set named by name."""
    split: tuple[str, ...] = ()
    """Splits to scale; by default all, which must be labelled."""

    def __post_init__(self) -> None:
        """Raises InputError for an option outside its range."""
        if len(self.size) not in (1, 2) or not all(1 <= px <= LARGEST_PX for px in self.size):
            raise InputError(
                f"size must be one or two numbers of pixels from 1 to {LARGEST_PX}, got "
                f"{' '.join(map(str, self.size)) or 'none'}"
            )
        if len(set(self.split)) < len(self.split):
            raise InputError(f"splits must be distinct, got {' '.join(self.split)}")


def resize(config: ResizeConfig) -> None:
    """Runs the command.

    Images are scaled by Pillow's bicubic filter, which smooths what it makes smaller; with another
    ratio of the sides they are distorted. An image keeps its id and its label. Its `source_id` is
    that of the image that it was made from, or its own id.

    Args:
        config: what to scale.

    Raises:
        InputError: an option does not fit the data. Nothing is written then.
    """
    names = config.split or tuple(list_splits(config.data, data_dir=config.data_dir))
    readers = {name: open_images(config.data, name, data_dir=config.data_dir) for name in names}
    first = readers[names[0]]
    height, width = (*config.size, *config.size)[:2]
    identity = {
        "dataset": [
            dataset_identity(config.data, name, reader) for name, reader in readers.items()
        ],
        "size": [height, width],
    }
    spec = ImageSetSpec(
        name="resized",
        class_names=first.class_names,
        image_shape=(height, width, first.image_shape[2]),
        extras=("source_id", "source_sha256"),
        splits=names,
        description="The images of another set, scaled to one size (elicit).",
    )
    image_set = ResumableSet(config.out, spec, identity)
    if image_set.is_complete():
        return
    with image_set.open_for_writing():
        image_set.write_shards(
            {
                name: [
                    partial(_columns, reader, start, (height, width))
                    for start in range(0, len(reader), SHARD_IMAGES)
                ]
                for name, reader in readers.items()
            }
        )
    counts = ", ".join(f"{len(reader):,} {name}" for name, reader in readers.items())
    print(f"{config.out}: {counts}, {height} x {width} pixels")


def _columns(reader: ImageReader, start: int, size: tuple[int, int]) -> Columns:
    """Reads the images of a shard, and gives their features."""
    data = reader.read(start, min(start + SHARD_IMAGES, len(reader)))
    scaled = np.stack([scale(image, size) for image in data.images])
    return {**copied_columns(data), "image": scaled}


def scale(image: UInt8[np.ndarray, "h w c"], size: tuple[int, int]) -> UInt8[np.ndarray, "h2 w2 c"]:
    """Scales an image to a height and width by Pillow's bicubic filter."""
    (height, width), channels = size, image.shape[-1]
    picture = Image.fromarray(image[:, :, 0] if channels == 1 else image)
    scaled = picture.resize((width, height), Image.Resampling.BICUBIC)
    return np.asarray(scaled).reshape(height, width, channels)
