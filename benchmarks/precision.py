"""Compares synthesis in bfloat16 with synthesis in float32; both are measured in float32.

Usage: python benchmarks/precision.py --classifier RUN --data cifar10 --data-dir DIR

Prints JSON: for each precision the mean and standard deviation of KL(target ‖ output) in nats, and
the seconds of the second of two passes. The mean KL with bfloat16 should be within 10% of that with
float32; otherwise the exit status is 1.

The targets are the paper's 0.9 and 0.1, with 100 updates by momentum, which comes close to the
target. A rule that stays far from the target would give equal results in any precision.
"""

import json
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np
import tyro

import imgopt
from experiments.classifier.source import check_fits, find_classifier
from imgopt.errors import InputError
from train.classifiers import check_precision
from train.data.load import load_images
from train.recipes.train_options import Precision
from train.runtime.allocator import keep_memory
from train.storage.runs import environment

PROMISED = 0.10
"""Largest relative difference of the mean KL that is allowed."""


@dataclass(frozen=True)
class PrecisionConfig:
    """Compares synthesis in bfloat16 with synthesis in float32."""

    classifier: str
    """Directory of a run of `elicit classifier train`."""
    data: str = "cifar10"
    """Name of a data set, or directory of an image set."""
    data_dir: Path | None = None
    """TFDS's data directory, if `dataset` is a name."""
    split: str = "test"
    """Split whose first images are used."""
    images: int = 1000
    """Number of images."""
    batch_size: int = 125
    """Images in one compiled batch."""
    steps: int = 100
    """Updates of each image."""
    passes: int = 2
    """Passes over the images. The first one compiles, so with 1 the seconds include compiling."""


def synthesise(
    config: PrecisionConfig, precision: Precision, images: np.ndarray, targets: np.ndarray
) -> dict[str, Any]:
    """Mean and standard deviation of the KL in one precision, and the time of the last pass."""
    source = find_classifier(config.classifier, precision=precision)
    kl, seconds = np.zeros(0), 0.0
    for _ in range(config.passes):
        began = time.perf_counter()
        parts = imgopt.synthesize_in_batches(
            source.classify, images, targets, measure=source.measure, batch_size=config.batch_size,
            steps=config.steps, optimizer=imgopt.momentum_sgd(),
        )  # fmt: skip
        kl = np.concatenate([part.kl for part in parts])
        seconds = time.perf_counter() - began
    spread = float(kl.std(ddof=1)) if len(kl) > 1 else None
    return {"kl_mean": float(kl.mean()), "kl_std": spread, "seconds": round(seconds, 2)}


def main(config: PrecisionConfig) -> int:
    """Compares both precisions and prints JSON; returns the exit status."""
    keep_memory()
    check_precision("bfloat16")
    data = load_images(config.data, config.split, data_dir=config.data_dir)
    check_fits(find_classifier(config.classifier, precision="float32"), data)
    images, labels = data.images[: config.images], data.labels[: config.images]
    targets = np.asarray(
        imgopt.two_class_targets(
            jax.random.key(0), labels, num_classes=len(data.class_names), own=0.9
        )
    )
    precisions: tuple[Precision, ...] = ("float32", "bfloat16")
    found = {name: synthesise(config, name, images, targets) for name in precisions}
    difference = found["bfloat16"]["kl_mean"] / found["float32"]["kl_mean"] - 1
    kept = abs(difference) <= PROMISED
    report = {
        "n": len(images),
        **found,
        "relative_difference": round(difference, 4),
        "promise_kept": kept,
        **environment(),
    }
    print(json.dumps(report, indent=2))
    return 0 if kept else 1


if __name__ == "__main__":
    try:
        sys.exit(main(tyro.cli(PrecisionConfig)))
    except (InputError, OSError) as error:
        sys.exit(f"precision.py: error: {error}")
