"""Image data sets in memory, from a TFDS directory or from scikit-learn's digits."""

import hashlib
import io
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tensorflow_datasets as tfds
from google.protobuf.message import DecodeError
from jaxtyping import Float32, Int32, UInt8
from PIL import Image
from tensorflow_datasets.core.utils.shard_utils import FileInstruction
from tensorflow_datasets.proto import tf_example_pb2

from train.files import read_json
from train.image_sets import INFO_FILE, read_manifest, read_records, shard_problem

DIGITS = "digits"
DIGITS_SPLITS = {"train": 1437, "test": 360}  # four fifths and one fifth of scikit-learn's 1,797
DIGITS_SEED = 0
DIGITS_SIZE_PX = 32
DIGITS_WHITE = 16  # the brightest of scikit-learn's grey levels
DECODING_THREADS = 4
DECODING_BATCH = 1000  # images a task: far fewer tasks than images, far more than threads
PILLOW_MODES = {1: "L", 3: "RGB", 4: "RGBA"}  # by number of channels
HINT = "elicit data prepare cifar10 --data-dir DIR"


class ImageData(NamedTuple):
    """A split of an image set.

    Attributes:
        images: n images, 0 to 255.
        labels: true classes, in [0, k).
        ids: one text an image.
        class_names: names of the k classes, in the order of the labels.
        targets: distributions asked for, where the set has them.
        outputs: what the classifier said of the finished images, where the set has them.
        source_ids: ids of the images that the optimisation started from, where the set has them.
    """

    images: UInt8[np.ndarray, "n h w c"]
    labels: Int32[np.ndarray, " n"]
    ids: tuple[str, ...]
    class_names: tuple[str, ...]
    targets: Float32[np.ndarray, "n k"] | None = None
    outputs: Float32[np.ndarray, "n k"] | None = None
    source_ids: tuple[str, ...] | None = None


def load_images(
    name_or_directory: str | Path, split: str = "train", *, data_dir: str | Path | None = None
) -> ImageData:
    """Loads a split of an image set into memory; needs neither a network nor TensorFlow.

    Where a `manifest.json` stands beside the data, every shard read is compared with its digest.

    Args:
        name_or_directory: "digits" (scikit-learn's handwritten digits, enlarged to 32 x 32 x 3),
            the directory of a TFDS data set in ArrayRecord (that which holds dataset_info.json),
            or, with `data_dir`, TFDS's name of a set, such as "cifar10" or "cifar10:3.0.2".
        split: name of a split, or a part of one in TFDS's notation, such as "train[:10%]".
        data_dir: TFDS's data directory, in which sets are found by name.

    Returns:
        The images in the order of the files. A set without ids gets "train_00000" and so on, and
        one without names of classes gets "0" and so on.

    Raises:
        ValueError: an unknown name or split; a directory that is missing, damaged, in another
            format or without `image` and `label`; images of several sizes; a label outside its
            range. The message names the file.
    """
    if str(name_or_directory) == DIGITS:
        return _load_digits(split)
    builder = _builder(find_directory(name_or_directory, data_dir=data_dir))
    _check_features(builder)
    instructions = _file_instructions(builder, split)
    _check_digests(Path(builder.data_dir), instructions)
    with ThreadPoolExecutor(DECODING_THREADS) as pool:
        columns = _columns(builder, instructions, pool)
    columns.setdefault("id", [[name] for name in _positions(builder, instructions)])
    return _assemble(builder, split, columns)


def data_digest(data: ImageData) -> str:
    """Sha256 over all that the data hold: the same data, the same digest, wherever they lie."""
    total = hashlib.sha256(repr((data.ids, data.class_names, data.images.shape)).encode())
    total.update(np.ascontiguousarray(data.images).tobytes())
    for column in (data.labels, data.targets, data.outputs):
        if column is not None:
            total.update(np.ascontiguousarray(column).tobytes())
    return total.hexdigest()


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
        ValueError: an unknown name, or a missing or damaged directory.
    """
    if str(name_or_directory) == DIGITS:
        return dict(DIGITS_SPLITS)
    builder = _builder(find_directory(name_or_directory, data_dir=data_dir))
    return {name: info.num_examples for name, info in builder.info.splits.items()}


def find_directory(name_or_directory: str | Path, *, data_dir: str | Path | None = None) -> Path:
    """Finds the directory that holds a set's dataset_info.json.

    Args:
        name_or_directory: the directory, or with `data_dir` the name of a set; the newest version
            is taken unless the name says which.
        data_dir: TFDS's data directory.

    Raises:
        ValueError: there is none.
    """
    if data_dir is None:
        directory = Path(name_or_directory).expanduser()
        _require_set(directory, name_or_directory)
        return directory
    name, _, version = str(name_or_directory).partition(":")
    root = Path(data_dir).expanduser() / name
    if version:
        _require_set(root / version, name_or_directory)
        return root / version
    versions = [path.parent for path in root.glob(f"*.*.*/{INFO_FILE}")]
    if not versions:
        raise ValueError(
            f"expected the data set {name} in {data_dir}, got no {root}/VERSION/{INFO_FILE}; "
            f"check both names, or prepare it: {HINT}"
        )
    return max(versions, key=_version_key)


def _require_set(directory: Path, received: object) -> None:
    if (directory / INFO_FILE).is_file():
        return
    # TFDS's data directory has NAME/VERSION or NAME/CONFIG/VERSION; deeper may lie a whole disk.
    deeper = ("*", "*/*", "*/*/*")
    inside = sorted(path.parent for way in deeper for path in directory.glob(f"{way}/{INFO_FILE}"))
    remedy = (
        f"did you mean {inside[0]}?"
        if inside
        else f'check the path, give --data-dir with the name of a set, use "{DIGITS}", or {HINT}'
    )
    raise ValueError(
        f"expected a data set's directory with {INFO_FILE}, got {str(received)!r}, "
        f"which {'has none' if directory.is_dir() else 'is no directory'}; {remedy}"
    )


def _version_key(directory: Path) -> tuple[int, ...]:
    return tuple(int(part) if part.isdigit() else -1 for part in directory.name.split("."))


def _builder(directory: Path) -> Any:
    """Opens a set with TFDS, which reports damage in exceptions of many kinds."""
    read_json(directory / INFO_FILE)  # first, for a message that names the file
    if not (directory / "features.json").is_file():
        raise ValueError(
            f"expected features.json in {directory}, got none; the set is damaged: make it again"
        )
    read_json(directory / "features.json")
    try:
        builder: Any = tfds.builder_from_directory(directory)
        suffix = builder.info.file_format.file_suffix
    except Exception as error:
        reason = str(error).strip().splitlines()
        raise ValueError(
            f"expected a TFDS data set, got {directory}, which TFDS cannot read "
            f"({type(error).__name__}: {reason[0] if reason else ''}); make the set again"
        ) from error
    if suffix != "array_record":
        raise ValueError(
            f"expected a data set in array_record, got {directory} in {suffix}; "
            "write it again with TFDS's file_format='array_record'"
        )
    return builder


def _check_features(builder: Any) -> None:
    features = builder.info.features
    wanted = {"image": tfds.features.Image, "label": tfds.features.ClassLabel}
    for name, kind in wanted.items():
        if name not in features or not isinstance(features[name], kind):
            raise ValueError(
                f"expected a feature {name} of type {kind.__name__}, got {sorted(features)} in "
                f"{builder.data_dir}; choose a data set of labelled images"
            )
    if features["image"].np_dtype != np.uint8 or features["image"].shape[-1] not in PILLOW_MODES:
        raise ValueError(
            f"expected uint8 images of 1, 3 or 4 channels, got {features['image']} in "
            f"{builder.data_dir}; choose another data set"
        )


def _file_instructions(builder: Any, split: str) -> list[FileInstruction]:
    """Says which records of which files make a split or a part of it."""
    splits = builder.info.splits
    try:
        instructions = splits[split].file_instructions
    except (KeyError, ValueError, AssertionError) as error:
        raise ValueError(
            f"expected a split among {sorted(splits)}, got {split!r}; "
            f"choose one of those of {builder.data_dir}"
        ) from error
    if not instructions:
        raise ValueError(
            f"expected at least one image, got none in {split!r} of {builder.data_dir}; "
            "choose another split"
        )
    return instructions


def _check_digests(directory: Path, instructions: Iterable[FileInstruction]) -> None:
    """Compares the files with the manifest, where there is one."""
    manifest = read_manifest(directory)
    if manifest is None:
        return
    entries = {shard["file"]: shard for shard in manifest["shards"]}
    for name in sorted({Path(instruction.filename).name for instruction in instructions}):
        if name not in entries:
            raise ValueError(
                f"expected {name} among the shards in {directory}/manifest.json, got no such "
                "entry; make the set again"
            )
        problem = shard_problem(directory, entries[name])
        if problem is not None:
            raise ValueError(
                f"expected a whole data set, got in {directory} {problem}; make the set again"
            )


def _columns(
    builder: Any, instructions: Iterable[FileInstruction], pool: ThreadPoolExecutor
) -> dict[str, list[Any]]:
    """Reads the files and gives, feature by feature, one value an image."""
    features = builder.info.features
    known = ("id", "image", "label", "target", "output", "source_id")
    columns: dict[str, list[Any]] = {name: [] for name in known if name in features}
    mode = PILLOW_MODES[features["image"].shape[-1]]
    for instruction in instructions:
        path = Path(instruction.filename)
        examples = _examples(path, instruction)
        try:
            for name, column in columns.items():
                column.extend(_values(example[name]) for example in examples)
            encoded = [value[0] for value in columns["image"][-len(examples) :]]
            columns["image"][-len(examples) :] = _decode(encoded, mode, pool)
        except (IndexError, OSError, ValueError) as error:
            raise ValueError(
                f"expected an image and a label in every example, got a broken one in {path} "
                f"({error}); make the set again"
            ) from error
    return columns


def _positions(builder: Any, instructions: Iterable[FileInstruction]) -> list[str]:
    """Names images by their places in the whole split, for a set without ids."""
    starts: dict[str, tuple[str, int]] = {}
    for split, info in builder.info.splits.items():
        ends = np.cumsum(info.shard_lengths).tolist()
        for path, start in zip(info.filepaths, [0, *ends[:-1]], strict=True):
            starts[path.name] = (split, start)
    names = []
    for instruction in instructions:
        split, start = starts[Path(instruction.filename).name]
        first = start + instruction.skip
        names += [f"{split}_{i:05d}" for i in range(first, first + instruction.take)]
    return names


def _examples(path: Path, instruction: FileInstruction) -> list[Any]:
    """Reads and parses the examples of a file, which must have as many as the metadata say."""
    records = read_records(path)
    if len(records) != instruction.examples_in_shard:
        raise ValueError(
            f"expected {instruction.examples_in_shard} examples in {path}, got {len(records)}; "
            "make the set again"
        )
    wanted = records[instruction.skip : instruction.skip + instruction.take]
    parse = tf_example_pb2.Example.FromString  # pyright: ignore[reportAttributeAccessIssue] -- generated
    try:
        return [parse(record).features.feature for record in wanted]
    except DecodeError as error:
        raise ValueError(
            f"expected tf.train.Example records, got others in {path}; make the set again"
        ) from error


def _values(feature: Any) -> Any:
    """Gives the values of a protobuf feature, of whichever of its three kinds."""
    kind = feature.WhichOneof("kind")
    return getattr(feature, kind).value if kind else ()


def _decode(encoded: Sequence[bytes], mode: str, pool: ThreadPoolExecutor) -> list[np.ndarray]:
    """Decodes PNG or JPEG; TFDS would do so one by one, and advise against Pillow each time."""
    batches = [
        encoded[start : start + DECODING_BATCH] for start in range(0, len(encoded), DECODING_BATCH)
    ]
    decoded = pool.map(lambda batch: [_decode_one(image, mode) for image in batch], batches)
    return [image for batch in decoded for image in batch]


def _decode_one(encoded: bytes, mode: str) -> np.ndarray:
    with Image.open(io.BytesIO(encoded)) as image:
        pixels = np.asarray(image if image.mode == mode else image.convert(mode))
    return pixels if pixels.ndim == 3 else pixels[:, :, None]


def _assemble(builder: Any, split: str, columns: dict[str, list[Any]]) -> ImageData:
    """Makes arrays of the columns and checks what TFDS does not."""
    place = f"in {split!r} of {builder.data_dir}"
    shapes = sorted({image.shape for image in columns["image"]})
    if len(shapes) != 1:
        raise ValueError(
            f"expected images of one size, got {shapes[0]} and {shapes[-1]} {place}; "
            "bring them to one size, as elicit data import does"
        )
    names = tuple(builder.info.features["label"].names)
    return ImageData(
        images=np.stack(columns["image"]),
        labels=_labels(columns["label"], len(names), place),
        ids=_texts(columns["id"]) or (),
        class_names=names,
        targets=_distributions(columns, "target", len(names), place),
        outputs=_distributions(columns, "output", len(names), place),
        source_ids=_texts(columns.get("source_id")),
    )


def _texts(column: Sequence[Any] | None) -> tuple[str, ...] | None:
    if column is None:
        return None
    firsts = (values[0] for values in column)
    return tuple(text.decode() if isinstance(text, bytes) else str(text) for text in firsts)


def _labels(column: Sequence[Any], num_classes: int, place: str) -> Int32[np.ndarray, " n"]:
    labels = np.array([values[0] for values in column], np.int64)
    outside = labels[(labels < 0) | (labels >= num_classes)]
    if outside.size:
        raise ValueError(
            f"expected labels in [0, {num_classes}), got {outside[0]} {place}; "
            "choose a split whose images are all labelled"
        )
    return labels.astype(np.int32)


def _distributions(
    columns: dict[str, list[Any]], name: str, num_classes: int, place: str
) -> Float32[np.ndarray, "n k"] | None:
    if name not in columns:
        return None
    rows = [np.array(values, np.float32) for values in columns[name]]
    lengths = {row.shape for row in rows}
    if lengths != {(num_classes,)}:
        raise ValueError(
            f"expected {num_classes} numbers a {name}, got {sorted(lengths)} {place}; "
            "make the set again"
        )
    return np.stack(rows)


def _load_digits(split: str) -> ImageData:
    """Gives scikit-learn's digits, enlarged; the split is drawn once for all."""
    if split not in DIGITS_SPLITS:
        raise ValueError(
            f"expected a split among {sorted(DIGITS_SPLITS)}, got {split!r}; {DIGITS} has no other"
        )
    from sklearn.datasets import load_digits  # slow to import, and few callers want it

    bunch: Any = load_digits()
    # RandomState, since numpy promises its stream for all time, and not that of newer generators.
    order = np.random.RandomState(DIGITS_SEED).permutation(len(bunch.images))
    train = DIGITS_SPLITS["train"]
    chosen = np.sort(order[:train] if split == "train" else order[train:])
    return ImageData(
        images=np.stack([_enlarge(bunch.images[i]) for i in chosen]),
        labels=bunch.target[chosen].astype(np.int32),
        ids=tuple(f"digits_{i:05d}" for i in chosen),
        class_names=tuple(str(name) for name in bunch.target_names),
    )


def _enlarge(digit: np.ndarray) -> UInt8[np.ndarray, "32 32 3"]:
    """Scales an 8 x 8 image with levels 0 to 16 bilinearly to 32 x 32, grey in three channels."""
    grey = Image.fromarray((digit * (255 / DIGITS_WHITE)).astype(np.float32))
    large = grey.resize((DIGITS_SIZE_PX, DIGITS_SIZE_PX), Image.Resampling.BILINEAR)
    return np.repeat(np.rint(np.asarray(large)).astype(np.uint8)[:, :, None], 3, axis=2)
