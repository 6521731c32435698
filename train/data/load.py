"""Finds and loads image sets by name or directory: those of TFDS, or scikit-learn's digits."""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from imgopt.errors import InputError
from train.data import DIGITS, array_records
from train.data.digits import DIGITS_SPLITS, load_digits
from train.data.image_data import ImageData, ImageReader, iter_parts, reader_of
from train.data.open_tfds import INFO_FILE, check_class_names, open_builder
from train.data.read_split import PILLOW_MODES, open_split
from train.data.tfds_parts import FileInstruction
from train.data.verify import description_problems, read_manifest, shard_problem
from train.storage.listed_files import broken_set

HINT = "elicit data prepare cifar10 --data-dir DIR"


class MissingSplitError(InputError):
    """The image set has no split of this name."""


def load_images(
    name_or_directory: str | Path, split: str = "train", *, data_dir: str | Path | None = None
) -> ImageData:
    """Loads a split of an image set into memory; needs neither a network nor TensorFlow.

    If the set has a `manifest.json`, every shard that is read is compared with its digest.

    Args:
        name_or_directory: "digits" (scikit-learn's handwritten digits, enlarged to 32 x 32 x 3),
            the directory of a TFDS data set in ArrayRecord (the one with dataset_info.json), or,
            with `data_dir`, TFDS's name of a set, such as "cifar10" or "cifar10:3.0.2".
        split: name of a split, or a part of one in TFDS's notation, such as "train[:10%]".
        data_dir: TFDS's data directory, in which sets are found by name.

    Returns:
        The images, in the order of the files. If the set has no ids, they are "train_00000" and so
        on; if the classes have no names, they are "0" and so on.

    Raises:
        InputError: an unknown name or split; a directory that is missing, damaged, in another
            format or without `image` and `label`; images of several sizes; a label outside its
            range; an id that occurs twice. The message names the file or the split.

    Example:
        >>> data = load_images("digits", "test")
        >>> data.images.shape, data.class_names[:3]
        ((360, 32, 32, 3), ('0', '1', '2'))
    """
    reader = open_images(name_or_directory, split, data_dir=data_dir)
    return reader.read(0, len(reader))


def open_images(
    name_or_directory: str | Path, split: str = "train", *, data_dir: str | Path | None = None
) -> ImageReader:
    """Opens a split of an image set, to read it range by range, however large it is.

    A damaged image is found when it is read; all else is checked at once.

    Args:
        name_or_directory: as in `load_images`.
        split: as in `load_images`.
        data_dir: as in `load_images`.

    Raises:
        InputError: as `load_images`.
    """
    if str(name_or_directory) == DIGITS:
        return reader_of(load_digits(split))
    builder = _builder(find_directory(name_or_directory, data_dir=data_dir))
    _check_features(builder)
    instructions = _file_instructions(builder, split)
    _check_digests(Path(builder.data_dir), instructions)
    return open_split(builder, split, instructions)


def data_digest(data: ImageData | ImageReader) -> str:
    """Gives the SHA-256 of all content; the same data have the same digest, wherever they lie.

    Data on disk are read part by part; the distributions, if there are any, all stay in memory.

    Args:
        data: in memory or on disk.

    Raises:
        InputError: the files are damaged.
    """
    reader = reader_of(data) if isinstance(data, ImageData) else data
    total = hashlib.sha256()
    for text in _head(reader):
        total.update(text.encode())
    distributions: list[tuple[np.ndarray | None, ...]] = []
    for part in iter_parts(reader):
        total.update(np.ascontiguousarray(part.images).data)
        distributions.append((part.targets, part.outputs))
    total.update(np.ascontiguousarray(reader.labels).data)
    for column in zip(*distributions, strict=True):
        for rows in column:
            if rows is not None:
                total.update(np.ascontiguousarray(rows).data)
    return total.hexdigest()


def _head(reader: ImageReader) -> Iterator[str]:
    """Gives the text of (ids, class names, shape of all images), as `repr` writes it, in pieces."""
    yield "(("
    for number, text in enumerate(reader.iter_ids()):
        yield f", {text!r}" if number else repr(text)
    yield ",)" if len(reader) == 1 else ")"
    yield f", {reader.class_names!r}, {(len(reader), *reader.image_shape)!r})"


def list_splits(
    name_or_directory: str | Path, *, data_dir: str | Path | None = None
) -> dict[str, int]:
    """Gives the splits of an image set and the number of images in each.

    Args:
        name_or_directory: as in `load_images`.
        data_dir: as in `load_images`.

    Returns:
        The number of images by the name of the split, in the set's order.

    Raises:
        InputError: an unknown name, or a missing or damaged directory.
    """
    if str(name_or_directory) == DIGITS:
        return dict(DIGITS_SPLITS)
    builder = _builder(find_directory(name_or_directory, data_dir=data_dir))
    return {name: info.num_examples for name, info in builder.info.splits.items()}


def find_directory(name_or_directory: str | Path, *, data_dir: str | Path | None = None) -> Path:
    """Finds the directory with a set's dataset_info.json.

    Args:
        name_or_directory: the directory, or, with `data_dir`, the name of a set. A name without a
            version means the newest one. A directory that is no name there is itself the set.
        data_dir: TFDS's data directory.

    Raises:
        InputError: there is no such set.
    """
    directory = Path(name_or_directory).expanduser()
    if data_dir is None:
        _require_set(directory, name_or_directory)
        return directory
    name, _, version = str(name_or_directory).partition(":")
    root = Path(data_dir).expanduser() / name
    if version:
        _require_set(root / version, name_or_directory)
        return root / version
    versions = [path.parent for path in root.glob(f"*.*.*/{INFO_FILE}")]
    if not versions and (directory / INFO_FILE).is_file():
        return directory
    if not versions:
        raise InputError(
            f"expected the data set {name} in {data_dir}, got no {root}/VERSION/{INFO_FILE}; "
            f"check both names, or prepare it: {HINT}"
        )
    return max(versions, key=_version_key)


def _require_set(directory: Path, received: object) -> None:
    if (directory / INFO_FILE).is_file():
        return
    # A data directory of TFDS has NAME/VERSION or NAME/CONFIG/VERSION; don't search a whole disk.
    deeper = ("*", "*/*", "*/*/*")
    inside = sorted(path.parent for way in deeper for path in directory.glob(f"{way}/{INFO_FILE}"))
    remedy = (
        f"did you mean {inside[0]}?"
        if inside
        else f'check the path, use "{DIGITS}", give --data-dir where a command has it, or {HINT}'
    )
    raise InputError(
        f"expected a data set's directory with {INFO_FILE}, got {str(received)!r}, "
        f"which {'has none' if directory.is_dir() else 'is no directory'}; {remedy}"
    )


def _version_key(directory: Path) -> tuple[int, ...]:
    return tuple(int(part) if part.isdigit() else -1 for part in directory.name.split("."))


def _builder(directory: Path) -> Any:
    """Compares a set's metadata with its manifest, if it has one, and opens it with TFDS."""
    problems = description_problems(directory, read_manifest(directory) or {})
    if problems:
        raise broken_set("a whole data set", f"in {directory} {'; '.join(problems)}")
    return open_builder(directory)


def _check_features(builder: Any) -> None:
    features = builder.info.features
    if not isinstance(features, tfds.features.FeaturesDict):
        features = {}
    wanted = {"image": tfds.features.Image, "label": tfds.features.ClassLabel}
    for name, kind in wanted.items():
        if name not in features or not isinstance(features[name], kind):
            raise InputError(
                f"expected a feature {name} of type {kind.__name__}, got {sorted(features)} in "
                f"{builder.data_dir}; choose a data set of labelled images"
            )
    image: Any = features["image"]
    is_usual = len(image.shape) == 3 and image.shape[-1] in PILLOW_MODES
    if image.np_dtype != np.uint8 or not is_usual:
        raise InputError(
            f"expected uint8 images of 1, 3 or 4 channels, got {image} in "
            f"{builder.data_dir}; choose another data set"
        )
    check_class_names(builder)


def _file_instructions(builder: Any, split: str) -> list[FileInstruction]:
    """Gives the records of the files that make a split or a part of it."""
    splits = builder.info.splits
    try:
        instructions = splits[split].file_instructions
    except (KeyError, ValueError, AssertionError) as error:
        raise MissingSplitError(
            f"expected a split among {sorted(splits)}, got {split!r}; "
            f"choose one of those of {builder.data_dir}; a split test is made by elicit data "
            "import --test-share or elicit data subset --test-per-class"
        ) from error
    if not instructions:
        raise InputError(
            f"expected at least one image, got none in {split!r} of {builder.data_dir}; "
            "choose another split"
        )
    return instructions


def _check_digests(directory: Path, instructions: Iterable[FileInstruction]) -> None:
    """Compares the files with the manifest, if the set has one."""
    manifest = read_manifest(directory)
    if manifest is None:
        return
    entries = {shard["file"]: shard for shard in manifest["shards"]}
    for name in sorted({Path(instruction.filename).name for instruction in instructions}):
        if name not in entries:
            raise broken_set(
                f"{name} among the shards in {directory}/manifest.json", "no such entry"
            )
        problem = shard_problem(directory, entries[name])
        if problem is not None:
            raise broken_set("a whole data set", f"in {directory} {problem}")


def read_extras(
    directory: Path, names: Sequence[str], *, split: str = "train", rows: range | None = None
) -> dict[str, np.ndarray]:
    """Reads features of a committed set without decoding its images.

    Args:
        directory: the set's directory.
        names: names of the features, such as "kl".
        split: one of the set's splits.
        rows: neighbouring images by their numbers; by default all.

    Returns:
        An array for each name, with one row for each image; texts are bytes.

    Raises:
        InputError: the set is damaged or has no such feature or split; the message names it.
    """
    builder = open_builder(directory)
    parts: dict[str, list[np.ndarray]] = {name: [] for name in names}
    try:
        source = builder.as_data_source(split, decoders={"image": tfds.decode.SkipDecoding()})
        numbers = range(len(source)) if rows is None else rows
        for start in range(0, len(numbers), array_records.RECORDS_AT_ONCE):
            found = source.__getitems__(numbers[start : start + array_records.RECORDS_AT_ONCE])
            for name, column in parts.items():
                column.append(np.stack([example[name] for example in found]))
        return {name: np.concatenate(column) for name, column in parts.items()}
    except Exception as error:  # TFDS reports damage in exceptions of many kinds
        raise broken_set(
            f"{', '.join(names)} of every image in {split!r} of {directory}",
            f"{type(error).__name__}: {error}",
        ) from error
