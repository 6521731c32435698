"""Training in a run's directory, from the last good checkpoint on, with progress shown."""

import math
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, Key

from experiments.progress import Progress
from train.checkpoints import latest_checkpoint, remove_leftovers, save_checkpoint
from train.loop import Budget, EpochResult, Learner, TrainState, fit
from train.runs import keep_metrics

CHECKPOINT_EVERY_SECONDS = 60.0
"""At the end of the first epoch after this long, and of the last one."""


def restore(checkpoints: Path, learner: Learner) -> tuple[int, TrainState] | None:
    """Updates made and state by the last good checkpoint, or None where there is none.

    Args:
        checkpoints: where `train_epochs` saves them.
        learner: what is trained.
    """
    checkpoint = latest_checkpoint(checkpoints)
    if checkpoint is None:
        return None
    # An optimiser's own types are a list of arrays on disk; groups do not change their structure.
    empty = jax.eval_shape(learner.initial, jax.random.key(0))
    saved = checkpoint.state
    opt_state = jax.tree.unflatten(jax.tree.structure(empty.opt_state), saved["opt_state"])
    state = jax.tree.map(jnp.asarray, TrainState(saved["variables"], opt_state))
    return int(saved["step"]), state


def train_epochs(
    out: Path,
    key: Key[Array, ""],
    learner: Learner,
    data: Any,
    budget: Budget,
    *,
    checkpoints: Path,
    label: str,
    resume: tuple[int, TrainState] | None = None,
    stage: str | None = None,
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
        stage: of the run, which its lines of metrics name; None: it has no stages.
        groups: ditto.
        constants: ditto.

    Yields:
        An `EpochResult` after every epoch that is still to do.
    """
    count = min(map(len, groups.values())) if groups else len(jax.tree.leaves(data)[0])
    total = budget.total_steps(count)
    done = resume[0] if resume else 0
    keep_metrics(out, math.ceil(done / budget.steps_per_epoch(count)), stage=stage)
    remove_leftovers(checkpoints)
    if done == total:
        return
    last_saved = time.monotonic()
    with Progress(label, total=total, unit="steps", done=done) as progress:
        for result in fit(
            key, learner, data, budget, groups=groups, constants=constants, resume=resume,
            on_progress=lambda done, _: progress.update_to(done),
        ):  # fmt: skip
            yield result
            if result.step == total or time.monotonic() - last_saved > CHECKPOINT_EVERY_SECONDS:
                save_checkpoint(checkpoints, result.epoch, _as_tree(result))
                last_saved = time.monotonic()


def _as_tree(result: EpochResult) -> dict[str, Any]:
    return {
        "variables": result.state.variables,
        "opt_state": jax.tree.leaves(result.state.opt_state),
        "step": np.int64(result.step),
    }
