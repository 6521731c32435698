"""Soft targets: the distributions that the classifier in training is to give, float32 (n, k)."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key

from imgopt.classifier import Classify


def smooth(labels: Float[Array, "n k"], share: float) -> Float[Array, "n k"]:
    """Label smoothing: (1 - ε)·t + ε/k (Szegedy et al. 2016, section 7).

    Args:
        labels: t, distributions such as one-hot vectors.
        share: ε, in [0, 1].
    """
    return (1 - share) * labels + share / labels.shape[1]


def blend(
    targets: Float[Array, "n k"], outputs: Float[Array, "n k"], *, weight: float
) -> Float[Array, "n k"]:
    """(1 - w)·t + w·q: targets of which a share comes from a teacher (Hinton et al. 2015).

    Args:
        targets: t.
        outputs: q, the teacher's outputs.
        weight: w, in [0, 1].
    """
    return (1 - weight) * targets + weight * outputs


def set_where(
    is_made: Bool[Array, " n"], made: Float[Array, "n k"], others: Float[Array, "n k"]
) -> Float[Array, "n k"]:
    """The rows of `made` for made images, and the rows of `others` for all other images."""
    return jnp.where(jnp.broadcast_to(is_made[:, None], others.shape), made, others)


def mean_log_output(
    teachers: Sequence[Classify], images: Float[Array, "n h w c"]
) -> Float[Array, "n k"]:
    """Logarithm of the mean softmax of several classifiers; no gradient flows into their weights.

    Args:
        teachers: At least one function from images in [0, 1] to logits.
        images: Images in [0, 1].
    """
    log_p = jnp.stack([jax.nn.log_softmax(classify(images)) for classify in teachers])
    return jax.nn.logsumexp(log_p, axis=0) - jnp.log(jnp.float32(len(teachers)))


def draw_two_class_targets(
    key: Key[Array, ""], labels: Int[Array, " n"], *, num_classes: int, own: float
) -> Float[Array, "n k"]:
    """Paper A's targets within a compiled step: `own` for the label, the rest for another class.

    The other class is uniform over those that are not the label (A, 3.1).

    Args:
        key: Source of the other classes.
        labels: Classes in [0, k).
        num_classes: k, at least 2.
        own: Probability of the label, in [0, 1].
    """
    drawn = jax.random.randint(key, labels.shape, 0, num_classes - 1, jnp.int32)
    other = drawn + (drawn >= labels).astype(jnp.int32)
    of_label, of_other = (
        jax.nn.one_hot(each, num_classes, dtype=jnp.float32) for each in (labels, other)
    )
    return own * of_label + (1 - own) * of_other
