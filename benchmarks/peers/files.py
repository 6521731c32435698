"""Reading and writing images as PyTorch's users do it: a `DataLoader`, and PNG files.

This module imports neither JAX nor the other peers at its top, since each worker process of a
DataLoader imports the module that defines its data set.
"""

import atexit
import csv
import os
import shutil
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset

IN_PROCESS, IN_WORKERS = "in the main process", "in worker processes"
LOADER_BATCH = 500
WRITING = {"Pillow": 1, "Pillow in 4 threads": 4}
"""Threads that write PNG files, by mode."""


class ImageFolder(Dataset):
    """A folder of encoded images named NUMBER_LABEL; an item is an image and its label."""

    def __init__(self, directory: Path) -> None:
        self.paths = sorted(directory.iterdir())

    def __len__(self) -> int:
        """Number of images."""
        return len(self.paths)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        """Decodes one image."""
        path = self.paths[index]
        with Image.open(path) as image:
            return torch.tensor(np.asarray(image.convert("RGB"))), int(path.name.partition("_")[2])


def write_folder(directory: Path, examples: Any) -> None:
    """Writes the encoded images of a TFDS source as files for `ImageFolder`."""
    for index, example in enumerate(examples):
        path = directory / f"{index:06d}_{example['label']}"
        path.write_bytes(example["image"])


def data_input(job: Any, mode: str) -> Callable[[], None]:
    """Decodes every image of a folder by a DataLoader and moves it to the device."""
    from peers.pytorch import device, on_gpu

    directory = Path(tempfile.mkdtemp())
    atexit.register(shutil.rmtree, directory, ignore_errors=True)
    builder: Any = tfds.builder_from_directory(job.inputs.directory)
    skip = {"image": tfds.decode.SkipDecoding()}
    write_folder(directory, builder.as_data_source(job.inputs.split, decoders=skip))
    options: dict[str, Any] = {"batch_size": LOADER_BATCH, "pin_memory": on_gpu()}
    if mode == IN_WORKERS:  # forking a process in which JAX's threads run may hang: spawn
        options |= {
            "num_workers": len(os.sched_getaffinity(0)),
            "persistent_workers": True,
            "multiprocessing_context": "spawn",
        }
    loader = DataLoader(ImageFolder(directory), **options)

    def call() -> None:
        parts = [(images.to(device()), labels.to(device())) for images, labels in loader]
        torch.cat([images for images, _ in parts])

    return call


def set_writing(job: Any, mode: str) -> Callable[[], None]:
    """Writes one PNG file an image, and a CSV file of the labels."""
    images, labels, ids = (job.inputs[name] for name in ("image", "label", "id"))

    def call() -> None:
        with tempfile.TemporaryDirectory() as directory:

            def write(name: str, image: np.ndarray) -> None:
                Image.fromarray(image).save(Path(directory) / f"{name}.png")

            with ThreadPoolExecutor(WRITING[mode]) as pool:
                list(pool.map(write, ids, images))
            with (Path(directory) / "labels.csv").open("w", newline="") as file:
                csv.writer(file).writerows(zip(ids, labels.tolist(), strict=True))

    return call
