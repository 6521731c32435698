"""Which generated images to keep: by what a classifier says of them (B, 3.3).

A generated image whose predicted class is its intended label is a true positive (TP), any other
one a false positive (FP). Beyond the paper, an image can be refused for too little confidence, for
too small a margin, or for lying too near to a training image, of which it may be a copy.
"""

import math
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Float32, Int, Int32, Int64

from imgopt.errors import InputError

Keep = Literal["tp", "fp", "both"]

KINDS = ("fp", "tp")
"""Of images, by whether the predicted class is the label."""


@dataclass(frozen=True)
class Thresholds:
    """What an image must reach to be kept, whichever its kind; by default everything does."""

    min_confidence: float = 0.0
    """Least probability of the predicted class, in [0, 1]."""
    min_margin: float = 0.0
    """Least difference between the two highest probabilities, in [0, 1]."""
    min_distance: float | None = None
    """Least distance to the nearest training image in features of the classifier, in units of the
    median distance between nearest training images; near-copies have about 0. By default none is
    measured."""

    def __post_init__(self) -> None:
        """Raises InputError for a number outside its range."""
        for name in ("min_confidence", "min_margin"):
            if not 0 <= getattr(self, name) <= 1:
                raise InputError(f"{name} must be in [0, 1], got {getattr(self, name)}")
        if self.min_distance is not None and not 0 <= self.min_distance < math.inf:
            raise InputError(f"min_distance must be at least 0 and finite, got {self.min_distance}")


class Verdicts(NamedTuple):
    """What a classifier says of n images.

    Attributes:
        predicted: the most likely class.
        confidence: its probability.
        margin: the same minus the second highest probability.
    """

    predicted: Int32[np.ndarray, " n"]
    confidence: Float32[np.ndarray, " n"]
    margin: Float32[np.ndarray, " n"]


class Choice(NamedTuple):
    """Which of n images are kept.

    Attributes:
        rows: of the images kept, ascending.
        needed: whether, when an image's turn came, its class still lacked something.
        lacking: what each class still lacks of each of `KINDS`.
    """

    rows: Int64[np.ndarray, " kept"]
    needed: Bool[np.ndarray, " n"]
    lacking: Int64[np.ndarray, "k 2"]


class Tally(NamedTuple):
    """How images of k classes were judged, as counts, which add up over parts.

    Attributes:
        confusion: by intended and by predicted class.
        accepted: of each class and each of `KINDS`, those that reach the thresholds.
    """

    confusion: Int64[np.ndarray, "k k"]
    accepted: Int64[np.ndarray, "k 2"]

    @property
    def tried(self) -> Int64[np.ndarray, " k"]:
        """Images of each class."""
        return self.confusion.sum(axis=1)


def judge(log_p: Float[np.ndarray, "n k"]) -> Verdicts:
    """Reads predicted class, confidence and margin off a classifier's output.

    Args:
        log_p: log-probabilities (see `train.evaluation.predict`), of k ≥ 2 classes. Of equal
            classes the first one counts as predicted.

    Raises:
        InputError: fewer than two classes.
        FloatingPointError: the output for some image is not finite.
    """
    if log_p.shape[1] < 2:
        raise InputError(f"expected a classifier of at least 2 classes, got {log_p.shape[1]}")
    broken = int(np.isnan(log_p).any(1).sum())
    if broken:
        raise FloatingPointError(
            f"the classifier's output is not finite for {broken} of {len(log_p)} images; its "
            "training or that of the GAN diverged"
        )
    highest = np.exp(np.partition(log_p.astype(np.float32), -2, axis=1)[:, -2:])
    return Verdicts(
        predicted=log_p.argmax(1).astype(np.int32),
        confidence=highest[:, 1],
        margin=highest[:, 1] - highest[:, 0],
    )


def reaches(
    verdicts: Verdicts,
    thresholds: Thresholds,
    *,
    distances: Float[np.ndarray, " n"] | None = None,
) -> Bool[np.ndarray, " n"]:
    """Says which images reach all thresholds; to reach one exactly is enough.

    Args:
        verdicts: what the classifier says of the images.
        thresholds: see there.
        distances: to the nearest training image (see `gans.metrics.relative_distances`), needed
            where the thresholds ask for one.

    Raises:
        InputError: the distances are needed and lacking.
    """
    accepted = verdicts.confidence >= thresholds.min_confidence
    accepted &= verdicts.margin >= thresholds.min_margin
    if thresholds.min_distance is None:
        return accepted
    if distances is None:
        raise InputError("min_distance needs the images' distances to training images, got none")
    return accepted & (distances >= thresholds.min_distance)


def quota(
    classes: Int[np.ndarray, " m"], *, keep: Keep, count: int, num_classes: int
) -> Int64[np.ndarray, "k 2"]:
    """What is wanted of each class and each of `KINDS`.

    Args:
        classes: those of which images are wanted, in [0, num_classes).
        keep: the kinds wanted; "both" is `count` of each, as in B, 3.3.
        count: images of each kind.
        num_classes: k.
    """
    wanted = np.zeros((num_classes, len(KINDS)), np.int64)
    for column in wanted_kinds(keep):
        wanted[classes, column] = count
    return wanted


def wanted_kinds(keep: Keep) -> tuple[int, ...]:
    """The kinds to keep, as numbers in `KINDS`, true positives first."""
    return (1, 0) if keep == "both" else (KINDS.index(keep),)


def choose(
    labels: Int[np.ndarray, " n"],
    predicted: Int[np.ndarray, " n"],
    accepted: Bool[np.ndarray, " n"],
    *,
    lacking: Int[np.ndarray, "k 2"],
) -> Choice:
    """Takes the first accepted images of each class and kind, until none is lacking.

    So images that come in several parts are chosen as if they came in one: the next part goes on
    with what this one leaves lacking.

    Args:
        labels: intended classes, in [0, k).
        predicted: the classifier's.
        accepted: which images reach the thresholds.
        lacking: how many are wanted (see `quota`).
    """
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
    """Counts how images were judged.

    Args:
        labels: intended classes, in [0, k).
        predicted: the classifier's, in [0, k).
        accepted: which images reach the thresholds.
        num_classes: k.
    """
    confusion = np.zeros((num_classes, num_classes), np.int64)
    np.add.at(confusion, (labels, predicted), 1)
    counts = np.zeros((num_classes, len(KINDS)), np.int64)
    np.add.at(counts, (labels, (labels == predicted).astype(int)), accepted)
    return Tally(confusion, counts)
