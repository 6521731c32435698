"""Exact evaluation of a classifier: every image counts once."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, UInt8

from imgopt import Classify, split_classifier, to_float
from imgopt.programs import Program

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
        calibration_error: Mean |accuracy - confidence| over the bins, weighted by their counts
            (expected calibration error; Guo et al. 2017).
    """

    accuracy: float
    loss: float
    confusion: Int[np.ndarray, "k k"]
    bin_confidence: Float[np.ndarray, " bins"]
    bin_accuracy: Float[np.ndarray, " bins"]
    bin_counts: Int[np.ndarray, " bins"]
    calibration_error: float


@Program
def _log_probabilities(
    classify: Callable, arrays: list, images: UInt8[Array, "n h w c"]
) -> Float[Array, "n k"]:
    return jax.nn.log_softmax(classify(arrays, to_float(images)).astype(jnp.float32))


@Program
def _features(
    features: Callable, arrays: list, images: UInt8[Array, "n h w c"]
) -> Float[Array, "n d"]:
    return features(arrays, to_float(images))


def predict(
    classify: Classify, images: UInt8[np.ndarray, "n h w c"], *, batch_size: int = 500
) -> Float[np.ndarray, "n k"]:
    """Log-probabilities of any number of images, in batches of one compiled size.

    Args:
        classify: Function from float32 images in [0, 1] to logits.
        images: Grey levels of at least one image.
        batch_size: Images in a batch, at least 1.
    """
    return _in_batches(_log_probabilities, classify, images, batch_size)


def extract_features(
    features: Classify,
    images: UInt8[np.ndarray, "n h w c"],
    *,
    batch_size: int = 500,
) -> Float[np.ndarray, "n d"]:
    """Features of any number of images, in batches of one compiled size.

    Args:
        features: Function from float32 images in [0, 1] to vectors, such as
            `train.classifiers.feature_function` gives.
        images: Grey levels of at least one image.
        batch_size: Images in a batch, at least 1.
    """
    return _in_batches(_features, features, images, batch_size)


def _in_batches(
    program: Program,
    function: Classify,
    images: np.ndarray,
    batch_size: int,
) -> np.ndarray:
    """Runs a compiled program over all images, in batches of one size.

    The last batch is padded with copies of its last image; their results are dropped.
    """
    batch_size = min(batch_size, len(images))
    like = jax.ShapeDtypeStruct((batch_size, *images.shape[1:]), jnp.float32)
    split = split_classifier(function, like)
    parts = []
    for start in range(0, len(images), batch_size):
        batch = images[start : start + batch_size]
        padded = np.pad(batch, ((0, batch_size - len(batch)), (0, 0), (0, 0), (0, 0)), mode="edge")
        parts.append(program(split.function, split.arrays, padded)[: len(batch)])
    return np.concatenate(jax.device_get(parts))


def evaluate(
    classify: Classify,
    images: UInt8[np.ndarray, "n h w c"],
    labels: Int[np.ndarray, " n"],
    *,
    batch_size: int = 500,
) -> Evaluation:
    """Measures accuracy, loss, confusion and calibration over all images.

    Args:
        classify: Function from float32 images in [0, 1] to logits.
        images: Grey levels of at least one image.
        labels: True classes, in [0, k).
        batch_size: Images in a batch, at least 1.

    Raises:
        FloatingPointError: The output for some image is not finite.
    """
    log_p = predict(classify, images, batch_size=batch_size)
    broken = int((~np.isfinite(log_p)).any(1).sum())
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
        loss=float(-log_p[np.arange(len(labels)), labels].mean(dtype=np.float64)),
        confusion=confusion,
        bin_confidence=bin_confidence,
        bin_accuracy=bin_accuracy,
        bin_counts=counts.astype(np.int64),
        calibration_error=float(np.abs(sum_right - sum_confidence).sum() / len(labels)),
    )
