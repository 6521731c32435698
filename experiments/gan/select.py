"""The command `elicit select`: keeps the images of a set that a classifier accepts (B, 3.3)."""

from functools import partial
from pathlib import Path

import jax
import numpy as np

from experiments.data.resumable_set import (
    SHARD_IMAGES,
    SPLIT,
    Columns,
    ResumableSet,
    dataset_identity,
)
from experiments.gan.select_report import (
    KEPT_NAMES,
    SELECTION_FILE,
    Outcome,
    check_classes,
    print_outcome,
    warn_of_shortfalls,
    write_pages,
)
from experiments.gan.selector import Classified, classify_by, find_selector
from experiments.options.gan import SelectConfig
from experiments.pages.html import digest_words, provenance
from gans.selection import choose, quota, tally
from train.data.image_data import ImageReader, copied_columns, iter_parts, read_rows
from train.data.load import data_digest, open_images
from train.data.spec import ImageSetSpec
from train.storage.runs import environment


def select(config: SelectConfig) -> None:
    """Runs the command.

    An image keeps its id. Its `source_id` is the one of the image that it was made from, or its own
    id. A class without an image in the set is not selected from.

    Args:
        config: what to keep.

    Raises:
        InputError: an option does not fit the data, found before anything is compiled; or no image
            of some class is accepted. Nothing is written then.
        FloatingPointError: the classifier's output is not finite.
    """
    data = open_images(config.images, config.split)
    selector = find_selector(
        config.classifier,
        config.thresholds,
        train_data=config.train_data,
        data_dir=config.data_dir,
        class_names=data.class_names,
        image_shape=data.image_shape,
        of="data set",
    )
    identity = {
        "dataset": dataset_identity(config.images, config.split, data),
        "keep": config.keep,
        "per_class": config.per_class,
        **selector.identity,
        "device_kind": jax.devices()[0].device_kind,
        "jax": jax.__version__,
    }
    spec = ImageSetSpec(
        name="selected",
        class_names=data.class_names,
        image_shape=data.image_shape,
        extras=("source_id", "source_sha256", "predicted", "confidence"),
        splits=(SPLIT,),
        description="Images of a set that a classifier sorted out by their classes (elicit).",
    )
    image_set = ResumableSet(config.out, spec, identity, side_files=(SELECTION_FILE, "report.html"))
    if image_set.is_complete():
        return
    classify = classify_by(selector, most_images=len(data))
    parts = [classify(part.images) for part in iter_parts(data)]
    classified = jax.tree.map(lambda *leaves: np.concatenate(leaves), *parts)
    rows, outcome = _choose(config, data, classified)
    check_classes(outcome)
    warn_of_shortfalls(outcome)
    with image_set.open_for_writing():
        shards = np.split(rows, range(SHARD_IMAGES, len(rows), SHARD_IMAGES))
        image_set.write_shards({SPLIT: [partial(_columns, data, classified, r) for r in shards]})
        write_pages(
            config.out,
            title=f"Selected from {Path(config.images).name}: {KEPT_NAMES[config.keep]}",
            made=f"kept of {len(data):,} for what a classifier says of them",
            outcome=outcome,
            footer=provenance(
                environment(),
                data=f"{Path(config.images).name}, {config.split}, "
                f"{digest_words(data_digest(data))}",
                classifier=selector.words,
            ),
        )
    print(f"{config.out}: {len(rows):,} {SPLIT}, of {len(data.labels):,} images")
    print_outcome(outcome)


def _choose(
    config: SelectConfig, data: ImageReader, classified: Classified
) -> tuple[np.ndarray, Outcome]:
    """Gives the rows to keep, and the outcome of the selection."""
    labels, predicted = data.labels, classified.predictions.predicted
    classes, num_classes = np.unique(labels), len(data.class_names)
    count = len(labels) if config.per_class is None else config.per_class
    wanted = quota(classes, keep=config.keep, count=count, num_classes=num_classes)
    choice = choose(labels, predicted, classified.accepted, lacking=wanted)
    return choice.rows, Outcome(
        class_names=data.class_names,
        classes=tuple(classes.tolist()),
        keep=config.keep,
        per_class=config.per_class,
        tally=tally(labels, predicted, classified.accepted, num_classes=num_classes),
        kept=wanted - choice.lacking,
    )


def _columns(data: ImageReader, classified: Classified, rows: np.ndarray) -> Columns:
    """Reads the images of a shard, and gives their features."""
    images = read_rows(data, rows)
    return {
        **copied_columns(images),
        "predicted": classified.predictions.predicted[rows],
        "confidence": classified.predictions.confidence[rows],
    }
