"""Report and summary of a classifier's training and test."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import jax
import numpy as np

from experiments.pages.charts import confusion, curves, reliability
from experiments.pages.html import Picture, Section, write_report
from train.classifiers import Classifier, digest
from train.evaluation import Evaluation
from train.storage.runs import read_metrics


def write_run_report(
    path: Path,
    *,
    title: str,
    class_names: tuple[str, ...],
    metrics: Sequence[Mapping[str, float]],
    parameters: int,
    evaluation: Evaluation | None,
    footer: Mapping[str, str],
) -> None:
    """Writes the report of a training.

    Args:
        path: Path of the report.
        title: Title of the report.
        class_names: Names of the classes, in the order of the labels.
        metrics: Lines of the run's `metrics.jsonl`, one for each epoch.
        parameters: Number of the network's parameters.
        evaluation: Test after the last epoch; None if there was no test.
        footer: How to reproduce the run, see `experiments.pages.html.provenance`.
    """
    names = [name for name in ("train_accuracy", "test_accuracy") if name in metrics[-1]]
    series = {
        name.replace("_", " "): [line.get(name, math.nan) for line in metrics] for name in names
    }
    drawn = curves(series, x_label="epoch", y_label="accuracy")
    sections = [
        Section(title="Training", pictures=(Picture(drawn, "Accuracy by epoch", name="accuracy"),))
    ]
    facts = {"epochs": str(len(metrics)), "parameters": f"{parameters:,}"}
    if evaluation:
        facts = {"test accuracy": f"{evaluation.accuracy:.2%}", **facts}
        sections.append(evaluation_section(evaluation, class_names))
    write_report(
        path,
        title=title,
        lead="A classifier's training and its test, measured after the last epoch.",
        facts=facts,
        sections=sections,
        footer=dict(footer),
    )


def evaluation_section(
    evaluation: Evaluation, class_names: tuple[str, ...], *, name: str = "test"
) -> Section:
    """Makes a report's section on a test: confusion matrix and calibration diagram.

    Args:
        evaluation: Result of the test.
        class_names: Names of the classes, in the order of the labels.
        name: Prefix of the file names of the pictures.
    """
    matrix = confusion(evaluation.confusion, class_names)
    calibration = reliability(
        evaluation.bin_confidence, evaluation.bin_accuracy, evaluation.bin_counts
    )
    return Section(
        title="Test",
        text=f"{evaluation.confusion.sum():,} images; expected calibration error "
        f"{evaluation.calibration_error:.2%}.",
        pictures=(
            Picture(matrix, "True and predicted classes", name=f"{name}-confusion"),
            Picture(
                calibration,
                "Accuracy at each confidence",
                name=f"{name}-calibration",
            ),
        ),
    )


def summarise_run(
    out: Path, classifier: Classifier, evaluation: Evaluation | None, *, train_images: int
) -> dict[str, object]:
    """Fields of a run's `result.json`.

    Args:
        out: The run's directory, with its metrics.
        classifier: Trained classifier.
        evaluation: Its test after the last epoch; None without a test.
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
        fields["test_images"] = int(evaluation.confusion.sum())
    return fields
