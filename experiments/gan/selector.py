"""The classifier that sorts generated images, and the thresholds that they must reach."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Bool, UInt8

from experiments.classifier.source import ClassifierSource, check_takes, find_classifier
from experiments.options.gan import check_references
from experiments.pages.html import digest_words
from gans.metrics import relative_distances, usual_distance
from gans.options.selection import Thresholds
from gans.selection import Predictions, reaches, read_predictions
from imgopt.errors import InputError
from train.data.image_data import ImageReader, iter_parts
from train.data.load import data_digest, open_images
from train.evaluation import extract_features, predict
from train.storage.runs import as_json

BATCH_IMAGES = 256
"""Most images in a compiled batch."""


class References(NamedTuple):
    """Training images that generated images must keep a distance from.

    Attributes:
        data: the images.
        features: the classifier's features, in which the distance is measured.
    """

    data: ImageReader
    features: jax.tree_util.Partial


class Selector(NamedTuple):
    """A checked classifier with thresholds; nothing is computed yet.

    Attributes:
        source: the classifier.
        thresholds: what an image must reach to be accepted.
        image_shape: height, width, channels of the images.
        references: training images, if the thresholds ask for a distance to them.
    """

    source: ClassifierSource
    thresholds: Thresholds
    image_shape: tuple[int, ...]
    references: References | None

    @property
    def identity(self) -> dict[str, object]:
        """Everything that the selection depends on besides the images."""
        data = {"train_data": data_digest(self.references.data)} if self.references else {}
        return {
            "classifier": self.source.identify(self.image_shape),
            "thresholds": as_json(self.thresholds),
            **data,
        }

    @property
    def words(self) -> str:
        """The classifier in words: its name and digest."""
        return f"{Path(self.source.name).name}, {digest_words(self.source.sha256)}"


class Classified(NamedTuple):
    """The classifier's answers for n images, and which of them reach all thresholds."""

    predictions: Predictions
    accepted: Bool[np.ndarray, " n"]


def find_selector(
    classifier: str,
    thresholds: Thresholds,
    *,
    train_data: str | None,
    data_dir: Path | None = None,
    class_names: tuple[str, ...],
    image_shape: tuple[int, ...],
    of: str,
) -> Selector:
    """Loads a classifier and the data that the thresholds need, and checks that they fit.

    Args:
        classifier: a run or a callable (see `find_classifier`).
        thresholds: what images must reach.
        train_data: name or directory of a data set; only with a least distance.
        data_dir: TFDS's data directory, for a data set given by name.
        class_names: the images' classes, in the order of their labels.
        image_shape: height, width, channels of the images.
        of: what the images belong to, for messages.

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
        return Selector(source, thresholds, image_shape, None)
    if source.features is None:
        raise InputError(
            "--min-distance is measured in a classifier's features, which the callable "
            f"{classifier} does not give; give a run of elicit classifier train"
        )
    data = open_images(train_data, data_dir=data_dir)
    check_takes(source, data.class_names, data.image_shape, of="training data")
    return Selector(source, thresholds, image_shape, References(data, source.features))


def classify_by(
    selector: Selector, *, most_images: int
) -> Callable[[UInt8[np.ndarray, "n h w c"]], Classified]:
    """Gives a function that classifies images; the references' features are computed once.

    All its batches have one size and are filled up. So the answer for an image does not depend on
    the other images that are given with it.

    Args:
        selector: the classifier and the thresholds.
        most_images: images of the whole job; batches are not larger.

    Returns:
        A function of one image or more. It raises FloatingPointError if the classifier's output
        for an image is not finite.
    """
    references = selector.references
    batch_size = min(BATCH_IMAGES, most_images)
    known, unit = np.empty((0, 0)), 1.0
    if references is not None:
        parts = iter_parts(references.data)
        known = np.concatenate([_features(references, part.images, batch_size) for part in parts])
        unit = usual_distance(known)

    def classify(images: UInt8[np.ndarray, "n h w c"]) -> Classified:
        filled = _fill_batches(images, batch_size)
        log_p = predict(selector.source.classify, filled, batch_size=batch_size)
        predictions = read_predictions(log_p[: len(images)])
        distances = None
        if references is not None:
            features = _features(references, images, batch_size)
            distances = relative_distances(features, known, unit=unit)
        accepted = reaches(predictions, selector.thresholds, distances=distances)
        return Classified(predictions, accepted)

    return classify


def _features(references: References, images: np.ndarray, batch_size: int) -> np.ndarray:
    filled = _fill_batches(images, batch_size)
    return extract_features(references.features, filled, batch_size=batch_size)[: len(images)]


def _fill_batches(images: np.ndarray, batch_size: int) -> np.ndarray:
    """Appends copies of the last image until the last batch is full."""
    missing = -len(images) % batch_size
    return np.pad(images, ((0, missing), (0, 0), (0, 0), (0, 0)), mode="edge")
