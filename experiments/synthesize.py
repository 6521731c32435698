"""The command `elicit synthesize`: paper A's job over a split or a range of it.

The result is an image set, written shard by shard. A shard holds a fixed range of the split's
images, so the same command goes on where it stopped, and a larger --stop extends a finished set;
either way the bytes are those of one undisturbed run.

Originals are read, and the set is summarised, a few shards at a time. What grows in memory is, for
every image, its label, its target (4 bytes a class) and about 40 bytes of measures.
"""

import functools
import time
from collections.abc import Collection, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Float

import imgopt
from experiments.classifier_source import ClassifierSource, check_takes, find_classifier
from experiments.compilation import counted_compilations
from experiments.progress import Progress
from experiments.synthesis_options import RuleConfig, synthesis_options
from experiments.synthesis_shards import SPLIT, forget_note, note_shards, whole_shards
from experiments.synthesis_summary import (
    SHOWN_IMAGES,
    pairs_in_parts,
    print_summary,
    summarise,
    write_set_report,
)
from experiments.target_options import TargetConfig, describe_targets, make_targets
from imgopt.synthesis import as_partial
from train.classifiers import Precision, check_precision
from train.datasets import data_digest, open_images
from train.files import write_sealed
from train.image_data import ImageData, ImageReader
from train.image_sets import (
    ImageSetSpec,
    ShardRecord,
    commit,
    read_extras,
    uncommit,
    write_shard,
)
from train.memory import Footprint, check_fits, explained, footprint
from train.runs import check_key, open_run

EXTRAS = ("target", "output", "kl", "max_error", "steps", "source_id")


@dataclass(frozen=True)
class SynthesizeConfig:
    """Makes images that elicit chosen outputs from a classifier (paper A)."""

    classifier: str
    """A run of `elicit classifier train`, or a callable of your own as package.module:name."""
    dataset: str
    """Name of a data set, such as cifar10 or digits, or the directory of an image set."""
    out: Path
    """Directory of the new image set."""
    data_dir: Path | None = None
    """TFDS's data directory, for a data set named by name."""
    split: str = "train"
    """Split to start from."""
    start: int = 0
    """First image of the split."""
    stop: int | None = None
    """End of the range; the split's end by default. A later run with a larger one extends."""
    target: TargetConfig = field(default_factory=TargetConfig)
    rule: RuleConfig = field(default_factory=RuleConfig)
    batch_size: int = 256
    """Images in one compiled batch."""
    batches_per_shard: int = 4
    """Batches in a file of the set; what a killed job has to do again is at most this."""
    precision: Precision = "float32"
    """Of the classifier's computation; pixel weights and the measured outputs are float32."""
    devices: int = 1
    """How many devices of this machine share a batch; another number is another set of bits."""
    key: int = 0
    """Seed of the random targets."""

    def __post_init__(self) -> None:
        """Raises ValueError for a number outside its range."""
        check_key(self.key)
        for name in ("batch_size", "batches_per_shard"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")


class _Job(NamedTuple):
    """A checked job; nothing is compiled or written yet."""

    source: ClassifierSource
    originals: ImageReader
    targets: Float[np.ndarray, "n k"]
    start: int
    stop: int
    options: dict[str, Any]
    spec: ImageSetSpec


class Made(NamedTuple):
    """What a call of the command did; times are not in the set, whose bytes never differ.

    Attributes:
        summary: of the whole set, as in its `summary.json`.
        images: made by this call; the others were there already.
        seconds: that took, compilation included.
    """

    summary: dict[str, Any]
    images: int
    seconds: float


def synthesize_set(config: SynthesizeConfig, *, label: str = "synthesis") -> Made:
    """Runs the command.

    Args:
        config: what to make.
        label: in front of the progress.

    Raises:
        ValueError: something does not fit, found before anything is compiled or written.
        FloatingPointError: an image or its output is not finite.
    """
    job = _check(config)
    identity = _identity(config, job)
    estimate = functools.partial(_footprint, config, job)
    with counted_compilations() as compiled, explained(estimate):
        open_run(config.out, identity, check=functools.partial(check_fits, estimate))
        made = _make_what_is_missing(config, job, identity, label=label)
    if compiled.programs:
        print(f"compilation: {compiled.programs} programs, {compiled.seconds:.1f} s")
    return made


def _make_what_is_missing(
    config: SynthesizeConfig, job: _Job, identity: dict[str, Any], *, label: str
) -> Made:
    shards = _shard_ranges(config, job)
    whole = whole_shards(config.out, job.spec, {i: len(rows) for i, rows in shards.items()})
    missing = {index: rows for index, rows in shards.items() if index not in whole}
    seconds = 0.0
    if missing:
        note_shards(config.out, whole.values())
        uncommit(config.out)
        began = time.monotonic()
        _make_shards(config, job, missing, whole, label=label)
        seconds = time.monotonic() - began
    records = [whole[index] for index in shards]
    commit(config.out, job.spec, {SPLIT: records}, manifest={**identity, "stop": job.stop})
    forget_note(config.out)
    made = sum(len(rows) for rows in missing.values())
    return _finish(config, job, made=made, seconds=seconds)


def _check(config: SynthesizeConfig) -> _Job:
    """Finds and checks everything that the job needs."""
    imgopt.check_devices(config.devices, batch_size=config.batch_size)
    check_precision(config.precision)
    source = find_classifier(config.classifier, precision=config.precision)
    originals = open_images(config.dataset, config.split, data_dir=config.data_dir)
    check_takes(source, originals.class_names, originals.image_shape, of="data set")
    stop = len(originals) if config.stop is None else config.stop
    if not 0 <= config.start < stop <= len(originals):
        raise ValueError(
            f"the range {config.start} to {stop} is not within the split's {len(originals)} "
            "images; expected 0 <= start < stop"
        )
    targets = make_targets(config.target, originals, start=config.start, stop=stop, key=config.key)
    options = synthesis_options(config.rule)
    first = imgopt.to_float(originals.read(config.start, config.start + 1).images)
    imgopt.check_inputs(source.classify, first, targets[:1])
    spec = ImageSetSpec(
        name="synthesised",
        class_names=originals.class_names,
        image_shape=originals.image_shape,
        extras=EXTRAS,
        description="Images optimised until a classifier's whole output is the target (elicit).",
    )
    return _Job(source, originals, targets, config.start, stop, options, spec)


def _footprint(config: SynthesizeConfig, job: _Job) -> Footprint:
    """Compiles the updates, which the job will not do again, for what they need."""
    compiled_in = ("optimizer", "pixel_map", "image_filter", "criterion")
    program = imgopt.compile_updates(
        job.source.classify,
        (config.batch_size, *job.originals.image_shape),
        devices=config.devices,
        **{name: job.options[name] for name in compiled_in},
    )
    return footprint(
        program,
        batch_size=config.batch_size,
        fixed=as_partial(job.source.classify),
        devices=config.devices,
    )


def _identity(config: SynthesizeConfig, job: _Job) -> dict[str, Any]:
    """What the bytes of the set depend on, but for where it ends."""
    return {
        "classifier": job.source.identity,
        "dataset": {
            "name": Path(config.dataset).name,
            "split": config.split,
            "sha256": data_digest(job.originals),
        },
        "start": job.start,
        "target": describe_targets(config.target),
        "rule": config.rule.describe(),
        "batch_size": config.batch_size,
        "batches_per_shard": config.batches_per_shard,
        "precision": config.precision,
        **({"devices": config.devices} if config.devices > 1 else {}),
        "key": config.key,
        "device_kind": jax.devices()[0].device_kind,
        "jax": jax.__version__,
    }


def _shard_ranges(config: SynthesizeConfig, job: _Job) -> dict[int, range]:
    """The images of each shard, by their numbers in the split."""
    size = config.batch_size * config.batches_per_shard
    starts = range(job.start, job.stop, size)
    return {i: range(first, min(first + size, job.stop)) for i, first in enumerate(starts)}


def _make_shards(
    config: SynthesizeConfig,
    job: _Job,
    missing: dict[int, range],
    whole: dict[int, ShardRecord],
    *,
    label: str,
) -> None:
    """Synthesises and writes shards; one is encoded and written while the next is computed.

    Each is added to those that are whole.
    """

    def write(index: int, columns: dict[str, Any]) -> None:
        whole[index] = write_shard(config.out, job.spec, split=SPLIT, index=index, columns=columns)
        note_shards(config.out, whole.values())

    total = sum(map(len, missing.values()))
    done = 0
    writing: list[Future[None]] = []
    with Progress(label, total=total, unit="images") as progress, ThreadPoolExecutor(1) as pool:
        for index, originals in zip(missing, _read_ahead(job, missing.values()), strict=True):
            rows, parts = missing[index], []
            targets = job.targets[rows.start - job.start : rows.stop - job.start]
            for part in _batches(config, job, originals, targets):
                parts.append(part)
                done += len(part.steps)
                progress.update_to(done)
            made = jax.tree.map(lambda *leaves: np.concatenate(leaves), *parts)
            columns = _columns(originals, targets, made)
            for earlier in writing:  # no more than one waits in memory
                earlier.result()
            writing = [pool.submit(write, index, columns)]
    for last in writing:
        last.result()


def _read_ahead(job: _Job, ranges: Collection[range]) -> Iterator[ImageData]:
    """Reads the originals of shards; the next ones while these are used."""
    with ThreadPoolExecutor(1) as pool:
        reading = None
        for rows in ranges:
            following = pool.submit(job.originals.read, rows.start, rows.stop)
            if reading is not None:
                yield reading.result()
            reading = following
        if reading is not None:
            yield reading.result()


def _batches(
    config: SynthesizeConfig, job: _Job, originals: ImageData, targets: Float[np.ndarray, "n k"]
) -> Iterator[imgopt.Synthesis]:
    return imgopt.synthesize_in_batches(
        job.source.classify,
        originals.images,
        targets,
        batch_size=config.batch_size,
        devices=config.devices,
        measure=job.source.measure,
        **job.options,
    )


def _columns(
    originals: ImageData, targets: Float[np.ndarray, "n k"], made: imgopt.Synthesis
) -> dict[str, Any]:
    """A shard's features; an image's id is its source's with a prefix."""
    broken = ~np.isfinite(made.outputs).all(1)
    if broken.any():
        raise FloatingPointError(
            f"{broken.sum()} of {len(originals.ids)} images are not finite or have no finite "
            f"output, first that of {originals.ids[np.argmax(broken)]}; a lower learning_rate may "
            "help. The shards before are kept"
        )
    return {
        "id": [f"synthesised_{name}" for name in originals.ids],
        "image": np.asarray(imgopt.to_uint8(made.images)),
        "label": originals.labels,
        "target": targets,
        "output": made.outputs,
        "kl": made.kl,
        "max_error": made.max_error,
        "steps": made.steps,
        "source_id": list(originals.ids),
    }


def _finish(config: SynthesizeConfig, job: _Job, *, made: int, seconds: float) -> Made:
    """Summarises the whole set, on screen and beside it."""
    data = open_images(config.out)
    columns = read_extras(config.out, ("kl", "max_error", "steps"))
    pairs = pairs_in_parts(data, job.originals, start=job.start)
    summary = summarise(pairs, columns, job.options["pixel_map"])
    write_sealed(config.out / "summary.json", summary)
    shown = min(SHOWN_IMAGES, len(data))
    originals = job.originals.read(job.start, job.start + shown).images
    write_set_report(
        config.out / "report.html", data.read(0, shown), columns["kl"], originals, summary
    )
    print_summary(summary, made=made, seconds=seconds)
    print(f"image set: {config.out}")
    return Made(summary, made, seconds)
