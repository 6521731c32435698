"""The command `elicit select`: keeps the images of a set that a classifier sorts out (B, 3.3)."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jax
import numpy as np

from experiments.data.columns import SHARD_IMAGES, Columns, in_shards
from experiments.data.complete_set import is_complete
from experiments.gan.judge import Judged, check_references, find_judge, judging
from experiments.gan.select_report import (
    SELECTION_FILE,
    Outcome,
    check_classes,
    print_outcome,
    warn_of_shortfalls,
    write_pages,
)
from gans.selection import Keep, Thresholds, choose, quota, tally
from imgopt.errors import InputError
from train.data.image_data import ImageReader, iter_parts
from train.data.load import data_digest, open_images
from train.data.spec import ImageSetSpec
from train.data.write import write_splits
from train.storage.files import building_directory

SPLIT = "train"
"""Of the new set: what it holds is meant for training, whatever it was made from."""


@dataclass(frozen=True)
class SelectConfig:
    """Keeps the images of a set whose predicted class is, or is not, the one intended."""

    images: str
    """Directory of an image set whose labels are the intended classes."""
    classifier: str
    """A run of `elicit classifier train`, or a callable of your own as package.module:name."""
    out: Path
    """Directory of the new image set."""
    keep: Keep = "tp"
    """tp: predicted as intended; fp: predicted as another class; both: as many of either."""
    per_class: int | None = None
    """The first so many of each class (of each kind, with both); by default all accepted ones."""
    thresholds: Thresholds = field(default_factory=Thresholds)
    train_data: str | None = None
    """Directory of the data set that the images must lie away from, with --min-distance; its split
    train."""
    split: str = "train"
    """Split to select from; the kept images are a split train in any case."""

    def __post_init__(self) -> None:
        """Raises InputError for what can be told from the options alone."""
        if self.per_class is not None and self.per_class < 1:
            raise InputError(f"per_class must be at least 1, got {self.per_class}")
        check_references(self.thresholds, self.train_data)


def select(config: SelectConfig) -> None:
    """Runs the command.

    An image keeps its id. Its `source_id` is that of the image that it was made of, or its id where
    that has none. A class of which the set has no image is no class to select from.

    Args:
        config: what to keep.

    Raises:
        InputError: something does not fit, found before anything is compiled; or no image of some
            class is accepted. Nothing is written.
        FloatingPointError: the classifier's output is not finite.
    """
    data = open_images(config.images, config.split)
    judge = find_judge(
        config.classifier,
        config.thresholds,
        train_data=config.train_data,
        class_names=data.class_names,
        image_shape=data.image_shape,
        of="data set",
    )
    identity = {
        "dataset": {
            "name": Path(config.images).name,
            "split": config.split,
            "sha256": data_digest(data),
        },
        "keep": config.keep,
        "per_class": config.per_class,
        **judge.identity,
        "device_kind": jax.devices()[0].device_kind,
        "jax": jax.__version__,
    }
    if is_complete(config.out, identity, also=(SELECTION_FILE, "report.html")):
        return
    judge_images = judging(judge)
    parts = [judge_images(part.images) for part in iter_parts(data)]
    judged = jax.tree.map(lambda *leaves: np.concatenate(leaves), *parts)
    rows, outcome = _choose(config, data, judged)
    check_classes(outcome)
    warn_of_shortfalls(outcome)
    _write(config, data, judged, rows=rows, outcome=outcome, identity=identity)
    print(f"{config.out}: {len(rows):,} {SPLIT}, of {len(data.labels):,} images")
    print_outcome(outcome)


def _choose(config: SelectConfig, data: ImageReader, judged: Judged) -> tuple[np.ndarray, Outcome]:
    """The rows to keep, and what the selection came to."""
    labels, predicted = data.labels, judged.verdicts.predicted
    classes, num_classes = np.unique(labels), len(data.class_names)
    count = len(labels) if config.per_class is None else config.per_class
    wanted = quota(classes, keep=config.keep, count=count, num_classes=num_classes)
    choice = choose(labels, predicted, judged.accepted, lacking=wanted)
    return choice.rows, Outcome(
        class_names=data.class_names,
        classes=tuple(classes.tolist()),
        keep=config.keep,
        per_class=config.per_class,
        tally=tally(labels, predicted, judged.accepted, num_classes=num_classes),
        kept=wanted - choice.lacking,
    )


def _write(
    config: SelectConfig,
    data: ImageReader,
    judged: Judged,
    *,
    rows: np.ndarray,
    outcome: Outcome,
    identity: dict[str, Any],
) -> None:
    spec = ImageSetSpec(
        name="selected",
        class_names=data.class_names,
        image_shape=data.image_shape,
        extras=("source_id", "predicted", "confidence"),
        splits=(SPLIT,),
        description="Images of a set that a classifier sorted out by their classes (elicit).",
    )
    with building_directory(config.out) as partial:
        write_splits(
            partial,
            spec,
            {SPLIT: in_shards(_kept(data, judged, rows))},
            num_shards=math.ceil(len(rows) / SHARD_IMAGES),
            manifest=identity,
        )
        write_pages(
            partial,
            title="Selected images",
            lead="Images kept for what a classifier says of them.",
            outcome=outcome,
        )


def _kept(data: ImageReader, judged: Judged, rows: np.ndarray) -> Iterator[Columns]:
    """The features of the rows to keep, part by part of the set that they come from."""
    start = 0
    for part in iter_parts(data):
        stop = start + len(part.labels)
        own = rows[(rows >= start) & (rows < stop)]
        sources = part.source_ids or part.ids
        yield {
            "id": [part.ids[row] for row in own - start],
            "image": part.images[own - start],
            "label": part.labels[own - start],
            "source_id": [sources[row] for row in own - start],
            "predicted": judged.verdicts.predicted[own],
            "confidence": judged.verdicts.confidence[own],
        }
        start = stop
