"""The command `elicit synthesize`: paper A's job over a split or a range of it.

The result is an image set, written shard by shard. A shard holds a fixed range of the split's
images, so the same command goes on where it stopped, and a larger --stop extends a finished set;
either way the bytes are those of one undisturbed run. What is lost is at most the batch at hand.
Several processes deal the shards out among them, and the first one commits the set.

An image that does not stay finite is left out of the set, and disturbs no other.

Originals are read, and the set is summarised, a few shards at a time. What grows in memory is, for
every image, its label, its target (4 bytes a class) and about 40 bytes of measures.
"""

import functools
import time
import warnings
from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Float, UInt8

import imgopt
from experiments.classifier.source import ClassifierSource, check_takes, find_classifier
from experiments.console.compilation import counted_compilations
from experiments.console.progress import Progress
from experiments.synthesis.kept_batches import Batch, discard_batches, keep_batch, kept_batch
from experiments.synthesis.rule_options import RuleConfig, synthesis_options
from experiments.synthesis.shards import SPLIT, Shard, forget_note, note_shard, whole_shards
from experiments.synthesis.summary import (
    SHOWN_IMAGES,
    pairs_in_parts,
    print_summary,
    summarise,
    write_set_report,
)
from experiments.synthesis.target_options import TargetConfig, describe_targets, make_targets
from imgopt.classifier import as_partial
from imgopt.errors import InputError
from train.classifiers import Precision, check_precision
from train.data.image_data import ImageData, ImageReader, slice_images
from train.data.load import data_digest, open_images
from train.data.spec import ImageSetSpec, shard_path
from train.data.write import commit, read_extras, uncommit, write_shard
from train.runtime.memory import Footprint, check_fits, explained, footprint
from train.runtime.processes import (
    START_AGAIN,
    LostProcessError,
    first_process_first,
    is_first_process,
    meet,
    wait_for_all,
)
from train.storage.runs import check_key, open_run
from train.storage.strict_json import write_sealed

EXTRAS = ("target", "output", "kl", "max_error", "steps", "source_id")

NAMED_IMAGES = 5
"""Of those left out, at most so many are named on the screen; the manifest names them all."""

MADE = ("image", "outputs", "kl", "max_error", "steps")
"""What a batch gives."""


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
    """Images that a device computes at a time."""
    batches_per_shard: int = 4
    """Batches in a file of the set; with several devices best a multiple of their number."""
    precision: Precision = "float32"
    """Of the classifier's computation; pixel weights and the measured outputs are float32."""
    devices: int = 1
    """How many devices of each process work side by side; the result does not depend on it."""
    key: int = 0
    """Seed of the random targets."""

    def __post_init__(self) -> None:
        """Raises InputError for a number outside its range."""
        check_key(self.key)
        for name in ("batch_size", "batches_per_shard"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} must be at least 1, got {getattr(self, name)}")


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
        summary: of the whole set, as in its `summary.json`; in the first process alone.
        images: made by this call; the others were there already, or are other processes'.
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
        InputError: something does not fit, found before anything is compiled or written.
        FloatingPointError: of some shard not one image and its output is finite.
        LostProcessError: another process of the job has ended before its shards were made.

    Warns:
        UserWarning: some images are not, and are left out; their number and originals stand in the
            manifest.
    """
    job = _check(config)
    identity = _identity(config, job)
    estimate = functools.partial(_footprint, config, job)
    with counted_compilations() as compiled, explained(estimate):
        with first_process_first():
            open_run(config.out, identity, check=functools.partial(check_fits, estimate))
        made = _make_what_is_missing(config, job, identity, label=label)
    if compiled.programs:
        print(f"compilation: {compiled.programs} programs, {compiled.seconds:.1f} s")
    return made


def _make_what_is_missing(
    config: SynthesizeConfig, job: _Job, identity: dict[str, Any], *, label: str
) -> Made:
    shards = _shard_ranges(config, job)
    whole = whole_shards(config.out, job.spec, shards)
    missing = {index: rows for index, rows in shards.items() if index not in whole}
    wait_for_all()  # until every process has seen what is missing
    own = _own_share(missing)
    seconds = 0.0
    if missing:
        if is_first_process():
            for shard in whole.values():  # the manifest, which knows them, goes
                note_shard(config.out, shard)
            uncommit(config.out)
        began = time.monotonic()
        whole |= _make_shards(config, job, own, identity, label=label)
        seconds = time.monotonic() - began
    made = sum(map(len, own.values()))
    if jax.process_count() > 1:
        print(f"process {jax.process_index()} made {len(own)} shards")
        _check_complete(meet(), [_shard_path(config, job, index) for index in missing])
        if not is_first_process():
            return Made({}, made, seconds)
        whole = whole_shards(config.out, job.spec, shards)
    for index in shards:  # what a call left that was killed after writing a shard
        discard_batches(_shard_path(config, job, index))
    left_out = [name for index in shards for name in whole[index].left_out]
    manifest = {**identity, "stop": job.stop}
    if left_out:
        _warn_of(left_out, of=job.stop - job.start)
        manifest["left_out"] = {"images": len(left_out), "source_ids": left_out}
    records = [whole[index].record for index in shards]
    commit(config.out, job.spec, {SPLIT: records}, manifest=manifest)
    for shard in whole.values():
        forget_note(config.out, shard)
    return _finish(config, job, left_out=len(left_out), made=made, seconds=seconds)


def _own_share(missing: dict[int, range]) -> dict[int, range]:
    """The shards that this process makes."""
    return dict(list(missing.items())[jax.process_index() :: jax.process_count()])


def _check_complete(lost: Sequence[int], shards: Sequence[Path]) -> None:
    """Raises LostProcessError if a process has ended before all of its shards were there."""
    absent = sum(not shard.is_file() for shard in shards)
    if absent:
        names = ", ".join(f"process {number}" for number in lost)
        raise LostProcessError(
            f"{names or 'another process'} ended before its work was done: {absent} of "
            f"{len(shards)} shards are not there. {START_AGAIN}"
        )


def _warn_of(left_out: Sequence[str], *, of: int) -> None:
    named = ", ".join(left_out[:NAMED_IMAGES])
    more = f" and {len(left_out) - NAMED_IMAGES:,} more" if len(left_out) > NAMED_IMAGES else ""
    warnings.warn(
        f"{len(left_out):,} of {of:,} images are not finite or have no finite output, and are left "
        f"out: those of {named}{more}; a lower learning_rate may help",
        stacklevel=2,
    )


def _check(config: SynthesizeConfig) -> _Job:
    """Finds and checks everything that the job needs."""
    imgopt.check_device_count(config.devices)
    check_precision(config.precision)
    source = find_classifier(config.classifier, precision=config.precision)
    originals = open_images(config.dataset, config.split, data_dir=config.data_dir)
    check_takes(source, originals.class_names, originals.image_shape, of="data set")
    stop = len(originals) if config.stop is None else config.stop
    if not 0 <= config.start < stop <= len(originals):
        raise InputError(
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
        (config.batch_size * config.devices, *job.originals.image_shape),
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
        "key": config.key,
        "device_kind": jax.devices()[0].device_kind,
        "jax": jax.__version__,
    }


def _shard_ranges(config: SynthesizeConfig, job: _Job) -> dict[int, range]:
    """The images of each shard, by their numbers in the split."""
    size = config.batch_size * config.batches_per_shard
    starts = range(job.start, job.stop, size)
    return {i: range(first, min(first + size, job.stop)) for i, first in enumerate(starts)}


def _shard_path(config: SynthesizeConfig, job: _Job, index: int) -> Path:
    return shard_path(config.out, job.spec, split=SPLIT, index=index)


def _make_shards(
    config: SynthesizeConfig,
    job: _Job,
    missing: dict[int, range],
    identity: dict[str, Any],
    *,
    label: str,
) -> dict[int, Shard]:
    """Synthesises and writes shards; one is encoded and written while the next is computed."""
    total = sum(map(len, missing.values()))
    done = 0
    writing: dict[int, Future[Shard]] = {}
    with Progress(label, total=total, unit="images") as progress, ThreadPoolExecutor(1) as pool:
        for index, originals in zip(missing, _read_ahead(job, missing.values()), strict=True):
            rows, parts = missing[index], []
            targets = job.targets[rows.start - job.start : rows.stop - job.start]
            for part in _finished_batches(config, job, index, originals, targets, identity):
                parts.append(part)
                done += len(part["steps"])
                progress.update_to(done)
            columns, left_out = _columns(originals, targets, parts)
            for earlier in writing.values():  # no more than one waits in memory
                earlier.result()
            writing[index] = pool.submit(_write, config, job, index, rows, columns, left_out)
    return {index: written.result() for index, written in writing.items()}


def _write(
    config: SynthesizeConfig,
    job: _Job,
    index: int,
    rows: range,
    columns: dict[str, Any],
    left_out: tuple[str, ...],
) -> Shard:
    record = write_shard(config.out, job.spec, split=SPLIT, index=index, columns=columns)
    shard = Shard(record, rows, left_out)
    note_shard(config.out, shard)
    discard_batches(_shard_path(config, job, index))
    return shard


def _finished_batches(
    config: SynthesizeConfig,
    job: _Job,
    index: int,
    originals: ImageData,
    targets: Float[np.ndarray, "n k"],
    identity: dict[str, Any],
) -> Iterator[Batch]:
    """A shard's batches; those that an interrupted call has kept are not made again."""
    shard = _shard_path(config, job, index)
    last = (len(targets) - 1) // config.batch_size  # it is not kept: the shard is whole with it
    found = 0
    while found < last and (batch := kept_batch(shard, found, identity)) is not None:
        yield batch
        found += 1
    first = found * config.batch_size
    batches = _batches(config, job, originals.images[first:], targets[first:])
    for number, made in enumerate(batches, found):
        batch = made._asdict() | {"image": np.asarray(imgopt.to_uint8(made.images))}
        batch = {name: batch[name] for name in MADE}
        if number < last:
            keep_batch(shard, number, batch, identity)
        yield batch


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
    config: SynthesizeConfig,
    job: _Job,
    images: UInt8[np.ndarray, "n h w c"],
    targets: Float[np.ndarray, "n k"],
) -> Iterator[imgopt.Synthesis]:
    return imgopt.synthesize_in_batches(
        job.source.classify,
        images,
        targets,
        batch_size=config.batch_size,
        devices=config.devices,
        measure=job.source.measure,
        **job.options,
    )


def _columns(
    originals: ImageData, targets: Float[np.ndarray, "n k"], parts: Sequence[Batch]
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """A shard's features, and the ids of originals whose images are left out, not being finite.

    An image's id is its source's with a prefix.
    """
    made = {name: np.concatenate([part[name] for part in parts]) for name in MADE}
    finite = np.isfinite(made["outputs"]).all(1) & np.isfinite(made["kl"])
    if not finite.any():
        raise FloatingPointError(
            f"not one of the {len(finite)} images from that of {originals.ids[0]} to that of "
            f"{originals.ids[-1]} is finite and has a finite output; a lower learning_rate may "
            "help. The shards before are kept"
        )
    ids = np.array(originals.ids, object)
    columns = {
        "label": originals.labels,
        "target": targets,
        "output": made.pop("outputs"),
        **made,
        "source_id": ids,
    }
    kept: dict[str, Any] = {name: column[finite] for name, column in columns.items()}
    kept["id"] = [f"synthesised_{name}" for name in kept["source_id"]]
    return kept, tuple(ids[~finite])


def _finish(
    config: SynthesizeConfig, job: _Job, *, left_out: int, made: int, seconds: float
) -> Made:
    """Summarises the whole set, on screen and beside it."""
    data = open_images(config.out)
    columns = read_extras(config.out, ("kl", "max_error", "steps"))
    rows = range(job.start, job.stop)
    summary = summarise(
        pairs_in_parts(data, job.originals, rows), columns, job.options["pixel_map"]
    )
    if left_out:
        summary["left_out"] = left_out
    write_sealed(config.out / "summary.json", summary)
    first, sources = next(pairs_in_parts(data, job.originals, rows))
    shown = slice_images(first, 0, SHOWN_IMAGES)
    write_set_report(
        config.out / "report.html", shown, columns["kl"], sources.images[:SHOWN_IMAGES], summary
    )
    print_summary(summary, made=made, seconds=seconds)
    print(f"image set: {config.out}")
    return Made(summary, made, seconds)
