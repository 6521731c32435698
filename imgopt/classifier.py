"""The classifier as synthesis sees it: a function from images to logits."""

import inspect
import warnings
from collections.abc import Callable, Hashable
from typing import Any, NamedTuple

import jax
import jax.extend.core
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from imgopt.errors import InputError

Classify = Callable[[Float[Array, "n h w c"]], Float[Array, "n k"]]
"""Takes float32 images in [0, 1] to logits. It normalises them itself, in evaluation mode."""


class Split(NamedTuple):
    """A classifier in two parts, so that its weights are arguments of a compiled program.

    Attributes:
        function: function(arrays, images) → logits. It is hashable and holds no weights.
        arrays: the weights, and whatever other arrays the classifier uses, as they are now.
        output: shape and type of the logits.
    """

    function: Callable[[list, Any], Array]
    arrays: list
    output: Any

    @property
    def num_classes(self) -> int:
        """Number of logits."""
        return self.output.shape[1]


def split_classifier(classify: Classify, batch: Any) -> Split:
    """Separates a classifier's arrays from its computation, as they are at this moment.

    The classifier is traced, and every array that it uses becomes an argument, wherever it is kept:
    in a closure, a global variable, an object, a module of NNX, Equinox or Keras. So no answer can
    come from weights of an earlier call. A `jax.tree_util.Partial` of a function and its arrays is
    not traced again: it names its arrays itself.

    Args:
        classify: the classifier.
        batch: shapes and types of the images that it will be called with, as a pytree of arrays or
            of `jax.ShapeDtypeStruct`, such as `one_image` gives.

    Raises:
        InputError: the classifier cannot take such images, or does not return one row of at least
            two logits an image.
    """
    split = split_function(classify, batch)
    _check_logits(split.output, batch)
    return split


def split_function(function: Callable, batch: Any) -> Split:
    """Does the same for a function of images that may return anything, such as features.

    Raises:
        InputError: the function cannot take such images.
    """
    named = _split_partial(function) if isinstance(function, jax.tree_util.Partial) else None
    try:
        if named is not None:
            return Split(*named, jax.eval_shape(lambda images: function(images), batch))
        closed, output = jax.make_jaxpr(function, return_shape=True)(batch)
    except Exception as error:  # a wrong shape is a different error in every library
        what = str(error).split("\n-----")[0]  # JAX adds a note on its own traceback
        raise InputError(f"classify cannot take images of shape {_shape(batch)}: {what}") from error
    return Split(_Traced(closed.jaxpr), list(closed.consts), output)


def as_fixed_batch(classify: Classify, *, batch_size: int) -> Classify:
    """Makes a classifier that takes only one batch size take any, also under `jax.vmap`.

    For classifiers that were exported (`jax.export`) or compiled for one batch size. Images are
    padded to whole batches, and the batches run one after another. Only first derivatives exist.

    Args:
        classify: takes exactly `batch_size` images; a row's logits depend on that row alone.
        batch_size: the batch size.

    Example:
        >>> def only_pairs(x):
        ...     return x.reshape(2, -1)[:, :2]
        >>> as_fixed_batch(only_pairs, batch_size=2)(jnp.ones((3, 2, 1, 1))).shape
        (3, 2)
    """

    def by_batch(function: Callable, *rows: Array) -> Array:
        """Maps a function of whole batches over arrays with any number of rows."""
        count = len(rows[0])
        fill = -count % batch_size
        padded = (jnp.pad(each, [(0, fill), *[(0, 0)] * (each.ndim - 1)], "edge") for each in rows)
        batches = tuple(each.reshape(-1, batch_size, *each.shape[1:]) for each in padded)
        mapped = jax.lax.map(lambda batch: function(*batch), batches)
        return mapped.reshape(-1, *mapped.shape[2:])[:count]

    def over_rows(function: Callable) -> Callable:
        """Under `jax.vmap`, takes all rows of all the mapped calls at once."""
        call = jax.custom_batching.custom_vmap(function)

        @call.def_vmap
        def mapped(axis_size: int, in_batched: list[bool], *rows: Array) -> tuple[Array, bool]:
            rows = tuple(
                each if is_batched else jnp.broadcast_to(each, (axis_size, *each.shape))
                for each, is_batched in zip(rows, in_batched, strict=True)
            )
            merged = call(*(each.reshape(-1, *each.shape[2:]) for each in rows))
            return merged.reshape(axis_size, -1, *merged.shape[1:]), True

        return call

    def pull_back(images: Array, cotangents: Array) -> Array:
        return jax.vjp(classify, images)[1](cotangents)[0]

    forward = over_rows(lambda images: by_batch(classify, images))
    backward = over_rows(lambda images, cotangents: by_batch(pull_back, images, cotangents))

    @jax.custom_vjp
    def logits(images: Array) -> Array:
        return forward(images)

    logits.defvjp(
        lambda images: (forward(images), images),
        lambda images, cotangents: (backward(images, cotangents),),
    )
    return logits


def warn_if_flat(split: Split, batch: Any) -> None:
    """Warns of a classifier whose gradient is zero whatever the image is, such as an arg max.

    Only the trace is looked at: nothing is computed. A pixel cannot move along such a gradient.
    """

    def gradient(change: Array, arrays: list, images: Any) -> Any:
        return jax.vjp(lambda images: split.function(arrays, images), images)[1](change)

    logits = jax.eval_shape(lambda *given: split.function(*given), split.arrays, batch)
    closed = jax.make_jaxpr(gradient)(logits, split.arrays, batch)
    reached = {closed.jaxpr.invars[0]}
    for equation in closed.jaxpr.eqns:
        if any(isinstance(v, jax.extend.core.Var) and v in reached for v in equation.invars):
            reached.update(equation.outvars)
    if not any(isinstance(v, jax.extend.core.Var) and v in reached for v in closed.jaxpr.outvars):
        warnings.warn(
            "the classifier's gradient is zero everywhere, so no pixel will move; does it take an "
            "arg max, round, convert images to integers, or stop the gradient?",
            stacklevel=3,
        )


class _Traced:
    """The computation of a traced classifier, which is given its arrays."""

    def __init__(self, jaxpr: jax.extend.core.Jaxpr) -> None:
        self.jaxpr = jaxpr

    def __call__(self, arrays: list, images: Any) -> Float[Array, "n k"]:
        closed = jax.extend.core.ClosedJaxpr(self.jaxpr, arrays)
        return jax.extend.core.jaxpr_as_fun(closed)(*jax.tree.leaves(images))[0]


class _Named(NamedTuple):
    """The computation of a `Partial`, which is given the arrays among its arguments."""

    function: Callable
    structure: Any
    others: tuple[Hashable, ...]
    """The leaves that are no arrays, such as `train=False`; `_ARRAY` where an array belongs."""

    def __call__(self, arrays: list, images: Any) -> Float[Array, "n k"]:
        remaining = iter(arrays)
        leaves = [next(remaining) if other is _ARRAY else other for other in self.others]
        args, kwargs = jax.tree.unflatten(self.structure, leaves)
        return self.function(*args, images, **kwargs)


_ARRAY = object()


def _split_partial(classify: jax.tree_util.Partial) -> tuple[_Named, list] | None:
    """Splits a `Partial` of a function that holds nothing else; None for any other."""
    owner = getattr(classify.func, "__self__", classify.func)
    is_function = inspect.isfunction(owner)
    if is_function and owner.__closure__ is not None:
        return None
    if not is_function and type(owner).__hash__ is object.__hash__:
        return None  # an object that is equal to itself only: its attributes may change
    leaves, structure = jax.tree.flatten((classify.args, classify.keywords))
    is_array = [isinstance(leaf, jax.Array | np.ndarray | np.generic) for leaf in leaves]
    others = [_ARRAY if a else leaf for leaf, a in zip(leaves, is_array, strict=True)]
    named = _Named(classify.func, structure, tuple(others))
    try:
        hash(named)
    except TypeError:
        return None
    return named, [leaf for leaf, a in zip(leaves, is_array, strict=True) if a]


def _check_logits(logits: Any, batch: Any) -> None:
    """Raises InputError unless a classifier returned one row of at least two logits an image."""
    count, found = jax.tree.leaves(batch)[0].shape[0], getattr(logits, "shape", None)
    if found is None or len(found) != 2 or found[0] != count or found[1] < 2:
        raise InputError(
            f"classify must return logits of shape ({count}, number of classes), with at least 2 "
            f"classes, for images of shape {_shape(batch)}; it returned "
            f"{type(logits).__name__ if found is None else found}"
        )


def _shape(batch: Any) -> str:
    shapes = [leaf.shape for leaf in jax.tree.leaves(batch)]
    return str(shapes[0] if len(shapes) == 1 else shapes)


def one_image(images: Any) -> Any:
    """Shapes and types of a batch of one of these images, in the precision of the computation.

    That is float32, or float64 where JAX's 64-bit types are enabled and the images are float64.
    """

    def one(leaf: Any) -> jax.ShapeDtypeStruct:
        dtype = np.promote_types(jax.dtypes.canonicalize_dtype(leaf.dtype), np.float32)
        return jax.ShapeDtypeStruct((1, *leaf.shape[1:]), dtype)

    return jax.tree.map(one, images)
