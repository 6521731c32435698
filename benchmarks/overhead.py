"""What holding up costs: checkpoints and digests beside the work that they protect.

Usage: python benchmarks/overhead.py [--network vgg16] [--batch-size 256]

Prints JSON. A training saves a checkpoint a minute, so what one costs, against that minute, is
its share. A synthesis keeps every finished batch and digests every shard; its share is against the
time that the batch's updates take here, with the network named. What is aimed at is below 2% of
each; the exit status is 1 where that is missed.
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
"""Largest share."""

IMAGE_SHAPE = (32, 32, 3)


@dataclass(frozen=True)
class OverheadConfig:
    """Measures what checkpoints and digests cost."""

    network: NetworkName = "vgg16"
    """Whose training and synthesis are protected."""
    width: float = 1.0
    """Factor on its channel counts."""
    batch_size: int = 256
    """Images in a batch of the synthesis."""
    updates: int = 100
    """Of each image."""
    updates_timed: int = 5
    """Updates that are run; the time of all of them is in proportion."""
    rounds: int = 7
    """Measurements of each kind."""


def measure(rounds: int, call: Call) -> Spread:
    """Seconds of so many calls, after one that does not count."""
    call()
    return spread([timed(call)[0] for _ in range(rounds)])


def spec_of(config: OverheadConfig) -> ClassifierSpec:
    """A classifier of CIFAR-10's images."""
    names = tuple(str(label) for label in range(10))
    return ClassifierSpec(config.network, config.width, names, IMAGE_SHAPE, (0.5,) * 3, (0.25,) * 3)


def measure_checkpoint(config: OverheadConfig, directory: Path) -> dict[str, Any]:
    """A checkpoint of a training, and its share of the minute until the next one."""
    learner = ClassifierLearner(spec_of(config), TrainConfig())
    random = np.random.default_rng(0)
    # As after some training: Orbax would compress the zeros of a first state away.
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
    """A batch of a synthesis, what keeping and digesting it take, and their share."""
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
    """Measures, prints, and tells whether the aim is met."""
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
