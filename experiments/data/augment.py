"""The command `elicit augment`: geometric augmentation as an image set (B, 3.2.1)."""

from functools import partial

import jax
import numpy as np

from experiments.data.resumable_set import SPLIT, Columns, ResumableSet, dataset_identity
from experiments.options.data import AugmentConfig
from train.augmentation import check_crop, crop_and_zoom
from train.data.image_data import ImageData, source_columns
from train.data.load import load_images
from train.data.spec import ImageSetSpec


def augment(config: AugmentConfig) -> None:
    """Runs the command.

    The square of copy c of the split's image i is drawn by fold_in(fold_in(key, c), i), so a set
    of more copies begins with the images of a set of fewer. An image's `source_id` is the one of
    the image that it was made from, or that image's id.

    Args:
        config: what to make.

    Raises:
        InputError: an option does not fit the data. Nothing is compiled or written then.
    """
    data = load_images(config.data, config.split, data_dir=config.data_dir)
    check_crop(config.crop_px, data.images.shape[1:3])
    identity = {
        "dataset": dataset_identity(config.data, config.split, data),
        "method": config.method,
        "copies": config.copies,
        "key": config.key,
        "crop_px": config.crop_px,
    }
    spec = ImageSetSpec(
        name="augmented",
        class_names=data.class_names,
        image_shape=data.images.shape[1:],
        extras=("source_id", "source_sha256"),
        splits=(SPLIT,),
        description="Images made of others by moving their pixels, labels kept (elicit).",
    )
    image_set = ResumableSet(config.out, spec, identity)
    if image_set.is_complete():
        return
    with image_set.open_for_writing():
        copies = [partial(_columns, config, data, copy) for copy in range(config.copies)]
        image_set.write_shards({SPLIT: copies})
    count = config.copies * len(data.labels)
    print(
        f"{config.out}: {count:,} {SPLIT}, {config.copies} of each of {len(data.labels):,} images"
    )


def _columns(config: AugmentConfig, data: ImageData, copy: int) -> Columns:
    """Makes one new image of each image; all of them are a shard."""
    key = jax.random.fold_in(jax.random.key(config.key), copy)
    return {
        "id": [f"{config.method}_{copy}_{name}" for name in data.ids],
        "image": np.asarray(crop_and_zoom(key, data.images, crop_px=config.crop_px)),
        "label": data.labels,
        **source_columns(data),
    }
