"""The command `elicit data subset`: a small data set drawn by key from a large one (B, 3.1)."""

from functools import partial
from pathlib import Path

import jax

from experiments.data.resumable_set import ResumableSet
from experiments.options.data import SubsetConfig
from train.data.combine import pool_by_id
from train.data.image_data import copied_columns
from train.data.load import data_digest, load_images
from train.data.spec import ImageSetSpec
from train.data.subsets import draw_subset


def make_subset(config: SubsetConfig) -> None:
    """Runs the command.

    An image keeps its id, which is its `source_id` too; if several splits use an id, all ids are
    put after the names of their splits, as in "test/5". The bytes depend neither on the order of
    the images in the files nor on the order of the splits.

    Args:
        config: what to draw.

    Raises:
        InputError: a class has fewer images than asked for, two splits hold the same image, or
            something else does not fit. Nothing is written then.
    """
    pool = pool_by_id(
        {split: load_images(config.data, split, data_dir=config.data_dir) for split in config.split}
    )
    identity = {
        "dataset": {
            "name": Path(config.data).name,
            "splits": sorted(config.split),
            "sha256": data_digest(pool),
        },
        "per_class": config.per_class,
        "test_per_class": config.test_per_class,
        "skip_per_class": config.skip_per_class,
        "key": config.key,
    }
    splits = ("train", "test") if config.test_per_class else ("train",)
    spec = ImageSetSpec(
        name="subset",
        class_names=pool.class_names,
        image_shape=pool.images.shape[1:],
        extras=("source_id", "source_sha256"),
        splits=splits,
        description="So many images of each class of a larger set, drawn by key (elicit).",
    )
    image_set = ResumableSet(config.out, spec, identity)
    if image_set.is_complete():
        return
    subset = draw_subset(
        jax.random.key(config.key),
        pool,
        per_class=config.per_class,
        test_per_class=config.test_per_class,
        skip_per_class=config.skip_per_class,
    )
    parts = {split: getattr(subset, split) for split in splits}
    with image_set.open_for_writing():
        image_set.write_shards(
            {split: [partial(copied_columns, part)] for split, part in parts.items()}
        )
    counts = ", ".join(f"{len(part.labels):,} {name}" for name, part in parts.items())
    print(f"{config.out}: {counts}, {len(pool.class_names)} classes")
