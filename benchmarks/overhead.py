"""Measures what checkpoints and digests cost, as a share of the work that they protect.

Usage: python benchmarks/overhead.py [--network vgg16] [--batch-size 256]

Prints JSON. A training saves a checkpoint every minute; the share is the time of a checkpoint
divided by a minute. A synthesis saves every finished batch and computes the sha256 of every shard;
the share is the time of both divided by the time of the batch's updates with the given network.
Both shares should be below 2%; otherwise the exit status is 1.
"""

import functools
import json
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import tyro
from timing import Call, Spread, spread, timed

import imgopt
from experiments.synthesis.kept_batches import keep_batch
from experiments.training.session import CHECKPOINT_EVERY_SECONDS
from train.classifier_training import ClassifierLearner, TrainConfig
from train.classifiers import Classifier, ClassifierSpec, classify_function
from train.models.networks import NetworkName
from train.runtime.allocator import keep_memory
from train.storage.checkpoints import save_checkpoint
from train.storage.files import sha256_of
from train.storage.runs import environment

AIM = 0.02
"""Largest share that is allowed."""

IMAGE_SHAPE = (32, 32, 3)


@dataclass(frozen=True)
class OverheadConfig:
    """Measures what checkpoints and digests cost."""

    network: NetworkName = "vgg16"
    """Network of the classifier."""
    width: float = 1.0
    """Factor on the network's channel counts."""
    batch_size: int = 256
    """Images in a batch of synthesis."""
    updates: int = 100
    """Updates of each image."""
    updates_timed: int = 5
    """Updates that are timed; the time of all updates is computed in proportion."""
    rounds: int = 7
    """Number of measurements of each time."""


def measure(rounds: int, call: Call) -> Spread:
    """Times of several calls in seconds, after one that is not timed."""
    call()
    return spread([timed(call)[0] for _ in range(rounds)])


def spec_of(config: OverheadConfig) -> ClassifierSpec:
    """Description of a classifier for images of CIFAR-10's shape."""
    names = tuple(str(label) for label in range(10))
    return ClassifierSpec(config.network, config.width, names, IMAGE_SHAPE, (0.5,) * 3, (0.25,) * 3)


def measure_checkpoint(config: OverheadConfig, directory: Path) -> dict[str, Any]:
    """Time of a training's checkpoint, and its share of the minute until the next one."""
    learner = ClassifierLearner(spec_of(config), TrainConfig())
    random = np.random.default_rng(0)
    # Random numbers, as after some training: Orbax would compress a first state's zeros to nothing.
    state = jax.tree.map(
        lambda leaf: random.normal(size=leaf.shape).astype(leaf.dtype),
        jax.eval_shape(learner.initial, jax.random.key(0)),
    )
    tree = {"variables": state.variables, "opt_state": jax.tree.leaves(state.opt_state)}
    seconds = measure(config.rounds, lambda: save_checkpoint(directory, 1, tree))
    files = [path for path in directory.rglob("*") if path.is_file()]
    digests = measure(config.rounds, lambda: [sha256_of(path) for path in files])
    return {
        "mib": round(sum(path.stat().st_size for path in files) / 2**20, 1),
        "seconds": seconds._asdict(),
        "digests_seconds": digests._asdict(),
        "share": seconds.median / CHECKPOINT_EVERY_SECONDS,
    }


def measure_synthesis(config: OverheadConfig, directory: Path) -> dict[str, Any]:
    """Time of a batch of synthesis, of saving it and of its digest, and their share."""
    spec = spec_of(config)
    initialise = functools.partial(spec.build().init, train=False)
    variables = jax.jit(initialise)(jax.random.key(0), jnp.zeros((1, *IMAGE_SHAPE)))
    classify = classify_function(Classifier(spec, dict(variables)))
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (config.batch_size, *IMAGE_SHAPE), np.uint8)
    targets = random.dirichlet(np.ones(10), config.batch_size).astype(np.float32)

    def work() -> Any:
        made = imgopt.synthesize(
            classify, imgopt.to_float(images), targets, steps=config.updates_timed
        )
        return jax.block_until_ready(made)

    shard = directory / "shard"
    shard.write_bytes(images.tobytes())  # PNGs of natural images are somewhat smaller
    batch = {"image": images, "outputs": targets}
    batch_seconds = measure(config.rounds, work).median / config.updates_timed * config.updates
    keeping = measure(config.rounds, lambda: keep_batch(shard, 0, batch, {}))
    digests = measure(config.rounds, lambda: sha256_of(shard))
    return {
        "batch_seconds": batch_seconds,
        "keeping_seconds": keeping._asdict(),
        "digests_seconds": digests._asdict(),
        "share": (keeping.median + digests.median) / batch_seconds,
    }


def main(config: OverheadConfig) -> int:
    """Measures both shares and prints JSON; returns the exit status."""
    keep_memory()
    with tempfile.TemporaryDirectory() as scratch:
        found = {
            "training": measure_checkpoint(config, Path(scratch) / "checkpoints"),
            "synthesis": measure_synthesis(config, Path(scratch)),
        }
    met = all(part["share"] < AIM for part in found.values())
    print(json.dumps({**vars(config), **found, "aim_met": met, **environment()}, indent=2))
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main(tyro.cli(OverheadConfig)))
