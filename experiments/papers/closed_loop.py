"""The command `elicit experiment closed-loop`: do a GAN's images help (B, 3.3 and 4)?

Images are drawn from a GAN and sorted by a classifier trained on the same few real ones; then
classifiers are trained on the real images alone, and with each of the new sets beside them. Every
training takes the same number of optimiser steps, so that no arm wins by training longer, and the
trainings of all arms begin from the same seeds, so that they can be compared in pairs. Beyond the
paper there is a control: as many images of the GAN as the others have, but not sorted.

Each part is the ordinary command on a directory of its own, so an interrupted experiment goes on
where it stopped.
"""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

import jax

from experiments.classifier.source import ClassifierSource, check_fits, find_classifier
from experiments.classifier.train import ClassifierTrainConfig, train_classifier
from experiments.data.augment import AugmentConfig, augment
from experiments.gan.sample import GanSampleConfig, sample_gan
from experiments.gan.select_report import SELECTION_FILE
from experiments.pages.statistics import mean_and_deviation, paired_difference
from experiments.papers.closed_loop_report import (
    BASELINES,
    UNSORTED,
    markdown_table,
    print_table,
    write_loop_report,
)
from gans.sampling import Gan, gan_digest, load_gan
from imgopt.errors import InputError
from train.augmentation import check_crop
from train.classifier_training import TrainConfig
from train.data.combine import check_alike
from train.data.load import ImageData, data_digest, list_splits, load_images
from train.models.networks import NetworkName, check_image_shape
from train.storage.files import atomic_write
from train.storage.runs import (
    CONFIG_FILE,
    as_json,
    check_key,
    environment,
    open_run,
    read_result,
    write_result,
)
from train.storage.strict_json import read_sealed

Kind = Literal["tp", "fp"]
KINDS: tuple[Kind, ...] = ("tp", "fp")
"""Of sorted images; also their sets' directories."""

SELECTOR = "selector"
TABLE_FILE = "table.md"

ARMS: dict[str, tuple[str, ...]] = {
    "real": (),
    "real + geometric": ("geometric",),
    "real + TP": ("tp",),
    "real + FP": ("fp",),
    "real + random": (UNSORTED,),
    "real + TP + geometric": ("tp", "geometric"),
}
"""What is trained on, and the sets beside the real images, by their directories' names."""

STEPS = 2_000
"""Of every training: 51 epochs of paper B's 5,000 images, which does not say how long it trains."""


@dataclass(frozen=True)
class SameStepsConfig(TrainConfig):
    """How every classifier is trained, by the same number of steps whatever its set."""

    steps: int = STEPS
    """Updates of every training; the last epoch is cut short."""
    learning_rate: float = 0.02
    """Peak of the schedule. kono-cnn has no batch norm: with 0.05, at a quarter of its width, one
    of 18 trainings never left chance."""


@dataclass(frozen=True)
class ClosedLoopConfig:
    """Trains with and without a GAN's images, sorted and unsorted, and compares."""

    data: str
    """The directory of the real data set, or "digits"; its split test is what is measured on."""
    gan: str
    """A run of `elicit gan train` on its split train."""
    out: Path
    """The directory of the results; selector, image sets and trainings go into it too."""
    per_class: int = 500
    """Images of each class in each generated set; the default is paper B's."""
    seeds: int = 3
    """Trainings of each kind, at least 2 for a standard deviation; the keys after --key."""
    model: NetworkName = "kono-cnn"
    """Architecture of all classifiers: kono-cnn is paper B's."""
    width: float = 1.0
    """Factor on all its channel counts."""
    selector: str | None = None
    """A run of `elicit classifier train`, or a callable as package.module:name, that sorts the
    images; by default one is trained like the others, on the real images alone."""
    max_tries_per_class: int | None = None
    """Images tried of each class at most; 20 for each one wanted by default."""
    crop_px: int = 24
    """Side of the square that geometric augmentation cuts out; paper B's is 24 of 32."""
    key: int = 0
    """Seed of everything random."""
    train: SameStepsConfig = field(default_factory=SameStepsConfig)

    def __post_init__(self) -> None:
        """Raises InputError for what can be told from the options alone."""
        check_key(self.key + self.seeds)  # the trainings' seeds follow it
        if self.seeds < 2:
            raise InputError(f"seeds must be at least 2, got {self.seeds}")
        if self.train.loss != "cross-entropy":
            raise InputError(
                f"loss must be cross-entropy, got {self.train.loss}: a GAN's images have labels "
                "and no outputs to learn from"
            )
        if self.train.epochs != TrainConfig.epochs:
            raise InputError(
                "all arms train for the same number of steps, and an epoch's length differs from "
                "arm to arm; give --steps and not --epochs"
            )
        _ = self.real_training, self.sampling("tp")
        if self.max_tries_per_class is not None and self.max_tries_per_class < self.per_class:
            raise InputError(
                f"max_tries_per_class must be at least per_class, which is {self.per_class}, got "
                f"{self.max_tries_per_class}"
            )

    @property
    def real_training(self) -> ClassifierTrainConfig:
        """The training on the real images alone by --key, which makes the selector."""
        return ClassifierTrainConfig(
            dataset=self.data,
            out=self.out / SELECTOR,
            model=self.model,
            width=self.width,
            key=self.key,
            train=self.train,
        )

    def sampling(self, select: Kind | None) -> GanSampleConfig:
        """The drawing of images of one kind, or of images that are judged and all kept.

        A class that has none of a kind goes without: a GAN may have learnt it too well for a single
        false positive.
        """
        return GanSampleConfig(
            gan=self.gan,
            out=self.out / (select or UNSORTED),
            per_class=self.per_class,
            classifier=self.selector or str(self.out / SELECTOR),
            select=select,
            max_tries_per_class=self.max_tries_per_class if select else None,
            skip_dry_classes=select is not None,
            key=self.key,
        )


def closed_loop(config: ClosedLoopConfig) -> dict[str, Any]:
    """Runs the command.

    Args:
        config: what to compare.

    Returns:
        The content of `result.json`.

    Raises:
        InputError: something does not fit, found before anything is compiled or written; or all
            of the GAN's images are of one kind.
        FloatingPointError: a loss, an image or a classifier's output is not finite.
    """
    job = _check(config)
    if result := open_run(config.out, _identity(config, job)):
        print_table(result)
        print(f"{config.out} is complete; nothing to do")
        return result
    if config.selector is None:
        train_classifier(config.real_training, label="training the selector")
    _make_sets(config)
    result = _result(config, job, _train_arms(config))
    write_loop_report(config.out, result)
    atomic_write(config.out / TABLE_FILE, markdown_table(result).encode())
    write_result(config.out, result, of=(CONFIG_FILE, TABLE_FILE, "report.html"))
    print_table(result)
    print(config.out / "report.html")
    return result


class _Job(NamedTuple):
    """A checked job: everything in memory, nothing computed or written yet."""

    real: ImageData
    test: ImageData
    gan: Gan
    selector: ClassifierSource | None


def _check(config: ClosedLoopConfig) -> _Job:
    real, test = (load_images(config.data, split) for split in ("train", "test"))
    check_alike(real, {"the test set": test})
    image_shape = real.images.shape[1:]
    check_image_shape(config.model, image_shape)
    check_crop(config.crop_px, image_shape[:2])
    config.train.budget.steps_per_epoch(len(real.labels))  # refuses a set smaller than a batch
    gan = load_gan(config.gan)
    if gan.spec.class_names != real.class_names:
        raise InputError(
            f"the GAN {config.gan} has the classes {gan.spec.class_names}, the data set "
            f"{real.class_names}; give a GAN trained on this data set"
        )
    if gan.spec.image_shape != image_shape:
        raise InputError(
            f"the GAN {config.gan} makes images of shape {gan.spec.image_shape}, the data set has "
            f"{image_shape}; give a GAN trained on this data set"
        )
    selector = None
    if config.selector is not None:
        selector = find_classifier(config.selector, precision="float32")
        check_fits(selector, real)
    return _Job(real, test, gan, selector)


def _identity(config: ClosedLoopConfig, job: _Job) -> dict[str, Any]:
    """What the result depends on, data, GAN and selector by digest rather than by place."""
    options = as_json(config)
    for name in ("data", "gan", "out", "selector"):
        del options[name]
    return {
        **options,
        "dataset": {
            "name": Path(config.data).name,
            "train_sha256": data_digest(job.real),
            "test_sha256": data_digest(job.test),
        },
        "gan_sha256": gan_digest(job.gan),
        "selector": job.selector.identity if job.selector else None,
        "device_kind": jax.devices()[0].device_kind,
        "jax": jax.__version__,
    }


def _make_sets(config: ClosedLoopConfig) -> None:
    """Makes the geometric set, the control, true positives and false positives."""
    augment(
        AugmentConfig(
            data=config.data,
            out=config.out / "geometric",
            crop_px=config.crop_px,
            key=config.key,
        )
    )
    sample_gan(config.sampling(None))
    for kind in KINDS:
        sample_gan(config.sampling(kind))


def _train_arms(config: ClosedLoopConfig) -> dict[str, list[Path]]:
    """Trains every arm from every seed; returns the runs of each arm."""
    runs: dict[str, list[Path]] = {name: [] for name in ARMS}
    for seed in range(config.key + 1, config.key + 1 + config.seeds):
        for name, sets in ARMS.items():
            out = config.out / f"{name.lower().replace(' + ', '-')}-{seed}"
            extra = tuple(config.out / directory for directory in sets)
            training = replace(config.real_training, out=out, extra=extra, key=seed)
            train_classifier(training, label=f"{name}, seed {seed}")
            runs[name].append(out)
    return runs


def _result(config: ClosedLoopConfig, job: _Job, runs: dict[str, list[Path]]) -> dict[str, Any]:
    accuracies = {
        name: [read_result(run)["test_accuracy"] for run in own] for name, own in runs.items()
    }
    trained = job.selector is None
    return {
        "arms": [
            {
                "name": name,
                "images": len(job.real.labels) + sum(_count(config.out / s) for s in sets),
                "runs": [run.name for run in runs[name]],
                **_statistics(accuracies, name),
            }
            for name, sets in ARMS.items()
        ],
        "steps": config.train.steps,
        "test_images": len(job.test.labels),
        "selection": {
            name: read_sealed(config.out / name / SELECTION_FILE) for name in (UNSORTED, *KINDS)
        },
        "selector": read_result(config.out / SELECTOR) if trained else None,
        "gan_sha256": gan_digest(job.gan),
        "key": config.key,
        **environment(),
    }


def _count(directory: Path) -> int:
    return list_splits(directory)["train"]


def _statistics(accuracies: dict[str, list[float]], name: str) -> dict[str, Any]:
    """An arm's accuracies, their mean and spread, and its differences to the baselines."""
    mean, deviation = mean_and_deviation(accuracies[name])
    return {
        "accuracies": accuracies[name],
        "mean": mean,
        "standard_deviation": deviation,
        "differences": {
            baseline: paired_difference(accuracies[name], accuracies[baseline])._asdict()
            for baseline in BASELINES
            if baseline != name
        },
    }
