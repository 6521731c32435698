"""The command `elicit classifier train`: a run directory with a trained classifier.

The run goes on from its last good checkpoint when the same command is repeated. The accuracy
reported is that of the last epoch; no epoch is ever picked by test accuracy.
"""

import functools
import math
import time
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from tyro.conf import UseAppendAction

from experiments.classifier.report import write_run_report
from experiments.console.compilation import counted_compilations, timing
from experiments.console.progress import Progress
from experiments.training.session import restore, train_epochs
from imgopt.errors import InputError
from train.classifier_training import ClassifierLearner, TrainConfig
from train.classifiers import (
    SPEC_FILE,
    Classifier,
    ClassifierSpec,
    channel_statistics,
    check_precision,
    classify_function,
    digest,
)
from train.data.combine import check_alike, count_sources
from train.data.load import ImageData, data_digest, load_images
from train.evaluation import Evaluation, evaluate
from train.loop import EpochResult, TrainState, compile_steps, fit
from train.models.networks import NetworkName, build_network, check_image_shape
from train.runtime.memory import Footprint, check_batch_fits, explaining_out_of_memory, footprint
from train.runtime.processes import (
    devices_field,
    first_process_first,
    is_first_process,
    make_training_mesh,
)
from train.storage.checkpoints import CHECKPOINTS
from train.storage.runs import (
    ADDED_LATER,
    CONFIG_FILE,
    METRICS_FILE,
    append_metrics,
    as_json,
    check_key,
    environment,
    open_run,
    read_metrics,
    write_metrics,
    write_result,
)
from train.storage.strict_json import write_sealed
from train.training_sets import TrainData, add_images, original_data, replace_images

REPLACEMENT_STREAM = 3
"""Folded into the key for the draw of replaced images; training itself uses 0 to 2."""

PARTS = (CONFIG_FILE, SPEC_FILE, METRICS_FILE, CHECKPOINTS, "report.html")
"""What belongs to a run beside its result."""


@dataclass(frozen=True)
class ClassifierTrainConfig:
    """Trains a classifier, also with images replaced by synthesised ones, or with extra sets."""

    dataset: str
    """Name of a data set, such as cifar10 or digits, or the directory of an image set."""
    out: Path
    """The run's directory."""
    model: NetworkName = "vgg16"
    """Architecture: vgg16 (paper A), vgg-small (for CPUs), kono-cnn (paper B)."""
    width: float = 1.0
    """Factor on all its channel counts."""
    data_dir: Path | None = None
    """TFDS's data directory, for a data set named by name."""
    train_split: str = "train"
    """Split to train on."""
    test_split: str = "test"
    """Split to report on; empty for none."""
    test_dataset: str | None = None
    """Name or directory of the data set with that split, if it is another one."""
    replace: Path | None = None
    """A set made by `elicit synthesize` from the training split, to replace images by."""
    fraction: float = 0.3
    """Share of the training images to replace, with --replace."""
    extra: UseAppendAction[tuple[Path, ...]] = ()
    """A set whose split train to train on too; once for each set: --extra A --extra B."""
    devices: int = field(default=1, metadata=ADDED_LATER)
    """How many devices of each process share a batch; another number rounds its sums otherwise."""
    key: int = 0
    """Seed of everything random."""
    train: TrainConfig = field(default_factory=TrainConfig)

    def __post_init__(self) -> None:
        """Raises InputError for what can be told from the options alone."""
        if not 0 <= self.fraction <= 1:
            raise InputError(f"fraction must be in [0, 1], got {self.fraction}")
        if not 0 < self.width < math.inf:
            raise InputError(f"width must be above 0 and finite, got {self.width}")
        check_key(self.key)
        if self.train.loss == "mixed" and self.replace is None:
            raise InputError("--loss mixed needs --replace SET, whose outputs it learns from")


def train_classifier(config: ClassifierTrainConfig, *, label: str = "training") -> dict[str, Any]:
    """Runs the command.

    Args:
        config: what to train.
        label: in front of the progress.

    Returns:
        The content of `result.json`; nothing in another process than the first.

    Raises:
        InputError: something does not fit, found before anything is compiled or written.
        FloatingPointError: the loss is no longer finite.
        LostProcessError: another process of the job has ended.
    """
    sets = _load(config)
    data = _train_data(config, sets)
    spec = _spec(config, sets)
    config.train.budget.steps_per_epoch(len(data.labels))  # refuses a set smaller than a batch
    make_training_mesh(config.devices, batch_size=config.train.batch_size)  # refuses what is uneven
    check_precision(config.train.precision)
    estimate = functools.partial(_footprint, config, spec, data)
    check = functools.partial(check_batch_fits, estimate)
    began = time.monotonic()
    with counted_compilations() as compiled, explaining_out_of_memory(estimate):
        if jax.process_count() > 1:
            check()  # compiles, which all of them have to do together
        with first_process_first():
            result = open_run(config.out, _identity(config, sets), check=check)
        if result:
            print(f"{config.out} is complete; nothing to do")
            return result
        if is_first_process():
            write_sealed(config.out / SPEC_FILE, as_json(spec._asdict()))
        state, evaluation = _train(config, spec, data, sets, label=label)
    if not is_first_process():
        return {}
    return _finish(config, spec, state, evaluation, len(data.labels), timing(began, compiled))


def repeat_first_epoch(config: ClassifierTrainConfig) -> dict[str, Any]:
    """Trains the first epoch of a run again, and writes nothing.

    Args:
        config: of the run.

    Returns:
        What the epoch's line in `metrics.jsonl` is to be.

    Raises:
        InputError: as `train_classifier`.
        FloatingPointError: the loss is no longer finite.
    """
    sets = _load(config)
    data = _train_data(config, sets)
    spec, budget = _spec(config, sets), config.train.budget
    learner, steps = _learner(config, spec), _total_steps(config, data)
    first_epoch = min(budget.steps_per_epoch(len(data.labels)), int(steps))
    with (
        Progress(config.out.name, total=first_epoch, unit="steps") as progress,
        explaining_out_of_memory(functools.partial(_footprint, config, spec, data)),
    ):
        epochs = fit(
            jax.random.key(config.key), learner, data, budget,
            constants=steps, max_skipped=config.train.nonfinite.allowed,
            on_progress=lambda done, _: progress.update_to(done),
        )  # fmt: skip
        epoch = next(epochs)
    return _metrics(epoch, _evaluate(spec, epoch.state, sets.test))


class _Sets(NamedTuple):
    """The image sets of a run, as far as it has them."""

    originals: ImageData
    replacements: ImageData | None
    extras: dict[str, ImageData]
    test: ImageData | None


def _load(config: ClassifierTrainConfig) -> _Sets:
    originals = load_images(config.dataset, config.train_split, data_dir=config.data_dir)
    build_network(config.model, num_classes=len(originals.class_names), width=config.width)
    check_image_shape(config.model, originals.images.shape[1:])
    replacements = None if config.replace is None else load_images(config.replace)
    extras = {
        f"extra set {n} ({path})": load_images(path) for n, path in enumerate(config.extra, 1)
    }
    if not config.test_split:
        return _Sets(originals, replacements, extras, None)
    test_dataset = config.test_dataset or config.dataset
    test = load_images(test_dataset, config.test_split, data_dir=config.data_dir)
    check_alike(originals, {"the test set": test})
    _warn_of_test_images(extras, test)
    return _Sets(originals, replacements, extras, test)


def _warn_of_test_images(extras: dict[str, ImageData], test: ImageData) -> None:
    """A warning and no error, since two sets may give the same id to different images."""
    for name, extra in extras.items():
        count = count_sources(extra, test)
        if count:
            warnings.warn(
                f"{count} of {len(extra.ids)} images of {name} are, by their ids, test images or "
                "made of test images; the test accuracy will then be too high",
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
    """The real images, some of them perhaps replaced, and those of the extra sets."""
    if sets.replacements is None:
        data = original_data(sets.originals)
    else:
        key = jax.random.fold_in(jax.random.key(config.key), REPLACEMENT_STREAM)
        data = replace_images(key, sets.originals, sets.replacements, fraction=config.fraction)
    return add_images(data, sets.originals, sets.extras) if sets.extras else data


def _identity(config: ClassifierTrainConfig, sets: _Sets) -> dict[str, Any]:
    """What the run's result depends on, and the data by digest rather than by place."""
    replaced = None
    if sets.replacements:
        replaced = {"sha256": data_digest(sets.replacements), "fraction": config.fraction}
    return {
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
        **devices_field(config.devices),
        "device_kind": jax.devices()[0].device_kind,
        "jax": jax.__version__,
    }


def _learner(config: ClassifierTrainConfig, spec: ClassifierSpec) -> ClassifierLearner:
    return ClassifierLearner(spec, config.train.of_a_step)


def _total_steps(config: ClassifierTrainConfig, data: TrainData) -> np.int32:
    return np.int32(config.train.budget.total_steps(len(data.labels)))


def _footprint(config: ClassifierTrainConfig, spec: ClassifierSpec, data: TrainData) -> Footprint:
    """Compiles the training steps, which training will not do again, for what they need."""
    learner, budget = _learner(config, spec), config.train.budget
    program = compile_steps(
        learner, data, budget,
        constants=_total_steps(config, data), max_skipped=config.train.nonfinite.allowed,
        devices=config.devices,
    )  # fmt: skip
    return footprint(program, batch_size=budget.batch_size, beside=data, devices=config.devices)


def _train(
    config: ClassifierTrainConfig,
    spec: ClassifierSpec,
    data: TrainData,
    sets: _Sets,
    *,
    label: str,
) -> tuple[TrainState, Evaluation | None]:
    """Trains from the last good checkpoint to the end; metrics and checkpoints go to disk."""
    budget = config.train.budget
    learner = _learner(config, spec)
    key = jax.random.key(config.key)
    checkpoints = config.out / CHECKPOINTS
    resume = restore(config.out, checkpoints, learner)
    state, evaluation = resume.snapshot.state if resume else None, None
    for result in train_epochs(
        config.out, key, learner, data, budget,
        checkpoints=checkpoints, label=label, ids=_ids(sets), resume=resume,
        constants=_total_steps(config, data), max_skipped=config.train.nonfinite.allowed,
        devices=config.devices,
    ):  # fmt: skip
        state = result.state
        if is_first_process():
            evaluation = _evaluate(spec, state, sets.test)
            append_metrics(config.out, _metrics(result, evaluation))
    if resume is not None and state is resume.snapshot.state and is_first_process():
        write_metrics(config.out, resume.metrics)  # without what a killed session has left
    if state is None:
        raise RuntimeError("no epoch was trained, though there is at least one")
    return state, evaluation or _evaluate(spec, state, sets.test)


def _ids(sets: _Sets) -> list[str]:
    """Of the training set's images; a replaced one keeps its original's."""
    return [name for data in (sets.originals, *sets.extras.values()) for name in data.ids]


def _evaluate(spec: ClassifierSpec, state: TrainState, test: ImageData | None) -> Evaluation | None:
    if test is None:
        return None
    classify = classify_function(Classifier(spec, state.variables))
    return evaluate(classify, test.images, test.labels)


def _metrics(result: EpochResult, evaluation: Evaluation | None) -> dict[str, Any]:
    trained = {f"train_{name}": float(mean) for name, mean in result.means.items()}
    line = {"epoch": result.epoch, "step": result.step, **trained}
    if result.skipped is not None:
        line["skipped"] = result.skipped
    if evaluation:
        line |= {"test_loss": evaluation.loss, "test_accuracy": evaluation.accuracy}
    return line


def _finish(
    config: ClassifierTrainConfig,
    spec: ClassifierSpec,
    state: TrainState,
    evaluation: Evaluation | None,
    train_images: int,
    times: dict[str, float],
) -> dict[str, Any]:
    """Writes report and result, the result last."""
    metrics = read_metrics(config.out)
    result = {
        **metrics[-1],
        "classifier_sha256": digest(Classifier(spec, jax.device_get(state.variables))),
        "parameters": sum(np.size(p) for p in jax.tree.leaves(state.variables["params"])),
        "train_images": train_images,
        "timing": times,
        **environment(),
    }
    if evaluation:
        result["calibration_error"] = evaluation.calibration_error
        result["test_images"] = int(evaluation.confusion.sum())
    write_run_report(
        config.out / "report.html",
        title=f"{config.model} on {config.dataset}",
        class_names=spec.class_names,
        metrics=metrics,
        result={**result, "key": config.key},
        evaluation=evaluation,
    )
    write_result(config.out, result, of=PARTS)
    if evaluation:
        print(
            f"test accuracy {evaluation.accuracy:.2%} on {result['test_images']} images "
            f"(epoch {result['epoch']}, the last)"
        )
    print(f"run: {config.out}")
    return result
