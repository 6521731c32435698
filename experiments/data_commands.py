"""The commands `elicit data prepare`, `elicit data show` and `elicit data import`."""

import contextlib
import gzip
import hashlib
import http.client
import io
import re
import sys
import tarfile
import tempfile
import urllib.request
import warnings
import zlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple, cast

import jax
import numpy as np
from jaxtyping import Int64, UInt8
from PIL import Image, ImageDraw, ImageFont, ImageOps
from tyro.conf import Positional

from experiments.plain_pickle import read_plain_pickle
from train.datasets import ImageData, list_splits, load_images
from train.files import atomic_write, building_directory, sha256_of
from train.image_sets import ImageSetSpec, write_splits
from train.subsets import shuffled_classes

CIFAR10_URL = "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz"
CIFAR10_SHA256 = "6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce"
CIFAR10_VERSION = "3.0.2"  # TFDS's
CIFAR10_SIZE_PX = 32
CIFAR10_FOLDER = "cifar-10-batches-py"
CIFAR10_MEMBERS = {
    "train": tuple(f"{CIFAR10_FOLDER}/data_batch_{i}" for i in range(1, 6)),
    "test": (f"{CIFAR10_FOLDER}/test_batch",),
}
CIFAR10_META = f"{CIFAR10_FOLDER}/batches.meta"
BATCH_FIELDS = (b"data", b"labels")
ARCHIVE_LIMIT_BYTES = 256 * 2**20  # CIFAR-10 has 178 MiB
MEMBER_LIMIT_BYTES = 64 * 2**20  # a batch of CIFAR-10 has 31 MB
DOWNLOAD_TIMEOUT_SECONDS = 30
DOWNLOAD_BLOCK_BYTES = 2**20
PROGRESS_STEP_MB = 10
SHEET_IMAGE_PX = 64  # about the size at which a picture of 32 pixels can be recognised
SHEET_GAP_PX = 2


@dataclass(frozen=True)
class PrepareConfig:
    """Makes a data set that TFDS reads, without TensorFlow."""

    name: Positional[Literal["cifar10"]]
    """The data set."""
    data_dir: Path
    """TFDS's data directory; the set becomes cifar10/3.0.2 in it."""
    archive: Path | None = None
    """The official cifar-10-python.tar.gz; without it, it is downloaded."""
    verify: bool = True
    """Compare the archive with the checksum of the official one."""

    @property
    def target(self) -> Path:
        """The directory of the new data set."""
        return self.data_dir / self.name / CIFAR10_VERSION


@dataclass(frozen=True)
class ShowConfig:
    """Prints what a data set holds and draws its first images, one row a class."""

    data: Positional[str]
    """The directory of a data set, or "digits", or with --data-dir its name."""
    data_dir: Path | None = None
    """TFDS's data directory."""
    out: Path = Path("contact_sheet.png")
    """The contact sheet, a PNG; an older one is replaced."""
    columns: int = 10
    """Images of each class on the contact sheet."""


@dataclass(frozen=True)
class ImportConfig:
    """Makes a data set of a folder of pictures (PNG or JPEG), one subfolder a class."""

    folder: Positional[Path]
    """The folder; its subfolders' names are the names of the classes."""
    out: Path
    """The directory of the new data set."""
    size: int = 32
    """Height and width of the images in pixels: the middle of the picture, scaled down or up."""
    name: str | None = None
    """Name of the data set; by default that of the folder."""
    test_fraction: float = 0.0
    """Share of each class's pictures that becomes the split test, in [0, 1)."""
    key: int = 0
    """Key by which the pictures of the split test are drawn."""


def prepare(config: PrepareConfig) -> None:
    """Turns the official python archive of CIFAR-10 into the directory that TFDS makes of it.

    Ids, features, the number of shards and the order of the examples are TFDS's own.

    Args:
        config: the options.

    Raises:
        ValueError: the directory exists; no network; the archive is missing, damaged, or another.
    """
    with building_directory(config.target) as partial, _archive(config) as archive:
        digest = _verified_digest(archive, config.verify)
        splits, spec = _read_cifar10(archive)
        source = {"source": CIFAR10_URL, "archive_sha256": digest, "verified": config.verify}
        whole = {split: [columns] for split, columns in splits.items()}
        write_splits(partial, spec, whole, manifest=source)
    counts = ", ".join(f"{len(columns['label']):,} {split}" for split, columns in splits.items())
    print(f"{config.target}: {counts}")


def show(config: ShowConfig) -> None:
    """Prints a data set's splits, classes and counts, and writes a contact sheet.

    Args:
        config: the options; the sheet shows the first split.

    Raises:
        ValueError: as `load_images`; fewer than one column; `out` does not end in .png, or its
            directory does not exist.
    """
    if config.columns < 1:
        raise ValueError(f"expected --columns of at least 1, got {config.columns}")
    if config.out.suffix.lower() != ".png" or not config.out.parent.is_dir():
        raise ValueError(
            f"expected --out as a .png file in an existing directory, got {config.out}"
        )
    splits = list_splits(config.data, data_dir=config.data_dir)
    data = {name: load_images(config.data, name, data_dir=config.data_dir) for name in splits}
    _print_summary(data)
    first = next(iter(data.values()))
    buffer = io.BytesIO()
    contact_sheet(first, columns=config.columns).save(buffer, "PNG")
    atomic_write(config.out, buffer.getvalue())
    print(f"contact sheet: {config.out}")


def import_folder(config: ImportConfig) -> None:
    """Turns a folder of pictures into an image set; unreadable files are listed, not fatal.

    The id of an image is its class and file name, such as "ship/0001.jpg".

    Args:
        config: the options.

    Raises:
        ValueError: no such folder; no class, or one without a readable picture; an existing `out`;
            a size below 1; a fraction outside [0, 1) or too small to draw anything.
    """
    _check_import(config)
    spec = ImageSetSpec(
        name=config.name or _set_name(config.folder),
        class_names=_class_names(config.folder),
        image_shape=(config.size, config.size, 3),
        splits=("train", "test") if config.test_fraction else ("train",),
        description="Pictures of a user's own, made square and of one size.",
    )
    with building_directory(config.out) as partial:
        pictures, unreadable = _read_folder(config.folder, config.size)
        for file, reason in unreadable:
            print(f"unreadable: {file}: {reason}", file=sys.stderr)
        columns = _picture_columns(pictures, spec.class_names)
        splits = _split_columns(columns, len(spec.class_names), config)
        whole = {split: [part] for split, part in splits.items()}
        write_splits(partial, spec, whole, manifest=_import_manifest(config, unreadable))
    counts = ", ".join(f"{len(part['label']):,} {split}" for split, part in splits.items())
    found = f"{len(spec.class_names)} classes, {len(unreadable)} unreadable files"
    print(f"{config.out}: {counts}, {found}")


# --- prepare ------------------------------------------------------------------------------------


@contextlib.contextmanager
def _archive(config: PrepareConfig) -> Iterator[Path]:
    """Gives the archive named, or one downloaded, which is removed at the end."""
    if config.archive is not None:
        if not config.archive.is_file():
            raise ValueError(
                f"expected the archive cifar-10-python.tar.gz, got {config.archive}, which is no "
                "file; check the path, or leave --archive out to download it"
            )
        yield config.archive
        return
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "cifar-10-python.tar.gz"
        _download(CIFAR10_URL, path)
        yield path


def _download(url: str, path: Path) -> None:
    """Downloads a file, with a line of progress every few MB."""
    try:
        with (
            urllib.request.urlopen(url, timeout=DOWNLOAD_TIMEOUT_SECONDS) as answer,  # noqa: S310 -- our own https URL
            path.open("wb") as file,
        ):
            total_mb = int(answer.headers.get("Content-Length") or 0) // 2**20
            done = 0
            while block := answer.read(DOWNLOAD_BLOCK_BYTES):
                file.write(block)
                before, done = done, done + len(block)
                if before // 2**20 // PROGRESS_STEP_MB < done // 2**20 // PROGRESS_STEP_MB:
                    print(f"downloaded {done // 2**20} of {total_mb or '?'} MB", flush=True)
    except (OSError, http.client.HTTPException) as error:
        raise ValueError(
            f"expected to download {url}, got {error}; download it where there is a network and "
            "give it by --archive FILE"
        ) from error


def _verified_digest(archive: Path, verify: bool) -> str:
    digest = sha256_of(archive)
    if verify and digest != CIFAR10_SHA256:
        raise ValueError(
            f"expected an archive with sha256 {CIFAR10_SHA256}, got {digest} for {archive}; it is "
            f"damaged or another file: download it again from {CIFAR10_URL}"
        )
    return digest


def _read_cifar10(archive: Path) -> tuple[dict[str, dict[str, Any]], ImageSetSpec]:
    """Reads the archive: the columns of each split, in TFDS's order, and what they are."""
    wanted = {CIFAR10_META, *CIFAR10_MEMBERS["train"], *CIFAR10_MEMBERS["test"]}
    members = _read_members(archive, wanted)
    try:
        meta = read_plain_pickle(members[CIFAR10_META])
        spec = ImageSetSpec(
            name="cifar10",
            class_names=tuple(name.decode() for name in meta[b"label_names"]),
            image_shape=(CIFAR10_SIZE_PX, CIFAR10_SIZE_PX, 3),
            splits=tuple(CIFAR10_MEMBERS),
            description="CIFAR-10: 60,000 colour images of 32 x 32 pixels in 10 classes.",
            version=CIFAR10_VERSION,
        )
        splits = {
            split: _cifar10_columns(spec, split, [members[name] for name in names])
            for split, names in CIFAR10_MEMBERS.items()
        }
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ValueError(
            f"expected the batches of CIFAR-10 in {archive}, got {type(error).__name__}: {error}; "
            f"download it again from {CIFAR10_URL}"
        ) from error
    return splits, spec


def _read_members(archive: Path, wanted: set[str]) -> dict[str, bytes]:
    """Reads the members wanted into memory; nothing of an archive is ever extracted."""
    found: dict[str, bytes] = {}
    try:
        with gzip.open(archive) as unpacked:
            # As a stream, which is never sought in: all that is unpacked is counted.
            source: Any = _Counted(unpacked)
            with cast(Any, tarfile.open(fileobj=source, mode="r|")) as tar:
                for member in tar:
                    small = member.isfile() and member.size <= MEMBER_LIMIT_BYTES
                    file = tar.extractfile(member) if member.name in wanted and small else None
                    if file is not None:
                        found[member.name] = file.read()
                    tar.members.clear()  # it would keep those of any archive, however many
            while source.read(2**20):  # the checksum is at the end, and tar stops before it
                pass
    except Exception as error:  # a damaged header raises whatever its bytes happen to mean
        raise ValueError(
            f"expected a whole .tar.gz archive, got {archive} ({error}); download it again from "
            f"{CIFAR10_URL}"
        ) from error
    if missing := sorted(wanted - found.keys()):
        raise ValueError(
            f"expected {', '.join(missing)} in {archive}, got an archive without; give the python "
            f"version of CIFAR-10, {CIFAR10_URL}"
        )
    return found


class _Counted:
    """A file that refuses to give more than `ARCHIVE_LIMIT_BYTES`."""

    def __init__(self, file: gzip.GzipFile) -> None:
        self._file, self._left = file, ARCHIVE_LIMIT_BYTES

    def read(self, size: int) -> bytes:
        """Reads at most `size` bytes."""
        content = self._file.read(size)
        self._left -= len(content)
        if self._left < 0:
            raise ValueError(f"it holds more than {ARCHIVE_LIMIT_BYTES // 2**20} MiB")
        return content


def _cifar10_columns(spec: ImageSetSpec, split: str, pickles: Sequence[bytes]) -> dict[str, Any]:
    """Makes columns of the batches, ordered as TFDS orders them."""
    batches = [_read_batch(content, len(spec.class_names)) for content in pickles]
    flat = np.concatenate([data for data, _ in batches])
    labels = np.concatenate([labels for _, labels in batches])
    planes = flat.reshape(-1, 3, CIFAR10_SIZE_PX, CIFAR10_SIZE_PX)
    order = _tfds_order(split, len(labels))
    return {
        "id": [f"{split}_{i:05d}" for i in order],
        "image": np.ascontiguousarray(planes.transpose(0, 2, 3, 1)[order]),
        "label": labels[order],
    }


def _read_batch(
    content: bytes, num_classes: int
) -> tuple[UInt8[np.ndarray, "n 3072"], Int64[np.ndarray, " n"]]:
    """Images and labels of a batch.

    Raises:
        ValueError: there are none, or not as many of both, or a label is outside its range.
    """
    batch = read_plain_pickle(content)
    data, labels = (batch.get(name) if isinstance(batch, dict) else None for name in BATCH_FIELDS)
    if not isinstance(data, np.ndarray) or data.shape[1:] != (3 * CIFAR10_SIZE_PX**2,):
        raise ValueError("a batch without images")
    known = range(num_classes)
    if not isinstance(labels, list) or not all(type(n) is int and n in known for n in labels):
        raise ValueError(f"a batch without labels in [0, {num_classes})")
    if len(data) != len(labels):
        raise ValueError(f"{len(data)} images and {len(labels)} labels")
    return data, np.array(labels, np.int64)


def _tfds_order(split: str, size: int) -> Int64[np.ndarray, " size"]:
    """Gives the order in which TFDS writes examples 0 to size - 1: by a salted MD5 digest.

    Source: `tensorflow_datasets.core.hashing` and `shuffle`. So the slices of a split, such as
    "train[:10%]", hold the same images as those of anyone else's cifar10/3.0.2.
    """
    digests = [hashlib.md5(f"{split}{i}".encode(), usedforsecurity=False) for i in range(size)]
    return np.array(sorted(range(size), key=lambda i: digests[i].digest()), np.int64)


# --- show ---------------------------------------------------------------------------------------


def contact_sheet(data: ImageData, *, columns: int) -> Image.Image:
    """Draws the first images of each class in a row, with the class's name at its left.

    Args:
        data: the images.
        columns: number of images in a row, at least 1.

    Returns:
        The sheet, in RGB; images are enlarged by a whole factor, each pixel a square.
    """
    height, width = data.images.shape[1:3]
    factor = max(1, SHEET_IMAGE_PX // max(height, width))
    step_y, step_x = height * factor + SHEET_GAP_PX, width * factor + SHEET_GAP_PX
    font = ImageFont.load_default()
    name_px = int(max(font.getlength(name) for name in data.class_names)) + 8
    size = (name_px + columns * step_x, len(data.class_names) * step_y)
    sheet = Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(sheet)
    for row, name in enumerate(data.class_names):
        middle = row * step_y + step_y // 2
        draw.text((4, middle), name, fill="black", font=font, anchor="lm")
        for column, index in enumerate(np.flatnonzero(data.labels == row)[:columns]):
            enlarged = data.images[index].repeat(factor, axis=0).repeat(factor, axis=1)
            image = Image.fromarray(enlarged[:, :, 0] if enlarged.shape[2] == 1 else enlarged)
            sheet.paste(image.convert("RGB"), (name_px + column * step_x, row * step_y))
    return sheet


def _print_summary(data: Mapping[str, ImageData]) -> None:
    first = next(iter(data.values()))
    height, width, channels = first.images.shape[1:]
    print(f"images: {height} x {width} pixels, {channels} channels")
    for split, part in data.items():
        print(f"split {split}: {len(part.labels):,} images")
    counts = {split: Counter(part.labels.tolist()) for split, part in data.items()}
    indent = max(len(name) for name in ("class", *first.class_names))
    print(f"{'class':{indent}}", *(f"{split:>8}" for split in data))
    for label, name in enumerate(first.class_names):
        print(f"{name:{indent}}", *(f"{counts[split][label]:>8,}" for split in data))


# --- import -------------------------------------------------------------------------------------


class Picture(NamedTuple):
    """A picture of the user's, made square.

    Attributes:
        file: its path below the folder, with the class first.
        image: its pixels, 0 to 255.
    """

    file: str
    image: UInt8[np.ndarray, "size size 3"]


class Unreadable(NamedTuple):
    """A file that is no picture.

    Attributes:
        file: its path below the folder.
        reason: what is wrong with it.
    """

    file: str
    reason: str


def _check_import(config: ImportConfig) -> None:
    if not config.folder.is_dir():
        raise ValueError(
            f"expected a folder with one subfolder a class, got {config.folder}, which is no "
            "folder; check the path"
        )
    if not _class_names(config.folder):
        raise ValueError(
            f"expected one subfolder a class in {config.folder}, got none; "
            "put the pictures of each class into a folder of its name"
        )
    if config.size < 1:
        raise ValueError(f"expected --size of at least 1 pixel, got {config.size}")
    if not 0 <= config.test_fraction < 1:
        raise ValueError(f"expected --test-fraction in [0, 1), got {config.test_fraction}")


def _visible(folder: Path) -> list[Path]:
    """Lists a folder by name, without the hidden files that file managers leave in it."""
    return sorted(path for path in folder.iterdir() if not path.name.startswith("."))


def _class_names(folder: Path) -> tuple[str, ...]:
    return tuple(path.name for path in _visible(folder) if path.is_dir())


def _read_folder(folder: Path, size: int) -> tuple[list[Picture], list[Unreadable]]:
    """Reads every picture, in the order of classes and names."""
    pictures: list[Picture] = []
    unreadable: list[Unreadable] = []
    for path in _visible(folder):
        if not path.is_dir():
            unreadable.append(Unreadable(path.name, "outside the folders of the classes"))
            continue
        before = len(pictures)
        for inner in _visible(path):
            read = _read_picture(inner, f"{path.name}/{inner.name}", size)
            if isinstance(read, Picture):
                pictures.append(read)
            else:
                unreadable.append(read)
        if len(pictures) == before:
            raise ValueError(
                f"expected at least one PNG or JPEG in every class, got none that can be read in "
                f"{path}; add pictures or remove the folder"
            )
    return pictures, unreadable


def _read_picture(path: Path, file: str, size: int) -> Picture | Unreadable:
    if path.is_dir():
        return Unreadable(file, "a folder in the folder of a class")
    try:
        file.encode()
        with warnings.catch_warnings():
            # Between its limit and twice that Pillow only warns of a decompression bomb.
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path, formats=("PNG", "JPEG")) as image:
                return Picture(file, square(image, size))
    except UnicodeEncodeError:
        return Unreadable(ascii(file), "its name is not valid text")
    except (Image.DecompressionBombWarning, Image.DecompressionBombError):
        return Unreadable(file, f"more than {Image.MAX_IMAGE_PIXELS:,} pixels")
    except Image.UnidentifiedImageError:
        return Unreadable(file, "neither a PNG nor a JPEG")
    except (
        OSError,
        SyntaxError,
        ValueError,
        zlib.error,
    ) as error:  # Pillow has no class of its own
        return Unreadable(file, f"damaged ({error})")


def square(image: Image.Image, size: int) -> UInt8[np.ndarray, "size size 3"]:
    """Turns a picture upright and into RGB, scales its shorter side, and cuts out the middle.

    Args:
        image: a picture of any mode and size; transparent parts become white, 16 bits become 8.
        size: height and width of the result in pixels, at least 1.

    Returns:
        The pixels, 0 to 255.
    """
    upright = ImageOps.exif_transpose(image)
    rgb = _rgb(upright)
    scaled = ImageOps.fit(rgb, (size, size), Image.Resampling.BICUBIC)
    return np.asarray(scaled)


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):
        # Pillow's own conversion cuts 16 bits off at 255 and so turns nearly all of it white.
        return Image.fromarray((np.asarray(image) // 257).astype(np.uint8)).convert("RGB")
    if image.has_transparency_data:
        coloured = image.convert("RGBA")
        white = Image.new("RGBA", coloured.size, "white")
        return Image.alpha_composite(white, coloured).convert("RGB")
    return image.convert("RGB")


def _picture_columns(pictures: Sequence[Picture], class_names: Sequence[str]) -> dict[str, Any]:
    number = {name: label for label, name in enumerate(class_names)}
    return {
        "id": np.array([picture.file for picture in pictures], object),
        "image": np.stack([picture.image for picture in pictures]),
        "label": np.array([number[picture.file.partition("/")[0]] for picture in pictures]),
    }


def _split_columns(
    columns: Mapping[str, Any], num_classes: int, config: ImportConfig
) -> dict[str, dict[str, Any]]:
    """Draws the same share of every class for the split test, and keeps the order in both."""
    if config.test_fraction == 0:
        return {"train": dict(columns)}
    is_test = np.zeros(len(columns["label"]), bool)
    key = jax.random.key(config.key)
    for own in shuffled_classes(key, columns["label"], num_classes=num_classes):
        # A class must not vanish from training.
        count = min(round(config.test_fraction * len(own)), len(own) - 1)
        is_test[own[:count]] = True
    if not is_test.any():
        raise ValueError(
            f"expected --test-fraction that draws a picture, got {config.test_fraction}, which "
            "draws none of so few; raise it or leave it out"
        )
    masks = {"train": ~is_test, "test": is_test}
    return {
        split: {name: column[mask] for name, column in columns.items()}
        for split, mask in masks.items()
    }


def _set_name(folder: Path) -> str:
    """Makes a name that TFDS takes from the folder's."""
    name = re.sub(r"[^a-z0-9]+", "_", folder.resolve().name.lower()).strip("_")
    return name if name[:1].isalpha() else f"images_{name}".strip("_")


def _import_manifest(config: ImportConfig, unreadable: Sequence[Unreadable]) -> dict[str, Any]:
    return {
        "source": str(config.folder),
        "size": config.size,
        "test_fraction": config.test_fraction,
        "key": config.key,
        "unreadable": [entry._asdict() for entry in unreadable],
    }
