"""Stages of a GAN's training, one after another in a run's directory."""

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import jax
import numpy as np

from experiments.gan.acceptance import AcceptanceMeter, acceptance_line
from experiments.pages.image_sheets import sample_grid
from experiments.training.session import Session, StartPoint, Training, restore, train_epochs
from experiments.training.tracking import Track, track_nothing
from gans.pairs import GanData, Variables
from gans.sampling import Gan, GanSpec, image_keys, sample
from train.learner import Learner, TrainState
from train.loop import EpochResult, FitOptions, Snapshot
from train.recipes.train_options import Budget
from train.runtime.processes import is_first_process
from train.storage.checkpoints import CHECKPOINTS
from train.storage.files import atomic_write
from train.storage.runs import append_metrics, write_metrics

SAMPLES = "samples"
"""Name of a run's directory of sample sheets."""

SHEET_STREAM = 1000
"""Folded into the run's key for the noise of sample sheets; stages use their numbers, from 0."""

SHEET_COLUMNS = 8

WON_LOSS = 1e-6
"""A discriminator with a smaller mean loss has won: its output is as good as perfect in float32."""


@dataclass
class Stages:
    """Trains one stage after another; each resumes from its own last undamaged checkpoint.

    Attributes:
        out: The run's directory.
        key: Key of the run; stage i uses fold_in(key, i).
        data: The training set.
        ids: Ids of the training images.
        spec: The GAN.
        options: Options of every stage's training; constants are set for each stage.
        grids: Number of sample sheets to keep of a stage.
        label: Text in front of the progress.
        acceptance: Measures the acceptance of the samples; None for no measurement.
        track: Called with each line of metrics, by the first process.
    """

    out: Path
    key: jax.Array
    data: GanData
    ids: Sequence[str]
    spec: GanSpec
    options: FitOptions
    grids: int
    label: str
    acceptance: AcceptanceMeter | None = None
    track: Track = track_nothing
    _done: list[str] = field(default_factory=list, init=False)
    _metrics: bytes = field(default=b"", init=False)
    """Lines of metrics of all stages that are done."""

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
            name: Name of the stage in the metrics, and of the directory of its checkpoints.
            learner: What to train.
            budget: How long to train.
            constants: Constants of the learner.
            begin: State to begin from; a newly drawn one if None.
            preview: Function from the learner's variables to the variables of all generators, to
                draw a sample sheet; no sheets if None.

        Raises:
            FloatingPointError: A number is no longer finite, or a discriminator has won.
        """
        session = Session(
            self.out, self.out / CHECKPOINTS / name, f"{self.label}: {name}", self.ids
        )
        training = Training(
            jax.random.fold_in(self.key, len(self._done)), learner, self.data, budget,
            replace(self.options, constants=constants),
        )  # fmt: skip
        start = self._start(session, training, begin)
        if is_first_process() and not training.is_done(start.snapshot):
            self._drop_later_stages(name)

        def on_epoch(result: EpochResult) -> None:
            line = self._metrics_line(result)
            if not is_first_process():
                return
            generators = preview and preview(result.state.variables)
            meter = self.acceptance
            if generators and meter and meter.is_due(result.epoch, epochs=training.epochs):
                found = acceptance_line(meter.measure(generators))
                line |= {**found, "by_class": line.get("by_class", {}) | found["by_class"]}
            append_metrics(self.out, {"stage": name, **line})
            self.track({"stage": name, **line})
            if generators and self._is_sheet_due(result.epoch, training.epochs):
                self._keep_sheet(f"{name}-{result.epoch:05d}", generators)

        state, self._metrics = train_epochs(session, training, on_epoch, start=start)
        self._done.append(name)
        return state

    def _start(self, session: Session, training: Training, begin: TrainState | None) -> StartPoint:
        """Where a stage starts: at its checkpoint, or at its beginning."""
        groups = training.options.groups
        restored = restore(
            session.out, session.checkpoints, training.learner,
            groups=None if groups is None else len(groups),
        )  # fmt: skip
        if restored:
            return restored
        return StartPoint(None if begin is None else Snapshot(0, begin), self._metrics)

    def finish(self) -> None:
        """Drops lines of metrics that a killed process may have left after the last stage."""
        if is_first_process():
            write_metrics(self.out, self._metrics)

    def _drop_later_stages(self, name: str) -> None:
        """Removes the checkpoints of later stages, which depend on a stage that is not done."""
        checkpoints = self.out / CHECKPOINTS
        for path in checkpoints.iterdir() if checkpoints.is_dir() else ():
            if path.name not in (*self._done, name):
                shutil.rmtree(path)

    def _metrics_line(self, result: EpochResult) -> dict[str, Any]:
        """Line of `metrics.jsonl`: means over the classes, and of each class if each has a GAN."""
        self._check_not_won(result)
        means = {name: float(value.mean()) for name, value in result.means.items()}
        line = {"epoch": result.epoch, "step": result.step, **means}
        if result.skipped is not None:
            line["skipped"] = result.skipped
        if self.options.groups:
            line["by_class"] = {name: value.tolist() for name, value in result.means.items()}
        return line

    def _check_not_won(self, result: EpochResult) -> None:
        """Raises FloatingPointError if a discriminator has won; the message names its class."""
        groups = self.options.groups
        for name, value in result.means.items():
            if not name.startswith("discriminator_loss") or value.min() >= WON_LOSS:
                continue
            whose = f" of {list(groups)[value.argmin()]}" if groups else ""
            raise FloatingPointError(
                f"the discriminator{whose} has won: its mean loss was {value.min():.1e} in epoch "
                f"{result.epoch}, so the generator learns nothing more. --generator-steps "
                "adaptive, --augmentations, --r1 or --spectral-norm may help; the last checkpoint "
                "is kept"
            )

    def _is_sheet_due(self, epoch: int, epochs: int) -> bool:
        """Whether a sample sheet is kept after this epoch: `grids` sheets at even intervals."""
        return epoch * self.grids // epochs > (epoch - 1) * self.grids // epochs

    def _keep_sheet(self, name: str, generators: Variables) -> None:
        """Draws samples of fixed noise, one row a class, and writes them as a picture."""
        classes = self.spec.num_classes
        key = jax.random.fold_in(self.key, SHEET_STREAM)
        numbers = np.arange(SHEET_COLUMNS)
        keys = [image_keys(key, label, numbers) for label in range(classes)]
        images = sample(
            Gan(self.spec, generators),
            jax.numpy.concatenate(keys),
            np.repeat(np.arange(classes), SHEET_COLUMNS),
            batch_size=SHEET_COLUMNS,
        )
        (self.out / SAMPLES).mkdir(exist_ok=True)
        sheet = sample_grid(images.reshape(classes, SHEET_COLUMNS, *images.shape[1:]))
        atomic_write(self.out / SAMPLES / f"{name}.png", sheet)
