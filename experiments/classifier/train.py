"""The command `elicit classifier train`: a run directory with a trained classifier.

The same command, given again, resumes the run from its last undamaged checkpoint. The accuracy
reported is that of the last epoch; no epoch is ever chosen by its test accuracy.
"""

import functools
import math
import warnings
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from tyro.conf import UseAppendAction

from experiments.classifier.fit_to_set import describe_choice, fit_to_set, load_test_split
from experiments.classifier.report import summarise_run, write_run_report
from experiments.console.options import check_unused
from experiments.console.progress import Progress
from experiments.pages.html import provenance
from experiments.training.run import (
    TrainingRun,
    check_device_options,
    check_training_options,
    identity_of,
    run_training,
    steps_footprint,
)
from experiments.training.session import Session, StartPoint, Training, restore, train_epochs
from imgopt.errors import InputError
from train.classifier_training import ClassifierLearner, TrainConfig
from train.classifiers import (
    SPEC_FILE,
    Classifier,
    ClassifierSpec,
    channel_statistics,
    classify_function,
)
from train.data.combine import check_alike, count_sources
from train.data.load import ImageData, data_digest, find_directory, load_images
from train.data.verify import source_name, split_name
from train.evaluation import Evaluation, evaluate
from train.loop import EpochResult, FitOptions, TrainState, fit
from train.models.networks import build_network, check_image_shape
from train.runtime.memory import explaining_out_of_memory
from train.runtime.processes import is_first_process
from train.storage.checkpoints import CHECKPOINTS
from train.storage.runs import (
    ADDED_LATER,
    CONFIG_FILE,
    METRICS_FILE,
    append_metrics,
    as_json,
    check_key,
    read_metrics,
    write_metrics,
)
from train.training_sets import TrainData, add_images, original_data, replace_images

REPLACEMENT_STREAM = 3
"""Folded into the key to draw the replaced images; the training itself uses 0 to 2."""

PARTS = (CONFIG_FILE, SPEC_FILE, METRICS_FILE, CHECKPOINTS, "report.html")
"""Files and directories of a run whose digests stand in its result."""


@dataclass(frozen=True)
class ClassifierTrainConfig:
    """Trains a classifier. Images may be replaced by synthesised ones, and extra sets added."""

    dataset: str
    """Name of a data set, such as cifar10 or digits, or directory of an image set."""
    out: Path
    """The run's directory."""
    model: str = "vgg16"
    """vgg16 (paper A), vgg-small (for CPUs), kono-cnn (paper B), resnet9, wrn-16-4, or a Flax Linen
    module of your own as package.module:name."""
    width: float = 1.0
    """Factor on all channel counts of the model."""
    data_dir: Path | None = None
    """TFDS's data directory, for a data set named by name."""
    train_split: str = "train"
    """Split to train on."""
    test_split: str = "test"
    """Split to test on; empty for no test."""
    test_dataset: str | None = None
    """Name or directory of the data set with the test split, if it is another data set."""
    replace: Path | None = None
    """Set made by `elicit synthesize` from the training split; its images replace originals."""
    fraction: float = 0.3
    """With --replace: share of the training images to replace."""
    extra: UseAppendAction[tuple[Path, ...]] = ()
    """Set whose split train is added to the training set. For several sets: --extra A --extra B."""
    devices: int = field(default=1, metadata=ADDED_LATER)
    """Number of devices of each process that share a batch; another number rounds differently."""
    key: int = 0
    """Seed of all randomness."""
    train: TrainConfig = field(default_factory=lambda: TrainConfig(batch_size=None, epochs=None))

    def __post_init__(self) -> None:
        """Raises InputError for options that are invalid for any data."""
        if not 0 <= self.fraction <= 1:
            raise InputError(f"fraction must be in [0, 1], got {self.fraction}")
        if not 0 < self.width < math.inf:
            raise InputError(f"width must be above 0 and finite, got {self.width}")
        check_key(self.key)
        if self.train.loss == "mixed" and self.replace is None:
            raise InputError("--loss mixed needs --replace SET, whose outputs it learns from")
        if self.replace is None:
            check_unused(self, "fraction", why="without --replace")
        if not self.test_split:
            check_unused(self, "test_dataset", why="without --test-split")
        check_training_options(self.train)


@dataclass(frozen=True)
class ClassifierResult:
    """Result of a classifier's training, measured after the last epoch.

    Attributes:
        classifier_sha256: Digest of the classifier.
        test_accuracy: Accuracy on the test set; None without a test.
    """

    classifier_sha256: str
    test_accuracy: float | None


def train_classifier(
    config: ClassifierTrainConfig, *, label: str = "training"
) -> ClassifierResult | None:
    """Runs the command.

    Args:
        config: What to train.
        label: Text in front of the progress.

    Returns:
        The result; None in other processes than the first.

    Raises:
        InputError: Options, data, run and device do not fit together. It is raised before anything
            is written.
        FloatingPointError: The loss is no longer finite.
        LostProcessError: Another process of the job has ended.
    """
    sets = _load(config)
    given, config = config, _fitted(config, sets)
    spec = _spec(config, sets)
    training = _training(config, spec, sets)
    check_device_options(
        config.devices,
        batch_size=training.budget.batch_size,
        precision=config.train.precision,
    )
    choice = describe_choice(given.train, config.train, len(training.data.labels))
    result = run_training(
        TrainingRun(
            config.out,
            identity=_identity(config, sets),
            spec_file=SPEC_FILE,
            spec=as_json(spec._asdict()),
            files=PARTS,
            estimate=functools.partial(steps_footprint, training),
        ),
        train=lambda: _train(config, spec, sets, training, label=label, choice=choice),
        summarise=lambda trained: summarise_run(
            config.out, *trained, train_images=len(training.data.labels)
        ),
        report=functools.partial(_report, config),
    )
    if result is None:
        return None
    return ClassifierResult(result["classifier_sha256"], result.get("test_accuracy"))


def repeat_first_epoch(config: ClassifierTrainConfig) -> dict[str, float]:
    """Trains the first epoch of a run again, and writes nothing.

    Args:
        config: Configuration of the run.

    Returns:
        The line that `metrics.jsonl` should have for this epoch.

    Raises:
        InputError: Options, data and device do not fit together.
        FloatingPointError: The loss is no longer finite.
    """
    sets = _load(config)
    config = _fitted(config, sets)
    spec = _spec(config, sets)
    training = _training(config, spec, sets)
    steps = training.budget.steps_per_epoch(len(training.data.labels))
    total = min(steps, training.total_steps)
    with (
        Progress(config.out.name, total=total, unit="steps") as progress,
        explaining_out_of_memory(functools.partial(steps_footprint, training)),
    ):
        epochs = fit(
            training.key, training.learner, training.data, training.budget,
            replace(training.options, devices=1), after_call=progress.update_to,
        )  # fmt: skip
        epoch = next(epochs)
    return _metrics_line(epoch, _evaluate(spec, epoch.state, sets.test))


class _Sets(NamedTuple):
    """The image sets of a run.

    Attributes:
        originals: The training split.
        replacements: Synthesised images that replace originals; None for none.
        extras: Extra training sets, by their names for messages.
        test: The test split; None for no test.
    """

    originals: ImageData
    replacements: ImageData | None
    extras: dict[str, ImageData]
    test: ImageData | None


def _load(config: ClassifierTrainConfig) -> _Sets:
    originals = load_images(config.dataset, config.train_split, data_dir=config.data_dir)
    num_classes = len(originals.class_names)
    dtype = jnp.dtype(config.train.precision).type
    build_network(config.model, num_classes=num_classes, width=config.width, dtype=dtype)
    check_image_shape(config.model, originals.images.shape[1:], num_classes=num_classes)
    replacements = None if config.replace is None else load_images(config.replace)
    extras = {
        f"extra set {n} ({path})": load_images(path) for n, path in enumerate(config.extra, 1)
    }
    test = None
    if config.test_split:
        test_dataset = config.test_dataset or config.dataset
        test = load_test_split(test_dataset, config.test_split, data_dir=config.data_dir)
        check_alike(originals, {"the test set": test})
        _warn_of_test_images(extras, test)
    return _Sets(originals, replacements, extras, test)


def _fitted(config: ClassifierTrainConfig, sets: _Sets) -> ClassifierTrainConfig:
    """Chooses the batch size and the epochs that are not given."""
    images = sum(len(data.labels) for data in (sets.originals, *sets.extras.values()))
    devices = config.devices * jax.process_count()
    return replace(config, train=fit_to_set(config.train, images, devices=devices))


def _warn_of_test_images(extras: dict[str, ImageData], test: ImageData) -> None:
    """Warns of extra images that are test images, or made of them."""
    for name, extra in extras.items():
        count = count_sources(extra, test)
        if count:
            warnings.warn(
                f"{count} of {len(extra.ids)} images of {name} are test images or made of "
                "test images; the test accuracy will be too high",
                stacklevel=2,
            )


def _spec(config: ClassifierTrainConfig, sets: _Sets) -> ClassifierSpec:
    return ClassifierSpec(
        config.model,
        config.width,
        sets.originals.class_names,
        sets.originals.images.shape[1:],
        *channel_statistics(sets.originals.images),
    )


def _train_data(config: ClassifierTrainConfig, sets: _Sets) -> TrainData:
    """The originals, some of which may be replaced, and the extra images."""
    if config.replace is None or sets.replacements is None:
        data = original_data(sets.originals)
    else:
        key = jax.random.fold_in(jax.random.key(config.key), REPLACEMENT_STREAM)
        data = replace_images(
            key, sets.originals, sets.replacements, fraction=config.fraction,
            name=split_name(config.dataset, config.train_split, data_digest(sets.originals)),
            source=source_name(find_directory(config.replace)),
        )  # fmt: skip
    return add_images(data, sets.originals, sets.extras) if sets.extras else data


def _identity(config: ClassifierTrainConfig, sets: _Sets) -> dict[str, object]:
    """Everything that the result depends on; data are identified by digest, not by place."""
    replaced = None
    if sets.replacements:
        replaced = {"sha256": data_digest(sets.replacements), "fraction": config.fraction}
    options = {
        "dataset": {
            "name": config.dataset,
            "train_split": config.train_split,
            "train_sha256": data_digest(sets.originals),
            "test_split": config.test_split,
            "test_sha256": data_digest(sets.test) if sets.test else None,
        },
        "model": config.model,
        "width": config.width,
        "replace": replaced,
        "extra": [{"sha256": data_digest(extra)} for extra in sets.extras.values()],
        "key": config.key,
        "train": as_json(config.train),
    }
    return identity_of(options, devices=config.devices)


def _training(config: ClassifierTrainConfig, spec: ClassifierSpec, sets: _Sets) -> Training:
    """The training; refuses a training set smaller than a batch."""
    data, budget = _train_data(config, sets), config.train.budget
    budget.steps_per_epoch(len(data.labels))
    return Training(
        jax.random.key(config.key),
        ClassifierLearner(spec, config.train.step_config),
        data,
        budget,
        FitOptions(
            max_skipped=config.train.nonfinite.allowed,
            devices=config.devices,
        ),
    )


class _Trained(NamedTuple):
    """A trained classifier and its test after the last epoch, if there is one."""

    classifier: Classifier
    evaluation: Evaluation | None


def _train(
    config: ClassifierTrainConfig,
    spec: ClassifierSpec,
    sets: _Sets,
    training: Training,
    *,
    label: str,
    choice: str | None,
) -> _Trained:
    """Trains from the last undamaged checkpoint to the end."""
    if choice and is_first_process():
        print(choice)
    evaluation = None
    session = Session(config.out, config.out / CHECKPOINTS, label, _ids(sets))

    def on_epoch(result: EpochResult) -> None:
        nonlocal evaluation
        if is_first_process():
            evaluation = _evaluate(spec, result.state, sets.test)
            append_metrics(config.out, _metrics_line(result, evaluation))

    start = restore(session.out, session.checkpoints, training.learner) or StartPoint()
    state, metrics = train_epochs(session, training, on_epoch, start=start)
    if is_first_process():
        write_metrics(config.out, metrics)  # drops lines that a killed process left after them
        evaluation = evaluation or _evaluate(spec, state, sets.test)
    return _Trained(Classifier(spec, state.variables), evaluation)


def _ids(sets: _Sets) -> list[str]:
    # A replaced image keeps the id of its original.
    return [name for data in (sets.originals, *sets.extras.values()) for name in data.ids]


def _evaluate(spec: ClassifierSpec, state: TrainState, test: ImageData | None) -> Evaluation | None:
    classify = classify_function(Classifier(spec, state.variables))
    return evaluate(classify, test.images, test.labels) if test is not None else None


def _metrics_line(result: EpochResult, evaluation: Evaluation | None) -> dict[str, float]:
    """Line of `metrics.jsonl` for one epoch."""
    trained = {f"train_{name}": float(mean) for name, mean in result.means.items()}
    line = {"epoch": result.epoch, "step": result.step, **trained}
    if result.skipped is not None:
        line["skipped"] = result.skipped
    if evaluation:
        line |= {"test_loss": evaluation.loss, "test_accuracy": evaluation.accuracy}
    return line


def _report(config: ClassifierTrainConfig, trained: _Trained, result: dict[str, Any]) -> None:
    """Writes the report and prints the test accuracy."""
    write_run_report(
        config.out / "report.html",
        title=f"{config.model} on {config.dataset}",
        class_names=trained.classifier.spec.class_names,
        metrics=read_metrics(config.out),
        parameters=result["parameters"],
        evaluation=trained.evaluation,
        footer=provenance({**result, "key": config.key}),
    )
    if trained.evaluation:
        print(
            f"test accuracy {trained.evaluation.accuracy:.2%} on {result['test_images']} images "
            f"(epoch {result['epoch']}, the last)"
        )
