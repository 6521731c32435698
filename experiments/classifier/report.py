"""Report and summary of a classifier's training and test."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import jax
import numpy as np

from experiments.pages.charts import curves, reliability
from experiments.pages.confusions import confusion, taken_for
from experiments.pages.html import Fact, Picture, Section, Strip, Strips, write_report
from experiments.pages.statistics import share_of
from experiments.pages.strips import enlarged, image_row
from experiments.pages.verdict import Verdict
from imgopt import Classify
from train.classifiers import Classifier, classify_function, digest
from train.data.image_data import ImageData
from train.evaluation import Evaluation, predict
from train.storage.runs import read_metrics

WORST_IMAGES = 12
"""Mistakes that a page shows."""


@dataclass(frozen=True)
class ClassifierTest:
    """A test of a classifier.

    Attributes:
        evaluation: its result.
        classify: the classifier.
        data: the images that it was tested on.
    """

    evaluation: Evaluation
    classify: Classify
    data: ImageData

    @property
    def accuracy_words(self) -> str:
        """Accuracy, with the interval that the number of images allows."""
        right = np.trace(self.evaluation.confusion)
        return share_of(int(right), self.evaluation.images).words


@dataclass(frozen=True)
class TrainedRun:
    """What the report of a training tells.

    Attributes:
        title: title of the report.
        variant: what distinguishes the training set, such as "30% replaced"; may be empty.
        metrics: lines of the run's `metrics.jsonl`, one for each epoch.
        parameters: number of the network's parameters.
        train_images: number of training images.
        test: test after the last epoch; None if there was none.
        footer: how to reproduce the run, see `experiments.pages.html.provenance`.
    """

    title: str
    variant: str
    metrics: Sequence[Mapping[str, float]]
    parameters: int
    train_images: int
    test: ClassifierTest | None
    footer: Mapping[str, str]

    @property
    def budget(self) -> str:
        """Length of the training."""
        return f"{len(self.metrics):,} epochs, {self.metrics[-1].get('step', 0):,.0f} steps"

    @property
    def verdict(self) -> Verdict:
        """What was trained, how well it works, and what one training cannot tell."""
        of = f", {self.variant}" if self.variant else ""
        made = f"A classifier was trained on {self.train_images:,} images{of}, for {self.budget}."
        if self.test is None:
            return Verdict(made, "It was not tested, so nothing is known of its accuracy.")
        works = (
            f"It gets {self.test.accuracy_words} of the test images right. That is one training: "
            "another seed gives another number."
        )
        helps = "Whether the changed training set helps is not decided by one training (n = 1)."
        return Verdict(made, works, helps if self.variant else "")


def write_run_report(path: Path, run: TrainedRun) -> None:
    """Writes the report of a training.

    Args:
        path: path of the report.
        run: what it tells.
    """
    last, sections, facts = run.metrics[-1], [], []
    names = [name for name in ("train_accuracy", "test_accuracy") if name in last]
    losses = [name for name in ("train_loss", "test_loss") if name in last]
    if run.test:
        count = f"n = {run.test.evaluation.images:,} images, 1 training"
        facts += [
            Fact("test accuracy", f"{run.test.evaluation.accuracy:.2%}", count),
            Fact("calibration error ↓", f"{run.test.evaluation.calibration_error:.2%}", count),
        ]
        sections.append(evaluation_section(run.test))
        sections.append(worst_section(run.test))
    charts = [(names, "accuracy"), (losses, "loss, nats ↓")]
    pictures = [
        Picture(_curves(run.metrics, shown, label), f"{label.capitalize()} by epoch",
                name=label.split(",")[0])
        for shown, label in charts if shown
    ]  # fmt: skip
    facts += [
        Fact("training images", f"{run.train_images:,}", run.budget),
        Fact("parameters", f"{run.parameters:,}", "of the network"),
    ]
    write_report(
        path,
        title=run.title,
        verdict=run.verdict,
        facts=facts,
        sections=[*sections, Section(title="Training", pictures=pictures)],
        footer=run.footer,
    )


def _curves(metrics: Sequence[Mapping[str, float]], names: Sequence[str], label: str):
    series = {
        name.replace("_", " "): [line.get(name, math.nan) for line in metrics] for name in names
    }
    return curves(series, x_label="epoch", y_label=label)


def evaluation_section(test: ClassifierTest, *, name: str = "test") -> Section:
    """Makes a report's section on a test: confusion matrix, calibration and mistakes by class.

    Args:
        test: the test.
        name: prefix of the file names of the pictures.
    """
    evaluation, class_names = test.evaluation, test.data.class_names
    matrix = confusion(evaluation.confusion, class_names)
    calibration = reliability(
        evaluation.bin_confidence, evaluation.bin_accuracy, evaluation.bin_counts
    )
    filled, bins = int((evaluation.bin_counts > 0).sum()), len(evaluation.bin_counts)
    calibrated = Picture(
        calibration,
        f"Accuracy at each confidence; {filled} of {bins} bins have predictions, and larger dots "
        "more of them",
        name=f"{name}-calibration",
    )
    drawn = [] if matrix is None else [
        Picture(matrix, "True and predicted classes", name=f"{name}-confusion")
    ]  # fmt: skip
    return Section(
        title="Test",
        text=f"{evaluation.images:,} images; expected calibration error "
        f"{evaluation.calibration_error:.2%} (lower is better).",
        pictures=[*drawn, calibrated],
        tables=[taken_for(evaluation.confusion, class_names)],
    )


def worst_section(test: ClassifierTest) -> Section:
    """Makes a section with the mistakes that the classifier was surest of.

    Args:
        test: the test, whose images are classified once more.
    """
    data, title = test.data, "The worst images"
    log_p = predict(test.classify, data.images)
    predicted, rows = log_p.argmax(1), np.arange(len(data.labels))
    wrong = rows[predicted != data.labels]
    if not len(wrong):
        return Section(title, f"There are none: all {len(rows):,} images are classified right.")
    shares = np.exp(log_p)
    worst = wrong[np.argsort(-shares[wrong, predicted[wrong]], kind="stable")][:WORST_IMAGES]
    strips = [
        Strip(
            data.class_names[data.labels[row]],
            image_row([data.images[row]]),
            (
                f"taken for {data.class_names[predicted[row]]}, {shares[row].max():.1%}",
                f"own class {shares[row, data.labels[row]]:.1%}",
            ),
            f"{data.class_names[data.labels[row]]}, taken for {data.class_names[predicted[row]]}",
        )
        for row in worst
    ]
    caption = f"{len(worst)} of {len(wrong):,} mistakes, the surest first; above each its class."
    return Section(title, strips=[Strips(strips, caption, enlarged(data.images.shape[2]))])


def tested_on(classifier: Classifier, evaluation: Evaluation, data: ImageData) -> ClassifierTest:
    """The test of a trained classifier, for its report."""
    return ClassifierTest(evaluation, classify_function(classifier), data)


def summarise_run(
    out: Path,
    classifier: Classifier,
    evaluation: Evaluation | None,
    other: Evaluation | None,
    *,
    train_images: int,
) -> dict[str, object]:
    """Fields of a run's `result.json`.

    Args:
        out: The run's directory, with its metrics.
        classifier: Trained classifier.
        evaluation: Its test after the last epoch; None without a test.
        other: Its test on another set; None for none.
        train_images: Number of training images.
    """
    spec, variables = classifier
    fields = {
        **read_metrics(out)[-1],
        "classifier_sha256": digest(Classifier(spec, jax.device_get(variables))),
        "parameters": sum(np.size(p) for p in jax.tree.leaves(variables["params"])),
        "train_images": train_images,
    }
    if evaluation:
        fields["calibration_error"] = evaluation.calibration_error
        fields["test_images"] = evaluation.images
    if other:
        fields["other_test_accuracy"] = other.accuracy
        fields["other_test_images"] = other.images
    return fields
