"""Training in a run's directory, from the last good checkpoint on, with progress shown."""

import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, Key

from experiments.progress import Progress
from train.checkpoints import latest_checkpoint, remove_damaged, save_checkpoint
from train.loop import Budget, EpochResult, Learner, TrainState, fit
from train.runs import metrics_bytes, restore_metrics, write_metrics

CHECKPOINT_EVERY_SECONDS = 60.0
"""At the end of the first epoch after this long, and of the last one."""


class Beginning(NamedTuple):
    """Where training goes on.

    Attributes:
        step: updates made.
        state: after them.
        metrics: the run's metrics by then, as the file holds them.
    """

    step: int
    state: TrainState
    metrics: bytes


def restore(out: Path, checkpoints: Path, learner: Learner) -> Beginning | None:
    """The last good checkpoint, with whose metrics the run's file begins; None where there is none.

    Args:
        out: the run's directory.
        checkpoints: where `train_epochs` saves them.
        learner: what is trained.

    Warns:
        UserWarning: a newer checkpoint or the metrics are damaged; the message names the file.

    Raises:
        ValueError: the checkpoint holds no metrics.
    """
    checkpoint = latest_checkpoint(checkpoints)
    if checkpoint is None:
        return None
    if "metrics" not in checkpoint.state:
        raise ValueError(
            f"expected metrics in the checkpoint {checkpoints / str(checkpoint.step)}, got none; "
            f"it is of another version of elicit: remove {out} and train again"
        )
    remove_damaged(checkpoints)
    # An optimiser's own types are a list of arrays on disk; groups do not change their structure.
    empty = jax.eval_shape(learner.initial, jax.random.key(0))
    saved = checkpoint.state
    opt_state = jax.tree.unflatten(jax.tree.structure(empty.opt_state), saved["opt_state"])
    state = jax.tree.map(jnp.asarray, TrainState(saved["variables"], opt_state))
    metrics = saved["metrics"].tobytes()
    restore_metrics(out, metrics)
    return Beginning(int(saved["step"]), state, metrics)


def train_epochs(
    out: Path,
    key: Key[Array, ""],
    learner: Learner,
    data: Any,
    budget: Budget,
    *,
    checkpoints: Path,
    label: str,
    resume: Beginning | None = None,
    metrics: bytes = b"",
    groups: Mapping[str, Int[np.ndarray, " _"]] | None = None,
    constants: Any = None,
) -> Iterator[EpochResult]:
    """Trains as `train.fit` does, and saves a checkpoint every minute and after the last epoch.

    The caller writes one line of metrics for each result; those of epochs after the checkpoint are
    dropped first. A checkpoint is saved once the caller asks for the next result, hence after its
    line.

    Args:
        out: the run's directory.
        key: see `train.fit`, as for learner, data, budget, groups and constants.
        learner: ditto.
        data: ditto.
        budget: ditto.
        checkpoints: their directory.
        label: in front of the progress.
        resume: see `restore`.
        metrics: the run's before the first epoch, without `resume`: those of earlier stages.
        groups: ditto.
        constants: ditto.

    Yields:
        An `EpochResult` after every epoch that is still to do.
    """
    count = min(map(len, groups.values())) if groups else len(jax.tree.leaves(data)[0])
    total = budget.total_steps(count)
    done = resume.step if resume else 0
    if done == total:
        return
    write_metrics(out, resume.metrics if resume else metrics)
    last_saved = time.monotonic()
    with Progress(label, total=total, unit="steps", done=done) as progress:
        for result in fit(
            key, learner, data, budget, groups=groups, constants=constants,
            resume=(resume.step, resume.state) if resume else None,
            on_progress=lambda done, _: progress.update_to(done),
        ):  # fmt: skip
            yield result
            if result.step == total or time.monotonic() - last_saved > CHECKPOINT_EVERY_SECONDS:
                save_checkpoint(checkpoints, result.epoch, _as_tree(result, metrics_bytes(out)))
                last_saved = time.monotonic()


def _as_tree(result: EpochResult, metrics: bytes) -> dict[str, Any]:
    return {
        "variables": result.state.variables,
        "opt_state": jax.tree.leaves(result.state.opt_state),
        "step": np.int64(result.step),
        "metrics": np.frombuffer(metrics, np.uint8),
    }
