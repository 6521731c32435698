"""One synthesis, compiled: its programs, its classifier's weights and the devices it runs on."""

import functools
import warnings
from collections.abc import Callable, Hashable
from typing import Any, NamedTuple

import jax
import jax.extend.core
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from imgopt import method as core
from imgopt.classifier import (
    Classify,
    SplitClassifier,
    one_image,
    split_classifier,
)
from imgopt.errors import InputError, first_line
from imgopt.method import Method, Options, State, Synthesis, make_method
from imgopt.programs import (
    Devices,
    Place,
    Program,
    are_named,
    check_devices,
    choose_place,
    full_precision,
    on_each_device,
    platform_of,
    put,
    shapes_on,
)
from imgopt.rules import check_rule


def loops_on_host(place: Place = None) -> bool:
    """Whether Python calls every update, instead of one program that loops on the device.

    XLA's CPU backend runs the gradients of ordinary convolutions 20 to 30 times slower inside a
    compiled loop than outside, and on a CPU a call costs nothing compared with an update.
    """
    return platform_of(place) == "cpu"


class CheckedOptions(NamedTuple):
    """A classifier and options that fit each other and the images.

    Attributes:
        method: the options with their defaults.
        classify: the classifier.
        measure: the classifier that measures the finished images.
        held: the arrays that rule, map, filter and measuring classifier hold.
        is_custom: whether rule, map, filter, views or loss, which may change between calls, were
            given.
    """

    method: Method
    classify: SplitClassifier
    measure: SplitClassifier
    held: list
    is_custom: bool


class _Static(NamedTuple):
    """The part of a job that its programs contain.

    Attributes:
        method: the options, without the tolerance, which is an argument.
        function: the classifier's computation.
        place: the devices that share a batch.
        token: equal where the user's rule, map, filter, views and loss compute the same. The same
            object can compute something else at the next call, by an array that it holds.
    """

    method: Method
    function: Any
    place: Place
    token: Hashable


class SynthesisPrograms(NamedTuple):
    """The programs of a synthesis, lowered for certain devices and not yet compiled.

    Attributes:
        begin: images and targets → the state before the first update.
        updates: all updates, or on CPUs a single one.
        finish: the state → the measured images.
    """

    begin: jax.stages.Lowered
    updates: jax.stages.Lowered
    finish: jax.stages.Lowered


class Job(NamedTuple):
    """One method and one classifier, with its weights as they were at the beginning."""

    method: Method
    classify: SplitClassifier
    measure: SplitClassifier
    place: Place
    token: Hashable

    @property
    def static(self) -> _Static:
        """The static part of the updates."""
        method = self.method._replace(tolerance=None)
        return _Static(method, self.classify.function, self.place, self.token)

    @property
    def shared(self) -> tuple[list, Float[Array, ""]]:
        """The updates' arguments that are the same for all images."""
        tolerance = -jnp.inf if self.method.tolerance is None else self.method.tolerance
        return self.classify.arrays, jnp.asarray(tolerance, jnp.float32)

    def begin(self, images: Any, targets: Any, indices: Any) -> State:
        """The state before the first update, on the devices that share the batch."""
        rows = put((images, targets, jnp.asarray(indices, jnp.int32)), self.place, by_row=True)
        return _begin(self.static._replace(function=None), (), *rows)

    def update(self, state: State) -> State:
        """One update of every active image. The state is used up."""
        return _update(self.static, self.shared, state)

    def run(self, state: State, steps: Any) -> State:
        """All updates."""
        if not loops_on_host(self.place):
            return _run_on_device(self.static, (*self.shared, steps), state)
        for _ in range(steps):
            state = self.update(state)
            if self.method.tolerance is not None and not state.active.any():
                break
        return state

    def lower(self, shape: tuple[int, ...]) -> SynthesisPrograms:
        """Lowers the programs for images of this shape, and compiles none."""
        state = self._state(shape)
        images = jax.ShapeDtypeStruct(shape, jnp.float32)
        indices = jax.ShapeDtypeStruct(shape[:1], jnp.int32)
        rows = shapes_on((images, state.targets, indices), self.place, by_row=True)
        arrays = shapes_on(self.measure.arrays, self.place, by_row=False)
        return SynthesisPrograms(
            _begin.lower(self.static._replace(function=None), (), *rows),
            self.lower_updates(shape),
            _finish.lower(self.static._replace(function=self.measure.function), arrays, state),
        )

    def lower_updates(self, shape: tuple[int, ...]) -> jax.stages.Lowered:
        """Lowers all updates of images of this shape, or on CPUs a single one."""
        shared = self.shared
        if self.place is not None:
            shared = shapes_on(shared, self.place, by_row=False)
        if loops_on_host(self.place):
            return _update.lower(self.static, shared, self._state(shape))
        return _run_on_device.lower(self.static, (*shared, 0), self._state(shape))

    def _state(self, shape: tuple[int, ...]) -> State:
        """Shapes of the state of images of this shape."""
        targets = jax.ShapeDtypeStruct((shape[0], self.classify.num_classes), jnp.float32)
        images = jax.ShapeDtypeStruct(shape, jnp.float32)
        state = jax.eval_shape(functools.partial(core.init, self.method), targets, images)
        return shapes_on(state, self.place, by_row=True)

    def finish(self, state: State) -> tuple[Synthesis, Bool[Array, " n"]]:
        """The result, and whether the classifier's output for an image looks like probabilities."""
        static = self.static._replace(function=self.measure.function)
        return _finish(static, self.measure.arrays, state)


def check_options(
    split: SplitClassifier,
    classify: Classify,
    batch: Any,
    options: Options,
    *,
    devices: Devices = 1,
) -> CheckedOptions:
    """Checks the options, and finds the arrays that they hold; computes and compiles nothing.

    Args:
        split: the classifier, traced.
        classify: the classifier as it was given.
        batch: shape and type of a batch of one image.
        options: as in `imgopt.synthesize`.
        devices: the devices that will be used.

    Raises:
        InputError: an option does not fit the classifier or the images.
    """
    method, one = make_method(options), rows_of(batch)
    held = check_rule(method.optimizer, weights=one) + check_render(method, one)
    if method.views:
        method.views.check(one)
    measure, given = (
        options.get("measure"),
        ("optimizer", "pixel_map", "image_filter", "views", "loss"),
    )
    measured = split
    if measure:
        with full_precision():
            measured = split_classifier(measure, batch, name="measure")
        held += measured.arrays
    elif platform_of(devices[0] if are_named(devices) else None) != "cpu":
        with full_precision():
            measured = split_classifier(classify, batch)
    if measured.num_classes != split.num_classes:
        raise InputError(
            f"measure must have the {split.num_classes} classes of classify, it has "
            f"{measured.num_classes}"
        )
    return CheckedOptions(method, split, measured, held, any(options.get(name) for name in given))


def prepare(checked: CheckedOptions, images: Any, devices: Devices) -> Job:
    """Puts the classifier's arrays on the devices.

    Args:
        checked: the classifier and the options.
        images: the images, or their shapes and types.
        devices: the devices that share a batch.
    """
    check_devices(devices, batch_size=jax.tree.leaves(images)[0].shape[0])
    _warn_if_flat(checked.classify, one_image(images))
    place = choose_place(devices)
    arrays = checked.classify.arrays, checked.measure.arrays
    if not are_named(devices):  # which may not be there
        arrays = put(arrays, place, by_row=False)
    classify, measure = (
        each._replace(arrays=found)
        for each, found in zip((checked.classify, checked.measure), arrays, strict=True)
    )
    job = Job(checked.method, classify, measure, place, token=None)
    if not checked.is_custom:
        return job
    # Devices that are not there are compiled for once, and `lower` takes no trees of images.
    is_simple = hasattr(images, "shape") and not are_named(devices)
    return job._replace(token=_token(job, images.shape) if is_simple else object())


def _warn_if_flat(split: SplitClassifier, batch: Any) -> None:
    """Warns of a classifier whose gradient is zero whatever the image is, such as an arg max.

    Only the trace is looked at: nothing is computed. A pixel cannot move along such a gradient.
    """
    leaves, structure = jax.tree.flatten((split.arrays, batch))
    if _is_flat(split.function, tuple((leaf.shape, leaf.dtype) for leaf in leaves), structure):
        warnings.warn(
            "the classifier's gradient is zero everywhere, so no pixel will move; does it take an "
            "arg max, round, convert images to integers, or stop the gradient?",
            stacklevel=3,
        )


@functools.lru_cache(maxsize=16)  # tracing a gradient takes longer than many an update
def _is_flat(function: Callable, shapes: tuple, structure: Any) -> bool:
    """Whether function(arrays, images) has no gradient, for arrays and images of these shapes."""
    arrays, batch = jax.tree.unflatten(structure, [jax.ShapeDtypeStruct(*each) for each in shapes])

    def gradient(change: Array, arrays: list, images: Any) -> Any:
        return jax.vjp(lambda images: function(arrays, images), images)[1](change)

    logits = jax.eval_shape(lambda *given: function(*given), arrays, batch)
    closed = jax.make_jaxpr(gradient)(logits, arrays, batch)
    reached = {closed.jaxpr.invars[0]}
    for equation in closed.jaxpr.eqns:
        if any(isinstance(v, jax.extend.core.Var) and v in reached for v in equation.invars):
            reached.update(equation.outvars)
    return not any(
        isinstance(v, jax.extend.core.Var) and v in reached for v in closed.jaxpr.outvars
    )


def _token(job: Job, shape: tuple[int, ...]) -> Hashable:
    """Text of the programs that rule, map, filter, views and loss make at this moment.

    The programs contain a trivial classifier, since lowering the user's takes longer than many
    updates. Two host callbacks can have one text, so a job with callbacks has a token of its own.

    Args:
        job: the job.
        shape: shape of its images.
    """
    function = functools.partial(_few_pixels, job.classify.num_classes)
    simple = SplitClassifier(function, [], job.classify.output)
    programs = job._replace(classify=simple, measure=simple, token=object()).lower(shape)
    texts = [program.as_text() for program in programs]
    return object() if any("callback" in text for text in texts) else tuple(texts)


def _few_pixels(num_classes: int, arrays: list, images: Array) -> Float[Array, "n k"]:
    """A classifier that costs almost nothing, in place of the user's."""
    del arrays
    factors = jnp.arange(1, 1 + num_classes, dtype=images.dtype)
    return images.reshape(len(images), -1)[:, :1] * factors[None]


def rows_of(batch: Any) -> Any:
    """Shapes and types of one row of a batch."""
    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape[1:], leaf.dtype), batch)


def check_render(method: Method, weights: Any) -> list:
    """Traces the image of some weights.

    Args:
        method: the options.
        weights: shapes and types of the weights of one image.

    Returns:
        The arrays that the map and the filter hold.

    Raises:
        InputError: they cannot be called, or give images of another shape.
    """
    try:
        closed, images = jax.make_jaxpr(lambda w: method.render(w), return_shape=True)(weights)
    except Exception as error:  # anything that the user's functions raise
        what = first_line(error)
        raise InputError(f"pixel_map or image_filter cannot make images: {what}") from error
    expected, found = (jax.tree.map(lambda leaf: leaf.shape, tree) for tree in (weights, images))
    if expected != found:
        raise InputError(
            f"pixel_map and image_filter must keep the images' shape {expected}, got {found}"
        )
    return list(closed.consts)


def _compiled(function: Callable, **options: Any) -> Program:
    """Compiles function(static, shared, *rows); each device of a mesh works on its rows."""

    @functools.wraps(function)
    def run(static: _Static, shared: Any, *rows: Any) -> Any:
        return on_each_device(functools.partial(function, static), static.place)(shared, *rows)

    return Program(run, **options)


@_compiled
def _begin(static: _Static, shared: tuple, images: Any, targets: Array, indices: Array) -> State:
    del shared
    return core.init(static.method, targets, images, indices)


@functools.partial(_compiled, donate_argnums=2)
def _update(static: _Static, shared: tuple, state: State) -> State:
    arrays, tolerance = shared
    method = static.method._replace(tolerance=tolerance)
    return core.update(method, functools.partial(static.function, arrays), state)


@functools.partial(_compiled, donate_argnums=2)
def _run_on_device(static: _Static, shared: tuple, state: State) -> State:
    """All updates of a batch as one program."""
    arrays, tolerance, steps = shared
    method = static.method._replace(tolerance=tolerance)

    def goes_on(state: State) -> Bool[Array, ""]:
        # An active image has taken every step so far, so the largest count is the loop's.
        return state.active.any() & (state.steps.max() < steps)

    body = functools.partial(core.update, method, functools.partial(static.function, arrays))
    return jax.lax.while_loop(goes_on, body, state)


@_compiled
def _finish(static: _Static, arrays: list, state: State) -> tuple[Synthesis, Bool[Array, " n"]]:
    return core.measure(static.method, functools.partial(static.function, arrays), state)
