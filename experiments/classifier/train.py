"""The command `elicit classifier train`: a run directory with a trained classifier.

The same command, given again, resumes the run from its last undamaged checkpoint. The reported
accuracy is measured after the last epoch; no epoch is ever chosen by its test accuracy.
"""

import functools
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import jax

from experiments.classifier.fit_to_set import describe_choice, fit_to_set
from experiments.classifier.report import TrainedRun, summarise_run, tested_on, write_run_report
from experiments.classifier.training_sets import (
    TrainingSets,
    classifier_spec,
    describe_sets,
    load_sets,
    training_data,
)
from experiments.console.progress import Progress
from experiments.options.classifier import ClassifierTrainConfig
from experiments.pages.html import digest_words, provenance
from experiments.training.run import (
    TrainingRun,
    check_device_options,
    identity_of,
    run_training,
    steps_footprint,
)
from experiments.training.session import Session, StartPoint, Training, restore, train_epochs
from experiments.training.tracking import check_tracker, tracking
from imgopt.errors import InputError
from train.classifier_training import ClassifierLearner
from train.classifiers import (
    SPEC_FILE,
    Classifier,
    ClassifierSpec,
    Teacher,
    classify_function,
)
from train.data.image_data import ImageData
from train.evaluation import Evaluation, evaluate
from train.learner import TrainState
from train.loop import EpochResult, FitOptions, fit
from train.runtime.memory import explaining_out_of_memory
from train.runtime.processes import is_first_process
from train.storage.checkpoints import CHECKPOINTS
from train.storage.runs import (
    CONFIG_FILE,
    METRICS_FILE,
    append_metrics,
    as_json,
    read_metrics,
    write_metrics,
)

PARTS = (CONFIG_FILE, SPEC_FILE, METRICS_FILE, CHECKPOINTS, "report.html")
"""Files and directories of a run whose digests stand in its result."""


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
    check_tracker(config.track)
    sets = load_sets(config)
    given, config = config, _fitted(config, sets)
    spec = classifier_spec(config, sets.originals)
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
            batch_size=training.budget.batch_size,
        ),
        train=lambda: _train(config, spec, sets, training, label=label, choice=choice),
        summarise=lambda trained: summarise_run(
            config.out, *trained, train_images=len(training.data.labels)
        ),
        report=functools.partial(_report, config, sets),
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
    sets = load_sets(config)
    config = _fitted(config, sets)
    spec = classifier_spec(config, sets.originals)
    training = _training(config, spec, sets)
    steps = training.budget.steps_per_epoch(len(training.data.labels))
    total = min(steps, training.total_steps)
    with (
        Progress(config.out.name, total=total, unit="steps") as progress,
        explaining_out_of_memory(
            functools.partial(steps_footprint, training), training.budget.batch_size
        ),
    ):
        epochs = fit(
            training.key, training.learner, training.data, training.budget,
            replace(training.options, devices=1), after_call=progress.update_to,
        )  # fmt: skip
        epoch = next(epochs)
    tested = sets.test if _is_tested(config, training, epoch) else None
    return _metrics_line(epoch, _evaluate(spec, epoch.state, tested))


def _fitted(config: ClassifierTrainConfig, sets: TrainingSets) -> ClassifierTrainConfig:
    """Chooses the batch size and the epochs that are not given."""
    devices = config.devices * jax.process_count()
    return replace(config, train=fit_to_set(config.train, sets.examples, devices=devices))


def _identity(config: ClassifierTrainConfig, sets: TrainingSets) -> dict[str, object]:
    """Everything that the result depends on; data are identified by digest, not by place."""
    options = {
        **describe_sets(config, sets),
        "model": config.model,
        "width": config.width,
        "key": config.key,
        "train": as_json(config.train),
        **({} if config.test_every == 1 else {"test_every": config.test_every}),
    }
    return identity_of(options, devices=config.devices)


def _training(config: ClassifierTrainConfig, spec: ClassifierSpec, sets: TrainingSets) -> Training:
    """The training; refuses a training set smaller than a batch, and too few steps to make images.

    Teachers' variables are named in the options, so that the estimate of memory counts them.
    """
    data, budget = training_data(config, sets), config.train.budget
    budget.steps_per_epoch(len(data.labels))
    total, every = (
        budget.total_steps(len(data.labels)),
        config.train.recipe.synthesis.synthesize_every,
    )
    if every > total:
        raise InputError(
            f"--synthesize-every {every} is never reached in {total} steps; lower it, or train "
            "longer"
        )
    teachers = tuple(Teacher(*classifier) for classifier in sets.teachers)
    learner = ClassifierLearner(spec, config.train.step_config, teachers)
    learner.check(data)
    return Training(
        jax.random.key(config.key),
        learner,
        data,
        budget,
        FitOptions(
            constants=learner.constants(total) if teachers else None,
            max_skipped=config.train.nonfinite.allowed,
            devices=config.devices,
        ),
    )


class _Trained(NamedTuple):
    """A trained classifier, and its tests after the last epoch, if there are any.

    Attributes:
        classifier: The classifier.
        evaluation: Its test on the test set.
        other: Its test on the set of --test-also.
    """

    classifier: Classifier
    evaluation: Evaluation | None
    other: Evaluation | None


def _train(
    config: ClassifierTrainConfig,
    spec: ClassifierSpec,
    sets: TrainingSets,
    training: Training,
    *,
    label: str,
    choice: str | None,
) -> _Trained:
    """Trains from the last undamaged checkpoint to the end."""
    if choice and is_first_process():
        print(choice)
    evaluation = None
    session = Session(config.out, config.out / CHECKPOINTS, label, sets.ids)

    def on_epoch(result: EpochResult) -> None:
        nonlocal evaluation
        if is_first_process():
            tested = sets.test if _is_tested(config, training, result) else None
            evaluation = _evaluate(spec, result.state, tested)
            line = _metrics_line(result, evaluation)
            append_metrics(config.out, line)
            track(line)

    start = restore(session.out, session.checkpoints, training.learner) or StartPoint()
    tracker = config.track if is_first_process() else None
    with tracking(tracker, config.out, as_json(config)) as track:
        state, metrics = train_epochs(session, training, on_epoch, start=start)
    if is_first_process():
        write_metrics(config.out, metrics)  # drops lines that a killed process left after them
        evaluation = evaluation or _evaluate(spec, state, sets.test)
    other = _evaluate(spec, state, sets.test_also) if is_first_process() else None
    return _Trained(Classifier(spec, state.variables), evaluation, other)


def _is_tested(config: ClassifierTrainConfig, training: Training, result: EpochResult) -> bool:
    """Whether the classifier is tested after this epoch."""
    return result.epoch % config.test_every == 0 or result.step == training.total_steps


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


def _report(
    config: ClassifierTrainConfig, sets: TrainingSets, trained: _Trained, result: dict[str, Any]
) -> None:
    """Writes the report and prints the test accuracy."""
    classifier, evaluation, other = trained
    test = None
    if evaluation is not None and sets.test is not None:
        test = tested_on(classifier, evaluation, sets.test)
    data = describe_sets(config, sets)["dataset"]
    name, variant = Path(data["name"]).name, ", ".join(_variants(config))
    run = TrainedRun(
        title=f"{config.model} on {name}: {variant or 'originals only'}, seed {config.key}",
        variant=variant,
        metrics=read_metrics(config.out),
        parameters=result["parameters"],
        train_images=result["train_images"],
        test=test,
        footer=provenance(
            {**result, "key": config.key},
            data=f"{name}, {data['train_split']}, {digest_words(data['train_sha256'])}",
            classifier=f"{config.model}, {digest_words(result['classifier_sha256'])}",
        ),
    )
    write_run_report(config.out / "report.html", run)
    if evaluation:
        print(
            f"test accuracy {evaluation.accuracy:.2%} on {result['test_images']} images "
            f"(epoch {result['epoch']}, the last)"
        )
    if other:
        print(f"test accuracy {other.accuracy:.2%} on {other.images} images of {config.test_also}")


def _variants(config: ClassifierTrainConfig) -> Iterator[str]:
    """What distinguishes the training from one on the originals alone, in words."""
    only = " (outputs only)" if config.labels_only else ""
    if config.replace is not None:
        yield f"{config.fraction:.0%} replaced{only}"
    if config.add is not None:
        yield f"made images added as {config.add_as}{only}".replace("-", " ")
    if config.extra:
        yield f"with {', '.join(path.name for path in config.extra)}"
    if config.teacher:
        yield (
            f"with {len(config.teacher)} teachers" if len(config.teacher) > 1 else "with a teacher"
        )
    if config.train.recipe.synthesis.synthesize_every:
        yield "images made during training"
