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
from tensorflow_datasets.core.utils.shard_utils import FileInstruction
from tensorflow_datasets.proto import tf_example_pb2

from imgopt.errors import InputError
from train.data.array_records import count_records, iter_records
from train.data.decode import decode_into
from train.data.image_data import ImageData, ImageReader, join_images
from train.runtime.memory import check_host_room

DECODING_THREADS = 4
PIXELS_LIMIT = 2**26
"""Of an image; Pillow itself warns above 4/3 of that."""
PILLOW_MODES = {1: "L", 3: "RGB", 4: "RGBA"}  # by number of channels


class _Piece(NamedTuple):
    """Neighbours in the split that lie in one file.

    Attributes:
        path: the file.
        first: number of the first one in the file.
        start: its number among the images that are read.
        stop: that of the next piece's first one.
        split: the whole split that the file belongs to.
        place: number of the first one in that.
    """

    path: Path
    first: int
    start: int
    stop: int
    split: str
    place: int


class _Part(NamedTuple):
    """Parsed examples that follow each other.

    Attributes:
        path: their file.
        names: what their ids are in a set without ids: the split and their places in it.
        examples: features by name.
    """

    path: Path
    names: list[str]
    examples: list[Any]


class _Split(NamedTuple):
    """What there is to know of a split before its images are read."""

    pieces: list[_Piece]
    features: frozenset[str]
    class_names: tuple[str, ...]
    pillow_mode: str
    where: str
    image_shape: tuple[int | None, ...]


def open_split(builder: Any, split: str, instructions: Sequence[FileInstruction]) -> ImageReader:
    """Opens a split, for which all of its examples are read once and no image is decoded.

    Args:
        builder: TFDS's, of a set with the features `image` (uint8, of 1, 3 or 4 channels) and
            `label`.
        split: name of the split or of a part of it, for messages.
        instructions: which records of which files make it, at least one.

    Raises:
        InputError: a file that is missing, damaged or of another length than the metadata say; an
            example without a label, or with one outside its range. The message names the file.
    """
    features = builder.info.features
    opened = _Split(
        pieces=list(_pieces(builder, instructions)),
        features=frozenset(features),
        class_names=tuple(features["label"].names),
        pillow_mode=PILLOW_MODES[features["image"].shape[-1]],
        where=f"in {split!r} of {builder.data_dir}",
        image_shape=features["image"].shape,
    )
    count = opened.pieces[-1].stop
    labels = np.concatenate([_labels(part, opened) for part in _parts(opened, 0, count)])
    first = next(_parts(opened, 0, 1))
    shape = _decode_by_pillow(_encoded(first)[0], first.path, opened).shape
    opened = opened._replace(image_shape=shape)
    return ImageReader(
        labels=labels,
        class_names=opened.class_names,
        image_shape=shape,
        read=lambda start, stop: _read(opened, start, stop),
        iter_ids=lambda: chain.from_iterable(
            _ids(part, opened) for part in _parts(opened, 0, count)
        ),
    )


def _pieces(builder: Any, instructions: Sequence[FileInstruction]) -> Iterator[_Piece]:
    """Finds where the images lie; a file must have as many as the metadata say."""
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
            raise InputError(
                f"expected {instruction.examples_in_shard} examples in {path}, got {found}; "
                "make the set again"
            )
        split, place = places[path.name]
        stop = start + instruction.take
        yield _Piece(path, first, start, stop, split, place + first)
        start = stop


def _parts(split: _Split, start: int, stop: int) -> Iterator[_Part]:
    """Parses the examples from `start` to `stop`, a few at a time."""
    for piece in split.pieces:
        low, high = max(start, piece.start), min(stop, piece.stop)
        if low >= high:
            continue
        place = piece.place + low - piece.start
        offset = piece.first - piece.start
        for records in iter_records(piece.path, low + offset, high + offset):
            names = [f"{piece.split}_{place + i:05d}" for i in range(len(records))]
            yield _Part(piece.path, names, _parse(piece.path, records))
            place += len(records)


def _parse(path: Path, records: Sequence[bytes]) -> list[Any]:
    parse = tf_example_pb2.Example.FromString  # pyright: ignore[reportAttributeAccessIssue] -- generated
    try:
        return [parse(record).features.feature for record in records]
    except DecodeError as error:
        raise InputError(
            f"expected tf.train.Example records, got others in {path}; make the set again"
        ) from error


def _read(split: _Split, start: int, stop: int) -> ImageData:
    """Reads the images from `start` to `stop`; several parts are decoded at a time."""
    check_host_room(
        (stop - start) * math.prod(map(int, filter(None, split.image_shape))),
        of=f"{stop - start:,} images of shape {split.image_shape} {split.where}",
        remedy="take a part, such as train[:10%]",
    )
    with ThreadPoolExecutor(DECODING_THREADS) as pool:
        parts = pool.map(lambda part: _as_data(part, split), _parts(split, start, stop))
    return join_images(list(parts))


def _as_data(part: _Part, split: _Split) -> ImageData:
    return ImageData(
        images=_decode(part, split),
        labels=_labels(part, split),
        ids=_ids(part, split),
        class_names=split.class_names,
        targets=_distributions(part, split, "target"),
        outputs=_distributions(part, split, "output"),
        source_ids=_texts(part, "source_id") if "source_id" in split.features else None,
    )


def _decode(part: _Part, split: _Split) -> UInt8[np.ndarray, "n h w c"]:
    """Decodes PNG or JPEG, of an image of another size not one pixel."""
    images = np.empty((len(part.examples), *map(int, filter(None, split.image_shape))), np.uint8)
    for encoded, pixels in zip(_encoded(part), images, strict=True):
        if not decode_into(encoded, pixels):
            pixels[:] = _decode_by_pillow(encoded, part.path, split)
    return images


def _encoded(part: _Part) -> list[bytes]:
    with _broken_examples_named(part.path):
        return [bytes(_values(example["image"])[0]) for example in part.examples]


def _decode_by_pillow(encoded: bytes, path: Path, split: _Split) -> UInt8[np.ndarray, "h w c"]:
    with _broken_examples_named(path):
        image = Image.open(io.BytesIO(encoded), formats=("PNG", "JPEG"))
    with image:
        _check_size(image.height, image.width, path, split)
        mode = split.pillow_mode
        with _broken_examples_named(path):
            pixels = np.asarray(image if image.mode == mode else image.convert(mode))
    return pixels if pixels.ndim == 3 else pixels[:, :, None]


def _check_size(height: int, width: int, path: Path, split: _Split) -> None:
    """Raises InputError for another size than the set's, or for one that is huge."""
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


def _labels(part: _Part, split: _Split) -> Int32[np.ndarray, " n"]:
    with _broken_examples_named(part.path):
        labels = np.array([_values(example["label"])[0] for example in part.examples], np.int64)
    count = len(split.class_names)
    outside = labels[(labels < 0) | (labels >= count)]
    if outside.size:
        raise InputError(
            f"expected labels in [0, {count}), got {outside[0]} {split.where}; "
            "choose a split whose images are all labelled"
        )
    return labels.astype(np.int32)


def _ids(part: _Part, split: _Split) -> tuple[str, ...]:
    return _texts(part, "id") if "id" in split.features else tuple(part.names)


def _texts(part: _Part, name: str) -> tuple[str, ...]:
    with _broken_examples_named(part.path):
        firsts = [_values(example[name])[0] for example in part.examples]
        return tuple(text.decode() if isinstance(text, bytes) else str(text) for text in firsts)


def _distributions(part: _Part, split: _Split, name: str) -> Float32[np.ndarray, "n k"] | None:
    if name not in split.features:
        return None
    with _broken_examples_named(part.path):
        rows = [np.array(_values(example[name]), np.float32) for example in part.examples]
    count, lengths = len(split.class_names), {row.shape for row in rows}
    if lengths != {(count,)}:
        raise InputError(
            f"expected {count} numbers a {name}, got {sorted(lengths)} {split.where}; "
            "make the set again"
        )
    numbers = np.stack(rows)
    if not np.isfinite(numbers).all():
        raise InputError(
            f"expected finite numbers as {name}, got others {split.where}, in {part.path.name}; "
            "make the set again"
        )
    return numbers


def _values(feature: Any) -> Any:
    """Gives the values of a protobuf feature, of whichever of its three kinds."""
    kind = feature.WhichOneof("kind")
    return getattr(feature, kind).value if kind else ()


@contextlib.contextmanager
def _broken_examples_named(path: Path) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # Pillow has no class of its own for what damaged bytes run into
        raise InputError(
            f"expected an image and a label in every example, got a broken one in {path} "
            f"({error}); make the set again"
        ) from error
