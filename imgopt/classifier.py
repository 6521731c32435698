"""The classifier as synthesis sees it: a function from images to logits."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from imgopt.errors import InputError

Classify = Callable[[Float[Array, "n h w c"]], Float[Array, "n k"]]
"""Takes float32 images in [0, 1] to logits. It normalises them itself, in evaluation mode."""


def as_partial(classify: Classify) -> jax.tree_util.Partial:
    """Wraps a classifier as a pytree that a compiled function takes as an argument."""
    if isinstance(classify, jax.tree_util.Partial):
        return classify
    return jax.tree_util.Partial(classify)


def logits_shape(classify: Classify, shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape (n, k) of a classifier's logits for images of shape (n, h, w, c).

    Nothing is computed: the classifier is only traced.

    Raises:
        InputError: the classifier cannot take such images, or returns something else.
    """
    try:
        logits = jax.eval_shape(classify, jax.ShapeDtypeStruct(shape, jnp.float32))
    except Exception as error:  # a wrong shape is a different error in every library
        raise InputError(f"classify cannot take images of shape {shape}: {error}") from error
    if getattr(logits, "ndim", None) != 2 or logits.shape[0] != shape[0]:
        raise InputError(
            f"classify must return logits of shape ({shape[0]}, number of classes) for images of "
            f"shape {shape}, got {getattr(logits, 'shape', type(logits).__name__)}"
        )
    return logits.shape
