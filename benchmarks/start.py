"""Times how long commands take from their start to their first result.

Usage: python benchmarks/start.py [--repeats 3] [--networks vgg-small vgg16]

Every command makes one update and ends, so its time is that of the imports, the data, the
compilation, one update and the report. It is timed first without compiled programs and then with
those that the first start has kept. Prints JSON: wall-clock and CPU seconds of every start.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

import tyro
from harness.untrained import CLASS_NAMES, IMAGE_SHAPE, random_images

from experiments.console.compilation import CACHE_VARIABLE
from experiments.data.resumable_set import Columns, ResumableSet
from train.data.spec import ImageSetSpec
from train.storage.runs import environment

IMAGES = 128
"""Images of each split of the made-up set."""


@dataclass(frozen=True)
class StartConfig:
    """Times commands from their start to their first result."""

    repeats: int = 3
    """Times that each command is started without, and again with compiled programs."""
    networks: tuple[str, ...] = ("vgg-small", "vgg16")
    """Networks to train and to synthesise from, at full width."""


class Start(NamedTuple):
    """Seconds that one start of a command took, by the clock and of the CPUs."""

    wall: float
    cpu: float


def write_images(directory: Path) -> None:
    """Writes a data set of noise."""
    spec = ImageSetSpec("made_up", CLASS_NAMES, IMAGE_SHAPE, splits=("train", "test"))

    def make(split: str) -> Columns:
        labels = [row % len(CLASS_NAMES) for row in range(IMAGES)]
        ids = [f"{split}_{row:03d}" for row in range(IMAGES)]
        return {"id": ids, "image": random_images(IMAGES), "label": labels}

    image_set = ResumableSet(directory, spec, {})
    with image_set.open_for_writing():
        image_set.write_shards({split: [partial(make, split)] for split in spec.splits})


def start(words: list[str], cache: Path) -> Start:
    """Runs a command in a process of its own, to its end."""
    began = time.monotonic()
    process = subprocess.Popen(  # noqa: S603 -- our own command
        [sys.executable, "-m", "experiments.cli", *words],
        env={**os.environ, CACHE_VARIABLE: str(cache)},
        stdout=subprocess.DEVNULL,
    )
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, words)
    return Start(round(time.monotonic() - began, 2), round(usage.ru_utime + usage.ru_stime, 2))


def commands(network: str, scratch: Path, data: Path, number: int) -> dict[str, list[str]]:
    """The commands of a network, each with an output directory of its own."""
    run = scratch / f"{network}-{number}"
    batch = ("--batch-size", "64")
    return {
        f"train {network}": [
            "classifier", "train", "--data", str(data), "--model", network, "--steps", "1",
            *batch, "--out", str(run),
        ],
        f"synthesise from {network}": [
            "synthesize", "--classifier", str(run), "--data", str(data), "--stop", "64",
            "--steps", "1", *batch, "--out", f"{run}-set",
        ],
    }  # fmt: skip


def main(config: StartConfig) -> None:
    """Starts every command, and prints the times as JSON."""
    times: dict[str, dict[str, list[Start]]] = {}
    with tempfile.TemporaryDirectory() as directory:
        scratch = Path(directory)
        write_images(scratch / "data")
        for repeat in range(config.repeats):
            for network in config.networks:
                cache = scratch / f"cache-{network}-{repeat}"
                cache.mkdir(mode=0o700)
                for number, kind in enumerate(("first", "again")):
                    found = commands(network, scratch, scratch / "data", 2 * repeat + number)
                    for name, words in found.items():
                        times.setdefault(name, {}).setdefault(kind, []).append(start(words, cache))
                        print(name, kind, times[name][kind][-1], file=sys.stderr)
    print(json.dumps({"seconds": times, **environment()}, indent=2))


if __name__ == "__main__":
    main(tyro.cli(StartConfig))
