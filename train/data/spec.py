"""The description of an image set: classes, image shape, splits, features, names of shards."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from imgopt.errors import InputError


class OptionalFeature(NamedTuple):
    """Type and shape of an optional feature.

    Attributes:
        dtype: NumPy type of the numbers, or `str` for text.
        per_class: whether an image has one number for each class, shape (k,), instead of a scalar.
    """

    dtype: type
    per_class: bool = False


EXTRAS: Mapping[str, OptionalFeature] = {
    "target": OptionalFeature(np.float32, per_class=True),
    "output": OptionalFeature(np.float32, per_class=True),
    "kl": OptionalFeature(np.float32),
    "max_error": OptionalFeature(np.float32),
    "view_kl": OptionalFeature(np.float32),
    "view_ranking": OptionalFeature(np.float32),
    "steps": OptionalFeature(np.int32),
    "source_id": OptionalFeature(str),
    "source_sha256": OptionalFeature(str),
    "predicted": OptionalFeature(np.int32),
    "confidence": OptionalFeature(np.float32),
    "key": OptionalFeature(str),
}


@dataclass(frozen=True)
class ImageSetSpec:
    """The description of an image set, without its images.

    Attributes:
        name: the set's name in TFDS: lower-case letters, digits and underscores.
        class_names: names of the classes, in the order of their labels.
        image_shape: height, width and channels (1, 3 or 4) of every image.
        extras: names of the features in `EXTRAS` that every image has.
        splits: names of the splits, in order.
        description: a sentence for readers.
        version: three numbers with dots between them, as TFDS needs.

    Raises:
        InputError: a value that TFDS could not write or read back.
    """

    name: str
    class_names: tuple[str, ...]
    image_shape: tuple[int, int, int]
    extras: tuple[str, ...] = ()
    splits: tuple[str, ...] = ("train",)
    description: str = ""
    version: str = "1.0.0"

    def __post_init__(self) -> None:
        for word in (self.name, *self.splits):
            require(
                re.fullmatch(r"[a-z][a-z0-9_]*", word) is not None,
                "a name of a set or split in lower-case letters, digits and _",
                word,
            )
        require(
            re.fullmatch(r"\d+\.\d+\.\d+", self.version) is not None,
            "a version such as 1.0.0",
            self.version,
        )
        # TFDS keeps the names in a text file, one on each line, and strips every line.
        names = self.class_names
        tidy = all(name and name == name.strip() and name.isprintable() for name in names)
        require(
            tidy and 0 < len(names) == len(set(names)),
            "distinct class names, each of one line and without blanks around it",
            names,
        )
        height, width, channels = self.image_shape
        require(
            height > 0 and width > 0 and channels in (1, 3, 4),
            "a shape (height, width, channels) with 1, 3 or 4 channels",
            self.image_shape,
        )
        require(set(self.extras) <= set(EXTRAS), f"features among {sorted(EXTRAS)}", self.extras)


class ShardRecord(NamedTuple):
    """Name, size and digest of a shard on disk.

    Attributes:
        file: name of the file in the set's directory.
        num_examples: number of images in the file.
        num_bytes: size of the file.
        sha256: digest of the file, in hexadecimal.
    """

    file: str
    num_examples: int
    num_bytes: int
    sha256: str


def shard_path(
    directory: Path, spec: ImageSetSpec, *, split: str, index: int, num_shards: int | None = None
) -> Path:
    """Gives the path of a shard.

    Args:
        directory: the set's directory.
        spec: the set.
        split: one of its splits.
        index: number of the shard in the split, from 0.
        num_shards: number of shards in the split, for a set that never grows. It becomes part of
            the name, as usual in TFDS. None leaves it out.

    Raises:
        InputError: an unknown split, or an index outside [0, num_shards).
    """
    require(split in spec.splits, f"a split among {spec.splits}", split)
    end = 100_000 if num_shards is None else num_shards  # TFDS writes five digits
    require(0 <= index < end, f"an index of a shard in [0, {end})", index)
    suffix = f"{index:05d}" if num_shards is None else f"{index:05d}-of-{num_shards:05d}"
    return directory / f"{spec.name}-{split}.array_record-{suffix}"


def require(condition: bool, expected: str, received: object) -> None:
    """Raises InputError unless a condition holds.

    Args:
        condition: whether the input is right.
        expected: what was expected, in words.
        received: what came.
    """
    if not condition:
        raise InputError(f"expected {expected}, got {received!r}")
