"""The classifier as synthesis sees it: a function from images to logits."""

import dataclasses
import functools
import inspect
import math
from collections.abc import Callable, Hashable, Sequence
from typing import Any, NamedTuple, TypeGuard

import jax
import jax.extend.core
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Float

from imgopt.errors import InputError, explain

Classify = Callable[[Float[Array, "n h w c"]], Float[Array, "n k"]]
"""Takes float32 images in [0, 1] to logits. It normalises them itself, in evaluation mode."""


PROBABILITY_TOLERANCE = 1e-2
"""Largest distance of a sum of probabilities from 1; sums in bfloat16 are nearer than this."""


class SplitClassifier(NamedTuple):
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


def split_classifier(classify: Classify, batch: Any, *, name: str = "classify") -> SplitClassifier:
    """Separates a classifier's arrays from its computation, as they are at this moment.

    The classifier is traced, and every array that it uses becomes an argument, wherever it is kept:
    in a closure, a global variable, an object, a module of NNX, Equinox or Keras. So no answer can
    come from weights of an earlier call.

    Two `jax.tree_util.Partial`s of one function with different arrays are lowered only once, if
    they compute the same. A `Partial` of an object that is hashed by its fields, such as the
    `apply` of a Flax module, is traced once for all calls: it must compute with its arguments
    alone.

    Args:
        classify: the classifier.
        batch: shapes and types of the images that it will be called with, as a pytree of arrays or
            of `jax.ShapeDtypeStruct`, such as `one_image` gives.
        name: what messages call it.

    Raises:
        InputError: the classifier cannot take such images, or does not return one row of at least
            two logits an image.

    Example:
        >>> kernel = jnp.ones((3, 2))
        >>> batch = jax.ShapeDtypeStruct((1, 4, 4, 3), "float32")
        >>> split = split_classifier(lambda x: x.mean((1, 2)) @ kernel, batch)
        >>> [array.shape for array in split.arrays]
        [(3, 2)]
    """
    split = split_function(classify, batch, name=name)
    _check_logits(split.output, batch, name)
    return split


def split_function(function: Callable, batch: Any, *, name: str = "classify") -> SplitClassifier:
    """Separates a function's arrays from its computation; it may return anything, such as features.

    Raises:
        InputError: the function cannot take such images.
    """
    function = _without_jit(function)
    try:
        if _is_value(function):
            return _split_value(function, batch)
        # A new function in a new context: otherwise JAX would give its earlier trace, and weights,
        # of the same function or of a jitted one inside it.
        with _FRESH(object()):
            closed, output = jax.make_jaxpr(lambda x: function(x), return_shape=True)(batch)
        _check_alive(closed.consts)
    except InputError:
        raise
    except Exception as error:  # a wrong shape is a different error in every library
        raise InputError(
            f"{name} cannot take images of shape {_shape(batch)}: {explain(error)}"
        ) from error
    known = _name(function) if _is_written_out(closed.jaxpr) else None
    identity = object() if known is None else (known, str(closed.jaxpr))
    return SplitClassifier(_Traced(closed.jaxpr, identity), _copied(closed.consts), output)


def mean_classifier(classifiers: Sequence[Classify]) -> jax.tree_util.Partial:
    """One classifier whose probabilities are the mean of several classifiers' probabilities.

    Its logits are the logarithms, log((1/m) Σ softmax), computed without leaving log space.
    Synthesis with it asks that the classifiers give the target on average.

    Args:
        classifiers: at least one; all take the same images and have the same classes.

    Raises:
        InputError: there is none. The classifier raises it if they differ in the number of classes.

    Example:
        >>> sure, unsure = (jnp.log(jnp.array([[p, 1 - p]])) for p in (0.75, 0.5))
        >>> classify = mean_classifier([lambda images: sure, lambda images: unsure])
        >>> [round(float(q), 3) for q in jax.nn.softmax(classify(None))[0]]
        [0.625, 0.375]
    """
    if not classifiers:
        raise InputError("mean_classifier needs at least one classifier, got none")
    return jax.tree_util.Partial(_log_mean_softmax, tuple(map(_without_jit, classifiers)))


def _log_mean_softmax(classifiers: tuple[Classify, ...], images: Any) -> Float[Array, "n k"]:
    logits = [classify(images) for classify in classifiers]
    shapes = {each.shape for each in logits}
    if len(shapes) > 1:
        raise InputError(
            "classifiers must have the same classes, got logits of shapes "
            f"{', '.join(str(each.shape) for each in logits)}"
        )
    log_p = jnp.stack([jax.nn.log_softmax(each) for each in logits])
    # The derivative of logsumexp is 0/0 where all are -inf, which would spoil the whole gradient.
    is_excluded = (log_p == -jnp.inf).all(0)
    log_sum = jax.nn.logsumexp(jnp.where(is_excluded[None], 0, log_p), axis=0)
    return jnp.where(is_excluded, -jnp.inf, log_sum - math.log(len(logits)))


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

    def logits(images: Float[Any, "n h w c"]) -> Float[Array, "n k"]:
        one_batch = jax.ShapeDtypeStruct((batch_size, *images.shape[1:]), images.dtype)
        split = split_classifier(classify, one_batch)
        return _by_batch(split.function, batch_size)(split.arrays, jnp.asarray(images))

    return logits


def _by_batch(function: Callable, batch_size: int) -> Callable:
    """Makes function(arrays, images) of one batch size take any number of images."""

    def over_rows(function: Callable) -> Callable:
        """Takes any number of rows; under `jax.vmap`, the rows of all mapped calls at once."""
        call = jax.custom_batching.custom_vmap(functools.partial(_map_batches, function))

        @call.def_vmap
        def mapped(size: int, in_batched: list, arrays: list, *rows: Array) -> tuple[Array, bool]:
            if any(in_batched[0]):
                raise InputError("as_fixed_batch cannot be mapped over a classifier's weights")
            rows = tuple(
                each if is_batched else jnp.broadcast_to(each, (size, *each.shape))
                for each, is_batched in zip(rows, in_batched[1:], strict=True)
            )
            merged = call(arrays, *(each.reshape(-1, *each.shape[2:]) for each in rows))
            return merged.reshape(size, -1, *merged.shape[1:]), True

        return call

    def _map_batches(function: Callable, arrays: list, *rows: Array) -> Array:
        count = len(rows[0])
        fill = -count % batch_size
        padded = (jnp.pad(each, [(0, fill), *[(0, 0)] * (each.ndim - 1)], "edge") for each in rows)
        batches = tuple(each.reshape(-1, batch_size, *each.shape[1:]) for each in padded)
        found = jax.lax.map(lambda batch: function(arrays, *batch), batches)
        return found.reshape(-1, *found.shape[2:])[:count]

    def pull_back(arrays: list, images: Array, cotangents: Array) -> Array:
        return jax.vjp(functools.partial(function, arrays), images)[1](cotangents)[0]

    forward, backward = over_rows(function), over_rows(pull_back)

    @jax.custom_vjp
    def logits(arrays: list, images: Array) -> Array:
        return forward(arrays, images)

    def run(arrays: list, images: Any) -> tuple[Array, tuple]:
        if any(leaf.perturbed for leaf in arrays):
            raise InputError("as_fixed_batch has no derivative with respect to weights")
        given = [leaf.value for leaf in arrays], images.value
        return forward(*given), given

    def run_back(given: tuple, cotangents: Any) -> tuple[None, Array]:
        return None, backward(*given, cotangents)

    logits.defvjp(run, run_back, symbolic_zeros=True)
    return logits


def are_probabilities(
    outputs: Float[Array | np.ndarray, "*n k"], *, every: Callable[..., Any] = jnp.all
) -> Any:
    """Whether each row is a distribution over the classes: at least 0, with the sum 1.

    Args:
        outputs: outputs of a classifier, for one image or for several.
        every: `jnp.all`, or `np.all` for arrays of NumPy.
    """
    return every(outputs >= 0, axis=-1) & (abs(outputs.sum(-1) - 1) <= PROBABILITY_TOLERANCE)


class _TracedOnce(NamedTuple):
    """The computation of a `Partial` of an object that is hashed by its fields.

    JAX keeps the trace of equal objects, so equal computations are the same object.

    Attributes:
        computation: takes the arrays, then the images.
    """

    computation: jax.extend.core.ClosedJaxpr

    def __call__(self, arrays: list, images: Any) -> Float[Array, "n k"]:
        return jax.extend.core.jaxpr_as_fun(self.computation)(*arrays, *jax.tree.leaves(images))[0]


@functools.partial(jax.jit, static_argnums=0)
def _call(structure: Any, arrays: list, images: Any) -> Array:
    """Calls a `Partial` without its arrays. It is only traced, with the settings of the moment."""
    return jax.tree.unflatten(structure, arrays)(images)


def _split_value(partial: jax.tree_util.Partial, batch: Any) -> SplitClassifier:
    arrays, structure = jax.tree.flatten(partial)
    _check_alive(arrays)
    traced = _call.trace(structure, arrays, batch)
    return SplitClassifier(_TracedOnce(traced.jaxpr), _copied(arrays), traced.out_info)


def _copied(arrays: list) -> list:
    """Copies NumPy arrays: their owner may write into them while the result is still awaited."""
    return [each if isinstance(each, jax.Array) else jnp.array(each) for each in arrays]


def _is_value(function: Callable) -> TypeGuard[jax.tree_util.Partial]:
    """Whether this is a `Partial` of arrays whose function compares by value.

    A plain function compares by identity: it may use global variables, which change.
    """
    func = getattr(function, "func", None)
    is_function = inspect.isfunction(getattr(func, "__self__", func))
    leaves = jax.tree.leaves(function)
    return not is_function and _name(function) is not None and all(map(_is_array, leaves))


def _is_array(leaf: Any) -> bool:
    return isinstance(leaf, jax.Array | np.ndarray | np.generic)


@dataclasses.dataclass(frozen=True)
class _Traced:
    """The computation of a traced classifier, which is given its arrays.

    Attributes:
        jaxpr: the computation.
        identity: equal where computations are known to be equal.
    """

    jaxpr: jax.extend.core.Jaxpr = dataclasses.field(compare=False)
    identity: Hashable

    def __call__(self, arrays: list, images: Any) -> Float[Array, "n k"]:
        closed = jax.extend.core.ClosedJaxpr(self.jaxpr, arrays)
        return jax.extend.core.jaxpr_as_fun(closed)(*jax.tree.leaves(images))[0]


def _name(classify: Classify) -> Hashable | None:
    """A `Partial` without its arrays, if its function compares by value; else None."""
    if not isinstance(classify, jax.tree_util.Partial):
        return None
    owner = getattr(classify.func, "__self__", classify.func)
    is_function = inspect.isfunction(owner)
    if is_function and owner.__closure__ is not None:
        return None
    if not is_function and type(owner).__hash__ is object.__hash__:
        return None  # an object that is equal to itself only: its attributes may change
    leaves, structure = jax.tree.flatten((classify.args, classify.keywords))
    is_array = list(map(_is_array, leaves))
    others = tuple(leaf for leaf, skip in zip(leaves, is_array, strict=True) if not skip)
    name = classify.func, structure, tuple(is_array), others
    try:
        hash(name)
    except TypeError:
        return None
    return name


def _is_written_out(jaxpr: jax.extend.core.Jaxpr) -> bool:
    """Whether a computation's text shows all of it: no arrays or code inside its operations."""
    for equation in jaxpr.eqns:
        if equation.primitive.name == "call_exported" or "callback" in equation.primitive.name:
            return False
        for inner in jax.tree.leaves(list(equation.params.values()), is_leaf=_is_jaxpr):
            if getattr(inner, "consts", None):
                return False
            if _is_jaxpr(inner) and not _is_written_out(getattr(inner, "jaxpr", inner)):
                return False
    return True


def _is_jaxpr(value: Any) -> bool:
    return isinstance(value, jax.extend.core.Jaxpr | jax.extend.core.ClosedJaxpr)


def _without_jit(classify: Classify) -> Classify:
    """The function inside `jax.jit`. The jitted one would keep the weights of its first trace.

    For a method, the object is bound again: it would be an argument of the jitted function, mostly
    a static one.
    """
    method = classify if inspect.ismethod(classify) else None
    function = method.__func__ if method else classify
    if not isinstance(function, _JITTED):
        return classify
    function = inspect.unwrap(function, stop=lambda wrapped: not isinstance(wrapped, _JITTED))
    return functools.partial(function, method.__self__) if method else function


_JITTED = type(jax.jit(lambda: None))

_FRESH = jax.make_user_context(None)
"""A part of JAX's cache key: a new value makes JAX trace again."""


def _check_alive(arrays: list) -> None:
    """Raises UnexpectedTracerError where the classifier kept a value of an earlier trace."""
    for array in arrays:
        if isinstance(array, Tracer):
            jnp.copy(array)


def _check_logits(logits: Any, batch: Any, name: str) -> None:
    """Raises InputError unless a classifier returned one row of at least two logits an image."""
    count, found = jax.tree.leaves(batch)[0].shape[0], getattr(logits, "shape", None)
    if found is None or len(found) != 2 or found[0] != count or found[1] < 2:
        raise InputError(
            f"{name} must return logits of shape ({count}, number of classes), with at least 2 "
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
