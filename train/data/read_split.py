"""Reads a split of a TFDS data set in ArrayRecord range by range, and checks what TFDS does not.

TFDS's own data source decodes one image after the other, and advises against Pillow each time.
"""

import contextlib
import io
import math
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from google.protobuf.message import DecodeError
from jaxtyping import Float32, Int32, UInt8
from PIL import Image

from imgopt.errors import InputError
from train.data.array_records import count_records, iter_records
from train.data.combine import check_distinct
from train.data.image_data import ImageData, ImageReader, join_images
from train.data.tfds_parts import Example, FileInstruction
from train.runtime.memory import check_machine_memory
from train.storage.listed_files import broken_set

DECODING_THREADS = 4
PIXELS_LIMIT = 2**26
"""Most pixels in an image; Pillow itself warns above 4/3 of that."""
PILLOW_MODES = {1: "L", 3: "RGB", 4: "RGBA"}
"""Pillow's mode of an image by its number of channels."""


class _FileRange(NamedTuple):
    """Images of a split that lie one after the other in one file.

    Attributes:
        path: the file.
        first: number of the first record in the file.
        start: number of the first image among those that are read.
        stop: number after the last image among those that are read.
        split: name of the whole split that the file belongs to.
        place: number of the first image in that split.
    """

    path: Path
    first: int
    start: int
    stop: int
    split: str
    place: int


class _Examples(NamedTuple):
    """Parsed records that lie one after the other.

    Attributes:
        path: their file.
        names: ids for a set that has none: the split and the place in it.
        features: the features of each record, by name.
    """

    path: Path
    names: list[str]
    features: list[Any]


class _Split(NamedTuple):
    """Facts about a split that are known before its images are read.

    Attributes:
        ranges: where the images lie.
        features: names of the set's features.
        class_names: names of the classes.
        image_shape: height, width and channels; None until the first image is decoded.
        where: the split and its directory, for messages.
    """

    ranges: list[_FileRange]
    features: frozenset[str]
    class_names: tuple[str, ...]
    image_shape: tuple[Any, Any, int]
    where: str


def open_split(builder: Any, split: str, instructions: Sequence[FileInstruction]) -> ImageReader:
    """Opens a split: reads all of its examples once, for the labels, and decodes the first image.

    Args:
        builder: TFDS's builder of a set with the features `image` (uint8; 1, 3 or 4 channels) and
            `label`.
        split: name of the split or of a part of it, for messages.
        instructions: which records of which files make it, at least one.

    Raises:
        InputError: a file is missing, damaged or of another length than the metadata say; an
            example has no label, or one outside its range; an id occurs twice. The message names
            the file or the split.
    """
    features = builder.info.features
    opened = _Split(
        ranges=list(_file_ranges(builder, instructions)),
        features=frozenset(features),
        class_names=tuple(features["label"].names),
        image_shape=features["image"].shape,
        where=f"in {split!r} of {builder.data_dir}",
    )
    count = opened.ranges[-1].stop
    labels = _check_examples(opened)
    first = next(_examples(opened, 0, 1))
    shape = _decode(_encoded(first)[0], first.path, opened).shape
    opened = opened._replace(image_shape=shape)
    return ImageReader(
        labels=labels,
        class_names=opened.class_names,
        image_shape=shape,
        read=lambda start, stop: _read(opened, start, stop),
        iter_ids=lambda: chain.from_iterable(
            _ids(part, opened) for part in _examples(opened, 0, count)
        ),
    )


def _check_examples(split: _Split) -> Int32[np.ndarray, " n"]:
    """Gives all labels; raises InputError for one outside its range, or for an id that repeats.

    It keeps an 8-byte hash of each id, and reads again only the ids whose hashes repeat.
    """
    count = split.ranges[-1].stop
    labels, hashes = np.empty(count, np.int32), np.empty(count, np.int64)
    done = 0
    for part in _examples(split, 0, count):
        rows = slice(done, done + len(part.names))
        labels[rows] = _labels(part, split)
        hashes[rows] = [hash(name) for name in _ids(part, split)]
        done = rows.stop
    values, counts = np.unique(hashes, return_counts=True)
    repeated = set(values[counts > 1].tolist())
    if repeated:
        ids = chain.from_iterable(_ids(part, split) for part in _examples(split, 0, count))
        check_distinct(
            (name for name in ids if hash(name) in repeated), of=split.where.removeprefix("in ")
        )
    return labels


def _file_ranges(builder: Any, instructions: Sequence[FileInstruction]) -> Iterator[_FileRange]:
    """Finds where the images lie; each file must have as many as the metadata say."""
    places: dict[str, tuple[str, int]] = {}
    for split, info in builder.info.splits.items():
        ends = np.cumsum(info.shard_lengths).tolist()
        for path, place in zip(info.filepaths, [0, *ends[:-1]], strict=True):
            places[path.name] = (split, place)
    start = 0
    for instruction in instructions:
        path, first = Path(instruction.filename), instruction.skip
        found = count_records(path)
        if found != instruction.examples_in_shard:
            raise broken_set(f"{instruction.examples_in_shard} examples in {path}", found)
        split, place = places[path.name]
        stop = start + instruction.take
        yield _FileRange(path, first, start, stop, split, place + first)
        start = stop


def _examples(split: _Split, start: int, stop: int) -> Iterator[_Examples]:
    """Parses the examples from `start` to `stop`, a few at a time."""
    for each in split.ranges:
        low, high = max(start, each.start), min(stop, each.stop)
        if low >= high:
            continue
        place = each.place + low - each.start
        offset = each.first - each.start
        for records in iter_records(each.path, low + offset, high + offset):
            names = [f"{each.split}_{place + i:05d}" for i in range(len(records))]
            yield _Examples(each.path, names, _parse(each.path, records))
            place += len(records)


def _parse(path: Path, records: Sequence[bytes]) -> list[Any]:
    try:
        return [Example.FromString(record).features.feature for record in records]
    except DecodeError as error:
        raise broken_set("tf.train.Example records", f"others in {path}") from error


def _read(split: _Split, start: int, stop: int) -> ImageData:
    """Reads the images from `start` to `stop`, several parts at a time."""
    check_machine_memory(
        (stop - start) * math.prod(split.image_shape),
        of=f"{stop - start:,} images of shape {split.image_shape} {split.where}",
        remedy="take a part, such as train[:10%]",
    )
    with ThreadPoolExecutor(DECODING_THREADS) as pool:
        parts = pool.map(lambda part: _as_data(part, split), _examples(split, start, stop))
    return join_images(list(parts))


def _as_data(part: _Examples, split: _Split) -> ImageData:
    return ImageData(
        images=np.stack([_decode(encoded, part.path, split) for encoded in _encoded(part)]),
        labels=_labels(part, split),
        ids=_ids(part, split),
        class_names=split.class_names,
        targets=_distributions(part, split, "target"),
        outputs=_distributions(part, split, "output"),
        source_ids=_texts(part, "source_id") if "source_id" in split.features else None,
        source_digests=(
            _texts(part, "source_sha256") if "source_sha256" in split.features else None
        ),
    )


def _encoded(part: _Examples) -> list[bytes]:
    with _broken_examples_named(part.path):
        return [bytes(_values(feature["image"])[0]) for feature in part.features]


def _decode(encoded: bytes, path: Path, split: _Split) -> UInt8[np.ndarray, "h w c"]:
    """Decodes a PNG or JPEG; one of another size is refused by its header."""
    mode = PILLOW_MODES[split.image_shape[-1]]
    with _broken_examples_named(path):
        image = Image.open(io.BytesIO(encoded), formats=("PNG", "JPEG"))
    with image:
        _check_size(image.height, image.width, path, split)
        with _broken_examples_named(path):
            pixels = np.asarray(image if image.mode == mode else image.convert(mode))
    return pixels if pixels.ndim == 3 else pixels[:, :, None]


def _check_size(height: int, width: int, path: Path, split: _Split) -> None:
    """Raises InputError for another size than the set's, or for a huge one."""
    *sides, channels = split.image_shape
    if any(side not in (None, own) for side, own in zip(sides, (height, width), strict=True)):
        raise InputError(
            f"expected images of one size, got {split.image_shape} and "
            f"{(height, width, channels)} {split.where}, in {path.name}; bring them to one size, "
            "as elicit data import does"
        )
    if height * width > PIXELS_LIMIT:
        raise InputError(
            f"expected images of at most {PIXELS_LIMIT:,} pixels, got {height}×{width} "
            f"{split.where}, in {path.name}; scale them down"
        )


def _labels(part: _Examples, split: _Split) -> Int32[np.ndarray, " n"]:
    with _broken_examples_named(part.path):
        labels = np.array([_values(feature["label"])[0] for feature in part.features], np.int64)
    count = len(split.class_names)
    outside = labels[(labels < 0) | (labels >= count)]
    if outside.size:
        raise InputError(
            f"expected labels in [0, {count}), got {outside[0]} {split.where}; "
            "choose a split whose images are all labelled"
        )
    return labels.astype(np.int32)


def _ids(part: _Examples, split: _Split) -> tuple[str, ...]:
    return _texts(part, "id") if "id" in split.features else tuple(part.names)


def _texts(part: _Examples, name: str) -> tuple[str, ...]:
    with _broken_examples_named(part.path):
        firsts = [_values(feature[name])[0] for feature in part.features]
        return tuple(text.decode() if isinstance(text, bytes) else str(text) for text in firsts)


def _distributions(part: _Examples, split: _Split, name: str) -> Float32[np.ndarray, "n k"] | None:
    if name not in split.features:
        return None
    with _broken_examples_named(part.path):
        rows = [np.array(_values(feature[name]), np.float32) for feature in part.features]
    count, lengths = len(split.class_names), {row.shape for row in rows}
    if lengths != {(count,)}:
        raise broken_set(f"{count} numbers as {name}", f"{sorted(lengths)} {split.where}")
    numbers = np.stack(rows)
    if not np.isfinite(numbers).all():
        raise broken_set(f"finite numbers as {name}", f"others {split.where}, in {part.path.name}")
    return numbers


def _values(feature: Any) -> Any:
    """Gives the values of a protobuf feature, of whichever of its three kinds."""
    kind = feature.WhichOneof("kind")
    return getattr(feature, kind).value if kind else ()


@contextlib.contextmanager
def _broken_examples_named(path: Path) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # damaged values raise errors of many kinds where they are converted
        raise broken_set(
            "an image and a label in every example", f"a broken one in {path} ({error})"
        ) from error
