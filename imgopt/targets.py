"""Targets: the distributions over classes that images are to elicit, float32 (n, k).

Every row is at least 0 and sums to 1. Random draws for image i depend on `fold_in(key, i)` alone,
so a job can be split, reordered or resumed.
"""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key

from imgopt.errors import InputError, is_integer, is_number, typed_key

SUM_TOLERANCE = 1e-4
"""Largest distance of a row's sum from 1. Float32 rounding over thousands of classes is smaller."""


def two_class_targets(
    key: Key[Array, ""],
    labels: Int[Any, " n"],
    *,
    num_classes: int,
    own: float = 0.9,
    indices: Int[Any, " n"] | None = None,
) -> Float[Array, "n k"]:
    """The paper's targets: `own` for the label, the rest for one other, random class (A, 3.1).

    Args:
        key: image i's other class is drawn uniformly with `fold_in(key, indices[i])`.
        labels: integers in [0, num_classes).
        num_classes: k, at least 2.
        own: probability of the label, in [0, 1].
        indices: indices of the images in the whole data set; 0 to n - 1 by default.

    Raises:
        InputError: a label, `own` or `num_classes` is outside its range, or shapes differ.

    Example:
        >>> labels = np.array([0, 2])
        >>> targets = two_class_targets(jax.random.key(0), labels, num_classes=3, own=0.75)
        >>> targets[0, 0].item(), targets[1, 2].item(), targets.sum(1).tolist()
        (0.75, 0.75, [1.0, 1.0])
    """
    key, labels = typed_key(key), np.asarray(labels)
    indices = np.arange(labels.size) if indices is None else np.asarray(indices)
    _check_two_class(key, labels, num_classes=num_classes, own=own, indices=indices)
    keys = jax.vmap(jax.random.fold_in, (None, 0))(key, indices)
    drawn = jax.vmap(lambda k: jax.random.randint(k, (), 0, num_classes - 1, jnp.int32))(keys)
    labels = jnp.asarray(labels, jnp.int32)
    other = drawn + (drawn >= labels).astype(jnp.int32)  # skips the label
    own_class, other_class = (
        jax.nn.one_hot(each, num_classes, dtype=jnp.float32) for each in (labels, other)
    )
    return own * own_class + (1 - own) * other_class


def uniform_targets(count: int, *, num_classes: int) -> Float[Array, "n k"]:
    """Targets with 1/k for every class: images that the classifier cannot tell apart.

    Args:
        count: n, the number of images.
        num_classes: k, at least 1.

    Raises:
        InputError: a number is no integer, or too small.

    Example:
        >>> uniform_targets(1, num_classes=4).tolist()
        [[0.25, 0.25, 0.25, 0.25]]
    """
    _check_size(count, num_classes)
    return jnp.full((count, num_classes), 1 / num_classes, jnp.float32)


def ranked_targets(
    count: int, *, ranking: Sequence[int], masses: Sequence[float], num_classes: int
) -> Float[Array, "n k"]:
    """Targets with one ranking for all images, such as "first ship, second dog, third frog".

    Args:
        count: n, the number of images.
        ranking: class indices, the most likely first, each at most once.
        masses: probabilities of these classes, descending, at least 0, with a sum of at most 1.
            The rest is spread evenly over the classes that are not listed.
        num_classes: k.

    Raises:
        InputError: a number is no integer or too small, a class is unknown or listed twice, or the
            masses are not as described.

    Example:
        >>> ranked_targets(1, ranking=[2, 0], masses=[0.5, 0.25], num_classes=4).tolist()
        [[0.25, 0.125, 0.5, 0.125]]
    """
    _check_size(count, num_classes)
    ranking, masses = _check_ranking(ranking, masses, num_classes)
    unlisted = num_classes - len(ranking)
    row = np.full(num_classes, max(1 - sum(masses), 0) / max(unlisted, 1))
    row[ranking] = masses
    return jnp.tile(jnp.asarray(row, jnp.float32), (count, 1))


def check_targets(targets: Any, *, count: int, num_classes: int | None = None) -> np.ndarray:
    """Checks a matrix of targets and returns it in float32 or float64.

    Rows of float16 and bfloat16 are divided by their sums, which rounding keeps away from 1.

    Args:
        targets: array-like (n, k).
        count: n, the number of images.
        num_classes: k; None if it is unknown.

    Returns:
        The targets (n, k), float32; float64 if they are so and JAX's 64-bit types are enabled.

    Raises:
        InputError: wrong shape, a negative or non-finite value, or a row that does not sum to 1;
            the message shows the first such row.

    Example:
        >>> check_targets([[0.5, 0.5]], count=1).dtype
        dtype('float32')
    """
    expected = f"({count}, {num_classes if num_classes is not None else 'number of classes'})"
    try:
        targets = np.asarray(targets)
    except ValueError as error:  # rows of several lengths
        raise InputError(f"targets must have shape {expected}: {error}") from error
    wrong_classes = num_classes is not None and targets.shape[-1:] != (num_classes,)
    if targets.ndim != 2 or len(targets) != count or wrong_classes:
        raise InputError(f"targets must have shape {expected}, got {targets.shape}")
    if not jnp.issubdtype(targets.dtype, jnp.floating):
        raise InputError(f"targets must be floating-point probabilities, got {targets.dtype}")
    precision = float(jnp.finfo(targets.dtype).eps)
    dtype = jax.dtypes.canonicalize_dtype(np.promote_types(targets.dtype, np.float32))
    targets = targets.astype(dtype)
    _check_rows(np.isfinite(targets).all(1), targets, "must be finite")
    _check_rows((targets >= 0).all(1), targets, "must not be negative")
    sums = targets.sum(1, dtype=np.float64)
    # Every rounded probability is off by at most half its last bit.
    _check_rows(np.abs(sums - 1) <= max(SUM_TOLERANCE, precision), targets, "must sum to 1")
    is_half = precision > SUM_TOLERANCE
    return (targets / sums[:, None]).astype(np.float32) if is_half else targets


def _check_rows(good: np.ndarray, targets: np.ndarray, rule: str) -> None:
    if not good.all():
        row = int(np.argmin(good))
        shown = [float(f"{value:.6g}") for value in targets[row]]
        raise InputError(f"targets {rule}; row {row} is {shown}")


def _check_size(count: Any, num_classes: Any) -> None:
    if not is_integer(count):
        raise InputError(f"count must be an integer of at least 0, got {count!r}")
    if not is_integer(num_classes, least=1):
        raise InputError(f"num_classes must be an integer of at least 1, got {num_classes!r}")


def _check_two_class(
    key: Array, labels: np.ndarray, *, num_classes: int, own: float, indices: np.ndarray
) -> None:
    if key.ndim:
        raise InputError(f"expected one key, got {len(key)}; targets draw their own by index")
    if not is_integer(num_classes, least=2):
        raise InputError(f"two-class targets need at least 2 classes, got {num_classes!r}")
    if not (is_number(own) and 0 <= own <= 1):
        raise InputError(f"own must be a probability in [0, 1], got {own!r}")
    if labels.ndim != 1 or indices.shape != labels.shape:
        raise InputError(
            f"labels and indices must both have shape (n,), got {labels.shape}, {indices.shape}"
        )
    for name, numbers in (("labels", labels), ("indices", indices)):
        if not np.issubdtype(numbers.dtype, np.integer):
            raise InputError(f"{name} must be integers, got {numbers.dtype}")
    outside = (labels < 0) | (labels >= num_classes)
    if outside.any():
        raise InputError(
            f"labels must be in [0, {num_classes}), got {labels[outside][0]} "
            f"at position {int(np.argmax(outside))}"
        )


def _check_ranking(ranking: Any, masses: Any, num_classes: int) -> tuple[list[int], list[float]]:
    """Checks a ranking and its masses, and gives them as lists."""
    if not (np.ndim(ranking) == np.ndim(masses) == 1 and len(ranking) == len(masses) > 0):
        raise InputError(
            "ranking and masses must be two lists of one length, at least 1; got "
            f"{ranking!r} and {masses!r}"
        )
    ranking, masses = list(ranking), list(masses)
    known = all(is_integer(each) and each < num_classes for each in ranking)
    if not known or len(set(ranking)) != len(ranking):
        raise InputError(
            f"ranking must name different classes by their numbers in [0, {num_classes}), got "
            f"{ranking}"
        )
    known = all(is_number(mass) and mass >= 0 for mass in masses)
    if not known or sum(masses) > 1 + SUM_TOLERANCE:
        raise InputError(f"masses must be at least 0 and sum to at most 1, got {masses}")
    if masses != sorted(masses, reverse=True):
        raise InputError(f"masses must descend, as the ranking does; got {masses}")
    if len(ranking) == num_classes and abs(1 - sum(masses)) > SUM_TOLERANCE:
        raise InputError(f"masses of all {num_classes} classes must sum to 1, got {sum(masses)}")
    return [int(each) for each in ranking], [float(mass) for mass in masses]
