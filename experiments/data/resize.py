"""The command `elicit data resize`: a data set with its images scaled to one size."""

from functools import partial

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from experiments.data.resumable_set import SHARD_IMAGES, Columns, ResumableSet, dataset_identity
from experiments.options.data import ResizeConfig
from train.data.image_data import ImageReader, copied_columns
from train.data.load import list_splits, open_images
from train.data.spec import ImageSetSpec


def resize(config: ResizeConfig) -> None:
    """Runs the command.

    Images are scaled by Pillow's bicubic filter, which smooths what it makes smaller; with another
    ratio of the sides they are distorted. An image keeps its id and its label. Its `source_id` is
    the `source_id` of the image that it was made from, or its own id.

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
