"""Image sets on disk: TFDS data sets in ArrayRecord, written without TensorFlow.

Anyone reads one by `tfds.builder_from_directory(directory).as_data_source()`. Shards come first,
each whole or absent; the metadata come last and are the commit: `label.labels.txt`,
`features.json`, `dataset_info.json`, and `manifest.json`, which says how the set was made and holds
the digests of all the others and its own. A set grows by `uncommit`, more shards, and `commit`.
"""

import importlib.metadata
import io
import re
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tensorflow_datasets as tfds
from array_record.python import (
    array_record_module,  # pyright: ignore[reportAttributeAccessIssue] -- a compiled module
)
from etils import epath
from jaxtyping import UInt8
from PIL import Image
from tensorflow_datasets.core import dataset_info, splits
from tensorflow_datasets.core.example_serializer import ExampleSerializer

from train import array_records
from train.files import (
    SEAL,
    atomic_write,
    file_problem,
    naming,
    read_json,
    read_sealed,
    replacing,
    sha256_of,
    write_json,
    write_sealed,
)
from train.manifests import check_digests, check_shards
from train.set_metadata import FEATURES_FILE, INFO_FILE, open_builder

MANIFEST_FILE = "manifest.json"
SHARDS = "*.array_record-*"
DESCRIPTION_FILES = ("label.labels.txt", FEATURES_FILE, INFO_FILE)  # TFDS's
# In the order of writing: the manifest is the last, and the first to go.
METADATA_FILES = (*DESCRIPTION_FILES, MANIFEST_FILE)
ADDED_FIELDS = ("shards", "files", "versions")  # of a manifest: what `commit` adds
# The number of shards stands in TFDS's usual names; a set that grows would have to rename them all.
GROWING_TEMPLATE = "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_INDEX}"
COUNTED_TEMPLATE = "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}"
RECORDED_PACKAGES = ("elicit", "jax", "flax", "optax", "numpy", "tensorflow-datasets")
PNG_LEVEL = 6  # 1,000 CIFAR-10 images: 124 us and 2,264 bytes each; level 1: 112 us, 2,300 bytes
ENCODING_THREADS = 4  # zlib leaves Python's lock, which pays for images larger than CIFAR's


class Extra(NamedTuple):
    """What an optional feature holds for one image.

    Attributes:
        dtype: numpy's type of its numbers, or `str` for text.
        per_class: one number a class, shape (k,), rather than a scalar.
    """

    dtype: type
    per_class: bool = False


EXTRAS: Mapping[str, Extra] = {
    "target": Extra(np.float32, per_class=True),
    "output": Extra(np.float32, per_class=True),
    "kl": Extra(np.float32),
    "max_error": Extra(np.float32),
    "steps": Extra(np.int32),
    "source_id": Extra(str),
    "predicted": Extra(np.int32),
    "confidence": Extra(np.float32),
    "key": Extra(str),
}


@dataclass(frozen=True)
class ImageSetSpec:
    """What an image set is, whatever its shards hold.

    Attributes:
        name: TFDS's name of the set: lower-case letters, digits and underscores.
        class_names: names of the classes, in the order of their labels.
        image_shape: height, width and channels (1, 3 or 4) of every image.
        extras: which of the features in `EXTRAS` every image has.
        splits: names of the splits, in their order.
        description: a sentence for the reader.
        version: three numbers, as TFDS wants.

    Raises:
        ValueError: a value that TFDS could not write or read back.
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
            _require(
                re.fullmatch(r"[a-z][a-z0-9_]*", word) is not None,
                "a name of a set or split in lower-case letters, digits and _",
                word,
            )
        _require(
            re.fullmatch(r"\d+\.\d+\.\d+", self.version) is not None,
            "a version such as 1.0.0",
            self.version,
        )
        # TFDS keeps the names in a text file, one a line, and strips each.
        names = self.class_names
        tidy = all(name and name == name.strip() and name.isprintable() for name in names)
        _require(
            tidy and 0 < len(names) == len(set(names)),
            "distinct class names, each of one line and without blanks around it",
            names,
        )
        height, width, channels = self.image_shape
        _require(
            height > 0 and width > 0 and channels in (1, 3, 4),
            "a shape (height, width, channels) with 1, 3 or 4 channels",
            self.image_shape,
        )
        _require(set(self.extras) <= set(EXTRAS), f"features among {sorted(EXTRAS)}", self.extras)


class ShardRecord(NamedTuple):
    """What is known of a shard on disk.

    Attributes:
        file: its name in the set's directory.
        num_examples: number of images in it.
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
        num_shards: number of shards in the split, for a set that never grows; it then stands in
            the name, as usual in TFDS. None leaves it out.

    Raises:
        ValueError: an unknown split, or an index outside [0, num_shards).
    """
    _require(split in spec.splits, f"a split among {spec.splits}", split)
    end = 100_000 if num_shards is None else num_shards  # TFDS writes five digits
    _require(0 <= index < end, f"an index of a shard in [0, {end})", index)
    suffix = f"{index:05d}" if num_shards is None else f"{index:05d}-of-{num_shards:05d}"
    return directory / f"{spec.name}-{split}.array_record-{suffix}"


def write_shard(
    directory: Path,
    spec: ImageSetSpec,
    *,
    split: str,
    index: int,
    columns: Mapping[str, Any],
    num_shards: int | None = None,
) -> ShardRecord:
    """Writes one shard: the same bytes for the same images, in any process.

    Args:
        directory: the set's directory, made where it lacks.
        spec: the set.
        split: one of its splits.
        index: number of the shard in the split, from 0.
        columns: n values of every feature: `id` (text, distinct), `image` (uint8, shape
            (n, *image_shape)), `label` (integers in [0, k)) and the set's extras.
        num_shards: as in `shard_path`.

    Returns:
        The record of the shard, for `commit`.

    Raises:
        ValueError: a column is missing, unknown, or of another length, shape, type or range.
    """
    path = shard_path(directory, spec, split=split, index=index, num_shards=num_shards)
    checked = _checked_columns(spec, columns)
    with ThreadPoolExecutor(ENCODING_THREADS) as pool:
        pngs = list(pool.map(_encode_png, checked["image"]))
    directory.mkdir(parents=True, exist_ok=True)
    with replacing(path) as partial:
        # One record a group: a reader then reaches any image without its neighbours.
        writer = array_record_module.ArrayRecordWriter(str(partial), "group_size:1")
        for record in _serialized(spec, {**checked, "image": pngs}):
            writer.write(record)
        writer.close()
    return ShardRecord(path.name, len(pngs), path.stat().st_size, sha256_of(path))


def describe_shard(path: Path) -> ShardRecord:
    """Describes a shard that lies on disk already.

    Reads all of it, since ArrayRecord checks its digests only on reading.

    Args:
        path: the shard.

    Raises:
        ValueError: the shard is missing or damaged; the message names it.
    """
    count = sum(map(len, array_records.iter_records(path)))
    return ShardRecord(path.name, count, path.stat().st_size, sha256_of(path))


def read_extras(
    directory: Path, names: Sequence[str], *, split: str = "train"
) -> dict[str, np.ndarray]:
    """Reads numeric features of a committed set without decoding its images.

    Nothing else of the set stays in memory.

    Args:
        directory: the set's directory.
        names: of the features, such as "kl".
        split: one of its splits.

    Returns:
        An array for each name, one row an image.

    Raises:
        ValueError: the set is damaged or has no such feature or split; the message names it.
    """
    builder = open_builder(directory)
    parts: dict[str, list[np.ndarray]] = {name: [] for name in names}
    try:
        source = builder.as_data_source(split, decoders={"image": tfds.decode.SkipDecoding()})
        at_once = array_records.RECORDS_AT_ONCE
        for start in range(0, len(source), at_once):
            rows = source.__getitems__(range(start, min(start + at_once, len(source))))
            for name, column in parts.items():
                column.append(np.stack([row[name] for row in rows]))
        return {name: np.concatenate(column) for name, column in parts.items()}
    except Exception as error:  # TFDS reports damage in exceptions of many kinds
        raise ValueError(
            f"expected {', '.join(names)} of every image in {split!r} of {directory}, got "
            f"{type(error).__name__}: {error}; make the set again"
        ) from error


def commit(
    directory: Path,
    spec: ImageSetSpec,
    shards: Mapping[str, Sequence[ShardRecord]],
    *,
    manifest: Mapping[str, Any],
) -> None:
    """Writes the metadata, by which the shards become a data set.

    Args:
        directory: the set's directory, with the shards in it.
        spec: the set.
        shards: for every split that the set has, its shards in the order of their indices.
        manifest: how the set was made (configuration, key, ...): what JSON can hold. The digests of
            the shards, of the other metadata and its own, and the versions of the packages are
            added to it.

    Raises:
        ValueError: no shards, one under an unexpected name or not on disk, or a manifest with
            fields of ours (`ADDED_FIELDS`) or values that JSON does not know.
    """
    _require(
        {*ADDED_FIELDS, SEAL}.isdisjoint(manifest),
        f"a manifest without the fields {', '.join(ADDED_FIELDS)} and {SEAL}, which are added",
        sorted(manifest),
    )
    _require(
        bool(shards) and all(shards.values()), "at least one shard in every split", dict(shards)
    )
    templates = {split: _template(directory, spec, split, shards[split]) for split in shards}
    records = [{"split": split, **record._asdict()} for split in shards for record in shards[split]]
    with tempfile.TemporaryDirectory() as place:
        # Staged elsewhere, because TFDS does not write its files atomically.
        staged = Path(place)
        with naming(staged):
            _dataset_info(spec, shards, templates).write_to_directory(epath.Path(staged))
        for path in staged.glob("*.json"):
            write_json(path, read_json(path))  # the same bytes every time
        files = {name: sha256_of(staged / name) for name in DESCRIPTION_FILES}
        added = {"shards": records, "files": files, "versions": _versions()}
        write_sealed(staged / MANIFEST_FILE, {**manifest, **added})
        for name in METADATA_FILES:
            atomic_write(directory / name, (staged / name).read_bytes())


def write_splits(
    directory: Path,
    spec: ImageSetSpec,
    splits: Mapping[str, Iterable[Mapping[str, Any]]],
    *,
    num_shards: int = 1,
    manifest: Mapping[str, Any],
) -> None:
    """Writes a whole set at once, one that never grows.

    Args:
        directory: the set's directory, still under a temporary name.
        spec: the set.
        splits: for every split, the columns of its shards, as in `write_shard`; what makes them
            one by one needs the memory of one.
        num_shards: number of shards in each split.
        manifest: as in `commit`.

    Raises:
        ValueError: as `write_shard` and `commit`.
    """
    shards = {
        split: [
            write_shard(
                directory, spec, split=split, index=i, columns=columns, num_shards=num_shards
            )
            for i, columns in enumerate(parts)
        ]
        for split, parts in splits.items()
    }
    commit(directory, spec, shards, manifest=manifest)


def uncommit(directory: Path) -> None:
    """Takes the metadata away, the manifest first: until the next commit the set is unfinished.

    Args:
        directory: the set's directory; nothing happens where it holds no metadata.
    """
    for name in reversed(METADATA_FILES):
        (directory / name).unlink(missing_ok=True)


def read_manifest(directory: Path) -> dict[str, Any] | None:
    """Reads `manifest.json`.

    Args:
        directory: the set's directory.

    Returns:
        Its fields, or None where there is no manifest.

    Raises:
        ValueError: the manifest is damaged, or names a file outside the directory.
    """
    path = directory / MANIFEST_FILE
    if not path.is_file():
        return None
    manifest = read_sealed(path)
    check_shards(path, manifest)
    check_digests(path, manifest.get("files", {}))
    return manifest


def verify(directory: Path) -> list[str]:
    """Compares every shard, and the other metadata, with their digests in the manifest.

    Args:
        directory: the set's directory.

    Returns:
        One line a problem, which names the file and says "missing" or "damaged"; empty where all
        is well.

    Raises:
        ValueError: the set has no manifest, or a damaged one.
    """
    manifest = read_manifest(directory)
    if manifest is None:
        raise ValueError(
            f"expected {MANIFEST_FILE} in {directory}, got none; "
            "the set is unfinished: run the command that makes it again"
        )
    problems = (shard_problem(directory, shard) for shard in manifest["shards"])
    return [
        *description_problems(directory, manifest),
        *(problem for problem in problems if problem is not None),
    ]


def description_problems(directory: Path, manifest: Mapping[str, Any]) -> list[str]:
    """Compares the metadata that TFDS reads with their digests in the manifest.

    Args:
        directory: the set's directory.
        manifest: its manifest; one of another hand may know no digests of them.

    Returns:
        As `verify`.
    """
    digests = manifest.get("files", {})
    found = ((name, file_problem(directory / name, digests[name])) for name in digests)
    return [f"{name}: {problem}" for name, problem in found if problem is not None]


def shard_problem(directory: Path, shard: Mapping[str, Any]) -> str | None:
    """Compares one shard with its entry in the manifest.

    Args:
        directory: the set's directory.
        shard: the entry.

    Returns:
        One line that names the shard and says "missing" or "damaged", or None.
    """
    problem = file_problem(directory / shard["file"], shard["sha256"])
    return None if problem is None else f"{shard['file']}: {problem}"


def _require(condition: bool, expected: str, received: object) -> None:
    if not condition:
        raise ValueError(f"expected {expected}, got {received!r}")


def _checked_columns(spec: ImageSetSpec, columns: Mapping[str, Any]) -> dict[str, Any]:
    """Gives the columns as arrays or tuples of text, each of the length, shape and type wanted."""
    wanted = {"id", "image", "label", *spec.extras}
    _require(set(columns) == wanted, f"the columns {sorted(wanted)}", sorted(columns))
    images = np.asarray(columns["image"])
    shape = f"uint8 images of shape (n, {', '.join(map(str, spec.image_shape))}) with n > 0"
    _require(
        images.dtype == np.uint8 and images.shape[1:] == spec.image_shape and len(images) > 0,
        shape,
        f"{images.dtype} {images.shape}",
    )
    size, num_classes = len(images), len(spec.class_names)
    ids = _checked_text("id", columns["id"], size)
    _require(len(set(ids)) == size, "distinct ids", f"{size - len(set(ids))} repeated ones")
    labels = np.asarray(columns["label"])
    _require(
        labels.shape == (size,) and labels.dtype.kind in "iu",
        f"{size} integers as labels",
        f"{labels.dtype} {labels.shape}",
    )
    outside = labels[(labels < 0) | (labels >= num_classes)]
    _require(outside.size == 0, f"labels in [0, {num_classes})", outside[:3].tolist())
    extras = {name: _checked_extra(name, columns[name], size, num_classes) for name in spec.extras}
    return {"id": ids, "image": images, "label": labels, **extras}


def _checked_extra(name: str, values: Any, size: int, num_classes: int) -> Any:
    """Checks the column of an optional feature."""
    extra = EXTRAS[name]
    if extra.dtype is str:
        return _checked_text(name, values, size)
    array = np.asarray(values)
    shape = (size, num_classes) if extra.per_class else (size,)
    _require(
        array.dtype == extra.dtype and array.shape == shape,
        f"{np.dtype(extra.dtype)} {shape} as {name}",
        f"{array.dtype} {array.shape}",
    )
    _require(bool(np.isfinite(array).all()), f"finite numbers as {name}", "a NaN or an infinity")
    return array


def _checked_text(name: str, values: Any, size: int) -> tuple[str, ...]:
    texts = tuple(values)
    _require(
        len(texts) == size and all(isinstance(text, str) for text in texts),
        f"{size} strings as {name}",
        f"{len(texts)} values such as {texts[:1]!r}",
    )
    return texts


def _encode_png(image: UInt8[np.ndarray, "h w c"]) -> bytes:
    buffer = io.BytesIO()
    pixels = image[:, :, 0] if image.shape[-1] == 1 else image  # Pillow's grey has no channel axis
    Image.fromarray(pixels).save(buffer, "PNG", compress_level=PNG_LEVEL)
    return buffer.getvalue()


def _serialized(spec: ImageSetSpec, columns: Mapping[str, Any]) -> list[bytes]:
    """Serialises every example; a protobuf map comes in no fixed order unless asked."""
    features = _features(spec)
    specs: Any = features.get_serialized_info()
    serializer = ExampleSerializer(specs)
    rows = zip(*columns.values(), strict=True)
    encoded = (features.encode_example(dict(zip(columns, row, strict=True))) for row in rows)
    return [
        serializer.get_tf_example(example).SerializeToString(deterministic=True)
        for example in encoded
    ]


def _features(spec: ImageSetSpec) -> tfds.features.FeaturesDict:
    """Gives TFDS's description of an example."""
    return tfds.features.FeaturesDict(
        {
            "id": tfds.features.Text(),
            "image": tfds.features.Image(shape=spec.image_shape, encoding_format="png"),
            "label": tfds.features.ClassLabel(names=list(spec.class_names)),
            **{name: _extra_feature(EXTRAS[name], len(spec.class_names)) for name in spec.extras},
        }
    )


def _extra_feature(extra: Extra, num_classes: int) -> tfds.features.FeatureConnector:
    if extra.dtype is str:
        return tfds.features.Text()
    if extra.per_class:
        return tfds.features.Tensor(shape=(num_classes,), dtype=extra.dtype)
    return tfds.features.Scalar(extra.dtype)


def _template(
    directory: Path, spec: ImageSetSpec, split: str, records: Sequence[ShardRecord]
) -> str:
    """Finds which of the two ways of naming a split's shards follow, and that they exist."""
    names = [record.file for record in records]
    for template, count in ((GROWING_TEMPLATE, None), (COUNTED_TEMPLATE, len(names))):
        paths = [
            shard_path(directory, spec, split=split, index=i, num_shards=count)
            for i in range(len(names))
        ]
        if names == [path.name for path in paths]:
            absent = [path.name for path in paths if not path.is_file()]
            _require(not absent, f"all shards in {directory}", f"none under the names {absent}")
            return template
    raise ValueError(
        f"expected the shards of {split} in order from 00000 and without gaps, got {names}"
    )


def _dataset_info(
    spec: ImageSetSpec, shards: Mapping[str, Sequence[ShardRecord]], templates: Mapping[str, str]
) -> tfds.core.DatasetInfo:
    """Gives TFDS's description of the set."""
    identity = dataset_info.DatasetIdentity(
        name=spec.name,
        version=tfds.core.Version(spec.version),
        data_dir="",  # not kept: a set may be moved
        module_name="elicit",
    )
    info = tfds.core.DatasetInfo(
        builder=identity,
        description=spec.description,
        features=_features(spec),
        supervised_keys=("image", "label"),
    )
    info.set_file_format("array_record")  # else TFDS takes it for TFRecord
    info.set_splits(
        splits.SplitDict(
            [
                _split_info(spec, split, shards[split], templates[split])
                for split in spec.splits
                if split in shards
            ]
        )
    )
    return info


def _split_info(
    spec: ImageSetSpec, split: str, records: Sequence[ShardRecord], template: str
) -> tfds.core.SplitInfo:
    return tfds.core.SplitInfo(
        name=split,
        shard_lengths=[record.num_examples for record in records],
        num_bytes=sum(record.num_bytes for record in records),
        filename_template=tfds.core.ShardedFileTemplate(
            data_dir=epath.Path(),
            template=template,
            dataset_name=spec.name,
            split=split,
            filetype_suffix="array_record",
        ),
    )


def _versions() -> dict[str, str]:
    """Gives the versions of the packages that can change a set's bytes."""
    return {name: _version(name) for name in RECORDED_PACKAGES}


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"
