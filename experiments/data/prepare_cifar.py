"""The command `elicit data prepare`: CIFAR-10 or CIFAR-100 as the directory TFDS makes of it."""

import contextlib
import hashlib
import http.client
import tempfile
import urllib.request
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
from jaxtyping import Int64

from experiments.data.cifar_files import CIFAR_SETS, SIZE_PX, URL, CifarBatch, read_cifar
from experiments.data.resumable_set import Columns, ResumableSet
from experiments.options.data import TFDS_VERSION, PrepareConfig
from imgopt.errors import InputError
from train.data.spec import ImageSetSpec
from train.data.verify import MANIFEST_FILE

DOWNLOAD_TIMEOUT_SECONDS = 30
DOWNLOAD_BLOCK_BYTES = 2**20
PROGRESS_STEP_MB = 10


def prepare(config: PrepareConfig) -> None:
    """Turns the official files of CIFAR into the directory that TFDS makes of them.

    Ids, features, the number of shards and the order of the examples are TFDS's own.

    Args:
        config: the options.

    Raises:
        InputError: the directory exists; there is no network; the official files are missing,
            damaged, or not the official ones.
    """
    if (config.target / MANIFEST_FILE).is_file():
        raise InputError(
            f"expected a new directory, got {config.target}, which exists already; choose another "
            "one or remove it first"
        )
    with _archive_or_folder(config) as path:
        cifar = read_cifar(config.name, path)
    spec = ImageSetSpec(
        name=config.name,
        class_names=cifar.class_names,
        image_shape=(SIZE_PX, SIZE_PX, 3),
        splits=tuple(cifar.splits),
        description=(
            f"{CIFAR_SETS[config.name].title}: 60,000 colour images of 32 x 32 pixels in "
            f"{len(cifar.class_names)} classes."
        ),
        version=TFDS_VERSION,
    )
    image_set = ResumableSet(config.target, spec, cifar.source)
    with image_set.open_for_writing():
        image_set.write_shards(
            {split: [partial(_columns, split, own)] for split, own in cifar.splits.items()}
        )
    counts = ", ".join(f"{len(batch.labels):,} {split}" for split, batch in cifar.splits.items())
    print(f"{config.target}: {counts}")


@contextlib.contextmanager
def _archive_or_folder(config: PrepareConfig) -> Iterator[Path]:
    """Gives the path in the options, or a downloaded archive, which is removed at the end."""
    if config.archive is not None:
        yield config.archive
        return
    with tempfile.TemporaryDirectory() as scratch:
        archive = CIFAR_SETS[config.name].python.archive
        path = Path(scratch) / archive
        _download(URL + archive, path)
        yield path


def _download(url: str, path: Path) -> None:
    """Downloads a file, with a line of progress every few MB."""
    try:
        with (
            urllib.request.urlopen(url, timeout=DOWNLOAD_TIMEOUT_SECONDS) as answer,  # noqa: S310 -- our own https URL
            path.open("wb") as file,
        ):
            total_mb = int(answer.headers.get("Content-Length") or 0) // 2**20
            done = 0
            while block := answer.read(DOWNLOAD_BLOCK_BYTES):
                file.write(block)
                before, done = done, done + len(block)
                if before // 2**20 // PROGRESS_STEP_MB < done // 2**20 // PROGRESS_STEP_MB:
                    print(f"downloaded {done // 2**20} of {total_mb or '?'} MB", flush=True)
    except (OSError, http.client.HTTPException) as error:
        raise InputError(
            f"expected to download {url}, got {error}; download it where there is a network and "
            "give it by --archive FILE"
        ) from error


def _columns(split: str, batch: CifarBatch) -> Columns:
    """Gives a split's columns, in the order in which TFDS writes its examples."""
    order = tfds_order(split, len(batch.labels))
    planes = batch.pixels.reshape(-1, 3, SIZE_PX, SIZE_PX)
    return {
        "id": [f"{split}_{i:05d}" for i in order],
        "image": np.ascontiguousarray(planes.transpose(0, 2, 3, 1)[order]),
        "label": batch.labels[order],
    }


def tfds_order(split: str, size: int) -> Int64[np.ndarray, " size"]:
    """Gives the order in which TFDS writes the examples of a split: by salted MD5 digests.

    So a part of a split, such as "train[:10%]", holds the same images as in anyone else's
    cifar10/3.0.2 or cifar100/3.0.2. Source: `tensorflow_datasets.core.hashing` and `shuffle`.

    Args:
        split: name of the split, which is the salt.
        size: number of examples.
    """
    digests = [hashlib.md5(f"{split}{i}".encode(), usedforsecurity=False) for i in range(size)]
    return np.array(sorted(range(size), key=lambda i: digests[i].digest()), np.int64)
