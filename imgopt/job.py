"""One synthesis, compiled: its programs, its classifier's weights and the devices it runs on."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import Mesh
from jaxtyping import Array, Bool, Float

from imgopt import method as core
from imgopt.classifier import (
    Split,
    one_image,
    split_classifier,
    warn_if_flat,
)
from imgopt.errors import InputError
from imgopt.method import Method, Options, State, Synthesis, make_method
from imgopt.programs import Program, check_devices, make_mesh, on_each_device, place, sharding
from imgopt.rules import check_rule, first_line


def loops_on_host() -> bool:
    """Whether Python calls every update, instead of one program that loops on the device.

    XLA's CPU backend runs the gradients of ordinary convolutions 20 to 30 times slower inside a
    compiled loop than outside, and on a CPU a call costs nothing compared with an update.
    """
    return jax.default_backend() == "cpu"


class _Static(NamedTuple):
    """The part of a job that is compiled in.

    Attributes:
        method: the options, without the tolerance, which is an argument.
        function: the classifier's computation.
        mesh: the devices that share a batch.
        token: a job's own, where a rule, map or filter of the user may have changed since the last
            job: its program is lowered again, and its text decides.
    """

    method: Method
    function: Any
    mesh: Mesh | None
    token: object


class Job(NamedTuple):
    """One method and one classifier, with its weights as they were at the beginning."""

    method: Method
    classify: Split
    measure: Split
    mesh: Mesh | None
    token: object

    @property
    def static(self) -> _Static:
        """The static part of the updates."""
        method = self.method._replace(tolerance=None)
        return _Static(method, self.classify.function, self.mesh, self.token)

    @property
    def shared(self) -> tuple[list, Float[Array, ""]]:
        """The updates' arguments that are the same for all images."""
        tolerance = -jnp.inf if self.method.tolerance is None else self.method.tolerance
        return self.classify.arrays, jnp.asarray(tolerance, jnp.float32)

    def begin(self, images: Any, targets: Any, indices: Any) -> State:
        """The state before the first update, on the devices that share the batch."""
        rows = place((images, targets, jnp.asarray(indices, jnp.int32)), self.mesh, by_row=True)
        return _begin(self.static._replace(function=None), (), *rows)

    def update(self, state: State) -> State:
        """One update of every active image. The state is used up."""
        return _update(self.static, self.shared, state)

    def run(self, state: State, steps: Any) -> State:
        """All updates."""
        if not loops_on_host():
            return _run_on_device(self.static, (*self.shared, steps), state)
        for _ in range(steps):
            state = self.update(state)
            if self.method.tolerance is not None and not state.active.any():
                break
        return state

    def compile(self, shape: tuple[int, ...]) -> jax.stages.Compiled:
        """Compiles all updates of images of this shape, or on CPUs a single one."""
        images = jax.ShapeDtypeStruct(shape, jnp.float32)
        targets = jax.ShapeDtypeStruct((shape[0], self.classify.num_classes), jnp.float32)
        state = jax.eval_shape(functools.partial(core.init, self.method), targets, images)
        placed = sharding(self.mesh, by_row=True)
        state = jax.tree.map(
            lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=placed), state
        )
        if loops_on_host():
            return _update.lower(self.static, self.shared, state).compile()
        return _run_on_device.lower(self.static, (*self.shared, 0), state).compile()

    def finish(self, state: State) -> tuple[Synthesis, Bool[Array, " n"]]:
        """The result, and whether the classifier's output for an image looks like probabilities."""
        static = self.static._replace(function=self.measure.function)
        return _finish(static, self.measure.arrays, state)


def prepare(split: Split, images: Any, options: Options, devices: int) -> Job:
    """Checks the options, and puts the classifier's arrays on the devices.

    Args:
        split: the classifier.
        images: the images, or their shapes and types.
        options: as in `imgopt.synthesize`.
        devices: number of devices that share the batch.
    """
    batch = one_image(images)
    check_devices(devices, batch_size=jax.tree.leaves(images)[0].shape[0])
    method, mesh = make_method(options), make_mesh(devices)
    one = rows_of(batch)
    check_rule(method.optimizer, weights=one)
    check_render(method, one)
    if method.views:
        method.views.check(one)
    warn_if_flat(split, batch)
    measure = options.get("measure")
    measured = split_classifier(measure, batch, name="measure") if measure else split
    if measured.num_classes != split.num_classes:
        raise InputError(
            f"measure must have the {split.num_classes} classes of classify, it has "
            f"{measured.num_classes}"
        )
    split, measured = (
        each._replace(arrays=place(each.arrays, mesh, by_row=False)) for each in (split, measured)
    )
    given = ("optimizer", "pixel_map", "image_filter", "views", "loss")
    token = object() if any(options.get(name) for name in given) else None
    return Job(method, split, measured, mesh, token)


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


def arrays_in(options: Options, batch: Any) -> list:
    """The arrays that a rule, map, filter or measuring classifier holds.

    Args:
        options: as in `imgopt.synthesize`.
        batch: shape and type of a batch of one image.

    Raises:
        InputError: the rule cannot update such images' weights, or `measure` cannot take them.
    """
    method, measure = make_method(options), options.get("measure")
    held = check_rule(method.optimizer, weights=rows_of(batch))
    held += check_render(method, rows_of(batch))
    return held + (split_classifier(measure, batch, name="measure").arrays if measure else [])


def _compiled(function: Callable, **options: Any) -> Program:
    """Compiles function(static, shared, *rows); each device of a mesh works on its rows."""

    @functools.wraps(function)
    def run(static: _Static, shared: Any, *rows: Any) -> Any:
        return on_each_device(functools.partial(function, static), static.mesh)(shared, *rows)

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
