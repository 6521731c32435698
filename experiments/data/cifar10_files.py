"""The official files of CIFAR-10: one of two archives, or the folder that it unpacks to.

The python archive consists of pickles, and unpickling runs whatever a pickle asks for. So a pickle
is read only if it is the official one, byte for byte. The archives are compared with their SHA-256.
The members of the python archive have only MD5 digests: for MD5, two files with the same digest can
be made together, but no way is known to make a file for a digest that is given.

The binary archive holds plain bytes, safe to read without a digest. Its members have none.
"""

import hashlib
import pickle
import tarfile
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Int64, UInt8

from imgopt.errors import InputError
from train.storage.files import sha256_of

URL = "https://www.cs.toronto.edu/~kriz/"
SIZE_PX = 32
PIXELS = 3 * SIZE_PX**2  # red, green and blue planes, each row by row
IMAGES_PER_FILE = 10_000
NUM_CLASSES = 10


# The second as TFDS lists it.
SHA256 = {
    "cifar-10-python.tar.gz": "6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce",
    "cifar-10-binary.tar.gz": "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
}
"""Digests of the official archives."""

# As torchvision lists them.
MD5 = {
    "data_batch_1": "c99cafc152244af753f735de768cd75f",
    "data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec",
    "data_batch_3": "54ebc095f3ab1f0389bbae665268c751",
    "data_batch_4": "634d18415352ddfa80567beed471001a",
    "data_batch_5": "482c414d41f54cd18b22e5b47cb7c3cb",
    "test_batch": "40351d587109b95175f43aff81a1287e",
    "batches.meta": "5ff9c542aee3614f3951f8cda6e48888",
}
"""Digests of the python archive's files."""


class Release(NamedTuple):
    """One of the two forms in which CIFAR-10 is published.

    Attributes:
        archive: name of the archive.
        folder: the folder that it unpacks to.
        suffix: how the names of the batches end.
        names_file: name of the file with the names of the classes.
    """

    archive: str
    folder: str
    suffix: str
    names_file: str

    @property
    def splits(self) -> dict[str, list[str]]:
        """Names of the files of each split, in order."""
        train = [f"data_batch_{i}{self.suffix}" for i in range(1, 6)]
        return {"train": train, "test": [f"test_batch{self.suffix}"]}

    @property
    def files(self) -> list[str]:
        """Names of all files."""
        return [*self.splits["train"], *self.splits["test"], self.names_file]


PYTHON = Release("cifar-10-python.tar.gz", "cifar-10-batches-py", "", "batches.meta")
BINARY = Release("cifar-10-binary.tar.gz", "cifar-10-batches-bin", ".bin", "batches.meta.txt")
RELEASES = (PYTHON, BINARY)


class Batch(NamedTuple):
    """Images of one file or split.

    Attributes:
        pixels: the images, each as red, green and blue planes, row by row.
        labels: classes of the images.
    """

    pixels: UInt8[np.ndarray, "n 3072"]
    labels: Int64[np.ndarray, " n"]


class Cifar10(NamedTuple):
    """CIFAR-10 as its official files hold it.

    Attributes:
        class_names: names of the classes, in the order of the labels.
        splits: images of the splits train and test.
        source: address of the official archive, and the SHA-256 digests of what was read.
    """

    class_names: tuple[str, ...]
    splits: dict[str, Batch]
    source: dict[str, Any]


def read_cifar10(path: Path) -> Cifar10:
    """Reads CIFAR-10 from an official archive or from the folder that it unpacks to.

    Args:
        path: the archive, or the folder (cifar-10-batches-py or cifar-10-batches-bin).

    Raises:
        InputError: there is no such file; it differs from the official one; a file of the folder is
            missing, of another size, or holds a label outside the classes. The message names it.
    """
    if not path.exists():
        raise InputError(
            f"expected the archive {PYTHON.archive} or {BINARY.archive}, or its folder, got "
            f"{path}, which does not exist; check the path, or leave --archive out to download it"
        )
    release, contents, source = _read_folder(path) if path.is_dir() else _read_archive(path)
    if release is PYTHON:
        _check_md5(path, contents)
    class_names = _class_names(path, release, contents[release.names_file])
    splits = {}
    for split, names in release.splits.items():
        batches = [
            _batch_of_pickle(contents[name])
            if release is PYTHON
            else _batch_of_records(f"{name} of {path}", contents[name])
            for name in names
        ]
        splits[split] = Batch(*map(np.concatenate, zip(*batches, strict=True)))
    return Cifar10(class_names, splits, {"source": URL + release.archive, **source})


def _read_archive(path: Path) -> tuple[Release, dict[str, bytes], dict[str, Any]]:
    """Reads the files of an official archive into memory; nothing is extracted."""
    digest = sha256_of(path)
    release = next((release for release in RELEASES if SHA256[release.archive] == digest), None)
    if release is None:
        expected = " or ".join(f"{SHA256[r.archive]} ({r.archive})" for r in RELEASES)
        raise InputError(
            f"expected an archive with the sha256 {expected}, got {digest} for {path}; it is "
            f"damaged or another file: download it again from {URL}{PYTHON.archive}"
        )
    contents = {}
    with tarfile.open(path) as tar:
        for name in release.files:
            file: Any = tar.extractfile(f"{release.folder}/{name}")
            contents[name] = file.read()
    return release, contents, {"archive_sha256": digest}


def _read_folder(path: Path) -> tuple[Release, dict[str, bytes], dict[str, Any]]:
    """Reads the files of the folder that an archive unpacks to."""
    release = next((r for r in RELEASES if (path / r.names_file).is_file()), None)
    if release is None:
        expected = " or ".join(f"{r.names_file} (in {r.folder})" for r in RELEASES)
        raise InputError(
            f"expected a folder with {expected}, got {path}, which has neither; give the folder "
            "that the archive unpacks to"
        )
    missing = [name for name in release.files if not (path / name).is_file()]
    if missing:
        raise InputError(
            f"expected {', '.join(missing)} in {path}, got a folder without; unpack "
            f"{release.archive} again"
        )
    contents = {name: (path / name).read_bytes() for name in release.files}
    digests = {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()}
    return release, contents, {"file_sha256": digests}


def _check_md5(path: Path, contents: Mapping[str, bytes]) -> None:
    """Raises InputError for a pickle that is not the official one; nothing is unpickled before."""
    for name, content in contents.items():
        found = hashlib.md5(content, usedforsecurity=False).hexdigest()
        if found != MD5[name]:
            raise InputError(
                f"expected the official {name} with the MD5 {MD5[name]}, got {found} in {path}; it "
                f"is damaged or another file, and is not unpickled: unpack {PYTHON.archive} again"
            )


def _class_names(path: Path, release: Release, content: bytes) -> tuple[str, ...]:
    if release is PYTHON:
        return tuple(name.decode() for name in load_pickle(content)[b"label_names"])
    lines = content.decode(errors="replace").split("\n")
    names = tuple(line.strip() for line in lines if line.strip())
    if len(set(names)) != len(names) or len(names) != NUM_CLASSES or not "".join(names).isascii():
        raise InputError(
            f"expected {NUM_CLASSES} distinct names of classes in ASCII, got {names!r:.200} in "
            f"{release.names_file} of {path}; unpack {release.archive} again"
        )
    return names


def _batch_of_pickle(content: bytes) -> Batch:
    fields = load_pickle(content)
    return Batch(fields[b"data"], np.array(fields[b"labels"], np.int64))


def load_pickle(content: bytes) -> Any:
    """Loads a pickle that Python 2 wrote; its text becomes bytes.

    This runs whatever the pickle asks for.

    Args:
        content: an official file, already compared with its digest.
    """
    with warnings.catch_warnings():
        # NumPy 1 pickled a 0 where NumPy 2.4 wants False.
        warnings.simplefilter("ignore", np.exceptions.VisibleDeprecationWarning)
        return pickle.loads(content, encoding="bytes")  # noqa: S301 -- compared by _check_md5


def _batch_of_records(where: str, content: bytes) -> Batch:
    """Reads records of one byte for the label and 3,072 for the pixels."""
    size = IMAGES_PER_FILE * (1 + PIXELS)
    if len(content) != size:
        raise InputError(
            f"expected {size:,} bytes ({IMAGES_PER_FILE:,} images of {1 + PIXELS:,}), got "
            f"{len(content):,} in {where}; unpack {BINARY.archive} again"
        )
    records = np.frombuffer(content, np.uint8).reshape(IMAGES_PER_FILE, 1 + PIXELS)
    labels = records[:, 0].astype(np.int64)
    if labels.max() >= NUM_CLASSES:
        raise InputError(
            f"expected labels in [0, {NUM_CLASSES}), got {labels.max()} in {where}; unpack "
            f"{BINARY.archive} again"
        )
    return Batch(records[:, 1:], labels)
