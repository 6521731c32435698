"""The training loop: any learner's jitted step, run over the steps of an epoch.

The whole data set lies on the device. Shuffling happens there, and a small program takes the
batches out of it. The program of the steps, which takes long to compile, therefore does not depend
on the size of the data set, and all trainings of one learner share it.

All randomness is folded from one key: the initial state from (key, 0), the order of epoch e from
(key, 1, e), what step s draws from (key, 2, s). A training that is resumed from a checkpoint
therefore gives the same bits as one that never stopped.

A learner may be trained on several groups of examples at once, such as one GAN for each class. All
its arrays then have a leading axis of groups, and its step is mapped over that axis by `jax.vmap`.
Group g is trained as it would be alone with the key fold_in(key, g).
"""

import functools
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Array, Int, Key

from imgopt.errors import typed_key
from imgopt.programs import Devices, choose_place, platform_of, shapes_on, sharding
from train.batches import Epoch, epoch_order, flatten_rows, fold_in, take_batches
from train.checks import check_same_length
from train.learner import Learner, TrainState, check_data, given_or_own
from train.nonfinite import count_skipped, finite_means, flag_nonfinite
from train.recipes.train_options import Budget
from train.runtime.processes import (
    EXAMPLES_AXIS,
    as_local,
    batch_sharding,
    make_training_mesh,
    naming_lost_processes,
    replicate,
    replicated,
)

STEPS_PER_CALL = 20
"""Most training steps per device call."""

SECONDS_PER_CALL = 1.0
"""Time that one device call should take; a request to stop waits about this long."""


@dataclass(frozen=True, eq=False)
class FitOptions:
    """Options of `fit`.

    Attributes:
        groups: Rows of each group, by the group's name. None: one training on all rows, without an
            axis of groups.
        constants: Passed to the learner's update unchanged. None: what the learner's own
            `constants(total_steps)` makes, if it has that method.
        max_skipped: Most non-finite steps to skip. A skipped step leaves the state (that of its
            group) unchanged. None: training stops at the first non-finite step.
        steps_per_call: Most steps per device call; fewer if they take longer than about a second.
            It has no influence on the result.
        devices: Devices of each process that share a batch; another number rounds differently.
    """

    groups: Mapping[str, Int[np.ndarray, " _"]] | None = None
    constants: Any = None
    max_skipped: int | None = None
    steps_per_call: int = STEPS_PER_CALL
    devices: int = 1

    @property
    def skips(self) -> bool:
        """Whether non-finite steps are skipped."""
        return self.max_skipped is not None

    def rows(self, data: Any) -> list[Int[np.ndarray, " _"]]:
        """Rows of each group; without groups, one array of all rows of the data."""
        if self.groups is None:
            return [np.arange(len(jax.tree.leaves(data)[0]))]
        return list(self.groups.values())

    def examples(self, data: Any) -> int:
        """Number of examples in an epoch: in the smallest group, or in the whole data."""
        return min(map(len, self.rows(data)))


class Snapshot(NamedTuple):
    """Everything that training needs to continue with the same bits, within an epoch too.

    Attributes:
        step: Updates made so far.
        state: State after the last update.
        scalars: The learner's scalars in the unfinished epoch: one row a step, float32 or int32.
        skipped: Non-finite steps skipped so far.
    """

    step: int
    state: TrainState
    scalars: Mapping[str, np.ndarray] = MappingProxyType({})
    skipped: int = 0


class Paused(Exception):  # noqa: N818 -- not an error
    """Training was asked to stop, and did so within an epoch.

    Attributes:
        snapshot: Where to resume.
    """

    def __init__(self, snapshot: Snapshot) -> None:
        super().__init__(f"paused after step {snapshot.step}")
        self.snapshot = snapshot


class EpochResult(NamedTuple):
    """Result of one epoch.

    The next epoch overwrites the buffers of the state: copy what must live longer.

    Attributes:
        epoch: Number of the epoch, from 1.
        step: Updates made so far, in all epochs.
        state: State after the last update.
        means: Means of the learner's scalars over the steps of the epoch that were not skipped; one
            for each group if there are groups.
        skipped: Steps skipped so far, in all epochs; None if skipping is not allowed.
    """

    epoch: int
    step: int
    state: TrainState
    means: dict[str, np.ndarray]
    skipped: int | None = None


def fit(
    key: Key[Array, ""],
    learner: Learner,
    data: Any,
    budget: Budget,
    options: FitOptions | None = None,
    *,
    resume: Snapshot | None = None,
    after_call: Callable[[int], bool | None] | None = None,
) -> Iterator[EpochResult]:
    """Trains a learner, one epoch at a time.

    All processes of a job must call this with the same arguments.

    Args:
        key: Source of all randomness, from `jax.random.key` or `jax.random.PRNGKey`.
        learner: What is trained.
        data: Training set, a pytree of arrays with one row for each example.
        budget: How long to train. With groups, an epoch has the full batches of the smallest group.
        options: All other options; the defaults of `FitOptions` if None.
        resume: Snapshot of the same training to resume from; None to begin.
        after_call: Called after every device call with the number of updates made so far. If it
            returns true within an epoch, training pauses; at the end of an epoch the result is
            ignored, since the caller has control there. All processes must get the same answer.

    Yields:
        One `EpochResult` after every epoch that remains.

    Raises:
        InputError: The arrays of the training set differ in length, or the learner cannot learn
            from them; the training set or a group is smaller than a batch; there are fewer devices
            than asked for, or they cannot share a batch evenly.
        NotFinite: A scalar or the new state of a step is not finite, and skipping is not allowed or
            `max_skipped` is used up.
        FloatingPointError: No step of an epoch is finite.
        Paused: `after_call` asked for it.
        LostProcessError: Another process of the job has ended.

    Example:
        >>> class Mean(NamedTuple):
        ...     def initial(self, key):
        ...         return TrainState({"mean": jnp.zeros(())}, None)
        ...     def update(self, key, state, batch, constants):
        ...         return TrainState({"mean": batch.mean()}, None), {"mean": batch.mean()}
        >>> [r.step for r in fit(jax.random.key(0), Mean(), jnp.ones(8), Budget(4, epochs=2))]
        [2, 4]
    """
    key, options = typed_key(key), options or FitOptions()
    check_same_length(data)
    check_data(learner, data)
    rows, count = options.rows(data), options.examples(data)
    steps, total = budget.steps_per_epoch(count), budget.total_steps(count)
    mesh = make_training_mesh(options.devices, batch_size=budget.batch_size)
    program = _make_run_steps(learner, options.groups is not None, options.skips, mesh)
    if options.groups is not None:
        key = jax.vmap(jax.random.fold_in, (None, 0))(key, jnp.arange(len(rows), dtype=jnp.int32))
    step, state, earlier, skipped = resume or Snapshot(0, initial_state(key, learner))
    state, data, *shared = replicate(
        (state, flatten_rows(data), given_or_own(options.constants, learner, total), key), mesh
    )
    caller = _StepCaller(functools.partial(program, *shared), at_most=options.steps_per_call)
    next_batches = functools.partial(
        take_batches, data, batch_size=budget.batch_size, count=options.steps_per_call, mesh=mesh
    )
    while step < total:
        number = step // steps
        order = epoch_order(key, number, rows, count=steps * budget.batch_size)
        epoch = Epoch(number, number * steps, order, budget.batch_size)
        end = min(epoch.first_step + steps, total)
        placed_order = replicate(order, mesh)
        found = [earlier] if earlier else []
        while step < end:
            stop = min(step + caller.steps, end)
            batches = next_batches(order=placed_order, first=step - epoch.first_step)
            state, scalars = caller.take_steps(state, batches, step, stop)
            found.append(scalars)
            skipped = count_skipped(
                scalars, epoch, step=step, groups=options.groups,
                skipped=skipped, max_skipped=options.max_skipped,
            )  # fmt: skip
            step = stop
            must_pause = after_call(step) if after_call else False
            if must_pause and step < end:
                raise Paused(Snapshot(step, as_local(state, mesh), _joined(found), skipped))
        earlier = {}
        means = finite_means(_joined(found), epoch=number)
        yield EpochResult(
            number + 1, step, as_local(state, mesh), means, skipped if options.skips else None
        )


class _StepCaller:
    """Runs several training steps in each device call.

    Attributes:
        steps: Steps to take in the next call: as many as take about a second, by the time of the
            last call.
    """

    def __init__(self, program: Callable, *, at_most: int) -> None:
        self._program, self._at_most = program, at_most
        # Several processes make each call together, and their clocks differ.
        self._is_fixed = jax.process_count() > 1
        self.steps = at_most if self._is_fixed else 1

    def take_steps(
        self, state: TrainState, batches: Any, start: int, stop: int
    ) -> tuple[TrainState, dict[str, np.ndarray]]:
        """Takes the steps in one call: the new state, and the learner's scalars of each step."""
        began = time.monotonic()
        with naming_lost_processes():
            state, scalars = self._program(state, batches, start, stop)
            scalars = jax.device_get(scalars)
        if not self._is_fixed:
            seconds = max(time.monotonic() - began, 1e-9)
            fitting = (stop - start) * SECONDS_PER_CALL / seconds
            self.steps = int(min(max(fitting, 1), self._at_most))
        return state, {name: value[: stop - start] for name, value in scalars.items()}


class TrainingPrograms(NamedTuple):
    """The programs of a training, lowered for certain devices and not yet compiled.

    Attributes:
        initial: Key → initial state.
        batches: Data set and order → consecutive batches.
        steps: State and batches → state after several steps.
    """

    initial: jax.stages.Lowered
    batches: jax.stages.Lowered
    steps: jax.stages.Lowered


def compile_steps(
    learner: Learner, data: Any, budget: Budget, options: FitOptions | None = None
) -> jax.stages.Compiled:
    """Compiles the steps that `fit` would run with the same arguments, and runs none.

    JAX keeps the compiled program: `fit` does not compile it again.

    Args:
        learner: What is trained.
        data: Training set; only shapes and types matter, also for the options' constants.
        budget: How long to train.
        options: All other options; the defaults of `FitOptions` if None.

    Raises:
        InputError: The training set, a group or the devices do not fit the batch, as for `fit`.
    """
    return lower_training(learner, data, budget, options).steps.compile()


def lower_training(
    learner: Learner,
    data: Any,
    budget: Budget,
    options: FitOptions | None = None,
    *,
    devices: Devices | None = None,
) -> TrainingPrograms:
    """Lowers the programs that `fit` would run with the same arguments, and compiles none.

    Args:
        learner: What is trained.
        data: Training set, as for `compile_steps`.
        budget: How long to train.
        options: All other options; the defaults of `FitOptions` if None.
        devices: Devices to lower for in place of this process's; they may be only described, as by
            `jax.experimental.topologies`.

    Raises:
        InputError: As for `compile_steps`.
    """
    options = options or FitOptions()
    count, at_once = options.examples(data), options.steps_per_call
    used = budget.steps_per_epoch(count) * budget.batch_size
    shape = () if options.groups is None else (len(options.groups),)
    place = (
        choose_place(devices, axis=EXAMPLES_AXIS)
        if devices
        else make_training_mesh(options.devices, batch_size=budget.batch_size)
    )
    mesh = place if isinstance(place, Mesh) else None
    whole = functools.partial(shapes_on, place=place, by_row=False)
    key = whole(jax.eval_shape(lambda: jax.random.split(jax.random.key(0), shape)))
    columns = whole(flatten_rows(jax.eval_shape(lambda tree: tree, data)))
    order = whole(jax.ShapeDtypeStruct((*shape, used), jnp.int32))
    taking = {"batch_size": budget.batch_size, "count": at_once, "mesh": mesh}
    batches = jax.eval_shape(functools.partial(take_batches, first=0, **taking), columns, order)
    given = given_or_own(options.constants, learner, budget.total_steps(count))
    constants = whole(jax.eval_shape(lambda tree: tree, given))
    state = whole(initial_shapes(key, learner))
    placed = batch_sharding(mesh, axis=1 + len(shape)) if mesh else sharding(place, by_row=False)
    batches = jax.tree.map(lambda leaf: leaf.update(sharding=placed), batches)
    run_steps: Any = _make_run_steps(learner, bool(shape), options.skips, mesh)
    return TrainingPrograms(
        _make_initial(learner, bool(shape), platform_of(place)).lower(key),
        take_batches.lower(columns, order, 0, **taking),
        run_steps.lower(constants, key, state, batches, 0, 0),
    )


def _joined(found: Sequence[Mapping[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """Joins the scalars of consecutive device calls, one row a step."""
    return {name: np.concatenate([part[name] for part in found]) for name in found[0]}


def initial_state(key: Key[Array, "*groups"], learner: Learner) -> TrainState:
    """Draws a learner's initial state; for several keys, with a leading axis of groups."""
    key = typed_key(key)
    return _make_initial(learner, bool(key.ndim), jax.default_backend())(fold_in(key, 0))


def initial_shapes(key: Any, learner: Learner) -> TrainState:
    """Shapes and types of `initial_state`; nothing is drawn. Only the key's shape matters."""
    return jax.eval_shape(_initial(learner, bool(key.ndim)), key)


def _initial(learner: Learner, grouped: bool) -> Callable:
    return jax.vmap(learner.initial) if grouped else learner.initial


@functools.lru_cache(maxsize=8)  # compiling takes longer than many a training step
def _make_initial(learner: Learner, grouped: bool, platform: str) -> Any:
    # Nearly all the time goes into compiling. On CPUs this level takes less than half of it, and
    # the bits are the same; it was not tried on other devices.
    options = {"xla_backend_optimization_level": 1} if platform == "cpu" else None
    return jax.jit(_initial(learner, grouped), compiler_options=options)


@functools.lru_cache(maxsize=8)  # trainings of one learner share the compiled program
def _make_run_steps(learner: Learner, grouped: bool, skips: bool, mesh: Mesh | None) -> Callable:
    """Makes the compiled program: steps `start` to `stop`, step i on batch i - start.

    The bounds are arguments, so any number of steps uses the same program. The learner's scalars
    have a leading axis of steps, of which only the first `stop - start` entries are set.
    """
    update = jax.vmap(learner.update, (0, 0, 0, None)) if grouped else learner.update

    @functools.partial(jax.jit, donate_argnums=2, out_shardings=mesh and replicated(mesh))
    def run_steps(constants, key, state, batches, start, stop):
        key = fold_in(key, 2)

        def take_step(step, state):
            batch = jax.tree.map(lambda column: column[step - start], batches)
            after, found = update(fold_in(key, step), state, batch, constants)
            return flag_nonfinite(state, after, found, grouped=grouped, skips=skips)

        def body(step, carry):
            state, kept = carry
            state, found = take_step(step, state)
            kept = jax.tree.map(lambda all_, new: all_.at[step - start].set(new), kept, found)
            return state, kept

        at_most = len(jax.tree.leaves(batches)[0])
        shapes = jax.eval_shape(take_step, start, state)[1]
        empty = jax.tree.map(lambda leaf: jnp.zeros((at_most, *leaf.shape), leaf.dtype), shapes)
        return jax.lax.fori_loop(start, stop, body, (state, empty))

    return run_steps
