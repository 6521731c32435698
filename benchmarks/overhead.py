"""Measures what checkpoints and digests cost, as a share of the work that they protect.

Usage: python benchmarks/overhead.py [--network vgg16] [--batch-size 256]

Prints JSON. A training saves a checkpoint every minute, so its share is the time of one checkpoint
over a minute. A synthesis saves every finished batch and digests every shard; its share is that
time over the time of the batch's updates with the given network. The aim is below 2% for both; the
exit status is 1 if it is missed.
"""

import json
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np
import tyro
from harness.timing import Call, Spread, spread, timed
from harness.untrained import describe_classifier, random_images, random_targets, untrained

import imgopt
from experiments.data.saved_batches import save_batch
from experiments.training.session import CHECKPOINT_EVERY_SECONDS
from train.classifier_training import ClassifierLearner
from train.classifiers import classify_function
from train.models import NetworkName
from train.recipes.train_options import TrainConfig
from train.runtime.allocator import keep_memory
from train.storage.checkpoints import save_checkpoint
from train.storage.files import sha256_of
from train.storage.runs import environment

AIM = 0.02
"""Largest share allowed."""


@dataclass(frozen=True)
class OverheadConfig:
    """Measures what checkpoints and digests cost."""

    network: NetworkName = "vgg16"
    """Network that is trained and used for synthesis."""
    width: float = 1.0
    """Factor on the network's channel counts."""
    batch_size: int = 256
    """Images in a batch of the synthesis."""
    updates: int = 100
    """Updates of each image."""
    updates_timed: int = 5
    """Updates that are run; the time of all updates is taken in proportion."""
    rounds: int = 7
    """Number of measurements of each kind."""


def measure(rounds: int, call: Call) -> Spread:
    """Times a number of calls, in seconds, after one call that does not count."""
    call()
    return spread([timed(call)[0] for _ in range(rounds)])


def measure_checkpoint(config: OverheadConfig, directory: Path) -> dict[str, Any]:
    """Measures a training's checkpoint, and its share of the minute until the next one."""
    spec = describe_classifier(config.network, width=config.width)
    learner = ClassifierLearner(spec, TrainConfig())
    random = np.random.default_rng(0)
    # Random numbers, as after some training: Orbax compresses the zeros of a first state.
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
    """Measures a batch of a synthesis, its saving and its digest, and their share."""
    classifier = untrained(describe_classifier(config.network, width=config.width))
    classify = classify_function(classifier)
    images, targets = random_images(config.batch_size), random_targets(config.batch_size)

    def work() -> Any:
        originals = imgopt.to_float(images)
        result = imgopt.synthesize(
            classify, originals, targets, steps=config.updates_timed, optimizer=imgopt.sgd()
        )
        return jax.block_until_ready(result)

    shard = directory / "shard"
    shard.write_bytes(images.tobytes())  # PNGs of natural images are somewhat smaller
    batch = {"image": images, "outputs": targets}
    batch_seconds = measure(config.rounds, work).median / config.updates_timed * config.updates
    saving = measure(config.rounds, lambda: save_batch(shard, 0, batch, {}))
    digests = measure(config.rounds, lambda: sha256_of(shard))
    return {
        "batch_seconds": batch_seconds,
        "keeping_seconds": saving._asdict(),
        "digests_seconds": digests._asdict(),
        "share": (saving.median + digests.median) / batch_seconds,
    }


def main(config: OverheadConfig) -> int:
    """Measures and prints; gives the exit status."""
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
