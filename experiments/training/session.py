"""Training in a run's directory, from the last good checkpoint on, with progress shown."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, Key

from experiments.console.progress import Progress
from experiments.console.signals import deferred, is_asked, stopped
from imgopt.errors import InputError
from train.loop import (
    Budget,
    EpochResult,
    Learner,
    Paused,
    Snapshot,
    TrainState,
    fit,
    initial_shapes,
)
from train.nonfinite import NotFinite
from train.runtime.processes import in_any_process, is_first_process
from train.storage.checkpoints import (
    check_layout,
    latest_checkpoint,
    remove_damaged,
    save_checkpoint,
)
from train.storage.runs import CONFIG_FILE, metrics_bytes, restore_metrics, write_metrics

CHECKPOINT_EVERY_SECONDS = 60.0
"""At the end of the first epoch after this long, and of the last one."""


FIRST_BYTE = b"\n"
"""Before the metrics in a checkpoint: Orbax does not save arrays of nothing."""


class Beginning(NamedTuple):
    """Where training goes on.

    Attributes:
        snapshot: updates made, and the state after them.
        metrics: the run's metrics by then, as the file holds them.
    """

    snapshot: Snapshot
    metrics: bytes


def restore(
    out: Path, checkpoints: Path, learner: Learner, *, groups: int | None = None
) -> Beginning | None:
    """The last good checkpoint, with whose metrics the run's file begins; None where there is none.

    Args:
        out: the run's directory.
        checkpoints: where `train_epochs` saves them.
        learner: what is trained.
        groups: of examples, on each of which it is; None where they are one.

    Raises:
        InputError: the checkpoint is of another network or optimiser, or holds no metrics.

    Warns:
        UserWarning: a newer checkpoint or the metrics are damaged; the message names the file.
    """
    checkpoint = latest_checkpoint(checkpoints)
    if checkpoint is None:
        return None
    # An optimiser's own types are a list of arrays on disk.
    keys = jax.random.split(jax.random.key(0), groups or ())
    empty = initial_shapes(keys, learner)
    saved: Any = checkpoint.state
    try:
        opt_state = jax.tree.unflatten(jax.tree.structure(empty.opt_state), saved["opt_state"])
        snapshot = Snapshot(
            int(saved["step"]),
            TrainState(saved["variables"], opt_state),
            saved.get("scalars", {}),
            int(saved.get("skipped", 0)),
        )
        metrics = saved["metrics"].tobytes().removeprefix(FIRST_BYTE)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(
            f"expected a checkpoint of this training in {checkpoints / str(checkpoint.step)}, got "
            "another, or one of another version of elicit; choose another --out"
        ) from error
    check_layout(out, snapshot.state, lambda: empty, spec_file=CONFIG_FILE)
    if is_first_process():
        remove_damaged(checkpoints)
        restore_metrics(out, metrics)
    state = jax.tree.map(jnp.asarray, snapshot.state)
    return Beginning(snapshot._replace(state=state), metrics)


def train_epochs(
    out: Path,
    key: Key[Array, ""],
    learner: Learner,
    data: Any,
    budget: Budget,
    *,
    checkpoints: Path,
    label: str,
    ids: Sequence[str],
    resume: Beginning | None = None,
    metrics: bytes = b"",
    max_skipped: int | None = None,
    should_stop: Callable[[], bool] = is_asked,
    groups: Mapping[str, Int[np.ndarray, " _"]] | None = None,
    constants: Any = None,
    devices: int = 1,
) -> Iterator[EpochResult]:
    """Trains as `train.fit` does, and saves a checkpoint every minute and after the last epoch.

    A signal that arrives meanwhile is heeded after the steps at hand, and a checkpoint. Of several
    processes all stop at the same step, whichever had the signal, and the first one alone writes.

    The caller writes one line of metrics for each result; those of epochs after the checkpoint are
    dropped first. A checkpoint is saved once the caller asks for the next result, hence after its
    line.

    Args:
        out: the run's directory.
        key: see `train.fit`, as for learner, data and budget.
        learner: ditto.
        data: ditto.
        budget: ditto.
        checkpoints: their directory.
        label: in front of the progress.
        ids: of the training set's examples, to name those of a batch that is not finite.
        resume: see `restore`.
        metrics: the run's before the first epoch, without `resume`: those of earlier stages.
        max_skipped: see `train.fit`.
        should_stop: whether to stop, asked between calls to the device and after an epoch's line.
        groups: see `train.fit`, as for constants and devices.
        constants: ditto.
        devices: ditto.

    Yields:
        An `EpochResult` after every epoch that is still to do.

    Raises:
        Stopped: it should; the checkpoint is saved.
        FloatingPointError: as `train.fit`; the message names the examples of the batch.
    """
    count = min(map(len, groups.values())) if groups else len(jax.tree.leaves(data)[0])
    total = budget.total_steps(count)
    snapshot, metrics = resume or (None, metrics)
    done = snapshot.step if snapshot else 0
    if done == total:
        return
    last_saved = time.monotonic()

    def stops_everywhere() -> bool:
        return in_any_process(should_stop())

    with deferred(), Progress(label, total=total, unit="steps", done=done) as progress:
        if is_first_process():
            write_metrics(out, metrics)
        try:
            for result in fit(
                key, learner, data, budget, groups=groups, constants=constants, resume=snapshot,
                on_progress=lambda done, _: progress.update_to(done),
                should_stop=stops_everywhere, max_skipped=max_skipped, devices=devices,
            ):  # fmt: skip
                yield result
                stops = stops_everywhere()
                is_due = time.monotonic() - last_saved > CHECKPOINT_EVERY_SECONDS
                if stops or is_due or result.step == total:
                    skipped = result.skipped or 0
                    _save(out, checkpoints, Snapshot(result.step, result.state, skipped=skipped))
                    last_saved = time.monotonic()
                if stops:
                    raise stopped(after=f"step {result.step:,}")
        except Paused as paused:
            _save(out, checkpoints, paused.snapshot)
            raise stopped(after=f"step {paused.snapshot.step:,}") from None
        except NotFinite as error:
            batch = ", ".join(ids[int(row)] for row in error.rows)
            raise FloatingPointError(f"{error}. The examples of its batch: {batch}") from error


def _save(out: Path, checkpoints: Path, snapshot: Snapshot) -> None:
    if not is_first_process():
        return
    tree = {
        "variables": snapshot.state.variables,
        "opt_state": jax.tree.leaves(snapshot.state.opt_state),
        "step": np.int64(snapshot.step),
        "metrics": np.frombuffer(FIRST_BYTE + metrics_bytes(out), np.uint8),
        **({"scalars": dict(snapshot.scalars)} if snapshot.scalars else {}),
        **({"skipped": np.int64(snapshot.skipped)} if snapshot.skipped else {}),
    }
    save_checkpoint(checkpoints, snapshot.step, tree)
