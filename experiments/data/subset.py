"""The command `elicit data subset`: a small data set drawn by key from a large one (B, 3.1)."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path

import jax

from experiments.data.resumable_set import ResumableSet
from imgopt.errors import InputError
from train.data.combine import pool_by_id
from train.data.image_data import copied_columns
from train.data.load import data_digest, load_images
from train.data.spec import ImageSetSpec
from train.data.subsets import draw_subset
from train.storage.runs import check_key


@dataclass(frozen=True)
class SubsetConfig:
    """Draws so many images of each class from all splits together, as a new data set."""

    data: str
    """Name of a data set, such as cifar10 or digits, or the directory of an image set."""
    out: Path
    """Directory of the new image set, with the splits train and test."""
    data_dir: Path | None = None
    """TFDS's data directory, for a data set named by name."""
    split: tuple[str, ...] = ("train", "test")
    """Splits to draw from, joined into one."""
    per_class: int = 500
    """Images of each class in the split train; the default is paper B's."""
    test_per_class: int = 100
    """Images of each class in the split test; 0 for none."""
    skip_per_class: int = 0
    """Images of each class to skip in the key's order. With 600, the subset shares no image with
    one of 500 training and 100 test images a class by the same key."""
    key: int = 0
    """Key by which the images are drawn."""

    def __post_init__(self) -> None:
        """Raises InputError for an option outside its range."""
        check_key(self.key)
        if not self.split or len(set(self.split)) < len(self.split):
            raise InputError(
                f"splits must be at least one and distinct, got {', '.join(self.split) or 'none'}"
            )
        if self.per_class < 1:
            raise InputError(f"per_class must be at least 1, got {self.per_class}")
        for name in ("test_per_class", "skip_per_class"):
            if getattr(self, name) < 0:
                raise InputError(f"{name} must be at least 0, got {getattr(self, name)}")


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
