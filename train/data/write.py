"""Image sets on disk: TFDS data sets in ArrayRecord, written without TensorFlow.

`tfds.builder_from_directory(directory).as_data_source()` reads them. Shards are written first, each
whole or not at all. The metadata are written last and are the commit: `label.labels.txt`,
`features.json`, `dataset_info.json`, and `manifest.json`, which says how the set was made and holds
the digests of all files. A set is extended by `uncommit`, more shards, and `commit`.

Commands use `experiments.data.resumable_set`, which is built on these functions.
"""

import importlib.metadata
import io
import tempfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from etils import epath
from jaxtyping import UInt8
from PIL import Image

from elicit_jax import DISTRIBUTION
from imgopt.errors import InputError
from train.data import array_records
from train.data.spec import EXTRAS, ImageSetSpec, OptionalFeature, ShardRecord, require, shard_path
from train.data.tfds_parts import ExampleSerializer
from train.data.verify import DESCRIPTION_FILES, MANIFEST_FILE, METADATA_FILES
from train.storage.files import atomic_write, naming, replacing, sha256_of
from train.storage.strict_json import read_json, write_json, write_sealed

# TFDS usually puts the number of shards into every name, so to extend a set means to rename all its
# shards.
GROWING_TEMPLATE = "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_INDEX}"
COUNTED_TEMPLATE = "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}"
RECORDED_PACKAGES = ("jax", "flax", "optax", "numpy", "tensorflow-datasets")
"""Packages that can change a set's bytes."""
PNG_LEVEL = 6  # 1,000 CIFAR-10 images: 124 us and 2,264 bytes each; level 1: 112 us, 2,300 bytes
ENCODING_THREADS = 4  # zlib releases Python's lock; this helps with images larger than CIFAR's


def write_shard(
    directory: Path,
    spec: ImageSetSpec,
    *,
    split: str,
    index: int,
    columns: Mapping[str, Any],
    num_shards: int | None = None,
) -> ShardRecord:
    """Writes one shard. The same images give the same bytes in any process.

    Args:
        directory: the set's directory; it is made if it does not exist.
        spec: the set.
        split: one of the set's splits.
        index: number of the shard in the split, from 0.
        columns: n values of every feature: `id` (text, distinct), `image` (uint8, shape
            (n, *image_shape)), `label` (integers in [0, k)) and the set's extras.
        num_shards: as in `shard_path`.

    Returns:
        The record of the shard, for `commit`.

    Raises:
        InputError: a column is missing or unknown, or has a wrong length, shape, type or range.
    """
    path = shard_path(directory, spec, split=split, index=index, num_shards=num_shards)
    checked = _checked_columns(spec, columns)
    with ThreadPoolExecutor(ENCODING_THREADS) as pool:
        pngs = list(pool.map(encode_png, checked["image"]))
    directory.mkdir(parents=True, exist_ok=True)
    with replacing(path) as partial:
        array_records.write_records(partial, _serialized(spec, {**checked, "image": pngs}))
    return ShardRecord(path.name, len(pngs), path.stat().st_size, sha256_of(path))


def commit(
    directory: Path,
    spec: ImageSetSpec,
    shards: Mapping[str, Sequence[ShardRecord]],
    *,
    manifest: Mapping[str, Any],
) -> None:
    """Writes the metadata, which turn the shards into a data set.

    Args:
        directory: the set's directory, with the shards in it.
        spec: the set.
        shards: for every split, its shards in the order of their indices.
        manifest: how the set was made (configuration, key, ...), as JSON types. Digests of all
            files and the versions of the packages are added (`ADDED_FIELDS`).

    Raises:
        InputError: there are no shards, or a shard has an unexpected name or is not on disk.
        ValueError: the manifest has a value that JSON lacks.
    """
    require(
        bool(shards) and all(shards.values()), "at least one shard in every split", dict(shards)
    )
    templates = {split: _template(directory, spec, split, shards[split]) for split in shards}
    records = [{"split": split, **record._asdict()} for split in shards for record in shards[split]]
    with tempfile.TemporaryDirectory() as place:
        # TFDS does not write its files atomically, so they are first written elsewhere.
        staged = Path(place)
        with naming(staged):
            _dataset_info(spec, shards, templates).write_to_directory(epath.Path(staged))
        for path in staged.glob("*.json"):
            write_json(path, read_json(path))  # the same bytes every time
        files = {name: sha256_of(staged / name) for name in DESCRIPTION_FILES}
        versions = {"elicit": importlib.metadata.version(DISTRIBUTION)}
        versions |= {name: importlib.metadata.version(name) for name in RECORDED_PACKAGES}
        added = {"shards": records, "files": files, "versions": versions}
        write_sealed(staged / MANIFEST_FILE, {**manifest, **added})
        for name in METADATA_FILES:
            atomic_write(directory / name, (staged / name).read_bytes())


def uncommit(directory: Path) -> None:
    """Removes the metadata, the manifest first. The set is unfinished until the next commit.

    Args:
        directory: the set's directory; it may hold no metadata.
    """
    for name in reversed(METADATA_FILES):
        (directory / name).unlink(missing_ok=True)


def _checked_columns(spec: ImageSetSpec, columns: Mapping[str, Any]) -> dict[str, Any]:
    """Checks all columns; gives them as arrays or tuples of text."""
    wanted = {"id", "image", "label", *spec.extras}
    require(set(columns) == wanted, f"the columns {sorted(wanted)}", sorted(columns))
    images = np.asarray(columns["image"])
    shape = f"uint8 images of shape (n, {', '.join(map(str, spec.image_shape))}) with n > 0"
    require(
        images.dtype == np.uint8 and images.shape[1:] == spec.image_shape and len(images) > 0,
        shape,
        f"{images.dtype} {images.shape}",
    )
    size, num_classes = len(images), len(spec.class_names)
    ids = _checked_text("id", columns["id"], size)
    require(len(set(ids)) == size, "distinct ids", f"{size - len(set(ids))} repeated ones")
    labels = np.asarray(columns["label"])
    require(
        labels.shape == (size,) and labels.dtype.kind in "iu",
        f"{size} integers as labels",
        f"{labels.dtype} {labels.shape}",
    )
    outside = labels[(labels < 0) | (labels >= num_classes)]
    require(outside.size == 0, f"labels in [0, {num_classes})", outside[:3].tolist())
    extras = {name: _checked_extra(name, columns[name], size, num_classes) for name in spec.extras}
    return {"id": ids, "image": images, "label": labels, **extras}


def _checked_extra(name: str, values: Any, size: int, num_classes: int) -> Any:
    """Checks the column of an optional feature."""
    extra = EXTRAS[name]
    if extra.dtype is str:
        return _checked_text(name, values, size)
    array = np.asarray(values)
    shape = (size, num_classes) if extra.per_class else (size,)
    require(
        array.dtype == extra.dtype and array.shape == shape,
        f"{np.dtype(extra.dtype)} {shape} as {name}",
        f"{array.dtype} {array.shape}",
    )
    require(bool(np.isfinite(array).all()), f"finite numbers as {name}", "a NaN or an infinity")
    return array


def _checked_text(name: str, values: Any, size: int) -> tuple[str, ...]:
    texts = tuple(values)
    require(
        len(texts) == size and all(isinstance(text, str) for text in texts),
        f"{size} strings as {name}",
        f"{len(texts)} values such as {texts[:1]!r}",
    )
    return texts


def encode_png(image: UInt8[np.ndarray, "h w c"]) -> bytes:
    """Encodes an image of 1, 3 or 4 channels."""
    buffer = io.BytesIO()
    pixels = image[:, :, 0] if image.shape[-1] == 1 else image  # Pillow's grey has no channel axis
    Image.fromarray(pixels).save(buffer, "PNG", compress_level=PNG_LEVEL)
    return buffer.getvalue()


def _serialized(spec: ImageSetSpec, columns: Mapping[str, Any]) -> list[bytes]:
    """Serialises every example; the order of a protobuf map is fixed only on request."""
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
    """Describes an example for TFDS."""
    return tfds.features.FeaturesDict(
        {
            "id": tfds.features.Text(),
            "image": tfds.features.Image(shape=spec.image_shape, encoding_format="png"),
            "label": tfds.features.ClassLabel(names=list(spec.class_names)),
            **{name: _extra_feature(EXTRAS[name], len(spec.class_names)) for name in spec.extras},
        }
    )


def _extra_feature(extra: OptionalFeature, num_classes: int) -> tfds.features.FeatureConnector:
    if extra.dtype is str:
        return tfds.features.Text()
    if extra.per_class:
        return tfds.features.Tensor(shape=(num_classes,), dtype=extra.dtype)
    return tfds.features.Scalar(extra.dtype)


def _template(
    directory: Path, spec: ImageSetSpec, split: str, records: Sequence[ShardRecord]
) -> str:
    """Finds which of the two templates a split's shards are named by; checks that they exist."""
    names = [record.file for record in records]
    for template, count in ((GROWING_TEMPLATE, None), (COUNTED_TEMPLATE, len(names))):
        paths = [
            shard_path(directory, spec, split=split, index=i, num_shards=count)
            for i in range(len(names))
        ]
        if names == [path.name for path in paths]:
            absent = [path.name for path in paths if not path.is_file()]
            require(not absent, f"all shards in {directory}", f"none under the names {absent}")
            return template
    raise InputError(
        f"expected the shards of {split} in order from 00000 and without gaps, got {names}"
    )


def _dataset_info(
    spec: ImageSetSpec, shards: Mapping[str, Sequence[ShardRecord]], templates: Mapping[str, str]
) -> tfds.core.DatasetInfo:
    """Gives TFDS's description of the set."""
    identity = tfds.core.DatasetIdentity(
        name=spec.name,
        version=tfds.core.Version(spec.version),
        data_dir="",  # left out, since a set may be moved
        module_name="elicit",
    )
    info = tfds.core.DatasetInfo(
        builder=identity,
        description=spec.description,
        features=_features(spec),
        supervised_keys=("image", "label"),
    )
    info.set_file_format("array_record")  # TFDS's default is TFRecord
    info.set_splits(
        tfds.core.SplitDict(
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
