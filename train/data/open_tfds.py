"""Opens a TFDS data set, which anyone may have written, after checks of its metadata.

TFDS imports the module of any class that a `features.json` names, and formats the names of shards
with any template that a `dataset_info.json` holds, by Python's `str.format`. So both are checked.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import tensorflow_datasets as tfds

from imgopt.errors import InputError
from train.storage.listed_files import PLAIN_NAME, broken_set, check_inside
from train.storage.strict_json import parse_json, read_json

INFO_FILE = "dataset_info.json"
FEATURES_FILE = "features.json"
ARRAY_RECORD = "array_record"
CLASS_LIMIT = 100_000
"""Most classes of a set; ImageNet-21k has 21,841."""

# "type" is TFDS's older field. Protobuf also reads names with underscores.
_TYPE_FIELDS = ("pythonClassName", "python_class_name", "type")
_JSON_FIELD = "json"
_ADMITTED_TYPES = frozenset(
    f"{kind.__module__}.{kind.__name__}"
    for kind in vars(tfds.features).values()
    if isinstance(kind, type) and issubclass(kind, tfds.features.FeatureConnector)
)
_TEMPLATE = re.compile(
    r"([\w.+-]|\{(DATASET|SPLIT|FILEFORMAT|SHARD_INDEX|NUM_SHARDS|SHARD_X_OF_Y)\})*"
)


def open_builder(directory: Path) -> Any:
    """Gives TFDS's builder of a set in ArrayRecord, which may be one of several formats.

    Args:
        directory: the directory with dataset_info.json.

    Raises:
        InputError: metadata are missing or damaged, name a class that is not one of TFDS's
            features, or name a file outside the directory; or the set has another format. The
            message names the file.
    """
    info = _read_object(directory / INFO_FILE)
    features = _read_object(directory / FEATURES_FILE)
    _check_names(directory / INFO_FILE, info)
    _check_types(directory / INFO_FILE, info.get("features"))
    _check_types(directory / FEATURES_FILE, features)
    try:
        builder: Any = tfds.builder_from_directory(directory)
        _prefer_array_record(builder.info)
        suffix = builder.info.file_format.file_suffix
    except Exception as error:  # TFDS reports damage in exceptions of many kinds
        reason = next(iter(str(error).strip().splitlines()), "")
        raise broken_set(
            "a TFDS data set",
            f"{directory}, which TFDS cannot read ({type(error).__name__}: {reason})",
        ) from error
    if suffix != ARRAY_RECORD:
        raise InputError(
            f"expected a data set in array_record, got {directory} in {suffix}; "
            "write it with TFDS's file_format='array_record', or convert it: tfds convert_format"
        )
    _check_shards(directory, builder)
    return builder


def _prefer_array_record(info: Any) -> None:
    """Chooses ArrayRecord for a set in several formats, as TFDS's `as_data_source` does.

    `tfds convert_format` adds a format in place, and then only `alternativeFileFormats` names it.
    """
    formats = {each.file_suffix: each for each in info.available_file_formats()}
    if ARRAY_RECORD in formats and info.file_format is not formats[ARRAY_RECORD]:
        info.set_file_format(formats[ARRAY_RECORD], override=True, override_if_initialized=True)


def check_class_names(builder: Any) -> None:
    """Checks the classes of a set; TFDS silently drops names that do not fit their number.

    Args:
        builder: TFDS's builder of a set with a feature `label`.

    Raises:
        InputError: there is no class, or there are too many, or not as many as names.
    """
    path = Path(builder.data_dir) / "label.labels.txt"
    label = builder.info.features["label"]
    if not 0 < (label.num_classes or 0) <= CLASS_LIMIT:
        raise broken_set(
            f"1 to {CLASS_LIMIT:,} classes",
            f"{label.num_classes} in {path.with_name(FEATURES_FILE)}",
        )
    if not path.exists():
        return
    check_inside(path.parent, path)
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except ValueError as error:
        raise broken_set(f"UTF-8 in {path}", error) from error
    names = [line.strip() for line in lines if line.strip()]
    if not label.num_classes == len(names) == len(set(names)) or label.names != names:
        raise broken_set(
            f"{label.num_classes} distinct names of classes in {path}",
            f"{len(names)}, such as {names[:3]!r}",
        )


def _read_object(path: Path) -> dict[str, Any]:
    if not path.exists():
        raise InputError(
            f"expected {path.name} in {path.parent}, got none; the set is damaged: make it again"
        )
    value = read_json(path)
    if not isinstance(value, dict):
        raise broken_set(f"a JSON object of TFDS's in {path}", type(value).__name__)
    return value


def _check_names(path: Path, info: dict[str, Any]) -> None:
    """Checks the fields from which TFDS makes names of files."""
    splits = info.get("splits", [])
    if not isinstance(splits, list) or not all(isinstance(split, dict) for split in splits):
        raise broken_set(f"a list of splits in {path}", "something else")
    for name in (info.get("name"), *(split.get("name") for split in splits)):
        if not (isinstance(name, str) and PLAIN_NAME.fullmatch(name)):
            raise broken_set(
                f"a plain name of the set and of each split in {path}", repr(name)[:60]
            )
    for split in splits:
        for field in ("filepathTemplate", "filepath_template"):
            template = split.get(field, "")
            if not (isinstance(template, str) and _TEMPLATE.fullmatch(template)):
                raise broken_set(
                    f"a template of plain names of files in {path}", repr(template)[:60]
                )


def _check_types(path: Path, description: Any) -> None:
    """Checks that TFDS would import only classes of its own."""
    for name in _types(description):
        if name not in _ADMITTED_TYPES:
            raise InputError(
                f"expected features of TFDS's own types in {path}, got {name!r:.60}, which is not "
                "imported; write the set again without that feature"
            )


def _types(description: Any) -> Iterator[str]:
    """Gives the names of classes in a description of features, at any depth."""
    if isinstance(description, list):
        for item in description:
            yield from _types(item)
    elif isinstance(description, dict):
        for name, value in description.items():
            if isinstance(value, str) and name in _TYPE_FIELDS:
                yield value
            if isinstance(value, str) and name == _JSON_FIELD:
                yield from _types(parse_json(value.encode()))
            yield from _types(value)


def _check_shards(directory: Path, builder: Any) -> None:
    """Checks the numbers of examples and the paths of the shards."""
    for split in builder.info.splits.values():
        if min(split.shard_lengths, default=0) < 0:
            raise broken_set(
                f"numbers of examples of at least 0 in {directory / INFO_FILE}",
                f"{min(split.shard_lengths)} in {split.name}",
            )
        for path in split.filepaths:
            check_inside(directory, Path(path))
