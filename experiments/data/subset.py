"""The command `elicit data subset`: a small data set drawn by key from a large one (B, 3.1)."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax

from experiments.data.complete_set import is_complete
from imgopt.errors import InputError
from train.data.combine import pool_by_id
from train.data.load import ImageData, data_digest, load_images
from train.data.spec import ImageSetSpec
from train.data.subsets import draw_subset
from train.data.write import write_splits
from train.storage.files import building_directory
from train.storage.runs import check_key


@dataclass(frozen=True)
class SubsetConfig:
    """Draws so many images of each class from all splits together, as a data set of its own."""

    dataset: str
    """Name of a data set, such as cifar10 or digits, or the directory of an image set."""
    out: Path
    """Directory of the new image set, with the splits train and test."""
    data_dir: Path | None = None
    """TFDS's data directory, for a data set named by name."""
    splits: tuple[str, ...] = ("train", "test")
    """Splits to draw from, as one."""
    per_class: int = 500
    """Images of each class in the split train; the default is paper B's."""
    test_per_class: int = 100
    """Images of each class in the split test; 0 for none."""
    skip_per_class: int = 0
    """Images of each class to pass over in the key's order: with 600, none of those that 500 and
    100 test images a class by the same key are."""
    key: int = 0
    """Key by which the images are drawn."""

    def __post_init__(self) -> None:
        """Raises InputError for what can be told from the options alone."""
        check_key(self.key)
        if not self.splits or len(set(self.splits)) < len(self.splits):
            raise InputError(
                f"splits must be at least one and distinct, got {', '.join(self.splits) or 'none'}"
            )
        if self.per_class < 1:
            raise InputError(f"per_class must be at least 1, got {self.per_class}")
        for name in ("test_per_class", "skip_per_class"):
            if getattr(self, name) < 0:
                raise InputError(f"{name} must be at least 0, got {getattr(self, name)}")


def make_subset(config: SubsetConfig) -> None:
    """Runs the command.

    An image keeps its id and has it as `source_id` too. The bytes do not depend on the order in
    which the images lie in the files, or in which the splits are given.

    Args:
        config: what to draw.

    Raises:
        InputError: a class has fewer images than asked for, an id occurs twice, or something else
            does not fit; found before anything is written.
    """
    pool = pool_by_id(
        {
            split: load_images(config.dataset, split, data_dir=config.data_dir)
            for split in config.splits
        }
    )
    identity = {
        "dataset": {
            "name": Path(config.dataset).name,
            "splits": sorted(config.splits),
            "sha256": data_digest(pool),
        },
        "per_class": config.per_class,
        "test_per_class": config.test_per_class,
        "skip_per_class": config.skip_per_class,
        "key": config.key,
    }
    if is_complete(config.out, identity):
        return
    subset = draw_subset(
        jax.random.key(config.key),
        pool,
        per_class=config.per_class,
        test_per_class=config.test_per_class,
        skip_per_class=config.skip_per_class,
    )
    parts = {name: part for name, part in subset._asdict().items() if part is not None}
    spec = ImageSetSpec(
        name="subset",
        class_names=pool.class_names,
        image_shape=pool.images.shape[1:],
        extras=("source_id",),
        splits=tuple(parts),
        description="So many images of each class of a larger set, drawn by key (elicit).",
    )
    with building_directory(config.out) as partial:
        columns = {name: [_columns(part)] for name, part in parts.items()}
        write_splits(partial, spec, columns, manifest=identity)
    counts = ", ".join(f"{len(part.labels):,} {name}" for name, part in parts.items())
    print(f"{config.out}: {counts}, {len(pool.class_names)} classes")


def _columns(data: ImageData) -> dict[str, Any]:
    return {
        "id": data.ids,
        "image": data.images,
        "label": data.labels,
        "source_id": data.ids,
    }
