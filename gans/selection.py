"""Selection of generated images by a classifier's predictions (B, 3.3).

A generated image is a true positive (TP) if its predicted class is its intended label, otherwise a
false positive (FP). Beyond the paper, an image can be refused for low confidence, for a small
margin, or for a small distance to a training image, of which it may be a copy.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Float32, Int, Int32, Int64

from gans.options.selection import Keep, Thresholds
from imgopt.errors import InputError
from train.checks import check_labels, check_probabilities, check_same_length

KINDS = ("fp", "tp")
"""Kinds of images, indexed by whether the predicted class is the label."""


class Predictions(NamedTuple):
    """A classifier's predictions for n images.

    Attributes:
        predicted: most likely class.
        confidence: probability of that class.
        margin: confidence minus the second highest probability.
    """

    predicted: Int32[np.ndarray, " n"]
    confidence: Float32[np.ndarray, " n"]
    margin: Float32[np.ndarray, " n"]


class Choice(NamedTuple):
    """Which of n images are kept.

    Attributes:
        rows: indices of the kept images, ascending.
        needed: whether an image's class still lacked images when its turn came.
        lacking: number of images that each class still lacks of each of `KINDS`.
    """

    rows: Int64[np.ndarray, " kept"]
    needed: Bool[np.ndarray, " n"]
    lacking: Int64[np.ndarray, "k 2"]


class Tally(NamedTuple):
    """Counts of predictions for images of k classes; the counts of several parts can be added.

    Attributes:
        confusion: number of images by intended and by predicted class.
        accepted: number of images that reach the thresholds, by class and by `KINDS`.
    """

    confusion: Int64[np.ndarray, "k k"]
    accepted: Int64[np.ndarray, "k 2"]

    @property
    def tried(self) -> Int64[np.ndarray, " k"]:
        """Number of images of each class."""
        return self.confusion.sum(axis=1)


def read_predictions(log_p: Float[np.ndarray, "n k"]) -> Predictions:
    """Computes predicted class, confidence and margin from a classifier's output.

    Args:
        log_p: log-probabilities (see `train.evaluation.predict`), of k ≥ 2 classes. If several
            classes have the highest value, the first one is predicted.

    Raises:
        InputError: there are fewer than two classes, or the rows are not log-probabilities.
        FloatingPointError: the output for some image is not finite.

    Example:
        >>> found = read_predictions(np.log([[0.75, 0.25]]))
        >>> found.predicted.tolist(), found.confidence.tolist(), found.margin.tolist()
        ([0], [0.75], [0.5])
    """
    if log_p.shape[1] < 2:
        raise InputError(f"expected a classifier of at least 2 classes, got {log_p.shape[1]}")
    broken = int(np.isnan(log_p).any(1).sum())
    if broken:
        raise FloatingPointError(
            f"the classifier's output is not finite for {broken} of {len(log_p)} images; its "
            "training or that of the GAN diverged"
        )
    check_probabilities(np.exp(log_p.astype(np.float32)), name="the exponentials of log_p")
    highest = np.exp(np.partition(log_p.astype(np.float32), -2, axis=1)[:, -2:])
    return Predictions(
        predicted=log_p.argmax(1).astype(np.int32),
        confidence=highest[:, 1],
        margin=highest[:, 1] - highest[:, 0],
    )


def reaches(
    predictions: Predictions,
    thresholds: Thresholds,
    *,
    distances: Float[np.ndarray, " n"] | None = None,
) -> Bool[np.ndarray, " n"]:
    """Tells which images reach all thresholds; a value equal to its threshold reaches it.

    Args:
        predictions: the classifier's predictions for the images.
        thresholds: smallest values.
        distances: to the nearest training image (see `gans.metrics.relative_distances`); needed
            if there is a smallest distance.

    Raises:
        InputError: the distances are needed and missing.
    """
    accepted = predictions.confidence >= thresholds.min_confidence
    accepted &= predictions.margin >= thresholds.min_margin
    if thresholds.min_distance is None:
        return accepted
    if distances is None:
        raise InputError("min_distance needs the images' distances to training images, got none")
    return accepted & (distances >= thresholds.min_distance)


def quota(
    classes: Int[np.ndarray, " m"], *, keep: Keep, count: int, num_classes: int
) -> Int64[np.ndarray, "k 2"]:
    """Number of images wanted, by class and by `KINDS`.

    Args:
        classes: classes of which images are wanted, in [0, num_classes).
        keep: kind to keep; "both" takes `count` of each kind, as in B, 3.3.
        count: images of each class and kind.
        num_classes: number of classes, k.
    """
    wanted = np.zeros((num_classes, len(KINDS)), np.int64)
    for column in wanted_kinds(keep):
        wanted[classes, column] = count
    return wanted


def wanted_kinds(keep: Keep) -> tuple[int, ...]:
    """Indices in `KINDS` of the kinds to keep, true positives first."""
    return (1, 0) if keep == "both" else (KINDS.index(keep),)


def choose(
    labels: Int[np.ndarray, " n"],
    predicted: Int[np.ndarray, " n"],
    accepted: Bool[np.ndarray, " n"],
    *,
    lacking: Int[np.ndarray, "k 2"],
) -> Choice:
    """Chooses the first accepted images of each class and kind, until none is lacking.

    Images may come in several parts: pass on the `lacking` of one part's choice to the next, and
    the same images are chosen as from one part.

    Args:
        labels: intended classes, in [0, k).
        predicted: predicted classes, in [0, k).
        accepted: which images reach the thresholds.
        lacking: number of images wanted, by class and kind (see `quota`).

    Raises:
        InputError: a class is outside its range, or the three arrays differ in length.
    """
    _check_answers(labels, predicted, accepted, num_classes=len(lacking))
    lacking = lacking.astype(np.int64)
    kinds = (labels == predicted).astype(int)
    needed, rows = np.zeros(len(labels), bool), []
    for row, (label, kind) in enumerate(zip(labels, kinds, strict=True)):
        needed[row] = lacking[label].any()
        if accepted[row] and lacking[label, kind]:
            lacking[label, kind] -= 1
            rows.append(row)
    return Choice(np.array(rows, np.int64), needed, lacking)


def tally(
    labels: Int[np.ndarray, " n"],
    predicted: Int[np.ndarray, " n"],
    accepted: Bool[np.ndarray, " n"],
    *,
    num_classes: int,
) -> Tally:
    """Counts predictions and accepted images.

    Args:
        labels: intended classes, in [0, k).
        predicted: predicted classes, in [0, k).
        accepted: which images reach the thresholds.
        num_classes: number of classes, k.

    Raises:
        InputError: a class is outside its range, or the three arrays differ in length.
    """
    _check_answers(labels, predicted, accepted, num_classes=num_classes)
    confusion = np.zeros((num_classes, num_classes), np.int64)
    np.add.at(confusion, (labels, predicted), 1)
    counts = np.zeros((num_classes, len(KINDS)), np.int64)
    np.add.at(counts, (labels, (labels == predicted).astype(int)), accepted)
    return Tally(confusion, counts)


def _check_answers(
    labels: np.ndarray, predicted: np.ndarray, accepted: np.ndarray, *, num_classes: int
) -> None:
    check_same_length({"labels": labels, "predicted": predicted, "accepted": accepted})
    for classes in (labels, predicted):
        check_labels(classes, num_classes=num_classes)
