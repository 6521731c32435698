"""Measures one point of `growth.py`."""

import collections
import os
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

import imgopt
from gans.dcgan import DcganConfig
from gans.game import GanLearner
from gans.options.training import GameConfig
from gans.pairs import DcganPair, GanData
from harness.timing import timed
from harness.untrained import describe_classifier, random_images, random_targets, untrained
from imgopt.errors import InputError
from train.classifiers import classify_function
from train.loop import FitOptions, compile_steps, fit
from train.recipes.train_options import Budget, Precision
from train.runtime.allocator import keep_memory
from train.runtime.memory import footprint, peak_bytes
from train.storage.runs import environment

RULE = imgopt.sgd()
"""Paper A's rule."""

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
    """Time and memory of a point, or the reason why this machine cannot run it.

    To be called in a new process, before JAX creates its devices.
    """
    if point.devices > 1:  # only CPUs read the flag
        flags = os.environ.get("XLA_FLAGS", "")
        os.environ["XLA_FLAGS"] = f"{flags} {SIMULATE}={point.devices}"
    keep_memory()
    try:
        found = _measure_gans(point) if point.classes else _measure_synthesis(point)
    except InputError as error:
        return {"skipped": str(error)}
    return {**found, "peak_bytes": peak_bytes(), "environment": environment()}


def _measure_synthesis(point: Point) -> dict[str, Any]:
    shape = (point.size_px, point.size_px, 3)
    spec = describe_classifier(point.model, width=point.width, image_shape=shape)
    classifier = untrained(spec)
    classify = classify_function(classifier, precision=point.precision)
    images, targets = random_images(point.images, shape), random_targets(point.images)

    def run(count: int, devices: int) -> Any:
        parts = imgopt.synthesize_in_batches(
            classify, images[:count], targets[:count], batch_size=point.batch_size // devices,
            devices=devices, steps=point.steps, optimizer=RULE,
            measure=classify_function(classifier),
        )  # fmt: skip
        return collections.deque(parts, maxlen=1).pop()  # a device's part of the last batch

    batch = (point.batch_size, *shape)
    compilation, program = timed(
        lambda: imgopt.compile_updates(classify, batch, devices=point.devices, optimizer=RULE)
    )
    last = run(point.batch_size, point.devices)
    found = {
        "compilation_seconds": compilation,
        "planned_bytes": footprint(program, batch_size=point.batch_size).needed_bytes,
        "seconds": [
            timed(lambda: run(point.images, point.devices))[0] for _ in range(point.repeats)
        ],
    }
    if point.devices > 1:
        alone = run(point.batch_size, 1).images[-len(last.images) :]
        found["difference"] = float(np.abs(last.images - alone).max())
    return found


def _measure_gans(point: Point) -> dict[str, Any]:
    config = DcganConfig(image_size=point.size_px, width=int(point.width))
    learner = GanLearner((DcganPair(config, precision=point.precision),), GameConfig(), 2e-4)
    count = point.batch_size * point.steps
    images = random_images(point.classes * count, (point.size_px, point.size_px, 3))
    labels = np.repeat(np.arange(point.classes, dtype=np.int32), count)
    data = GanData(*jax.device_put((images, labels)))
    groups = {str(label): np.flatnonzero(labels == label) for label in range(point.classes)}
    budget = Budget(point.batch_size, epochs=point.repeats + 1)
    options = FitOptions(groups=groups, steps_per_call=point.steps)
    compilation, program = timed(lambda: compile_steps(learner, data, budget, options))
    epochs = fit(jax.random.key(0), learner, data, budget, options)
    next(epochs)
    return {
        "compilation_seconds": compilation,
        "planned_bytes": footprint(program, batch_size=point.batch_size, beside=data).needed_bytes,
        "seconds": [timed(lambda: next(epochs))[0] for _ in range(point.repeats)],
    }
