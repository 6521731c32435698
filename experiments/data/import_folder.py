"""The command `elicit data import`: pictures in one folder a class, as an image set.

Every picture is read once, and only one is in memory at a time. The square images wait in a
temporary file until all are read, since only then is it known which ones become the split test.
"""

import math
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Int

from experiments.data.find_pictures import (
    TEST,
    TRAIN,
    ClassFolder,
    PictureFolders,
    find_pictures,
    visible,
)
from experiments.data.picture_spool import PictureSpool
from experiments.data.read_picture import FORMAT_WORDS, NotRead, read_picture
from experiments.data.resumable_set import SHARD_IMAGES, Columns, ResumableSet
from experiments.options.data import ImportConfig
from imgopt.errors import InputError
from train.data.read_split import PIXELS_LIMIT
from train.data.spec import ImageSetSpec
from train.data.subsets import shuffled_classes
from train.storage.runs import check_key

MAX_SIZE_PX = math.isqrt(PIXELS_LIMIT)
"""Largest size of an image that the reader of image sets accepts."""
SHARD_BYTES = 2**25
"""Most pixels of a shard, which is in memory as a whole, in bytes."""
DEFAULT_TEST_SHARE = 0.2
PRINTED_FILES = 20
"""Most files that are listed on the screen; the manifest lists all."""
NAMED_REASONS = 3
"""Most files that a message names to say why a class is empty."""


def import_folder(config: ImportConfig) -> None:
    """Turns a folder of pictures into an image set; unreadable files are listed, not fatal.

    The id of an image is its path below the folder, such as "ship/0001.jpg". The same command on
    the same pictures does nothing once the set is complete.

    Args:
        config: the options.

    Raises:
        InputError: there is no such folder, no class, or a class without a readable picture; `out`
            holds something else or lies in the folder; the size is below 1 or too large; the share
            is outside [0, 1), or no class has two pictures, or the folder has its own split test.
    """
    _check_options(config)
    folders = find_pictures(config.folder)
    share = _test_share(config, folders)
    spec = ImageSetSpec(
        name=config.name or _set_name(config.folder),
        class_names=folders.class_names,
        image_shape=(config.size, config.size, 3),
        splits=tuple(dict.fromkeys([*folders.splits, *([TEST] if share else [])])),
        description="Pictures of a user's own, made square and of one size.",
    )
    with PictureSpool(config.out, spec.image_shape) as spool:
        found = _read_pictures(folders, config, spool)
        _list_files("unreadable", found.unreadable)
        _list_files("note", found.notes)
        rows = _rows_of_splits(found, config, share)
        image_set = ResumableSet(config.out, spec, _identity(config, spec, share, found, spool))
        if image_set.is_complete():
            return
        with image_set.open_for_writing():
            image_set.write_shards({split: _shards(spool, found, rows[split]) for split in rows})
    counts = ", ".join(f"{len(rows[split]):,} {split}" for split in spec.splits)
    summary = f"{len(spec.class_names)} classes, {len(found.unreadable)} unreadable files"
    print(f"{config.out}: {counts}, {summary}")


class _Listed(NamedTuple):
    """What there is to say of a file: its path below the folder, and the words."""

    file: str
    reason: str


@dataclass(frozen=True)
class _Found:
    """The pictures that were read, in order, without their pixels; and what was noticed."""

    ids: list[str] = field(default_factory=list)
    labels: list[int] = field(default_factory=list)
    splits: list[str] = field(default_factory=list)
    unreadable: list[_Listed] = field(default_factory=list)
    notes: list[_Listed] = field(default_factory=list)


def _check_options(config: ImportConfig) -> None:
    check_key(config.key)
    if not 1 <= config.size <= MAX_SIZE_PX:
        raise InputError(
            f"expected --size of 1 to {MAX_SIZE_PX:,} pixels, got {config.size}; most networks "
            "take 32 to 224"
        )
    if config.test_share is not None and not 0 <= config.test_share < 1:
        raise InputError(f"expected --test-share in [0, 1), got {config.test_share}")
    if config.out.resolve().is_relative_to(config.folder.resolve()):
        raise InputError(
            f"expected --out outside the folder of the pictures, got {config.out} in "
            f"{config.folder}, where it would be taken for a class; choose another --out"
        )


def _test_share(config: ImportConfig, folders: PictureFolders) -> float:
    """Gives the share of the training pictures to draw for the split test."""
    if config.test_share is None:
        return DEFAULT_TEST_SHARE if len(folders.splits) == 1 else 0.0
    if config.test_share and TEST in folders.splits:
        raise InputError(
            f"expected no --test-share with the split {folders.splits[TEST]}, got "
            f"{config.test_share}; leave the option out, or move that folder away"
        )
    return config.test_share


def _read_pictures(folders: PictureFolders, config: ImportConfig, spool: PictureSpool) -> _Found:
    """Reads every picture, in the order of the splits, classes and names."""
    found = _Found()
    for path in folders.strays:
        file = _file_name(path, config.folder)
        found.unreadable.append(_Listed(file, "outside the folders of the classes"))
    for each in folders.classes:
        before, listed = len(found.ids), len(found.unreadable)
        for path in visible(each.path):
            _read_one(path, each, config, spool, found)
        if len(found.ids) == before and each.split == TRAIN:
            raise InputError(_why_empty(each.path, found.unreadable[listed:]))
    for split, place in folders.splits.items():
        if split not in found.splits:
            raise InputError(_why_empty(place, found.unreadable))
    return found


def _read_one(
    path: Path, of: ClassFolder, config: ImportConfig, spool: PictureSpool, found: _Found
) -> None:
    """Reads a picture into the spool, or lists it."""
    file = _file_name(path, config.folder)
    if file != path.relative_to(config.folder).as_posix():
        found.unreadable.append(_Listed(file, "its name is not valid text"))
        return
    picture = read_picture(path, size=config.size, fit=config.fit)
    if isinstance(picture, NotRead):
        found.unreadable.append(_Listed(file, picture.reason))
        return
    spool.add(file, picture.pixels)
    found.ids.append(file)
    found.labels.append(of.label)
    found.splits.append(of.split)
    found.notes.extend(_Listed(file, remark) for remark in picture.remarks)


def _file_name(path: Path, folder: Path) -> str:
    """The path below the folder; bytes that are no text are escaped."""
    name = path.relative_to(folder).as_posix()
    try:
        name.encode()
    except UnicodeEncodeError:
        return ascii(name)
    return name


def _why_empty(place: Path, listed: Sequence[_Listed]) -> str:
    why = "; ".join(f"{file}: {reason}" for file, reason in listed[:NAMED_REASONS])
    more = len(listed) - NAMED_REASONS
    if more > 0:
        why += f"; and {more:,} more"
    return (
        f"expected at least one {FORMAT_WORDS} in every class and split, got none that can be read "
        f"in {place} ({why or 'it is empty'}); add pictures or remove the folder"
    )


def _list_files(word: str, listed: Sequence[_Listed]) -> None:
    for file, reason in listed[:PRINTED_FILES]:
        print(f"{word}: {file if file.isprintable() else repr(file)}: {reason}", file=sys.stderr)
    if len(listed) > PRINTED_FILES:
        print(
            f"{word}: and {len(listed) - PRINTED_FILES:,} more, all listed in manifest.json",
            file=sys.stderr,
        )


def _rows_of_splits(
    found: _Found, config: ImportConfig, share: float
) -> dict[str, Int[np.ndarray, " m"]]:
    """Gives the numbers of each split's pictures; draws the same share of every class for test."""
    splits, labels = np.array(found.splits), np.array(found.labels)
    rows = {split: np.flatnonzero(splits == split) for split in dict.fromkeys(found.splits)}
    if share == 0:
        return rows
    train = rows[TRAIN]
    key, drawn = jax.random.key(config.key), [np.zeros(0, np.int64)]
    for own in shuffled_classes(key, labels[train], num_classes=int(labels.max()) + 1):
        # A class must not vanish from training, nor from the test if there are two pictures.
        drawn.append(own[: min(max(1, round(share * len(own))), len(own) - 1)])
    is_test = np.isin(np.arange(len(train)), np.concatenate(drawn))
    if not is_test.any():
        raise InputError(
            f"expected a class with two pictures or more, got one of each in {config.folder}, so "
            "that none is left for the split test; add pictures, or give --test-share 0"
        )
    return {**rows, TRAIN: train[~is_test], TEST: train[is_test]}


def _shards(spool: PictureSpool, found: _Found, rows: np.ndarray) -> list[partial[Columns]]:
    """Gives a function for each shard that reads its columns."""
    image_bytes = spool.take(rows[:1]).nbytes
    size = max(1, min(SHARD_IMAGES, SHARD_BYTES // image_bytes))
    starts = range(0, len(rows), size)
    return [partial(_columns, spool, found, rows[start : start + size]) for start in starts]


def _columns(spool: PictureSpool, found: _Found, rows: np.ndarray) -> Columns:
    return {
        "id": [found.ids[row] for row in rows],
        "image": spool.take(rows),
        "label": np.array([found.labels[row] for row in rows], np.int32),
    }


def _set_name(folder: Path) -> str:
    """Turns the folder's name into one that TFDS accepts."""
    name = re.sub(r"[^a-z0-9]+", "_", folder.resolve().name.lower()).strip("_")
    return name if name[:1].isalpha() else f"images_{name}".strip("_")


def _identity(
    config: ImportConfig, spec: ImageSetSpec, share: float, found: _Found, spool: PictureSpool
) -> dict[str, Any]:
    """Everything that the set's bytes depend on."""
    return {
        "name": spec.name,
        "source": str(config.folder),
        "images_sha256": spool.sha256,
        "size": config.size,
        "fit": config.fit,
        "test_share": share,
        "key": config.key,
        "unreadable": [entry._asdict() for entry in found.unreadable],
        "notes": [entry._asdict() for entry in found.notes],
    }
