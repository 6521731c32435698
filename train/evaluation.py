"""Exact evaluation of a classifier: every image counts once."""

import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, UInt8

from imgopt import Classify, to_float
from imgopt.classifier import are_probabilities, split_function
from imgopt.errors import InputError
from imgopt.programs import Devices, Program, choose_place, full_precision, shapes_on
from train.checks import check_images, check_labels

Images = UInt8[np.ndarray, "n h w c"] | Float[np.ndarray, "n h w c"]
"""Grey levels as uint8, or floats in [0, 1], which are taken as they are."""

CALIBRATION_BINS = 15


class Evaluation(NamedTuple):
    """Quality of a classifier on labelled images.

    Attributes:
        accuracy: Share of images whose most likely class is the label.
        loss: Mean cross entropy in nats.
        confusion: Number of images by [true class, predicted class].
        bin_confidence: Mean confidence in each of 15 equal bins of confidence; NaN if empty.
        bin_accuracy: Share of correct predictions in each bin; NaN if empty.
        bin_counts: Number of images in each bin.
        calibration_error: Mean `|accuracy - confidence|` over the bins, weighted by their counts
            (expected calibration error; Guo et al. 2017).
    """

    accuracy: float
    loss: float
    confusion: Int[np.ndarray, "k k"]
    bin_confidence: Float[np.ndarray, " bins"]
    bin_accuracy: Float[np.ndarray, " bins"]
    bin_counts: Int[np.ndarray, " bins"]
    calibration_error: float

    @property
    def images(self) -> int:
        """Number of images."""
        return int(self.confusion.sum())


class _Outputs(NamedTuple):
    """A classifier's log-probabilities, and whether its own output was a row of probabilities."""

    log_p: Float[Array, "n k"]
    is_distribution: Bool[Array, " n"]


@Program
def _log_probabilities(classify: Callable, arrays: list, images: Any) -> _Outputs:
    logits = classify(arrays, _as_floats(images)).astype(jnp.float32)
    return _Outputs(jax.nn.log_softmax(logits), are_probabilities(logits))


@Program
def _features(features: Callable, arrays: list, images: Any) -> Float[Array, "n d"]:
    return features(arrays, _as_floats(images)).astype(jnp.float32)


def _as_floats(images: Any) -> Float[Array, "n h w c"]:
    return to_float(images) if images.dtype == jnp.uint8 else images.astype(jnp.float32)


def predict(
    classify: Classify, images: Images, *, batch_size: int = 500
) -> Float[np.ndarray, "n k"]:
    """Log-probabilities of any number of images, in batches of one compiled size.

    Args:
        classify: Function from float32 images in [0, 1] to logits.
        images: At least one image: grey levels as uint8, or floats in [0, 1], taken as they are.
        batch_size: Images in a batch, at least 1.

    Raises:
        InputError: The images have another shape, type or range, or `classify` returns no logits.

    Warns:
        UserWarning: `classify` returns probabilities.

    Example:
        >>> images = np.array([[[[255, 0, 0]]], [[[0, 255, 0]]]], np.uint8)  # red, green
        >>> log_p = predict(lambda x: 9 * x.mean((1, 2)), images)
        >>> log_p.argmax(1).tolist()
        [0, 1]
    """
    found = _in_batches(
        _log_probabilities,
        classify,
        images,
        batch_size,
        returns="logits of shape (n, k), k at least 2",
        least=2,
    )
    if found.is_distribution.all():
        warnings.warn(
            "expected logits, got rows of numbers that are at least 0 and sum to 1, as "
            "probabilities do; return the logits, or the logarithms of the probabilities",
            stacklevel=2,
        )
    return found.log_p


def lower_predict(
    classify: Classify, shape: tuple[int, int, int, int], *, devices: Devices = 1
) -> jax.stages.Lowered:
    """Lowers the program of `predict` for a batch of 8-bit images, and compiles nothing.

    Args:
        classify: Function from float32 images in [0, 1] to logits.
        shape: Shape of the batch.
        devices: One device to lower for, which may be only described; 1 for JAX's default.
    """
    with full_precision():
        split = split_function(classify, jax.ShapeDtypeStruct(shape, jnp.float32))
    images = jax.ShapeDtypeStruct(shape, jnp.uint8)
    arrays, images = shapes_on((split.arrays, images), choose_place(devices), by_row=False)
    return _log_probabilities.lower(split.function, arrays, images)


def extract_features(
    features: Classify, images: Images, *, batch_size: int = 500
) -> Float[np.ndarray, "n d"]:
    """Features of any number of images, in batches of one compiled size.

    Args:
        features: Function from float32 images in [0, 1] to vectors, such as
            `train.classifiers.feature_function` gives.
        images: At least one image: grey levels as uint8, or floats in [0, 1], taken as they are.
        batch_size: Images in a batch, at least 1.

    Raises:
        InputError: The images have another shape, type or range, or the function returns no
            vectors.

    Example:
        >>> images = np.array([[[[255, 0, 0]]], [[[0, 255, 0]]]], np.uint8)  # red, green
        >>> extract_features(lambda x: x.mean((1, 2)), images).tolist()
        [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]
    """
    return _in_batches(
        _features, features, images, batch_size, returns="features of shape (n, d)", least=1
    )


def _in_batches(
    program: Program,
    function: Classify,
    images: np.ndarray,
    batch_size: int,
    *,
    returns: str,
    least: int,
) -> Any:
    """Runs a compiled program over all images, in batches of one size.

    The last batch is padded with copies of its last image; their results are dropped.
    """
    check_images(images)
    if batch_size < 1:
        raise InputError(f"batch_size must be at least 1, got {batch_size}")
    batch_size = min(batch_size, len(images))
    like = jax.ShapeDtypeStruct((batch_size, *images.shape[1:]), jnp.float32)
    with full_precision():
        split = split_function(function, like)
    shape = getattr(split.output, "shape", ())
    found = shape or type(split.output).__name__
    if len(shape) != 2 or shape[0] != batch_size or shape[1] < least:
        raise InputError(f"expected {returns} for images of shape {like.shape}, got {found}")
    parts = []
    for start in range(0, len(images), batch_size):
        batch = images[start : start + batch_size]
        padded = np.pad(batch, ((0, batch_size - len(batch)), (0, 0), (0, 0), (0, 0)), mode="edge")
        parts.append(program(split.function, split.arrays, padded))
    joined = jax.tree.map(lambda *rows: np.concatenate(rows), *jax.device_get(parts))
    return jax.tree.map(lambda rows: rows[: len(images)], joined)


def evaluate(
    classify: Classify,
    images: Images,
    labels: Int[np.ndarray, " n"],
    *,
    batch_size: int = 500,
) -> Evaluation:
    """Measures accuracy, loss, confusion and calibration over all images.

    Args:
        classify: Function from float32 images in [0, 1] to logits.
        images: At least one image: grey levels as uint8, or floats in [0, 1], taken as they are.
        labels: True classes, one for each image, in [0, k).
        batch_size: Images in a batch, at least 1.

    Raises:
        InputError: Images or labels have another shape, type or range, or `classify` returns no
            logits.
        FloatingPointError: The output for some image is not finite. A class may have a logit of
            -inf, if it is not the label of the image.

    Warns:
        UserWarning: `classify` returns probabilities.

    Example:
        >>> images = np.array([[[[255, 0, 0]]], [[[0, 255, 0]]]], np.uint8)  # red, green
        >>> evaluation = evaluate(lambda x: 9 * x.mean((1, 2)), images, np.array([0, 2]))
        >>> evaluation.accuracy, evaluation.confusion.tolist()
        (0.5, [[1, 0, 0], [0, 0, 0], [0, 1, 0]])
    """
    check_labels(labels, count=len(images))
    log_p = predict(classify, images, batch_size=batch_size)
    check_labels(labels, num_classes=log_p.shape[1])
    labels = np.asarray(labels)
    of_label = log_p[np.arange(len(labels)), labels]
    broken = int((np.isnan(log_p).any(1) | ~np.isfinite(of_label)).sum())
    if broken:
        raise FloatingPointError(
            f"the classifier's output is not finite for {broken} of {len(log_p)} images; its "
            "training diverged: a lower --learning-rate may help"
        )
    predicted, confidence = log_p.argmax(1), np.exp(log_p.max(1))
    right = predicted == labels
    confusion = np.zeros((log_p.shape[1],) * 2, np.int64)
    np.add.at(confusion, (labels, predicted), 1)
    bins = np.minimum((confidence * CALIBRATION_BINS).astype(int), CALIBRATION_BINS - 1)
    counts, sum_right, sum_confidence = (
        np.bincount(bins, weights=values, minlength=CALIBRATION_BINS)
        for values in (np.ones_like(confidence), right, confidence)
    )
    with np.errstate(invalid="ignore"):  # 0/0 marks an empty bin
        bin_accuracy, bin_confidence = sum_right / counts, sum_confidence / counts
    return Evaluation(
        accuracy=float(right.mean()),
        loss=float(-of_label.mean(dtype=np.float64)),
        confusion=confusion,
        bin_confidence=bin_confidence,
        bin_accuracy=bin_accuracy,
        bin_counts=counts.astype(np.int64),
        calibration_error=float(np.abs(sum_right - sum_confidence).sum() / len(labels)),
    )
