"""Image sets and teachers of `elicit classifier train`, and the training set made of them."""

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from experiments.classifier.fit_to_set import load_test_split
from experiments.console.progress import say
from experiments.options.classifier import ClassifierTrainConfig
from imgopt.errors import InputError
from train.classifiers import (
    Classifier,
    ClassifierSpec,
    channel_statistics,
    check_teacher_spec,
    digest,
    load_classifier,
)
from train.data.combine import check_alike, count_sources
from train.data.image_data import ImageData
from train.data.load import data_digest, find_directory, load_images
from train.data.verify import source_name, split_name
from train.models.networks import build_network, check_image_shape
from train.training_sets import (
    TrainData,
    add_images,
    add_second_views,
    keep_original_pixels,
    original_data,
    replace_images,
)

REPLACEMENT_STREAM = 3
"""Folded into the key to draw the replaced images; the training itself uses 0 to 2."""


class TrainingSets(NamedTuple):
    """The image sets of a run, and its teachers.

    Attributes:
        originals: The training split.
        replacements: Synthesised images that replace originals; None for none.
        extras: Sets of further examples, by their names for messages.
        second_views: Synthesised images beside the originals that they were made from; None for
            none.
        test: The test split; None for no test.
        test_also: Another test split; None for none.
        teachers: Classifiers whose outputs are learned.
    """

    originals: ImageData
    replacements: ImageData | None
    extras: dict[str, ImageData]
    second_views: ImageData | None
    test: ImageData | None
    test_also: ImageData | None
    teachers: tuple[Classifier, ...]

    @property
    def examples(self) -> int:
        """Number of examples of an epoch."""
        return sum(len(data.labels) for data in (self.originals, *self.extras.values()))

    @property
    def ids(self) -> list[str]:
        """Ids of all examples; a replaced image keeps the id of its original."""
        return [name for data in (self.originals, *self.extras.values()) for name in data.ids]


def load_sets(config: ClassifierTrainConfig) -> TrainingSets:
    """Loads all sets and teachers, and checks that they fit the network and each other.

    Raises:
        InputError: They do not, or one is missing or damaged.
    """
    say(f"reading {config.data}")
    originals = load_images(config.data, config.split, data_dir=config.data_dir)
    num_classes = len(originals.class_names)
    dtype = jnp.dtype(config.train.precision).type
    build_network(config.model, num_classes=num_classes, width=config.width, dtype=dtype)
    check_image_shape(config.model, originals.images.shape[1:], num_classes=num_classes)
    teachers = tuple(
        _load_teacher(run, classifier_spec(config, originals)) for run in config.teacher
    )
    replacements = None
    if config.replace is not None:
        replacements = _load_made(config.replace, originals, config)
    extras = {
        f"extra set {n} ({path})": load_images(path) for n, path in enumerate(config.extra, 1)
    }
    second_views = None
    if config.add is not None:
        added = _load_added(config.add, originals, config)
        if replacements is not None and data_digest(added) == data_digest(replacements):
            raise InputError(
                f"--add and --replace are the same set, as in {config.add}; its images can do one "
                "of both"
            )
        if config.add_as == "examples":
            extras = {f"added set ({config.add})": added, **extras}
        else:
            second_views = added
    test = _load_test(config.test_data or config.data, originals, extras, config)
    test_also = _load_test(config.test_also, originals, extras, config)
    return TrainingSets(originals, replacements, extras, second_views, test, test_also, teachers)


def _load_test(
    name: str | None,
    originals: ImageData,
    extras: Mapping[str, ImageData],
    config: ClassifierTrainConfig,
) -> ImageData | None:
    """Loads a test split; None without a name, or where nothing is tested."""
    if name is None or not config.test_split:
        return None
    test = load_test_split(name, config.test_split, data_dir=config.data_dir)
    check_alike(originals, {"the test set": test})
    _warn_of_test_images(extras, test)
    return test


def _load_teacher(run: Path, spec: ClassifierSpec) -> Classifier:
    classifier = load_classifier(run)
    try:
        check_teacher_spec(classifier.spec, spec)
    except InputError as error:
        raise InputError(f"--teacher {run}: {error}") from error
    return classifier


def _load_added(directory: Path, originals: ImageData, config: ClassifierTrainConfig) -> ImageData:
    added = _load_made(directory, originals, config)
    if added.outputs is None:
        raise InputError(
            f"--add {directory} has no outputs of a classifier; make the set with: elicit "
            "synthesize, or give other images by --extra"
        )
    return added


def _load_made(directory: Path, originals: ImageData, config: ClassifierTrainConfig) -> ImageData:
    """Loads a set of made images; with --labels-only they get the originals' pixels."""
    made = load_images(directory)
    if not config.labels_only:
        return made
    return keep_original_pixels(
        originals, made,
        name=split_name(config.data, config.split, data_digest(originals)),
        source=source_name(find_directory(directory)),
    )  # fmt: skip


def _warn_of_test_images(extras: Mapping[str, ImageData], test: ImageData) -> None:
    """Warns of extra images that are test images, or made of them."""
    for name, extra in extras.items():
        count = count_sources(extra, test)
        if count:
            warnings.warn(
                f"{count} of {len(extra.ids)} images of {name} are test images or made of "
                "test images; the test accuracy will be too high",
                stacklevel=2,
            )


def classifier_spec(config: ClassifierTrainConfig, originals: ImageData) -> ClassifierSpec:
    """Description of the classifier to train, which normalises by the originals' statistics."""
    return ClassifierSpec(
        config.model,
        config.width,
        originals.class_names,
        originals.images.shape[1:],
        *channel_statistics(originals.images),
    )


def training_data(config: ClassifierTrainConfig, sets: TrainingSets) -> TrainData:
    """The originals, some of which may be replaced, the images added, and the second views.

    Raises:
        InputError: The synthesised images do not fit the originals.
    """
    name = split_name(config.data, config.split, data_digest(sets.originals))
    if config.replace is None or sets.replacements is None:
        data = original_data(sets.originals)
    else:
        key = jax.random.fold_in(jax.random.key(config.key), REPLACEMENT_STREAM)
        data = replace_images(
            key, sets.originals, sets.replacements, fraction=config.fraction,
            name=name, source=source_name(find_directory(config.replace)),
        )  # fmt: skip
    if sets.extras:
        data = add_images(data, sets.originals, sets.extras)
    if config.add is None or sets.second_views is None:
        return data
    return add_second_views(
        data, sets.originals, sets.second_views,
        name=name, source=source_name(find_directory(config.add)),
    )  # fmt: skip


def describe_sets(config: ClassifierTrainConfig, sets: TrainingSets) -> dict[str, Any]:
    """What a run's identity says of its sets and teachers: digests, not places.

    Sets that an older version did not know are listed only if they are used.
    """
    replaced = None
    if sets.replacements:
        replaced = {"sha256": data_digest(sets.replacements), "fraction": config.fraction}
    described: dict[str, Any] = {
        "dataset": {
            "name": config.data,
            "train_split": config.split,
            "train_sha256": data_digest(sets.originals),
            "test_split": config.test_split,
            "test_sha256": data_digest(sets.test) if sets.test else None,
        },
        "replace": replaced,
        "extra": [{"sha256": data_digest(extra)} for extra in sets.extras.values()],
    }
    if sets.test_also:
        described["test_also"] = {"sha256": data_digest(sets.test_also)}
    if sets.second_views:
        described["second_view"] = {"sha256": data_digest(sets.second_views)}
    if sets.teachers:
        described["teacher"] = [{"sha256": digest(teacher)} for teacher in sets.teachers]
    return described
