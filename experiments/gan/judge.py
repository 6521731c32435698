"""A classifier as the judge of images whose classes were intended."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Bool, UInt8

from experiments.classifier.source import ClassifierSource, check_takes, find_classifier
from gans.metrics import relative_distances, usual_distance
from gans.selection import Predictions, Thresholds, reaches, read_predictions
from imgopt.errors import InputError
from train.data.image_data import ImageReader, iter_parts
from train.data.load import data_digest, open_images
from train.evaluation import extract_features, predict
from train.storage.runs import as_json

JUDGED_AT_ONCE = 256
"""Images in one compiled batch, always full: so what is said of an image does not depend on how
many others come with it."""


class References(NamedTuple):
    """Images that others must lie away from, and the features in which that is measured."""

    data: ImageReader
    features: jax.tree_util.Partial


class Judge(NamedTuple):
    """A checked judge; nothing is computed yet.

    Attributes:
        source: the classifier.
        thresholds: what images must reach.
        references: training images, where the thresholds ask for a distance to them.
    """

    source: ClassifierSource
    thresholds: Thresholds
    references: References | None

    @property
    def identity(self) -> dict[str, Any]:
        """What its judgements depend on."""
        data = {"train_data": data_digest(self.references.data)} if self.references else {}
        return {
            "classifier": self.source.identity,
            "thresholds": as_json(self.thresholds),
            **data,
        }


class Judged(NamedTuple):
    """What a judge says of n images: the classifier's answers, and which reach the thresholds."""

    verdicts: Predictions
    accepted: Bool[np.ndarray, " n"]


def check_references(thresholds: Thresholds, train_data: str | None) -> None:
    """Raises InputError unless a least distance and training data are both given, or neither."""
    if thresholds.min_distance is not None and train_data is None:
        raise InputError("--min-distance needs --train-data DIR, the images to lie away from")
    if thresholds.min_distance is None and train_data is not None:
        raise InputError("--train-data is for --min-distance, which is not given")


def find_judge(
    classifier: str,
    thresholds: Thresholds,
    *,
    train_data: str | None,
    class_names: tuple[str, ...],
    image_shape: tuple[int, ...],
    of: str,
) -> Judge:
    """Loads a classifier and what the thresholds need, and checks that they fit the images.

    Args:
        classifier: a run or a callable (see `find_classifier`).
        thresholds: what images must reach.
        train_data: directory of a data set, with a least distance only.
        class_names: of the images, in the order of their labels.
        image_shape: height, width, channels.
        of: what has such images, for messages.

    Raises:
        InputError: something is missing or does not fit.
    """
    check_references(thresholds, train_data)
    source = find_classifier(classifier, precision="float32")
    check_takes(source, class_names, image_shape, of=of)
    if len(class_names) < 2:
        raise InputError(
            f"expected at least 2 classes to tell apart, got {class_names}, all that the {of} has"
        )
    if train_data is None:
        return Judge(source, thresholds, None)
    if source.features is None:
        raise InputError(
            "--min-distance is measured in a classifier's features, which the callable "
            f"{classifier} does not give; give a run of elicit classifier train"
        )
    data = open_images(train_data)
    check_takes(source, data.class_names, data.image_shape, of="training data")
    return Judge(source, thresholds, References(data, source.features))


def judging(by: Judge) -> Callable[[UInt8[np.ndarray, "n h w c"]], Judged]:
    """Computes what a judge needs once for all.

    Args:
        by: the judge.

    Returns:
        A function that judges any number of images, at least one. It raises FloatingPointError if
        the output for some image is not finite.
    """
    references = by.references
    known, unit = np.empty((0, 0)), 1.0
    if references is not None:
        parts = iter_parts(references.data)
        known = np.concatenate([_features(references, part.images) for part in parts])
        unit = usual_distance(known)

    def judge_images(images: UInt8[np.ndarray, "n h w c"]) -> Judged:
        log_p = predict(by.source.classify, _filled(images), batch_size=JUDGED_AT_ONCE)
        verdicts = read_predictions(log_p[: len(images)])
        distances = None
        if references is not None:
            distances = relative_distances(_features(references, images), known, unit=unit)
        return Judged(verdicts, reaches(verdicts, by.thresholds, distances=distances))

    return judge_images


def _features(references: References, images: np.ndarray) -> np.ndarray:
    features = extract_features(references.features, _filled(images), batch_size=JUDGED_AT_ONCE)
    return features[: len(images)]


def _filled(images: np.ndarray) -> np.ndarray:
    """The images, and as many copies of the last one as fill up the last batch."""
    missing = -len(images) % JUDGED_AT_ONCE
    return np.pad(images, ((0, missing), (0, 0), (0, 0), (0, 0)), mode="edge")
