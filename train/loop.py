"""The training loop: any learner's jitted step, scanned over the steps of an epoch.

The whole data set lies on the device; shuffling happens there, and a small program takes batches
from it. So the program of the steps, which takes long to compile, knows nothing of the data set's
size, and trainings of one learner share it.

All randomness is folded from one key: initialisation from (key, 0), the order of epoch e from
(key, 1, e), what step s draws from (key, 2, s). So training goes on from a checkpoint as if it had
never stopped.

A learner may be trained on several groups of examples at once, such as one GAN for each class: all
its arrays then have an axis of groups in front, and its step is mapped over it by `jax.vmap`. Group
g is trained as it would be alone with the key fold_in(key, g).
"""

import functools
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Array, Int, Key

from imgopt.errors import InputError
from train.batches import epoch_order, fold_in, take_batches
from train.nonfinite import count_skipped, means_of_finite, watched
from train.runtime.processes import (
    as_local,
    make_training_mesh,
    naming_lost_processes,
    replicate,
    replicated,
)

STEPS_PER_CALL = 20
"""Of the device at most, between which the host hears of the steps."""

SECONDS_PER_CALL = 1.0
"""About how long a call may take: so long a request to stop waits."""


class TrainState(NamedTuple):
    """All that changes in training: a learner's variables by name, and its optimisers' states."""

    variables: dict[str, Any]
    opt_state: Any


@runtime_checkable  # for tests, which check annotations
class Learner(Protocol):
    """What is trained, as two pure functions; equal learners are one compiled program.

    Hashable by value, so arrays that do not change come as `constants`.
    """

    def initial(self, key: Key[Array, ""]) -> TrainState:
        """Freshly drawn variables and the optimisers' first states."""
        ...

    def update(
        self, key: Key[Array, ""], state: TrainState, batch: Any, constants: Any
    ) -> tuple[TrainState, dict[str, Array]]:
        """One step on one batch: the new state, and scalars to be averaged over an epoch."""
        ...

    def __hash__(self) -> int: ...


@dataclass(frozen=True)
class Budget:
    """How long to train.

    Attributes:
        batch_size: examples a step; what is left of an epoch's order after the last full batch is
            not used.
        epochs: passes over the training set.
        steps: updates, instead of what `epochs` come to; the last epoch is then cut short.
    """

    batch_size: int
    epochs: int
    steps: int | None = None

    def __post_init__(self) -> None:
        """Raises InputError for a number outside its range."""
        for name, value in vars(self).items():
            if value is not None and value < 1:
                raise InputError(f"{name} must be at least 1, got {value}")

    def steps_per_epoch(self, count: int, *, of: str = "the training set") -> int:
        """Full batches in `count` examples.

        Raises:
            InputError: there is none; the message calls the examples `of`.
        """
        if count < self.batch_size:
            raise InputError(
                f"{of} has {count} images, less than one batch of {self.batch_size}; "
                "lower --batch-size"
            )
        return count // self.batch_size

    def total_steps(self, count: int) -> int:
        """Updates in all, for a training set of `count` examples."""
        return self.steps or self.steps_per_epoch(count) * self.epochs


class Snapshot(NamedTuple):
    """All that training needs to go on with the same bits, within an epoch too.

    Attributes:
        step: updates made in all.
        state: after the last of them.
        scalars: the learner's, of the steps so far of an epoch that is not at its end: one row a
            step, in float32 or int32 as they came.
        skipped: steps in all that were skipped because they were not finite.
    """

    step: int
    state: TrainState
    scalars: Mapping[str, np.ndarray] = MappingProxyType({})
    skipped: int = 0


class Paused(Exception):  # noqa: N818 -- no error
    """Training was asked to stop, and has within an epoch.

    Attributes:
        snapshot: what to go on from.
    """

    def __init__(self, snapshot: Snapshot) -> None:
        super().__init__(f"paused after step {snapshot.step}")
        self.snapshot = snapshot


class EpochResult(NamedTuple):
    """What an epoch leaves behind.

    The state's buffers are used again by the next epoch: copy what is to outlive it.

    Attributes:
        epoch: its number, from 1.
        step: updates made in all.
        state: after the last of them.
        means: of the learner's scalars over the epoch's steps but skipped ones; one a group, where
            there are groups.
        skipped: steps so far, in all epochs, that were skipped; None where none may be.
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
    *,
    groups: Mapping[str, Int[np.ndarray, " _"]] | None = None,
    constants: Any = None,
    resume: Snapshot | None = None,
    max_skipped: int | None = None,
    on_progress: Callable[[int, int], None] | None = None,
    should_stop: Callable[[], bool] = lambda: False,
    steps_per_call: int = STEPS_PER_CALL,
    devices: int = 1,
) -> Iterator[EpochResult]:
    """Trains, an epoch at a time.

    Args:
        key: all randomness comes from it.
        learner: what is trained.
        data: the training set, a pytree of arrays with one row an example.
        budget: how long. With groups, the smallest one's full batches are an epoch.
        groups: rows of each group, by its name; none: all rows are one, without an axis of groups.
        constants: passed on to the learner's update.
        resume: where the same training came to; None to begin.
        max_skipped: how many steps may be skipped that are not finite. A skipped step leaves the
            state as it is, that of its group where there are groups. None: it stops at the first.
        on_progress: called with (steps done, steps in all) after every call to the device.
        should_stop: asked after every call but an epoch's last one, where the caller has its say.
            Several processes that train together must be told the same.
        steps_per_call: steps in such a call at most; fewer where they take longer than about a
            second. No influence on the result.
        devices: of each process that share a batch, see `train.runtime.processes`. All processes of
            a job call this alike. Another number is another program, whose sums round differently.

    Yields:
        An `EpochResult` after every epoch that is still to do.

    Raises:
        InputError: the training set, or a group of it, is smaller than a batch; or the devices are
            too many, or do not share a batch evenly.
        NotFinite: a step is not finite, in its scalars or in what it makes of the state; with
            `max_skipped`, more steps than that are not.
        FloatingPointError: not a single step of an epoch is finite.
        Paused: it was asked to stop.
        LostProcessError: another process of the job has ended.
    """
    rows = list((groups or {"": np.arange(len(jax.tree.leaves(data)[0]))}).values())
    smallest = min(map(len, rows))
    steps, total = budget.steps_per_epoch(smallest), budget.total_steps(smallest)
    mesh = make_training_mesh(devices, batch_size=budget.batch_size)
    skips, grouped = max_skipped is not None, groups is not None
    program = _make_run_steps(learner, grouped, skips, mesh)
    if groups is not None:
        key = jax.vmap(jax.random.fold_in, (None, 0))(key, jnp.arange(len(groups)))
    step, state, before, skipped = resume or Snapshot(0, initial_state(key, learner))
    state, data, *shared = replicate((state, data, constants, key), mesh)
    caller = _Caller(functools.partial(program, *shared), at_most=steps_per_call)
    next_batches = functools.partial(
        take_batches, data, batch_size=budget.batch_size, count=steps_per_call, mesh=mesh
    )
    while step < total:
        epoch = step // steps
        first, end = epoch * steps, min((epoch + 1) * steps, total)
        order = epoch_order(key, epoch, rows, count=steps * budget.batch_size)
        placed_order = replicate(order, mesh)
        found = [before] if before else []
        while step < end:
            stop = min(step + caller.steps, end)
            batches = next_batches(order=placed_order, first=step - first)
            state, scalars = caller.take_steps(state, batches, step, stop)
            found.append(scalars)
            skipped = count_skipped(
                scalars, order, batch_size=budget.batch_size, first=first, step=step, epoch=epoch,
                groups=groups, skipped=skipped, max_skipped=max_skipped,
            )  # fmt: skip
            step = stop
            if on_progress:
                on_progress(step, total)
            if step < end and should_stop():
                raise Paused(Snapshot(step, as_local(state, mesh), _joined(found), skipped))
        before = {}
        count = skipped if skips else None
        means = means_of_finite(_joined(found), epoch=epoch)
        yield EpochResult(epoch + 1, step, as_local(state, mesh), means, count)


class _Caller:
    """Has the device take steps, several in a call.

    Attributes:
        steps: to take in the next call: as many as take about a second, by the last one.
    """

    def __init__(self, program: Callable, *, at_most: int) -> None:
        self._program, self._at_most = program, at_most
        # Several processes make each call together, and their clocks differ.
        self._is_fixed = jax.process_count() > 1
        self.steps = at_most if self._is_fixed else 1

    def take_steps(
        self, state: TrainState, batches: Any, start: int, stop: int
    ) -> tuple[TrainState, dict[str, np.ndarray]]:
        """The state after a call, and the learner's scalars of each of its steps."""
        began = time.monotonic()
        with naming_lost_processes():
            state, scalars = self._program(state, batches, start, stop)
            scalars = jax.device_get(scalars)
        if not self._is_fixed:
            seconds = max(time.monotonic() - began, 1e-9)
            fitting = (stop - start) * SECONDS_PER_CALL / seconds
            self.steps = int(min(max(fitting, 1), self._at_most))
        return state, {name: value[: stop - start] for name, value in scalars.items()}


def compile_steps(
    learner: Learner,
    data: Any,
    budget: Budget,
    *,
    groups: Mapping[str, Int[np.ndarray, " _"]] | None = None,
    constants: Any = None,
    max_skipped: int | None = None,
    steps_per_call: int = STEPS_PER_CALL,
    devices: int = 1,
) -> jax.stages.Compiled:
    """Compiles the steps that `fit` would run with the same arguments, and runs none.

    JAX keeps what is compiled: `fit` does not compile it again.

    Args:
        learner: as for `fit`, as is all else; of data and constants only the shapes matter.
        data: ditto.
        budget: ditto.
        groups: ditto.
        constants: ditto.
        max_skipped: ditto.
        steps_per_call: ditto.
        devices: ditto.

    Raises:
        InputError: as `fit`.
    """
    sizes = [len(rows) for rows in groups.values()] if groups else [len(jax.tree.leaves(data)[0])]
    used = budget.steps_per_epoch(min(sizes)) * budget.batch_size
    shape = () if groups is None else (len(groups),)
    key = jax.eval_shape(lambda: jax.random.split(jax.random.key(0), shape))
    order = jax.ShapeDtypeStruct((*shape, used), jnp.int32)
    mesh = make_training_mesh(devices, batch_size=budget.batch_size)
    next_batches = functools.partial(
        take_batches, first=0, batch_size=budget.batch_size, count=steps_per_call, mesh=mesh
    )
    batches = jax.eval_shape(next_batches, data, order)
    state = initial_shapes(key, learner)
    constants = jax.eval_shape(lambda tree: tree, constants)
    run_steps: Any = _make_run_steps(learner, bool(shape), max_skipped is not None, mesh)
    return run_steps.lower(constants, key, state, batches, 0, 0).compile()


def _joined(found: Sequence[Mapping[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """The scalars of consecutive steps, one row a step."""
    return {name: np.concatenate([part[name] for part in found]) for name in found[0]}


def initial_state(key: Key[Array, "*groups"], learner: Learner) -> TrainState:
    """A learner's first state, or one for each of several keys, with an axis of groups in front."""
    return _make_initial(learner, bool(key.ndim))(fold_in(key, 0))


def initial_shapes(key: Any, learner: Learner) -> TrainState:
    """The shapes and types of `initial_state`; nothing is drawn. Only the key's shape matters."""
    return jax.eval_shape(_initial(learner, bool(key.ndim)), key)


def _initial(learner: Learner, grouped: bool) -> Callable:
    return jax.vmap(learner.initial) if grouped else learner.initial


@functools.lru_cache(maxsize=8)  # compiling it takes longer than many a training step
def _make_initial(learner: Learner, grouped: bool) -> Callable:
    # Compiling takes nearly all of its time, and so less than half as long, on CPUs; the bits are
    # the same. Other devices were not tried.
    options = {"xla_backend_optimization_level": 1} if jax.default_backend() == "cpu" else None
    return jax.jit(_initial(learner, grouped), compiler_options=options)


@functools.lru_cache(maxsize=8)  # trainings of one learner share the compiled program
def _make_run_steps(learner: Learner, grouped: bool, skips: bool, mesh: Mesh | None) -> Callable:
    """The compiled program: steps `start` to `stop`, each on one of the batches, from the first on.

    The bounds are arguments, so any number of steps is the same program. The learner's scalars come
    back with an axis of steps in front, of which the first `stop - start` hold something.
    """
    update = jax.vmap(learner.update, (0, 0, 0, None)) if grouped else learner.update

    @functools.partial(jax.jit, donate_argnums=2, out_shardings=mesh and replicated(mesh))
    def run_steps(constants, key, state, batches, start, stop):
        key = fold_in(key, 2)

        def take_step(step, state):
            batch = jax.tree.map(lambda column: column[step - start], batches)
            after, found = update(fold_in(key, step), state, batch, constants)
            return watched(state, after, found, grouped=grouped, skips=skips)

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
