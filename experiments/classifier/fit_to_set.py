"""Chooses batch size and epochs by the training set, and names a split that is missing."""

from dataclasses import replace
from pathlib import Path

from imgopt.errors import InputError
from train.data.image_data import ImageData
from train.data.load import MissingSplitError, load_images
from train.recipes.train_options import PAPER_BATCH_SIZE, PAPER_EPOCHS, TrainConfig

STEPS_PER_EPOCH = 8
"""A chosen batch gives at least so many steps an epoch, for sets of at least 64 images."""

LEAST_BATCH_SIZE = 8
"""Batch norm's statistics need several images; a smaller set is one batch."""

MOST_STEPS = PAPER_EPOCHS * (50_000 // PAPER_BATCH_SIZE)
"""Most steps that are chosen: as many as in paper A, on all of CIFAR-10."""


def fit_to_set(config: TrainConfig, images: int, *, devices: int = 1) -> TrainConfig:
    """Chooses the batch size and the epochs that are not given.

    The batch is paper A's 128, or the largest smaller power of two that gives 8 steps an epoch, but
    at least 8 images, or the whole of a smaller set. The epochs are paper A's 300; fewer on sets
    larger than CIFAR-10, so that the steps are no more than on CIFAR-10.

    Args:
        config: How to train; a batch size or number of epochs of None is chosen.
        images: Number of training images.
        devices: Number of devices of all processes that share a batch.
    """
    batch_size = config.batch_size
    if batch_size is None:
        wanted = max(images // STEPS_PER_EPOCH, LEAST_BATCH_SIZE)
        power = 2 ** (min(wanted, PAPER_BATCH_SIZE).bit_length() - 1)
        batch_size = min(power, images)
        batch_size = max(batch_size // devices, 1) * devices
    epochs = config.epochs
    if epochs is None:
        steps_per_epoch = max(images // batch_size, 1)
        epochs = max(min(PAPER_EPOCHS, MOST_STEPS // steps_per_epoch), 1)
    return replace(config, batch_size=batch_size, epochs=epochs)


def describe_choice(given: TrainConfig, chosen: TrainConfig, images: int) -> str | None:
    """One line that says what was chosen; None if both were given, or --steps and the batch."""
    parts = []
    if given.batch_size is None:
        parts.append(f"batches of {chosen.batch_size} (--batch-size)")
    if given.epochs is None and given.steps is None:
        parts.append(f"{chosen.epochs} epochs (--epochs)")
    return f"for {images:,} training images: {' and '.join(parts)}" if parts else None


def load_test_split(dataset: str, split: str, *, data_dir: Path | None) -> ImageData:
    """Loads the split to test on; where the set lacks it, names the options that do without.

    Args:
        dataset: Name or directory.
        split: Name of the split.
        data_dir: TFDS's data directory.

    Raises:
        InputError: As for `load_images`.
    """
    try:
        return load_images(dataset, split, data_dir=data_dir)
    except MissingSplitError as error:
        raise InputError(
            f"{error}; name the test split by --test-split, or another set by --test-data, "
            "or train without a test by --test-split ''; elicit data import makes one by default"
        ) from error
