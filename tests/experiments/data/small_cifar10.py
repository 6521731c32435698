"""Small copies of CIFAR-10: archives and folders like the official ones, with few images."""

import hashlib
import io
import pickle
import tarfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from experiments.data import cifar10_files
from experiments.data.cifar10_files import BINARY, PYTHON, Release

NAMES = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
BATCHES = [f"data_batch_{i}" for i in range(1, 6)] + ["test_batch"]
PER_BATCH = 12
RELEASES = {"python": PYTHON, "binary": BINARY}


def batch(number: int) -> dict:
    random = np.random.default_rng(number)
    return {
        b"data": random.integers(0, 256, (PER_BATCH, 3072), np.uint8),
        b"labels": random.integers(0, 10, PER_BATCH).tolist(),
    }


def python_files() -> dict[str, bytes]:
    contents = {name: batch(i) for i, name in enumerate(BATCHES)}
    contents["batches.meta"] = {b"label_names": [name.encode() for name in NAMES]}
    return {name: pickle.dumps(value, protocol=2) for name, value in contents.items()}


def binary_files() -> dict[str, bytes]:
    """Records as CIFAR-10's home page describes them: a byte for the label, 3,072 for pixels."""
    contents = {"batches.meta.txt": ("\n".join(NAMES) + "\n\n").encode()}
    for number, name in enumerate(BATCHES):
        images, labels = batch(number).values()
        rows = zip(images, labels, strict=True)
        contents[f"{name}.bin"] = b"".join(bytes([label]) + row.tobytes() for row, label in rows)
    return contents


FILES = {"python": python_files, "binary": binary_files}


def write_folder(path: Path, contents: Mapping[str, bytes]) -> Path:
    path.mkdir(parents=True)
    for name, content in contents.items():
        (path / name).write_bytes(content)
    return path


def write_archive(path: Path, release: Release, contents: Mapping[str, bytes]) -> Path:
    with tarfile.open(path, "w:gz") as tar:
        for name, content in contents.items():
            info = tarfile.TarInfo(f"{release.folder}/{name}")
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path


def trust(
    patch: pytest.MonkeyPatch, *, files: Mapping[str, bytes], archives: Mapping[str, Path]
) -> None:
    """Makes the digests of these python files and archives the official ones.

    Args:
        patch: undoes it.
        files: contents by name.
        archives: files by the name of the official archive.
    """
    patch.setattr(cifar10_files, "IMAGES_PER_FILE", PER_BATCH)
    for name, content in files.items():
        digest = hashlib.md5(content, usedforsecurity=False).hexdigest()
        patch.setitem(cifar10_files.MD5, name, digest)
    for name, path in archives.items():
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        patch.setitem(cifar10_files.SHA256, name, digest)
