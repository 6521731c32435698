"""The batch job: synthesises any number of images with one compiled program of one batch size."""

from collections.abc import Iterator
from typing import Any

import jax
import numpy as np
from jaxtyping import Float, UInt8

from imgopt.classifier import Classify
from imgopt.devices import check_device_count
from imgopt.errors import InputError
from imgopt.pixel_maps import to_float
from imgopt.synthesis import synthesize
from imgopt.targets import check_targets
from imgopt.updates import Synthesis, loops_on_host


def synthesize_in_batches(
    classify: Classify,
    images: UInt8[np.ndarray, "n h w c"],
    targets: Float[np.ndarray, "n k"],
    *,
    batch_size: int,
    devices: int = 1,
    **options: Any,
) -> Iterator[Synthesis]:
    """Synthesises images batch by batch; a batch is computed while the caller uses the last one.

    On CPUs a batch is given before the next one begins. There Python calls every update, so
    holding a batch back gains nothing, and an interruption would lose it.

    Each device computes `batch_size` images at a time, however many devices there are. The last
    batch is filled up with copies of the last image, which are dropped. So there is one
    compilation, and an image's bits do not depend on the images that share its batch, nor on the
    number of devices of one kind.

    Args:
        classify: the classifier, as in `imgopt.synthesize`.
        images: 8-bit originals.
        targets: the targets, as in `imgopt.synthesize`.
        batch_size: images that a device computes at a time, at least 1.
        devices: number of this process's devices that work side by side.
        **options: passed on to `imgopt.synthesize`.

    Returns:
        An iterator over the batches in order, each a `Synthesis` of NumPy arrays.

    Raises:
        InputError: `batch_size` is below 1, there are fewer devices, the images are not uint8, or
            some targets are wrong. These are raised at once; the other errors of
            `imgopt.synthesize` are raised at the first batch.
    """
    if batch_size < 1:
        raise InputError(f"batch_size must be at least 1, got {batch_size}")
    check_device_count(devices)
    if np.asarray(images).dtype != np.uint8:
        raise InputError(f"images must be uint8 grey levels, got {np.asarray(images).dtype}")
    targets = check_targets(targets, count=len(images))
    return _run(classify, images, targets, batch_size, {"devices": devices, **options})


def _run(
    classify: Classify,
    images: UInt8[np.ndarray, "n h w c"],
    targets: Float[np.ndarray, "n k"],
    batch_size: int,
    options: dict[str, Any],
) -> Iterator[Synthesis]:
    at_once = batch_size * options["devices"]
    pending: tuple[Synthesis, int] | None = None
    for start in range(0, len(images), at_once):
        if pending and loops_on_host():
            yield from _fetch(*pending, batch_size)
            pending = None
        rows = np.arange(start, min(start + at_once, len(images)))
        padded = np.pad(rows, (0, at_once - len(rows)), mode="edge")
        running = synthesize(classify, to_float(images[padded]), targets[padded], **options)
        if pending:
            yield from _fetch(*pending, batch_size)
        pending = running, len(rows)
    if pending:
        yield from _fetch(*pending, batch_size)


def _fetch(result: Synthesis, count: int, batch_size: int) -> Iterator[Synthesis]:
    """The results of the first `count` images, batch by batch, as NumPy arrays."""
    fetched = jax.device_get(result)
    for start in range(0, count, batch_size):
        rows = slice(start, min(start + batch_size, count))
        yield jax.tree.map(lambda leaf, rows=rows: leaf[rows], fetched)
