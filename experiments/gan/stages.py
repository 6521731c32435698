"""The stages of a GAN's training, one after another in a run's directory."""

import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from experiments.pages.image_sheets import sample_grid
from experiments.training.session import Beginning, restore, train_epochs
from gans.game import GanData, Variables
from gans.sampling import Gan, GanSpec, image_keys, sample
from train.loop import Budget, EpochResult, Learner, Snapshot, TrainState
from train.runtime.processes import is_first_process
from train.storage.checkpoints import CHECKPOINTS
from train.storage.files import atomic_write
from train.storage.runs import append_metrics, metrics_bytes, write_metrics

SAMPLES = "samples"
"""Name of the directory of sheets of samples in a run's."""

SHEET_STREAM = 1000
"""Folded into the run's key for the sheets' noise; stages use their own numbers, from 0."""

SHEET_COLUMNS = 8

WON_LOSS = 1e-6
"""A discriminator with a smaller mean loss has won: D is within a few roundings of its goal."""


class Stages:
    """Trains one stage after another; each goes on from its own last good checkpoint."""

    def __init__(
        self,
        out: Path,
        key: jax.Array,
        data: GanData,
        spec: GanSpec,
        *,
        groups: Mapping[str, np.ndarray] | None,
        grids: int,
        devices: int,
        label: str,
        ids: Sequence[str],
        max_skipped: int | None,
    ) -> None:
        """Begins.

        Args:
            out: the run's directory.
            key: of the run; stage i has fold_in(key, i).
            data: the training set.
            spec: the GAN.
            groups: rows of each class, where each has a GAN.
            grids: sheets of samples to keep of a stage.
            devices: of each process that share a batch.
            label: in front of the progress.
            ids: of the training set's images.
            max_skipped: steps of a stage that may be skipped; see `train.fit`.
        """
        self._out, self._key, self._data, self._spec = out, key, data, spec
        self._groups, self._grids, self._label = groups, grids, label
        self._devices, self._ids, self._max_skipped = devices, ids, max_skipped
        self._done: list[str] = []
        self._metrics = b""  # of the stages done

    def train(
        self,
        name: str,
        learner: Learner,
        budget: Budget,
        *,
        constants: Any = None,
        begin: TrainState | None = None,
        preview: Callable[[Variables], Variables] | None = None,
    ) -> TrainState:
        """Trains a stage to its end.

        Args:
            name: of its checkpoints and in the metrics.
            learner: what is trained.
            budget: how long.
            constants: for the learner.
            begin: the state to begin from; a freshly drawn one by default.
            preview: from the learner's variables to those of all generators, for the sheets.

        Raises:
            FloatingPointError: a number is no longer finite, or a discriminator has won.
        """
        key = jax.random.fold_in(self._key, len(self._done))
        checkpoints = self._out / CHECKPOINTS / name
        groups = len(self._groups) if self._groups else None
        resume = restore(self._out, checkpoints, learner, groups=groups)
        if resume is None and begin is not None:
            resume = Beginning(Snapshot(0, begin), self._metrics)
        state = resume.snapshot.state if resume else None
        count = min(map(len, self._groups.values())) if self._groups else len(self._data.labels)
        total = budget.total_steps(count)
        epochs = -(-total // budget.steps_per_epoch(count))
        is_done = resume is not None and resume.snapshot.step == total
        if is_first_process() and not is_done:
            self._drop_later_stages(name)
        for result in train_epochs(
            self._out, key, learner, self._data, budget,
            checkpoints=checkpoints, label=f"{self._label}: {name}", resume=resume,
            metrics=self._metrics, groups=self._groups, constants=constants,
            ids=self._ids, max_skipped=self._max_skipped, devices=self._devices,
        ):  # fmt: skip
            state, line = result.state, self._line(result)
            if not is_first_process():
                continue
            append_metrics(self._out, {"stage": name, **line})
            if preview and self._is_due(result.epoch, epochs):
                self._keep_sheet(f"{name}-{result.epoch:05d}", preview(state.variables))
        self._done.append(name)
        self._metrics = resume.metrics if resume and is_done else metrics_bytes(self._out)
        if state is None:
            raise RuntimeError("no epoch was trained, though there is at least one")
        return state

    def finish(self) -> None:
        """Drops what a killed session may have left in the metrics after the last stage."""
        if is_first_process():
            write_metrics(self._out, self._metrics)

    def _drop_later_stages(self, name: str) -> None:
        """Forgets what followed from a stage whose last checkpoint is damaged."""
        checkpoints = self._out / CHECKPOINTS
        for path in checkpoints.iterdir() if checkpoints.is_dir() else ():
            if path.name not in (*self._done, name):
                shutil.rmtree(path)

    def _line(self, result: EpochResult) -> dict[str, Any]:
        """Means over the classes, and those of each where each has a GAN."""
        self._check_not_won(result)
        means = {name: float(value.mean()) for name, value in result.means.items()}
        line = {"epoch": result.epoch, "step": result.step, **means}
        if result.skipped is not None:
            line["skipped"] = result.skipped
        if self._groups:
            line["by_class"] = {name: value.tolist() for name, value in result.means.items()}
        return line

    def _check_not_won(self, result: EpochResult) -> None:
        for name, value in result.means.items():
            if not name.startswith("discriminator_loss") or value.min() >= WON_LOSS:
                continue
            whose = f" of {list(self._groups)[value.argmin()]}" if self._groups else ""
            raise FloatingPointError(
                f"the discriminator{whose} has won: its mean loss was {value.min():.1e} in epoch "
                f"{result.epoch}, so the generator learns nothing more. --generator-steps "
                "adaptive, --augmentations or --spectral-norm may help; the last checkpoint is kept"
            )

    def _is_due(self, epoch: int, epochs: int) -> bool:
        return epoch * self._grids // epochs > (epoch - 1) * self._grids // epochs

    def _keep_sheet(self, name: str, generators: Variables) -> None:
        classes = self._spec.num_classes
        key = jax.random.fold_in(self._key, SHEET_STREAM)
        numbers = np.arange(SHEET_COLUMNS)
        keys = [image_keys(key, label, numbers) for label in range(classes)]
        images = sample(
            Gan(self._spec, generators),
            jax.numpy.concatenate(keys),
            np.repeat(np.arange(classes), SHEET_COLUMNS),
            batch_size=SHEET_COLUMNS,
        )
        (self._out / SAMPLES).mkdir(exist_ok=True)
        sheet = sample_grid(images.reshape(classes, SHEET_COLUMNS, *images.shape[1:]))
        atomic_write(self._out / SAMPLES / f"{name}.png", sheet)
