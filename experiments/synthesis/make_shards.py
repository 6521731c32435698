"""Synthesises the shards of a set, batch by batch, and writes them.

The host works while the device computes: it decodes the originals of the next shard, and encodes
and writes the shard before. A finished batch is saved at once, so an interruption loses at most
the batch that is being computed.
"""

from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Float, UInt8

import imgopt
from experiments.console.progress import Progress
from experiments.data.resumable_set import SPLIT, Columns, ResumableSet, Shard
from experiments.data.saved_batches import Batch, load_batch, save_batch
from experiments.synthesis.classifiers import ClassifierGroup
from experiments.synthesis.rule_options import SynthesisOptions
from experiments.synthesis.view_options import VIEW_FEATURES
from experiments.training.tracking import Track, track_nothing
from imgopt.errors import InputError
from train.data.image_data import ImageData, ImageReader, image_digests

BATCH_COLUMNS = ("image", "outputs", "kl", "max_error", "steps")
"""Arrays of a finished batch, without the arrays of its views."""


@dataclass(frozen=True)
class SynthesisJob:
    """A checked job; nothing is compiled or written yet.

    Attributes:
        source: the classifier, or several.
        originals: the split that the job starts from.
        rows: numbers of the originals in their split.
        targets: distributions asked for, one row for each number in `rows`.
        options: keyword arguments of `imgopt.synthesize`.
        batch_size: images that a device computes at a time.
        batches_per_shard: batches in a shard.
        devices: devices of this process that work side by side.
    """

    source: ClassifierGroup
    originals: ImageReader
    rows: range
    targets: Float[np.ndarray, "n k"]
    options: SynthesisOptions
    batch_size: int
    batches_per_shard: int
    devices: int

    @property
    def view_features(self) -> tuple[str, ...]:
        """Features that images have because they are measured on views."""
        return VIEW_FEATURES if self.options.views else ()

    def shard_rows(self) -> dict[int, range]:
        """Numbers of the originals of each shard, by the shard's index."""
        size = self.batch_size * self.batches_per_shard
        starts = self.rows[::size]
        return {
            index: range(start, min(start + size, self.rows.stop))
            for index, start in enumerate(starts)
        }

    def targets_of(self, rows: range) -> Float[np.ndarray, "m k"]:
        """Targets of some of the originals."""
        return self.targets[rows.start - self.rows.start : rows.stop - self.rows.start]


class _FinishedShard(NamedTuple):
    """A shard's features, and the ids of originals whose images are left out."""

    columns: Columns
    left_out: tuple[str, ...]


def find_shards(image_set: ResumableSet, wanted: dict[int, range]) -> dict[int, Shard]:
    """Finds the shards that need not be made again, by their index.

    A shard has to be made again if it is damaged, or too short because the set has grown.

    Args:
        image_set: the set.
        wanted: numbers of the originals of each shard.

    Raises:
        InputError: the set on disk holds more images than are asked for.
    """
    found = {index: image_set.find(SPLIT, index) for index in wanted}
    shards = {index: shard for index, shard in found.items() if shard is not None}
    rows = {index: _rows_of(shard, wanted[index].start) for index, shard in shards.items()}
    is_longer = any(rows[index].stop > wanted[index].stop for index in rows)
    if is_longer or image_set.shard_path(SPLIT, len(wanted)).exists():
        raise InputError(
            f"{image_set.directory} already holds more images than are asked for; choose another "
            "--out"
        )
    return {index: shard for index, shard in shards.items() if rows[index] == wanted[index]}


def left_out_of(shard: Shard) -> list[str]:
    """Ids of a shard's originals whose images were not finite."""
    return list(shard.made_from.get("left_out", ()))


def make_shards(
    job: SynthesisJob,
    image_set: ResumableSet,
    wanted: dict[int, range],
    *,
    label: str,
    track: Track = track_nothing,
) -> dict[int, Shard]:
    """Synthesises and writes shards.

    Args:
        job: the job.
        image_set: the set that the shards belong to.
        wanted: numbers of the originals of each shard, by the shard's index.
        label: text in front of the progress.
        track: called with the means of each batch.

    Raises:
        FloatingPointError: no image of a shard is finite.
    """
    done, writing = 0, dict[int, Future[Shard]]()
    total = sum(map(len, wanted.values()))
    with Progress(label, total=total, unit="images") as progress, ThreadPoolExecutor(1) as pool:
        originals_of = zip(wanted, _read_ahead(job.originals, wanted.values()), strict=True)
        for index, originals in originals_of:
            batches = []
            for batch in _batches(job, image_set, index, originals.images):
                batches.append(batch)
                done += len(batch["steps"])
                progress.detail = f"mean KL {np.mean(batch['kl']):.4f}"
                progress.update_to(done)
                in_shard = sum(len(each["steps"]) for each in batches)
                track(_means(batch, step=wanted[index].start - job.rows.start + in_shard))
            targets = job.targets_of(wanted[index])
            finished = _leave_out_nonfinite(originals, targets, batches)
            for earlier in writing.values():  # at most one shard waits in memory
                earlier.result()
            writing[index] = pool.submit(_write, image_set, index, wanted[index], finished)
    return {index: written.result() for index, written in writing.items()}


def _means(batch: Batch, *, step: int) -> dict[str, float]:
    """Means of a batch for a tracker; `step` is the number of the job's images up to its end."""
    means = {f"{name}_mean": float(np.mean(batch[name])) for name in ("kl", "max_error", "steps")}
    return {"step": step, **means}


def _rows_of(shard: Shard, start: int) -> range:
    """Numbers of a shard's originals; without a note, each image comes from one original."""
    known = shard.made_from
    if "stop" in known:
        return range(known["start"], known["stop"])
    return range(start, start + shard.record.num_examples)


def _write(image_set: ResumableSet, index: int, rows: range, shard: _FinishedShard) -> Shard:
    made_from = {"start": rows.start, "stop": rows.stop, "left_out": list(shard.left_out)}
    return image_set.write(SPLIT, index, shard.columns, made_from=made_from)


def _read_ahead(originals: ImageReader, ranges: Collection[range]) -> Iterator[ImageData]:
    """Reads the originals of each shard while the shard before is in use."""
    with ThreadPoolExecutor(1) as pool:
        reading = None
        for rows in ranges:
            following = pool.submit(originals.read, rows.start, rows.stop)
            if reading is not None:
                yield reading.result()
            reading = following
        if reading is not None:
            yield reading.result()


def _batches(
    job: SynthesisJob, image_set: ResumableSet, index: int, images: UInt8[np.ndarray, "n h w c"]
) -> Iterator[Batch]:
    """Gives a shard's batches; those that an interrupted call has saved are not computed again."""
    path, identity = image_set.shard_path(SPLIT, index), image_set.identity
    rows = job.shard_rows()[index]
    last = (len(images) - 1) // job.batch_size  # not saved: the shard is complete with it
    loaded = 0
    while loaded < last and (batch := load_batch(path, loaded, identity)) is not None:
        yield batch
        loaded += 1
    first = loaded * job.batch_size
    for number, batch in enumerate(_synthesize(job, images[first:], rows[first:]), loaded):
        if number < last:
            save_batch(path, number, batch, identity)
        yield batch


def _synthesize(
    job: SynthesisJob, images: UInt8[np.ndarray, "n h w c"], rows: range
) -> Iterator[Batch]:
    """Computes batches of originals; what is random depends only on their numbers, `rows`."""
    results = imgopt.synthesize_in_batches(
        job.source.classify,
        images,
        job.targets_of(rows),
        indices=np.arange(rows.start, rows.stop),
        batch_size=job.batch_size,
        devices=job.devices,
        measure=job.source.measure,
        **vars(job.options),
    )
    for result in results:
        columns = {**result._asdict(), "image": np.asarray(imgopt.to_uint8(result.images))}
        yield {name: columns[name] for name in (*BATCH_COLUMNS, *job.view_features)}


def _leave_out_nonfinite(
    originals: ImageData, targets: Float[np.ndarray, "n k"], batches: Sequence[Batch]
) -> _FinishedShard:
    """Joins a shard's batches without the images that are not finite.

    An image's id is its original's id with a prefix.
    """
    joined = jax.tree.map(lambda *columns: np.concatenate(columns), *batches)
    finite = np.isfinite(joined["outputs"]).all(1) & np.isfinite(joined["kl"])
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
        "output": joined.pop("outputs"),
        **joined,
        "source_id": ids,
        "source_sha256": np.array(image_digests(originals.images), object),
    }
    kept: Columns = {name: column[finite] for name, column in columns.items()}
    kept["id"] = [f"synthesised_{name}" for name in kept["source_id"]]
    return _FinishedShard(kept, tuple(ids[~finite]))
