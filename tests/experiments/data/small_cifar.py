"""Small copies of CIFAR: archives and folders like the official ones, with few images."""

import dataclasses
import hashlib
import io
import pickle
import tarfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from experiments.data.cifar_files import CIFAR10, CIFAR100, CIFAR_SETS, Release

NAMES = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
FINE_NAMES = [f"fine_{i:02}" for i in range(100)]
BATCHES = [f"data_batch_{i}" for i in range(1, 6)] + ["test_batch"]
PER_BATCH = 12
RELEASES = {"python": CIFAR10.python, "binary": CIFAR10.binary}


def batch(number: int) -> dict:
    random = np.random.default_rng(number)
    return {
        b"data": random.integers(0, 256, (PER_BATCH, 3072), np.uint8),
        b"labels": random.integers(0, 10, PER_BATCH).tolist(),
    }


def fine_batch(number: int) -> dict:
    """A file of CIFAR-100, whose images have a coarse and a fine label."""
    random = np.random.default_rng(100 + number)
    return {
        b"data": random.integers(0, 256, (PER_BATCH, 3072), np.uint8),
        b"coarse_labels": random.integers(0, 20, PER_BATCH).tolist(),
        b"fine_labels": random.integers(0, 100, PER_BATCH).tolist(),
    }


def pickled(contents: Mapping[str, dict]) -> dict[str, bytes]:
    return {name: pickle.dumps(value, protocol=2) for name, value in contents.items()}


def python_files() -> dict[str, bytes]:
    meta = {b"label_names": [name.encode() for name in NAMES]}
    return pickled({**{name: batch(i) for i, name in enumerate(BATCHES)}, "batches.meta": meta})


def binary_files() -> dict[str, bytes]:
    """Records as CIFAR's home page describes them: a byte for the label, 3,072 for pixels."""
    contents = {"batches.meta.txt": ("\n".join(NAMES) + "\n\n").encode()}
    for number, name in enumerate(BATCHES):
        images, labels = batch(number).values()
        rows = zip(images, labels, strict=True)
        contents[f"{name}.bin"] = b"".join(bytes([label]) + row.tobytes() for row, label in rows)
    return contents


def fine_python_files() -> dict[str, bytes]:
    meta = {b"fine_label_names": [name.encode() for name in FINE_NAMES]}
    return pickled({"train": fine_batch(0), "test": fine_batch(1), "meta": meta})


def fine_binary_files() -> dict[str, bytes]:
    """Records with the coarse label before the fine one."""
    contents = {"fine_label_names.txt": ("\n".join(FINE_NAMES) + "\n").encode()}
    for number, name in enumerate(("train", "test")):
        rows = zip(*fine_batch(number).values(), strict=True)
        contents[f"{name}.bin"] = b"".join(bytes([c, f]) + row.tobytes() for row, c, f in rows)
    return contents


FILES = {"python": python_files, "binary": binary_files}


def write_folder(path: Path, contents: Mapping[str, bytes]) -> Path:
    path.mkdir(parents=True)
    for name, content in contents.items():
        (path / name).write_bytes(content)
    return path


def write_archive(
    path: Path, release: Release, contents: Mapping[str, bytes], *, before: str = "", mode="w:gz"
) -> Path:
    with tarfile.open(path, mode) as tar:
        for name, content in contents.items():
            info = tarfile.TarInfo(f"{before}{release.folder}/{name}")
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path


def trust(patch: pytest.MonkeyPatch) -> None:
    """Makes the digests of the small python files the official ones, and the sets small.

    Args:
        patch: undoes it.
    """
    made = {"cifar10": (CIFAR10, python_files()), "cifar100": (CIFAR100, fine_python_files())}
    for name, (cifar, files) in made.items():
        digests = {
            file: hashlib.md5(content, usedforsecurity=False).hexdigest()
            for file, content in files.items()
        }
        small = dataclasses.replace(
            cifar,
            python=dataclasses.replace(cifar.python, md5=digests),
            images_by_split=dict.fromkeys(cifar.images_by_split, PER_BATCH),
        )
        patch.setitem(CIFAR_SETS, name, small)
