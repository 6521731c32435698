"""Shows that host memory stays flat while a job writes a million images.

Usage: python benchmarks/million.py [--images 1000000] [--jobs write synthesize gan-sample]

Makes a source of random 32×32 images, synthesises a set from it, and samples a set of 32×32 images
from an untrained DCGAN. Each job runs by the code behind the commands, in a process of its own;
the synthesis is interrupted at the half, and goes on in another process. Prints JSON: each
process's peak resident memory at its beginning, when a quarter, half and all of the images are on
disk, and at its end, after summary and report.
"""

import _thread
import contextlib
import json
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
import tyro
from harness.new_process import in_new_process

import train.data.image_data
from experiments.data.resumable_set import SHARD_IMAGES, SPLIT, Columns, ResumableSet
from experiments.gan.sample import sample_gan
from experiments.options.gan import GanSampleConfig
from experiments.options.synthesis import PAPER_RULE, SynthesizeConfig
from experiments.synthesis.command import synthesize_set
from gans.dcgan import DcganConfig, Generator, draw_dcgan_noise
from gans.sampling import GENERATOR, SPEC_FILE, GanSpec
from train.data.spec import ImageSetSpec
from train.runtime.allocator import keep_memory
from train.runtime.memory import peak_bytes
from train.storage.checkpoints import save_checkpoint
from train.storage.runs import as_json, environment
from train.storage.strict_json import write_json

Job = Literal["write", "synthesize", "gan-sample"]

SIZE_PX = 32
CLASS_NAMES = tuple(map(str, range(10)))
MARKS = (0.25, 0.5, 1.0)
HALF = 0.5
POLL_SECONDS = 0.5


@dataclass(frozen=True)
class MillionConfig:
    """Measures host memory while a job writes a million images."""

    images: int = 1_000_000
    """Images that each job writes; a multiple of the 10 classes."""
    jobs: tuple[Job, ...] = ("write", "synthesize", "gan-sample")
    """Jobs to run; synthesize reads what write has written."""
    directory: Path | None = None
    """Directory of the sets, which take 13 GB for a million images; by default a temporary one."""


def classify(images: jax.Array) -> jax.Array:
    """A tiny network with random parameters: 4×4 patches to 16 features, their mean, 10 logits."""
    first, last = jax.random.split(jax.random.key(0))
    patches = images.reshape(len(images), SIZE_PX // 4, 4, SIZE_PX // 4, 4, 3).swapaxes(2, 3)
    values = patches.reshape(len(images), -1, 48) @ jax.random.normal(first, (48, 16))
    return 10 * jax.nn.relu(values).mean(1) @ jax.random.normal(last, (16, len(CLASS_NAMES)))


def write(directory: Path, images: int) -> None:
    """Writes the source shard by shard, as the commands that make data sets do."""
    spec = ImageSetSpec("made_up", CLASS_NAMES, (SIZE_PX, SIZE_PX, 3))
    starts = range(0, images, SHARD_IMAGES)

    def make_shard(start: int) -> Columns:
        rows = range(start, min(start + SHARD_IMAGES, images))
        random = np.random.default_rng(start)
        return {
            "id": [f"made_up_{row:07d}" for row in rows],
            "image": random.integers(0, 256, (len(rows), *spec.image_shape), np.uint8),
            "label": np.array(rows) % len(CLASS_NAMES),
        }

    image_set = ResumableSet(directory, spec, {"images": images})
    with image_set.open_for_writing():
        image_set.write_shards({SPLIT: [partial(make_shard, start) for start in starts]})


def synthesize(directory: Path, images: int) -> None:
    """`elicit synthesize` with one update an image; the originals are not held in memory."""
    train.data.image_data.MEMORY_SHARE = 0.0
    config = SynthesizeConfig(
        classifier=f"{Path(__file__).stem}:classify",
        data=str(directory.with_name("write")),
        out=directory,
        stop=images,
        rule=replace(PAPER_RULE, steps=1),
        batch_size=SHARD_IMAGES,
        batches_per_shard=1,
    )
    synthesize_set(config)


def gan_sample(directory: Path, images: int) -> None:
    """`elicit gan sample` from a small, untrained DCGAN."""
    config = DcganConfig(image_size=SIZE_PX, num_classes=len(CLASS_NAMES), noise_dim=8, width=2)
    noise = draw_dcgan_noise(jax.random.key(0), 1, noise_dim=config.noise_dim)
    variables = Generator(config).init(jax.random.key(1), noise, jnp.zeros(1, int), train=False)
    run = directory.with_name("gan")
    run.mkdir()
    write_json(run / SPEC_FILE, as_json(GanSpec("dcgan", CLASS_NAMES, config)._asdict()))
    save_checkpoint(run / GENERATOR, 1, {"image": dict(variables)})
    sample_gan(GanSampleConfig(str(run), directory, per_class=images // len(CLASS_NAMES)))


RUNS: dict[Job, Callable[[Path, int], None]] = {
    "write": write,
    "synthesize": synthesize,
    "gan-sample": gan_sample,
}


def _peak_mib() -> float:
    return round(peak_bytes() / 2**20, 1)


def count_shards(directory: Path) -> int:
    """Number of shards of a set on disk, finished or not."""
    return len(list(directory.glob("*.array_record-*")))


@contextlib.contextmanager
def watch(directory: Path, shards: int, *, stop_at: float) -> Iterator[dict[str, float]]:
    """Records the peak memory whenever another share of the shards is on disk.

    Args:
        directory: directory of the set.
        shards: number of its shards.
        stop_at: share of the shards at which it interrupts the job, as Ctrl+C does; 1 for never.
    """
    peaks = {"start": _peak_mib()}
    done = threading.Event()

    def poll() -> None:
        left = list(MARKS)
        while left:
            is_over = done.wait(POLL_SECONDS)
            while left and (count_shards(directory) >= left[0] * shards or is_over):
                peaks[f"{left[0]:.0%}"] = _peak_mib()
                if left.pop(0) == stop_at < 1 and not is_over:
                    _thread.interrupt_main()
                    return

    thread = threading.Thread(target=poll)
    thread.start()
    try:
        yield peaks
    finally:
        done.set()
        thread.join()
        peaks["end"] = _peak_mib()


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """Lets Ctrl+C raise KeyboardInterrupt; a program in the background ignores it by default."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def run_job(job: Job, directory: Path, images: int, stop_at: float = 1.0) -> dict[str, Any]:
    """Runs a job in this process and returns its peaks, in MiB, and its speed.

    Args:
        job: the job.
        directory: directory of its set; the job goes on with what is there.
        images: number of images.
        stop_at: see `watch`.
    """
    keep_memory()
    began, shards = time.monotonic(), -(-images // SHARD_IMAGES)
    before = count_shards(directory)
    with (
        contextlib.redirect_stdout(sys.stderr),
        contextlib.suppress(KeyboardInterrupt),
        interruptible(),
        watch(directory, shards, stop_at=stop_at) as peaks,
    ):
        RUNS[job](directory, images)
    made = min((count_shards(directory) - before) * SHARD_IMAGES, images)
    return {"peak_mib": peaks, "images_per_second": round(made / (time.monotonic() - began))}


def main(config: MillionConfig) -> None:
    """Runs the jobs, each in a fresh process, and prints their peaks as JSON."""
    peaks = {}
    with tempfile.TemporaryDirectory(dir=config.directory) as scratch:
        for job in config.jobs:
            for stop_at in (HALF, 1.0) if job == "synthesize" else (1.0,):
                name = job if stop_at == 1 else f"{job}, to the half"
                peaks[name] = in_new_process(
                    run_job, job, Path(scratch) / job, config.images, stop_at
                )
                print(json.dumps({name: peaks[name]}), file=sys.stderr)
    print(json.dumps({"images": config.images, "jobs": peaks, **environment()}, indent=2))


if __name__ == "__main__":
    main(tyro.cli(MillionConfig))
