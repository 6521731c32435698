"""Training losses, one value for each example."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from imgopt.errors import InputError
from train.checks import check_labels, check_probabilities, is_traced, one_hot, outside_as_nan
from train.recipes.train_options import KlDirection

SMOOTHING = 0.01
"""Mass spread evenly over a target, since KL(p ‖ target) needs it positive for every class."""


def cross_entropy(logits: Float[Array, "n k"], labels: Int[Array, " n"]) -> Float[Array, " n"]:
    """-log p_t in nats, p = softmax(logits) (A, eqs. 11 and 12).

    Args:
        logits: Logits of the classifier.
        labels: True classes t, in [0, k). Within a compiled function, where it cannot be refused,
            a label outside gives NaN.

    Raises:
        InputError: The shapes do not match, or a label is no integer or outside its range.

    Example:
        >>> cross_entropy(jnp.zeros((1, 2)), jnp.array([1])).tolist() == [float(jnp.log(2.0))]
        True
    """
    _check_inputs(logits, labels)
    log_p = jax.nn.log_softmax(logits)
    places = outside_as_nan(labels, logits.shape[1])[:, None]
    return -jnp.take_along_axis(log_p, places, axis=1, mode="fill", fill_value=jnp.nan)[:, 0]


def soft_cross_entropy(
    logits: Float[Array, "n k"], targets: Float[Array, "n k"]
) -> Float[Array, " n"]:
    """-Σ q log p in nats, p = softmax(logits): cross entropy to soft targets.

    `mixed_soft_label_loss` has the gradient of this loss to (u + t)/2. Their values differ by half
    the entropy of u, which no parameter changes.

    Args:
        logits: Logits of the classifier.
        targets: q, distributions over the classes.

    Raises:
        InputError: The shapes do not match.

    Example:
        >>> loss = soft_cross_entropy(jnp.zeros((1, 2)), jnp.array([[0.3, 0.7]]))
        >>> bool(jnp.allclose(loss, jnp.log(2.0)))
        True
    """
    if logits.ndim != 2 or logits.shape != targets.shape:
        raise InputError(
            f"targets must have the shape (n, k) of the logits, {logits.shape}, got {targets.shape}"
        )
    return -sum_over_classes(targets, jax.nn.log_softmax(logits))


def mixed_soft_label_loss(
    logits: Float[Array, "n k"],
    labels: Int[Array, " n"],
    teacher_outputs: Float[Array, "n k"],
    is_generated: Bool[Array, " n"],
    *,
    kl: KlDirection = "target||model",
    smoothing: float = SMOOTHING,
) -> Float[Array, " n"]:
    """0.5·KL + 0.5·(-log p_t), with the KL against q or one-hot t (A, eq. 9).

    The target u of the KL is q for a generated image and one-hot t for an original. With
    p = softmax(logits), the direction of the KL is one of two:

    - "target||model": `KL(u ‖ p) = Σ u log(u/p)`, which PyTorch's KLDivLoss computes. The whole
      loss has the gradient of the cross entropy to (u + t)/2; for an original image the whole
      loss is its cross entropy.
    - "model||target": `KL(p ‖ u') = Σ p log(p/u')`, as printed in A, eq. 10. It is infinite for a
      one-hot target, so `u' = (1 - smoothing)·u + smoothing/k`.

    A class whose logit is -inf counts 0 where its target is 0.

    Args:
        logits: Logits of the classifier in training.
        labels: t, the true class of the image or of the original that it was made from, in [0, k).
            Within a compiled function, where it cannot be refused, a label outside gives NaN.
        teacher_outputs: q, the frozen classifier's softmax on the generated image; not used for
            originals.
        is_generated: Which images are generated.
        kl: Direction of the KL divergence.
        smoothing: Mass spread evenly over the target, in (0, 1]; only for "model||target".

    Returns:
        Loss of each example, in nats.

    Raises:
        InputError: The shapes do not match, a label or the smoothing is outside its range, a
            teacher's output is no distribution, or the direction is unknown.

    Example:
        >>> logits, teacher = jnp.log(jnp.array([[0.75, 0.25]])), jnp.array([[0.75, 0.25]])
        >>> loss = mixed_soft_label_loss(logits, jnp.array([0]), teacher, jnp.array([True]))
        >>> bool(jnp.allclose(loss, -0.5 * jnp.log(0.75)))
        True
    """
    _check_inputs(logits, labels)
    check_teacher(teacher_outputs, is_generated, shape=logits.shape)
    dtype = jnp.float64 if logits.dtype == jnp.float64 else jnp.float32
    label = one_hot(labels, logits.shape[1], dtype=dtype)
    target = jnp.where(is_generated[:, None], jnp.asarray(teacher_outputs, dtype), label)
    log_p = jax.nn.log_softmax(logits.astype(dtype))
    divergence = _divergence(log_p, target, kl=kl, smoothing=smoothing)
    return 0.5 * divergence - 0.5 * sum_over_classes(label, log_p)


def sum_over_classes(
    weights: Float[Array, "n k"], values: Float[Array, "n k"]
) -> Float[Array, " n"]:
    """Σ w·v over each row; a weight of 0 gives 0, even with an infinite value."""
    return (weights * jnp.where((weights == 0) & jnp.isinf(values), 0, values)).sum(1)


def _divergence(
    log_p: Float[Array, "n k"], target: Float[Array, "n k"], *, kl: KlDirection, smoothing: float
) -> Float[Array, " n"]:
    if kl == "target||model":
        return jax.scipy.special.xlogy(target, target).sum(1) - sum_over_classes(target, log_p)
    if kl != "model||target":
        raise InputError(f'kl must be "target||model" or "model||target", got {kl!r}')
    if not 0 < smoothing <= 1:
        raise InputError(f"smoothing must be above 0 and at most 1, got {smoothing}")
    smoothed = (1 - smoothing) * target + smoothing / target.shape[1]
    return sum_over_classes(jnp.exp(log_p), log_p - jnp.log(smoothed))


def accuracy(logits: Float[Array, "n k"], labels: Int[Array, " n"]) -> Float[Array, ""]:
    """Share of examples whose highest logit is that of the label."""
    right = logits.argmax(1).astype(jnp.int32) == jnp.asarray(labels, jnp.int32)
    return right.mean(dtype=jnp.float32)


def check_teacher(teacher_outputs: Any, is_generated: Any, *, shape: tuple[int, ...]) -> None:
    """Checks the teacher's outputs for generated images; values are checked where they are known.

    Args:
        teacher_outputs: q, of each image.
        is_generated: Which images are generated; for other images q is not used.
        shape: Numbers of images and of classes, (n, k).

    Raises:
        InputError: The shapes do not match, or an output that is used is no distribution.
    """
    if np.shape(is_generated) != shape[:1]:
        raise InputError(
            f"is_generated must have shape {shape[:1]} beside logits of shape {shape}, got "
            f"{np.shape(is_generated)}"
        )
    if np.shape(teacher_outputs) != shape:
        raise InputError(
            f"teacher_outputs must have the logits' shape {shape}, got {np.shape(teacher_outputs)}"
        )
    if not (is_traced(is_generated) or is_traced(teacher_outputs)):
        used = np.asarray(teacher_outputs)[np.asarray(is_generated)]
        check_probabilities(used, name="teacher_outputs of generated images")


def _check_inputs(logits: Array, labels: Array) -> None:
    if logits.ndim != 2:
        raise InputError(f"logits must have shape (n, k), got {logits.shape}")
    check_labels(labels, count=logits.shape[0], num_classes=logits.shape[1])
