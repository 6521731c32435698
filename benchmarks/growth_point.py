"""Measures one point of `growth.py`.

Usage: python benchmarks/growth_point.py JSON

It runs in a process of its own, so that the peak memory is that of the point. The argument is a
`Point` as JSON; the last line of the output is the result as JSON.
"""

import collections
import json
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import imgopt
from gans.dcgan import DcganConfig
from gans.game import GameConfig, GanData, GanLearner
from gans.pairs import DcganPair
from imgopt.errors import InputError
from train.classifiers import Classifier, ClassifierSpec, Precision, classify_function
from train.loop import Budget, FitOptions, compile_steps, fit
from train.runtime.allocator import keep_memory
from train.runtime.memory import footprint, peak_bytes
from train.storage.runs import environment

NUM_CLASSES = 10
SIMULATE = "--xla_force_host_platform_device_count"


@dataclass(frozen=True)
class Point:
    """One job of a certain size; the axes are `images` to `devices`.

    Attributes:
        axis: name of the axis that this point belongs to.
        images: images in the job, or images a class if GANs are trained.
        batch_size: images in a compiled batch.
        steps: updates of each image.
        size_px: height and width of an image.
        classes: number of DCGANs, one a class, all trained at once; 0 for a synthesis.
        devices: number of devices that share a batch.
        model: name of the classifier.
        width: factor on the classifier's channels, or the DCGAN's channels next to the image.
        precision: precision of the computation.
        repeats: timed measurements, after one that is not timed.
    """

    axis: str
    images: int
    batch_size: int
    steps: int
    size_px: int
    classes: int
    devices: int
    model: str
    width: float
    precision: Precision
    repeats: int


def measure(point: Point) -> dict[str, Any]:
    """Time and memory of a point."""
    found = _measure_gans(point) if point.classes else _measure_synthesis(point)
    return {**found, "peak_bytes": peak_bytes(), "environment": environment()}


def _measure_synthesis(point: Point) -> dict[str, Any]:
    shape = (point.size_px, point.size_px, 3)
    names = tuple(map(str, range(NUM_CLASSES)))
    spec = ClassifierSpec(point.model, point.width, names, shape, (0.5,) * 3, (0.25,) * 3)
    variables = jax.jit(lambda key: spec.build().init(key, jnp.zeros((1, *shape)), train=False))
    classifier = Classifier(spec, dict(variables(jax.random.key(0))))
    classify = classify_function(classifier, precision=point.precision)
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (point.images, *shape), dtype=np.uint8)
    targets = random.dirichlet(np.ones(NUM_CLASSES), point.images).astype(np.float32)

    def run(count: int, devices: int) -> Any:
        parts = imgopt.synthesize_in_batches(
            classify, images[:count], targets[:count], batch_size=point.batch_size // devices,
            devices=devices, steps=point.steps, measure=classify_function(classifier),
        )  # fmt: skip
        return collections.deque(parts, maxlen=1).pop()

    began = time.perf_counter()
    batch = (point.batch_size, *shape)
    program = imgopt.compile_updates(classify, batch, devices=point.devices)
    compilation = time.perf_counter() - began
    first = run(point.batch_size, point.devices)
    found = {
        "compilation_seconds": compilation,
        "planned_bytes": footprint(program, batch_size=point.batch_size).needed_bytes,
        "seconds": _times(point.repeats, lambda: run(point.images, point.devices)),
    }
    if point.devices > 1:
        alone = run(point.batch_size, 1)
        found["difference"] = float(np.abs(first.images - alone.images).max())
    return found


def _measure_gans(point: Point) -> dict[str, Any]:
    config = DcganConfig(image_size=point.size_px, width=int(point.width))
    learner = GanLearner((DcganPair(config, precision=point.precision),), GameConfig(), 2e-4)
    count = point.batch_size * point.steps
    random = np.random.default_rng(0)
    shape = (point.classes * count, point.size_px, point.size_px, 3)
    labels = np.repeat(np.arange(point.classes, dtype=np.int32), count)
    data = GanData(*jax.device_put((random.integers(0, 256, shape, dtype=np.uint8), labels)))
    groups = {str(label): np.flatnonzero(labels == label) for label in range(point.classes)}
    budget = Budget(point.batch_size, epochs=point.repeats + 1)
    began = time.perf_counter()
    options = FitOptions(groups=groups, steps_per_call=point.steps)
    program = compile_steps(learner, data, budget, options)
    compilation = time.perf_counter() - began
    epochs = fit(jax.random.key(0), learner, data, budget, options)
    next(epochs)
    return {
        "compilation_seconds": compilation,
        "planned_bytes": footprint(program, batch_size=point.batch_size, beside=data).needed_bytes,
        "seconds": _times(point.repeats, lambda: next(epochs)),
    }


def _times(repeats: int, call: Callable[[], Any]) -> list[float]:
    times = []
    for _ in range(repeats):
        began = time.perf_counter()
        call()
        times.append(time.perf_counter() - began)
    return times


def main(text: str) -> int:
    """Measures and prints a point, or the reason why this machine cannot run it."""
    point = Point(**json.loads(text))
    if point.devices > 1:  # before JAX creates its devices; only CPUs read the flag
        flags = os.environ.get("XLA_FLAGS", "")
        os.environ["XLA_FLAGS"] = f"{flags} {SIMULATE}={point.devices}"
    keep_memory()
    try:
        found = measure(point)
    except InputError as error:
        found = {"skipped": str(error)}
    print(json.dumps(found))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
