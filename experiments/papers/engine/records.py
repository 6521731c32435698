"""What the pieces that are measured came to, as an experiment's `result.json` keeps it."""

from pathlib import Path
from typing import Any

from train.storage.runs import read_result
from train.storage.strict_json import read_sealed

TRAINING_FIELDS = (
    "classifier_sha256", "device", "epoch", "step", "test_accuracy", "test_images", "timing",
    "train_images",
)  # fmt: skip


def training_record(run: Path) -> dict[str, Any]:
    """Accuracy, length and digest of a training.

    Args:
        run: a complete run of `elicit classifier train`.
    """
    result = read_result(run)
    return {name: result[name] for name in TRAINING_FIELDS}


def synthesis_record(directory: Path) -> dict[str, Any]:
    """Measures of a set made by `elicit synthesize`.

    Args:
        directory: of the set, complete.
    """
    return read_sealed(directory / "summary.json")
