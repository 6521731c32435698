"""A classifier's training and test as a page."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from experiments.pages.charts import confusion, curves, reliability
from experiments.pages.html import Picture, Section, provenance, write_report
from train.evaluation import Evaluation


def write_run_report(
    path: Path,
    *,
    title: str,
    class_names: tuple[str, ...],
    metrics: Sequence[dict[str, Any]],
    result: dict[str, Any],
    evaluation: Evaluation | None,
) -> None:
    """Writes the report of a training.

    Args:
        path: the page to write.
        title: its title.
        class_names: in the order of the labels.
        metrics: a line an epoch, as in the run's `metrics.jsonl`.
        result: the content of the run's `result.json`, and the key.
        evaluation: of the last epoch, where there was a test.
    """
    names = [name for name in ("train_accuracy", "test_accuracy") if name in metrics[0]]
    series = {name.replace("_", " "): [line[name] for line in metrics] for name in names}
    drawn = curves(series, x_label="epoch", y_label="accuracy")
    sections = [
        Section(title="Training", pictures=(Picture(drawn, "Accuracy by epoch", name="accuracy"),))
    ]
    facts = {"epochs": str(len(metrics)), "parameters": f"{result['parameters']:,}"}
    if evaluation:
        facts = {"test accuracy": f"{evaluation.accuracy:.2%}", **facts}
        sections.append(evaluation_section(evaluation, class_names))
    write_report(
        path,
        title=title,
        lead="A classifier's training and its test, measured after the last epoch.",
        facts=facts,
        sections=sections,
        footer=provenance(result),
    )


def evaluation_section(
    evaluation: Evaluation, class_names: tuple[str, ...], *, name: str = "test"
) -> Section:
    """A report's section on a test: confusion matrix and calibration diagram.

    Args:
        evaluation: the test's result.
        class_names: in the order of the labels.
        name: begins the names of the pictures' files.
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
                "How often the classifier is right when it says so",
                name=f"{name}-calibration",
            ),
        ),
    )
