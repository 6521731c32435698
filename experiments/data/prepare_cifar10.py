"""The commands `elicit data prepare`, `elicit data show` and `elicit data import`."""

import contextlib
import gzip
import hashlib
import http.client
import tarfile
import tempfile
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
from jaxtyping import Int64, UInt8
from tyro.conf import Positional

from experiments.data.plain_pickle import read_plain_pickle
from imgopt.errors import InputError
from train.data.spec import ImageSetSpec
from train.data.write import write_splits
from train.storage.files import building_directory, sha256_of

CIFAR10_URL = "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz"
CIFAR10_SHA256 = "6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce"
CIFAR10_VERSION = "3.0.2"  # TFDS's
CIFAR10_SIZE_PX = 32
CIFAR10_FOLDER = "cifar-10-batches-py"
CIFAR10_MEMBERS = {
    "train": tuple(f"{CIFAR10_FOLDER}/data_batch_{i}" for i in range(1, 6)),
    "test": (f"{CIFAR10_FOLDER}/test_batch",),
}
CIFAR10_META = f"{CIFAR10_FOLDER}/batches.meta"
BATCH_FIELDS = (b"data", b"labels")
ARCHIVE_LIMIT_BYTES = 256 * 2**20  # CIFAR-10 has 178 MiB
MEMBER_LIMIT_BYTES = 64 * 2**20  # a batch of CIFAR-10 has 31 MB
DOWNLOAD_TIMEOUT_SECONDS = 30
DOWNLOAD_BLOCK_BYTES = 2**20
PROGRESS_STEP_MB = 10


@dataclass(frozen=True)
class PrepareConfig:
    """Makes a data set that TFDS reads, without TensorFlow."""

    name: Positional[Literal["cifar10"]]
    """The data set."""
    data_dir: Path
    """TFDS's data directory; the set becomes cifar10/3.0.2 in it."""
    archive: Path | None = None
    """The official cifar-10-python.tar.gz; without it, it is downloaded."""
    verify: bool = True
    """Compare the archive with the checksum of the official one."""

    @property
    def target(self) -> Path:
        """The directory of the new data set."""
        return self.data_dir / self.name / CIFAR10_VERSION


def prepare(config: PrepareConfig) -> None:
    """Turns the official python archive of CIFAR-10 into the directory that TFDS makes of it.

    Ids, features, the number of shards and the order of the examples are TFDS's own.

    Args:
        config: the options.

    Raises:
        InputError: the directory exists; no network; the archive is missing, damaged, or another.
    """
    with building_directory(config.target) as partial, _archive(config) as archive:
        digest = _verified_digest(archive, config.verify)
        splits, spec = _read_cifar10(archive)
        source = {"source": CIFAR10_URL, "archive_sha256": digest, "verified": config.verify}
        whole = {split: [columns] for split, columns in splits.items()}
        write_splits(partial, spec, whole, manifest=source)
    counts = ", ".join(f"{len(columns['label']):,} {split}" for split, columns in splits.items())
    print(f"{config.target}: {counts}")


# --- prepare ------------------------------------------------------------------------------------


@contextlib.contextmanager
def _archive(config: PrepareConfig) -> Iterator[Path]:
    """Gives the archive named, or one downloaded, which is removed at the end."""
    if config.archive is not None:
        if not config.archive.is_file():
            raise InputError(
                f"expected the archive cifar-10-python.tar.gz, got {config.archive}, which is no "
                "file; check the path, or leave --archive out to download it"
            )
        yield config.archive
        return
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "cifar-10-python.tar.gz"
        _download(CIFAR10_URL, path)
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


def _verified_digest(archive: Path, verify: bool) -> str:
    digest = sha256_of(archive)
    if verify and digest != CIFAR10_SHA256:
        raise InputError(
            f"expected an archive with sha256 {CIFAR10_SHA256}, got {digest} for {archive}; it is "
            f"damaged or another file: download it again from {CIFAR10_URL}"
        )
    return digest


def _read_cifar10(archive: Path) -> tuple[dict[str, dict[str, Any]], ImageSetSpec]:
    """Reads the archive: the columns of each split, in TFDS's order, and what they are."""
    wanted = {CIFAR10_META, *CIFAR10_MEMBERS["train"], *CIFAR10_MEMBERS["test"]}
    members = _read_members(archive, wanted)
    try:
        meta = read_plain_pickle(members[CIFAR10_META])
        spec = ImageSetSpec(
            name="cifar10",
            class_names=tuple(name.decode() for name in meta[b"label_names"]),
            image_shape=(CIFAR10_SIZE_PX, CIFAR10_SIZE_PX, 3),
            splits=tuple(CIFAR10_MEMBERS),
            description="CIFAR-10: 60,000 colour images of 32 x 32 pixels in 10 classes.",
            version=CIFAR10_VERSION,
        )
        splits = {
            split: _cifar10_columns(spec, split, [members[name] for name in names])
            for split, names in CIFAR10_MEMBERS.items()
        }
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise InputError(
            f"expected the batches of CIFAR-10 in {archive}, got {type(error).__name__}: {error}; "
            f"download it again from {CIFAR10_URL}"
        ) from error
    return splits, spec


def _read_members(archive: Path, wanted: set[str]) -> dict[str, bytes]:
    """Reads the members wanted into memory; nothing of an archive is ever extracted."""
    found: dict[str, bytes] = {}
    try:
        with gzip.open(archive) as unpacked:
            # As a stream, which is never sought in: all that is unpacked is counted.
            source: Any = _Counted(unpacked)
            with cast(Any, tarfile.open(fileobj=source, mode="r|")) as tar:
                for member in tar:
                    small = member.isfile() and member.size <= MEMBER_LIMIT_BYTES
                    file = tar.extractfile(member) if member.name in wanted and small else None
                    if file is not None:
                        found[member.name] = file.read()
                    tar.members.clear()  # it would keep those of any archive, however many
            while source.read(2**20):  # the checksum is at the end, and tar stops before it
                pass
    except Exception as error:  # a damaged header raises whatever its bytes happen to mean
        raise InputError(
            f"expected a whole .tar.gz archive, got {archive} ({error}); download it again from "
            f"{CIFAR10_URL}"
        ) from error
    if missing := sorted(wanted - found.keys()):
        raise InputError(
            f"expected {', '.join(missing)} in {archive}, got an archive without; give the python "
            f"version of CIFAR-10, {CIFAR10_URL}"
        )
    return found


class _Counted:
    """A file that refuses to give more than `ARCHIVE_LIMIT_BYTES`."""

    def __init__(self, file: gzip.GzipFile) -> None:
        self._file, self._left = file, ARCHIVE_LIMIT_BYTES

    def read(self, size: int) -> bytes:
        """Reads at most `size` bytes."""
        content = self._file.read(size)
        self._left -= len(content)
        if self._left < 0:
            raise InputError(f"it holds more than {ARCHIVE_LIMIT_BYTES // 2**20} MiB")
        return content


def _cifar10_columns(spec: ImageSetSpec, split: str, pickles: Sequence[bytes]) -> dict[str, Any]:
    """Makes columns of the batches, ordered as TFDS orders them."""
    batches = [_read_batch(content, len(spec.class_names)) for content in pickles]
    flat = np.concatenate([data for data, _ in batches])
    labels = np.concatenate([labels for _, labels in batches])
    planes = flat.reshape(-1, 3, CIFAR10_SIZE_PX, CIFAR10_SIZE_PX)
    order = _tfds_order(split, len(labels))
    return {
        "id": [f"{split}_{i:05d}" for i in order],
        "image": np.ascontiguousarray(planes.transpose(0, 2, 3, 1)[order]),
        "label": labels[order],
    }


def _read_batch(
    content: bytes, num_classes: int
) -> tuple[UInt8[np.ndarray, "n 3072"], Int64[np.ndarray, " n"]]:
    """Images and labels of a batch.

    Raises:
        InputError: there are none, or not as many of both, or a label is outside its range.
    """
    batch = read_plain_pickle(content)
    data, labels = (batch.get(name) if isinstance(batch, dict) else None for name in BATCH_FIELDS)
    if not isinstance(data, np.ndarray) or data.shape[1:] != (3 * CIFAR10_SIZE_PX**2,):
        raise InputError("a batch without images")
    known = range(num_classes)
    if not isinstance(labels, list) or not all(type(n) is int and n in known for n in labels):
        raise InputError(f"a batch without labels in [0, {num_classes})")
    if len(data) != len(labels):
        raise InputError(f"{len(data)} images and {len(labels)} labels")
    return data, np.array(labels, np.int64)


def _tfds_order(split: str, size: int) -> Int64[np.ndarray, " size"]:
    """Gives the order in which TFDS writes examples 0 to size - 1: by a salted MD5 digest.

    Source: `tensorflow_datasets.core.hashing` and `shuffle`. So the slices of a split, such as
    "train[:10%]", hold the same images as those of anyone else's cifar10/3.0.2.
    """
    digests = [hashlib.md5(f"{split}{i}".encode(), usedforsecurity=False) for i in range(size)]
    return np.array(sorted(range(size), key=lambda i: digests[i].digest()), np.int64)
