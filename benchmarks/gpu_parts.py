"""The parts of `gpu.py`: each measures one thing and gives it as JSON."""

import collections
import gzip
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

# By default JAX reserves most of a GPU's memory at once, which leaves PyTorch too little.
os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")

import jax
import numpy as np
from harness import jobs, timing
from harness.comparison import describe_machine, load_peer, measure_ceilings, time_case
from harness.job_table import JOBS
from harness.jobs import RULE, Case
from harness.timing import matrix_product_flops
from harness.untrained import describe_classifier, random_images, random_targets, untrained

import imgopt
from train.classifier_training import ClassifierLearner
from train.classifiers import classify_function
from train.data.image_data import ImageData
from train.loop import fit
from train.recipes.train_options import Budget, TrainConfig
from train.runtime.memory import peak_bytes
from train.storage.runs import as_json
from train.storage.strict_json import write_json
from train.training_sets import original_data


class Sizes(NamedTuple):
    """Sizes of the jobs.

    Attributes:
        model: the classifier in place of VGG16.
        batch_sizes: images a step, by job.
        images: images of the synthesis of a data set.
        steps: updates of each of them.
        pairs: timed calls of each side.
    """

    model: str
    batch_sizes: dict[str, int]
    images: int
    steps: int
    pairs: int


SIZES = {
    "gpu": Sizes(
        "vgg16",
        {"synthesis-step": 2048, "training-step": 512, "dcgan-step": 512, "sgan-step": 512},
        images=50_000, steps=100, pairs=7,
    ),
    "tiny": Sizes("kono-cnn", {}, images=4, steps=2, pairs=1),
}  # fmt: skip

TINY_BATCH = 2

TOP_KERNELS = 40
"""Kernels of a profile that are kept, those that took the most time."""

TRAINED_STEPS = 40


def machine(sizes: Sizes, **_: Any) -> dict[str, Any]:
    """Versions, device, and the speed of a large product of matrices on each side."""
    peer = load_peer("torch")
    ceilings = {
        precision: measure_ceilings(peer, precision)
        for precision in (("float32", "bfloat16") if sizes.pairs > 1 else ())
    }
    return {**describe_machine(peer), "matrix_product_flops": ceilings}


def _case(sizes: Sizes, job: str, model: str | None) -> Case:
    if model is None and job in ("synthesis-step", "training-step"):
        model = sizes.model
    if model is not None and sizes.pairs == 1:
        model = sizes.model
    return Case(job, model, sizes.batch_sizes.get(job, TINY_BATCH), "bfloat16")


def beside(
    sizes: Sizes, *, job: str, peer: str, model: str | None = None, **_: Any
) -> dict[str, Any]:
    """A job in bfloat16 beside the same in PyTorch, in turn."""
    case = _case(sizes, job, model)
    ceiling = matrix_product_flops("bfloat16")
    found = time_case(case, load_peer(peer), ceiling=ceiling, pairs=sizes.pairs, with_memory=False)
    return {**found, "peak_bytes": peak_bytes()}


def _classifiers(sizes: Sizes) -> tuple[Any, Any]:
    classifier = untrained(describe_classifier(sizes.model))
    return classify_function(classifier, precision="bfloat16"), classify_function(classifier)


def whole_synthesis(sizes: Sizes, **_: Any) -> dict[str, Any]:
    """A whole data set, 8-bit images to 8-bit images: once to compile, once timed."""
    classify, measure = _classifiers(sizes)
    batch = sizes.batch_sizes.get("synthesis-step", TINY_BATCH)

    def run(count: int, rule: Any) -> float:
        began = time.perf_counter()
        parts = imgopt.synthesize_in_batches(
            classify, random_images(count), random_targets(count), batch_size=batch,
            steps=sizes.steps, measure=measure, optimizer=rule,
        )  # fmt: skip
        collections.deque(parts, maxlen=0)
        return time.perf_counter() - began

    found: dict[str, Any] = {"images": sizes.images, "steps": sizes.steps, "batch_size": batch}
    for name, rule in (("gradient descent", RULE), ("default rule", None)):
        first = run(batch, rule)
        seconds = run(sizes.images, rule)
        rate = sizes.images / seconds
        found[name] = {"first_call": first, "seconds": seconds, "images_per_second": rate}
    return {**found, "peak_bytes": peak_bytes()}


def bits(sizes: Sizes, **_: Any) -> dict[str, Any]:
    """Digests of a synthesis and of a training: equal where two runs give the same bits."""
    classify, measure = _classifiers(sizes)
    batch = sizes.batch_sizes.get("training-step", TINY_BATCH)
    images, targets = random_images(batch), random_targets(batch)
    began = time.perf_counter()
    made = imgopt.synthesize(
        classify, imgopt.to_float(images), targets, steps=sizes.steps, measure=measure
    )
    found = {"synthesis": _digest(made)}
    steps = TRAINED_STEPS if sizes.pairs > 1 else 2
    config = TrainConfig(batch_size=batch, precision="bfloat16").step_config
    learner = ClassifierLearner(describe_classifier(sizes.model), config)
    rows = random_images(batch * steps)
    data = original_data(ImageData(rows, np.arange(len(rows)) % 10, (), tuple("0123456789")))
    (epoch,) = fit(jax.random.key(0), learner, data, Budget(batch, 1))
    found["training"] = _digest(epoch.state)
    return {**found, "seconds": time.perf_counter() - began, "flags": os.environ["XLA_FLAGS"]}


def _digest(tree: Any) -> str:
    sha = hashlib.sha256()
    for leaf in jax.tree.leaves(jax.device_get(tree)):
        sha.update(np.ascontiguousarray(leaf).tobytes())
    return sha.hexdigest()


def profile(sizes: Sizes, *, job: str, **_: Any) -> dict[str, Any]:
    """Time of a job's kernels in a warm call, the longest first."""
    call = JOBS[job].prepare(_case(sizes, job, None)).start()
    call()
    with tempfile.TemporaryDirectory() as directory:
        with jax.profiler.trace(directory):
            call()
        (path,) = Path(directory).rglob("*.trace.json.gz")
        events = json.loads(gzip.decompress(path.read_bytes()))["traceEvents"]
    return kernel_times(events)


def kernel_times(events: list[dict[str, Any]]) -> dict[str, Any]:
    """Sums a trace's events by name, on the device's lanes or, without any, on all."""
    names = {
        event["pid"]: event["args"]["name"]
        for event in events
        if event.get("name") == "process_name"
    }
    devices = {pid for pid, name in names.items() if "/device:" in name} or set(names)
    sums: dict[str, list[float]] = collections.defaultdict(lambda: [0.0, 0])
    for event in events:
        if event.get("ph") == "X" and event["pid"] in devices:
            entry = sums[event["name"]]
            entry[0] += event.get("dur", 0)
            entry[1] += 1
    ordered = sorted(sums.items(), key=lambda item: -item[1][0])
    top = [
        {"name": name[:200], "milliseconds": spent / 1e3, "calls": calls}
        for name, (spent, calls) in ordered[:TOP_KERNELS]
    ]
    total = sum(spent for _, (spent, _) in ordered) / 1e3
    return {"milliseconds": total, "kernels": len(ordered), "top": top}


def table_b(sizes: Sizes, **_: Any) -> dict[str, Any]:
    """Paper B's table at the smallest size, on handwritten digits, as the command runs it."""
    del sizes
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as directory:
        out = Path(directory) / "table-b"
        command = ["-m", "experiments.cli", "experiment", "table-b", "--preset", "smoke"]
        done = subprocess.run(  # noqa: S603 -- our own command
            [sys.executable, *command, "--out", str(out)],
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
        if done.returncode:
            raise RuntimeError((done.stderr.strip().splitlines() or ["no message"])[-1])
        result = json.loads((out / "result.json").read_text())
    return {"seconds": time.perf_counter() - began, "result": result}


PARTS: dict[str, Callable[..., dict[str, Any]]] = {
    "machine": machine,
    "beside": beside,
    "whole_synthesis": whole_synthesis,
    "bits": bits,
    "profile": profile,
    "table_b": table_b,
}
"""The functions by name."""


def main(order: str, path: str) -> None:
    """Measures one part, and writes what it found."""
    given = json.loads(order)
    scale = given.pop("scale")
    if scale == "tiny":
        jobs.FLOP_OF_A_CALL["cpu"], timing.MATRIX_SIZES["cpu"] = 1, 8
    found = PARTS[given.pop("function")](SIZES[scale], **given)
    write_json(Path(path), as_json(found))


if __name__ == "__main__":
    main(*sys.argv[1:])
