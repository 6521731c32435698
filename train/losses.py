"""Training losses, one value for each example."""

from typing import Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from imgopt.errors import InputError

KlDirection = Literal["target||model", "model||target"]

SMOOTHING = 0.01
"""Mass spread evenly over a target, since KL(p ‖ target) needs it positive for every class."""


def cross_entropy(logits: Float[Array, "n k"], labels: Int[Array, " n"]) -> Float[Array, " n"]:
    """-log p_t in nats, p = softmax(logits) (A, eqs. 11 and 12).

    Args:
        logits: Logits of the classifier.
        labels: True classes t, in [0, k).

    Raises:
        InputError: The shapes do not match.

    Example:
        >>> cross_entropy(jnp.zeros((1, 2)), jnp.array([1])).tolist() == [float(jnp.log(2.0))]
        True
    """
    _check_shapes(logits, labels=labels)
    log_p = jax.nn.log_softmax(logits)
    return -jnp.take_along_axis(log_p, labels[:, None], axis=1)[:, 0]


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
    p = softmax(logits):
        target||model: KL(u ‖ p) = Σ u log(u/p), which PyTorch's KLDivLoss computes. The gradient of
            the whole loss is that of the cross entropy to (u + t)/2; for an original image the
            whole loss is its cross entropy.
        model||target: KL(p ‖ u') = Σ p log(p/u'), as printed in A, eq. 10. It is infinite for a
            one-hot target, so u' = (1 - smoothing)·u + smoothing/k.

    Args:
        logits: Logits of the classifier in training.
        labels: t, the true class of the image or of the original that it was made from, in [0, k).
        teacher_outputs: q, the frozen classifier's softmax on the generated image; not used for
            originals.
        is_generated: Which images are generated.
        kl: Direction of the KL divergence.
        smoothing: Mass spread evenly over the target, in (0, 1]; only for "model||target".

    Returns:
        Loss of each example, in nats.

    Raises:
        InputError: The shapes do not match, or the direction is unknown.

    Example:
        >>> logits, teacher = jnp.log(jnp.array([[0.75, 0.25]])), jnp.array([[0.75, 0.25]])
        >>> loss = mixed_soft_label_loss(logits, jnp.array([0]), teacher, jnp.array([True]))
        >>> bool(jnp.allclose(loss, -0.5 * jnp.log(0.75)))
        True
    """
    _check_shapes(logits, labels=labels, is_generated=is_generated)
    if teacher_outputs.shape != logits.shape:
        raise InputError(
            f"teacher_outputs must have the logits' shape {logits.shape}, "
            f"got {teacher_outputs.shape}"
        )
    one_hot = jax.nn.one_hot(labels, logits.shape[1])
    teacher_outputs = jnp.asarray(teacher_outputs, one_hot.dtype)
    target = jnp.where(is_generated[:, None], teacher_outputs, one_hot)
    log_p = jax.nn.log_softmax(logits).astype(one_hot.dtype)
    divergence = _divergence(log_p, target, kl=kl, smoothing=smoothing)
    return 0.5 * divergence - 0.5 * (one_hot * log_p).sum(1)


def _divergence(
    log_p: Float[Array, "n k"], target: Float[Array, "n k"], *, kl: KlDirection, smoothing: float
) -> Float[Array, " n"]:
    if kl == "target||model":
        return (jax.scipy.special.xlogy(target, target) - target * log_p).sum(1)
    if kl == "model||target":
        smoothed = (1 - smoothing) * target + smoothing / target.shape[1]
        return (jnp.exp(log_p) * (log_p - jnp.log(smoothed))).sum(1)
    raise InputError(f'kl must be "target||model" or "model||target", got {kl!r}')


def _check_shapes(logits: Array, **vectors: Array) -> None:
    if logits.ndim != 2:
        raise InputError(f"logits must have shape (n, k), got {logits.shape}")
    for name, vector in vectors.items():
        if vector.shape != logits.shape[:1]:
            raise InputError(
                f"{name} must have shape {logits.shape[:1]} beside logits of shape "
                f"{logits.shape}, got {vector.shape}"
            )
