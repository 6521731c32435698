"""Times a synthesis update and a training step, beside the machine's own matrix product.

Usage: python benchmarks/bench.py [--job synthesis|training] [--model vgg-small] [--batch-size 64]

Prints JSON: for each job the time of a step (median, minimum and maximum of 7 repetitions),
images a second, and the compilation apart; and what a large matrix product reaches in the same
process, as the machine's ceiling. Compare ratios within one run: absolute times drift.
"""

import json
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
import tyro

import imgopt
from train.classifier_training import ClassifierLearner, TrainConfig, TrainData
from train.classifiers import Classifier, ClassifierSpec, classify_function
from train.loop import fit
from train.networks import NetworkName
from train.runs import environment

REPETITIONS = 7
STEPS = 10
MATRIX_SIZE = 2048
CLASS_NAMES = tuple(map(str, range(10)))


@dataclass(frozen=True)
class BenchConfig:
    """Times a synthesis update and a training step."""

    job: Literal["all", "synthesis", "training"] = "all"
    """Which to time."""
    model: NetworkName = "vgg-small"
    """The classifier, on 32×32×3 images and 10 classes."""
    batch_size: int = 64
    """Images a step."""


def time_calls(call: Callable[[], Any]) -> dict[str, float]:
    """Seconds of the first call, and median, minimum and maximum of the repetitions."""
    times = []
    for _ in range(REPETITIONS + 1):
        began = time.perf_counter()
        jax.block_until_ready(call())
        times.append(time.perf_counter() - began)
    first, *rest = times
    median = statistics.median(rest)
    return {"first": first, "median": median, "min": min(rest), "max": max(rest)}


def per_step(seconds: dict[str, float], batch_size: int) -> dict[str, float]:
    """Milliseconds a step, images a second, and what the first call took beyond a later one."""
    steps = {
        f"step_{name}_ms": round(1e3 * seconds[name] / STEPS, 2)
        for name in ("median", "min", "max")
    }
    return {
        **steps,
        "images_per_second": round(batch_size * STEPS / seconds["median"], 1),
        "compilation_seconds": round(seconds["first"] - seconds["median"], 2),
    }


def matrix_ceiling() -> float:
    """GFLOP/s of a float32 product of two 2048×2048 matrices."""
    matrix = jnp.ones((MATRIX_SIZE, MATRIX_SIZE))
    seconds = time_calls(lambda: matrix @ matrix)
    return round(2 * MATRIX_SIZE**3 / seconds["median"] / 1e9, 1)


def synthesis(spec: ClassifierSpec, batch_size: int) -> dict[str, float]:
    """The paper's update: SGD through the arctan map."""
    network = spec.build()
    variables = network.init(jax.random.key(0), jnp.zeros((1, *spec.image_shape)), train=False)
    classify = classify_function(Classifier(spec, dict(variables)))
    images = jax.random.uniform(jax.random.key(1), (batch_size, *spec.image_shape))
    labels = np.arange(batch_size) % len(CLASS_NAMES)
    targets = imgopt.two_class_targets(
        jax.random.key(2), labels, num_classes=len(CLASS_NAMES), own=0.9
    )
    seconds = time_calls(lambda: imgopt.synthesize(classify, images, targets, steps=STEPS))
    return per_step(seconds, batch_size)


def training(spec: ClassifierSpec, batch_size: int) -> dict[str, float]:
    """A step of SGD with flips and crops, the mixed loss included."""
    count = batch_size * STEPS
    random = np.random.default_rng(0)
    data = TrainData(
        images=random.integers(0, 256, (count, *spec.image_shape), dtype=np.uint8),
        labels=random.integers(0, 10, count).astype(np.int32),
        teacher_outputs=np.full((count, 10), 0.1, np.float32),
        is_generated=random.random(count) < 0.3,
    )
    config = TrainConfig(epochs=REPETITIONS + 1, batch_size=batch_size, loss="mixed")
    learner = ClassifierLearner(spec, config, config.budget.total_steps(count))
    epochs = fit(jax.random.key(0), learner, data, config.budget, steps_per_call=STEPS)
    return per_step(time_calls(lambda: next(epochs).state), batch_size)


def main(config: BenchConfig) -> None:
    """Runs the jobs and prints their times as JSON."""
    spec = ClassifierSpec(config.model, 1.0, CLASS_NAMES, (32, 32, 3), (0.5,) * 3, (0.25,) * 3)
    jobs = {"synthesis": synthesis, "training": training}
    chosen = jobs if config.job == "all" else {config.job: jobs[config.job]}
    result = {
        "model": config.model,
        "batch_size": config.batch_size,
        "matrix_product_gflops": matrix_ceiling(),
        **{name: job(spec, config.batch_size) for name, job in chosen.items()},
        **environment(),
    }
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main(tyro.cli(BenchConfig))
