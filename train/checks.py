"""Checks of images, labels and probabilities that a caller gives.

Shapes and types are checked everywhere. Values are checked where they are known: within a compiled
program they are not, so there a label outside its range gives NaN (see `outside_as_nan`).
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Float, Int

from imgopt.classifier import are_probabilities
from imgopt.errors import InputError


def check_labels(labels: Any, *, count: int | None = None, num_classes: int | None = None) -> None:
    """Checks that labels are integers, one for each image, in [0, k).

    Args:
        labels: The labels; within a compiled program only their shape and type are checked.
        count: Number of images; None for any.
        num_classes: Number of classes, k; None if it is not known yet.

    Raises:
        InputError: They have another shape, type or range.
    """
    shape = np.shape(labels)
    if len(shape) != 1 or count not in (None, shape[0]):
        expected = "(n,)" if count is None else f"({count},) beside {count} images"
        raise InputError(f"labels must have shape {expected}, got {shape}{_remedy(shape)}")
    dtype = getattr(labels, "dtype", None) or np.asarray(labels).dtype
    if not jnp.issubdtype(dtype, jnp.integer):
        raise InputError(f"labels must be integers, got {dtype}; convert them with astype(int)")
    if is_traced(labels) or not shape[0]:
        return
    known = np.asarray(labels)
    outside = known < 0
    if num_classes is not None:
        outside |= known >= num_classes
    if outside.any():
        place = int(np.argmax(outside))
        limit = f"in [0, {num_classes})" if num_classes is not None else "at least 0"
        raise InputError(f"labels must be {limit}, got {known[place]} at position {place}")


def _remedy(shape: tuple[int, ...]) -> str:
    if len(shape) != 2:
        return ""
    return "; take labels[:, 0]" if shape[1] == 1 else "; of one-hot labels take labels.argmax(1)"


def check_grey_levels(images: Any) -> None:
    """Raises InputError unless images are uint8 of shape (n, h, w, c); n may be 0."""
    _check_image_shape(images)
    if images.dtype != np.uint8:
        raise InputError(
            f"images must be grey levels from 0 to 255 as uint8, got {images.dtype}; convert "
            "floats in [0, 1] with imgopt.to_uint8"
        )


def check_images(images: Any) -> None:
    """Checks images that a classifier is to see: at least one, uint8 or floats in [0, 1].

    Raises:
        InputError: They have another shape, type or range.
    """
    _check_image_shape(images)
    if not len(images):
        raise InputError(f"expected at least one image, got images of shape {images.shape}")
    if images.dtype == np.uint8:
        return
    if not jnp.issubdtype(images.dtype, jnp.floating):
        raise InputError(f"images must be uint8 or floats in [0, 1], got {images.dtype}")
    if is_traced(images):
        return
    low, high = float(images.min()), float(images.max())
    if not 0 <= low <= high <= 1:
        raise InputError(
            f"images as floats must be in [0, 1], got values from {low:g} to {high:g}; give grey "
            "levels as uint8, or divide them by 255"
        )


def _check_image_shape(images: Any) -> None:
    if isinstance(images, list | tuple):
        raise InputError(
            f"images must be one array, got a {type(images).__name__}; make one with numpy.stack"
        )
    if len(np.shape(images)) != 4:
        raise InputError(
            f"images must have shape (n, height, width, channels), got {np.shape(images)}"
        )


def check_same_length(data: Any) -> None:
    """Raises InputError unless all arrays of a pytree have a first axis, of one length."""
    lengths = {
        jax.tree_util.keystr(path, simple=True) or "data": len(leaf) if np.ndim(leaf) else 0
        for path, leaf in jax.tree_util.tree_leaves_with_path(data)
    }
    if len(set(lengths.values())) != 1:
        found = ", ".join(f"{length} {name}" for name, length in lengths.items()) or "none"
        raise InputError(f"expected arrays with one row for each example, got {found}")


def check_probabilities(rows: Any, *, name: str) -> None:
    """Checks that every row is a distribution over the classes.

    Args:
        rows: (n, k); within a compiled program nothing is checked.
        name: What the rows are, for the message.

    Raises:
        InputError: A row has a negative or non-finite number, or does not sum to 1.
    """
    if is_traced(rows):
        return
    known = np.asarray(rows, np.float32)
    good = are_probabilities(known, every=np.all)
    if not good.all():
        row = int(np.argmin(good))
        raise InputError(
            f"{name} must be probabilities, which are at least 0 and sum to 1, got {known[row]} in "
            f"row {row}; take the softmax of logits"
        )


def outside_as_nan(labels: Any, num_classes: int) -> Int[Array, " n"]:
    """Labels as indices that never take another class's entry.

    An index below 0 would count from the end. Here every label outside [0, k) becomes k, for which
    JAX's lookups, unlike a dot product with a one-hot vector, give NaN.

    Args:
        labels: The labels, in [0, k) if they are right.
        num_classes: Number of classes, k.
    """
    labels = jnp.asarray(labels, jnp.int32)
    return jnp.where((labels >= 0) & (labels < num_classes), labels, num_classes)


def one_hot(labels: Any, num_classes: int, *, dtype: Any = jnp.float32) -> Float[Array, "n k"]:
    """One-hot rows; a label outside [0, k) gives a row of NaN, not of zeros.

    Args:
        labels: The labels.
        num_classes: Number of classes, k.
        dtype: Type of the result.
    """
    rows = outside_as_nan(labels, num_classes)
    hot = jax.nn.one_hot(rows, num_classes, dtype=dtype)
    return jnp.where(rows[:, None] < num_classes, hot, jnp.nan)


def is_traced(value: Any) -> bool:
    """Whether a value is not known yet, within a compiled or transformed function."""
    return isinstance(value, Tracer)
