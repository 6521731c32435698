"""Training in a run's directory: resumes from the last checkpoint, saves new ones, shows progress.

Checkpoints are saved about once a minute, at the end of an epoch. A signal stops the training
between two device calls, after a checkpoint.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Key

from experiments.console.progress import Progress
from experiments.console.signals import deferred, is_asked, stopped
from imgopt.errors import InputError
from train.learner import Learner, TrainState
from train.loop import EpochResult, FitOptions, Paused, Snapshot, fit, initial_shapes
from train.nonfinite import NotFinite
from train.recipes.train_options import Budget
from train.runtime.processes import in_any_process, is_first_process
from train.storage.checkpoints import (
    check_layout,
    latest_checkpoint,
    remove_damaged,
    save_checkpoint,
)
from train.storage.runs import CONFIG_FILE, metrics_bytes, restore_metrics, write_metrics

CHECKPOINT_EVERY_SECONDS = 60.0
"""A checkpoint is saved at the end of the first epoch after this time, and of the last epoch."""

METRICS_PREFIX = b"\n"
"""Stands before the metrics in a checkpoint, since Orbax does not save empty arrays."""


@dataclass(frozen=True, eq=False)
class Training:
    """The arguments of `train.fit`."""

    key: Key[Array, ""]
    learner: Learner
    data: Any
    budget: Budget
    options: FitOptions = field(default_factory=FitOptions)

    @property
    def total_steps(self) -> int:
        """Number of updates in all."""
        return self.budget.total_steps(self.options.examples(self.data))

    def is_done(self, snapshot: Snapshot | None) -> bool:
        """Whether all updates are made at a snapshot."""
        return snapshot is not None and snapshot.step == self.total_steps

    @property
    def epochs(self) -> int:
        """Number of epochs, the last of which may be cut short."""
        steps_per_epoch = self.budget.steps_per_epoch(self.options.examples(self.data))
        return -(-self.total_steps // steps_per_epoch)


@dataclass(frozen=True)
class Session:
    """Where a training is saved, and what messages call it.

    Attributes:
        out: The run's directory.
        checkpoints: Directory of the training's checkpoints.
        label: Text in front of the progress.
        ids: Ids of the training set's examples; an error names the ids of a non-finite batch.
    """

    out: Path
    checkpoints: Path
    label: str
    ids: Sequence[str]


class StartPoint(NamedTuple):
    """Where a training starts or resumes.

    Attributes:
        snapshot: Updates made and the state after them; None to begin from a new state.
        metrics: Content of the run's metrics file at that point.
    """

    snapshot: Snapshot | None = None
    metrics: bytes = b""


class TrainedState(NamedTuple):
    """State at the end of a training.

    Attributes:
        state: State after the last update.
        metrics: Content of the run's metrics file after the last epoch.
    """

    state: TrainState
    metrics: bytes


def restore(
    out: Path, checkpoints: Path, learner: Learner, *, groups: int | None = None
) -> StartPoint | None:
    """Reads the last undamaged checkpoint; None if there is none.

    The metrics file is restored if it does not begin with the metrics in the checkpoint.

    Args:
        out: The run's directory.
        checkpoints: Directory of the training's checkpoints.
        learner: What is trained.
        groups: Number of groups that it is trained on; None if there are none.

    Raises:
        InputError: The checkpoint belongs to another network or optimiser, or is incomplete.

    Warns:
        UserWarning: A newer checkpoint or the metrics are damaged; the message names the file.
    """
    checkpoint = latest_checkpoint(checkpoints)
    if checkpoint is None:
        return None
    keys = jax.random.split(jax.random.key(0), groups or ())
    expected = initial_shapes(keys, learner)
    saved: Any = checkpoint.state
    try:
        # The checkpoint holds an optimiser's state as a list of arrays, without its types.
        opt_state = jax.tree.unflatten(jax.tree.structure(expected.opt_state), saved["opt_state"])
        snapshot = Snapshot(
            int(saved["step"]),
            TrainState(saved["variables"], opt_state),
            saved.get("scalars", {}),
            int(saved.get("skipped", 0)),
        )
        metrics = saved["metrics"].tobytes().removeprefix(METRICS_PREFIX)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(
            f"expected a checkpoint of this training in {checkpoints / str(checkpoint.step)}, got "
            "another, or one of another version of elicit; choose another --out"
        ) from error
    check_layout(out, snapshot.state, lambda: expected, spec_file=CONFIG_FILE)
    if is_first_process():
        remove_damaged(checkpoints)
        restore_metrics(out, metrics)
    state = jax.tree.map(jnp.asarray, snapshot.state)
    return StartPoint(snapshot._replace(state=state), metrics)


def train_epochs(
    session: Session,
    training: Training,
    on_epoch: Callable[[EpochResult], None],
    *,
    start: StartPoint,
) -> TrainedState:
    """Trains all remaining epochs, saves checkpoints and shows the progress.

    A signal stops the training after the running device call and a checkpoint. Several processes
    stop at the same step if any of them received a signal. Only the first process writes.

    Args:
        session: Where to save the training, and what to call it.
        training: What to train.
        on_epoch: Called with the result of every epoch, before its checkpoint is saved. It appends
            one line of metrics.
        start: Where to start; later lines of metrics are dropped.

    Returns:
        The state after the last epoch.

    Raises:
        Stopped: A signal asked for it; the checkpoint is saved.
        FloatingPointError: A step is not finite; the message names the examples of its batch.
    """
    snapshot, metrics = start
    if snapshot and training.is_done(snapshot):
        return TrainedState(snapshot.state, metrics)
    done, total = snapshot.step if snapshot else 0, training.total_steps
    state: Any = None  # replaced below, since at least one epoch remains
    with deferred(), Progress(session.label, total=total, unit="steps", done=done) as progress:
        saver = _CheckpointSaver(session, total)
        if is_first_process():
            write_metrics(session.out, metrics)

        def after_call(step: int) -> bool:
            progress.update_to(step)
            return _any_process_must_stop()

        try:
            for result in fit(
                training.key, training.learner, training.data, training.budget, training.options,
                resume=snapshot, after_call=after_call,
            ):  # fmt: skip
                on_epoch(result)
                progress.detail = _loss_of(result)
                saver.end_epoch(result)
                state = result.state
        except Paused as paused:
            saver.save(paused.snapshot)
            raise stopped(after=f"step {paused.snapshot.step:,}") from None
        except NotFinite as error:
            batch = ", ".join(session.ids[int(row)] for row in error.rows)
            raise FloatingPointError(f"{error}. The examples of its batch: {batch}") from error
    return TrainedState(state, metrics_bytes(session.out))


def _loss_of(result: EpochResult) -> str:
    """The losses of an epoch, averaged over groups, such as "loss 0.412"."""
    losses = [name for name in result.means if "loss" in name]
    means = {name.replace("_", " "): float(np.mean(result.means[name])) for name in losses}
    return ", ".join(f"{name} {mean:.3f}" for name, mean in means.items())


def _any_process_must_stop() -> bool:
    """Whether a signal has asked any process of the job to stop."""
    return in_any_process(is_asked())


class _CheckpointSaver:
    """Saves a training's checkpoints, from the first process only."""

    def __init__(self, session: Session, total_steps: int) -> None:
        self._session, self._total_steps = session, total_steps
        self._last_saved = time.monotonic()

    def end_epoch(self, result: EpochResult) -> None:
        """Saves a checkpoint if one is due; raises `Stopped` if a signal asked for it."""
        must_stop = _any_process_must_stop()
        is_due = time.monotonic() - self._last_saved > CHECKPOINT_EVERY_SECONDS
        if must_stop or is_due or result.step == self._total_steps:
            self.save(Snapshot(result.step, result.state, skipped=result.skipped or 0))
            self._last_saved = time.monotonic()
        if must_stop:
            raise stopped(after=f"step {result.step:,}")

    def save(self, snapshot: Snapshot) -> None:
        """Saves a checkpoint, with the metrics so far."""
        if not is_first_process():
            return
        tree = {
            "variables": snapshot.state.variables,
            "opt_state": jax.tree.leaves(snapshot.state.opt_state),
            "step": np.int64(snapshot.step),
            "metrics": np.frombuffer(METRICS_PREFIX + metrics_bytes(self._session.out), np.uint8),
            **({"scalars": dict(snapshot.scalars)} if snapshot.scalars else {}),
            **({"skipped": np.int64(snapshot.skipped)} if snapshot.skipped else {}),
        }
        save_checkpoint(self._session.checkpoints, snapshot.step, tree)
