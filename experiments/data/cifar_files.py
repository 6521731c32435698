"""The official files of CIFAR-10 and CIFAR-100: archives, or the folders that they unpack to.

The python archives consist of pickles, and unpickling runs whatever a pickle asks for. So a pickle
is read only if it is the official one, byte for byte, by its MD5 digest: for MD5, two files with
the same digest can be made together, but no way is known to make a file for a digest that is given.

The binary archives hold plain bytes, safe to read without a digest. Their members need no digests.
So archives may have been packed again by other people, and need no digests of their own.
"""

import hashlib
import pickle
import tarfile
import warnings
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Int64, UInt8

from imgopt.errors import InputError
from train.storage.files import sha256_of

URL = "https://www.cs.toronto.edu/~kriz/"
SIZE_PX = 32
PIXELS = 3 * SIZE_PX**2  # red, green and blue planes, each row by row
MEMBER_LIMIT_BYTES = 2**28
"""Largest member of an archive to read; CIFAR-100's training images have 155 MB."""
WAYS_DOWN = ("", "*/", "*/*/")
"""Where the folder is looked for: torchvision and Keras put it into a folder of all data sets."""


@dataclass(frozen=True)
class Release:
    """A form in which a data set is published.

    Attributes:
        archive: name of the archive.
        folder: the folder that it unpacks to.
        splits: names of the files of each split, in order, by the name of the split.
        names_file: name of the file with the names of the classes.
        sha256: digest of the official archive, for messages.
        md5: digests of the files, which are then pickles; empty for plain bytes.
    """

    archive: str
    folder: str
    splits: Mapping[str, tuple[str, ...]]
    names_file: str
    sha256: str
    md5: Mapping[str, str] = field(default_factory=dict)

    @property
    def files(self) -> list[str]:
        """Names of all files."""
        return [*(name for names in self.splits.values() for name in names), self.names_file]


@dataclass(frozen=True)
class CifarSet:
    """A data set of the CIFAR family.

    Attributes:
        title: what the data set is called.
        python: the form in pickles, which is downloaded.
        binary: the form in plain bytes.
        num_classes: number of classes.
        images_by_split: number of images in each file, by the name of the split.
        labels_field: the pickles' field with the labels.
        names_field: the field with the names of the classes.
        label_bytes: bytes before the pixels of an image in plain bytes; the last one is its label.
    """

    title: str
    python: Release
    binary: Release
    num_classes: int
    images_by_split: Mapping[str, int]
    labels_field: bytes
    names_field: bytes
    label_bytes: int

    @property
    def releases(self) -> tuple[Release, Release]:
        """Both forms."""
        return self.python, self.binary


def _batches(suffix: str) -> dict[str, tuple[str, ...]]:
    train = tuple(f"data_batch_{i}{suffix}" for i in range(1, 6))
    return {"train": train, "test": (f"test_batch{suffix}",)}


# The digests are those that torchvision (MD5), Keras (SHA-256 of the python archive of CIFAR-100)
# and TFDS (SHA-256 of the binary archives) list.
CIFAR10 = CifarSet(
    title="CIFAR-10",
    python=Release(
        archive="cifar-10-python.tar.gz",
        folder="cifar-10-batches-py",
        splits=_batches(""),
        names_file="batches.meta",
        sha256="6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce",
        md5={
            "data_batch_1": "c99cafc152244af753f735de768cd75f",
            "data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec",
            "data_batch_3": "54ebc095f3ab1f0389bbae665268c751",
            "data_batch_4": "634d18415352ddfa80567beed471001a",
            "data_batch_5": "482c414d41f54cd18b22e5b47cb7c3cb",
            "test_batch": "40351d587109b95175f43aff81a1287e",
            "batches.meta": "5ff9c542aee3614f3951f8cda6e48888",
        },
    ),
    binary=Release(
        archive="cifar-10-binary.tar.gz",
        folder="cifar-10-batches-bin",
        splits=_batches(".bin"),
        names_file="batches.meta.txt",
        sha256="c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
    ),
    num_classes=10,
    images_by_split={"train": 10_000, "test": 10_000},
    labels_field=b"labels",
    names_field=b"label_names",
    label_bytes=1,
)
CIFAR100 = CifarSet(
    title="CIFAR-100",
    python=Release(
        archive="cifar-100-python.tar.gz",
        folder="cifar-100-python",
        splits={"train": ("train",), "test": ("test",)},
        names_file="meta",
        sha256="85cd44d02ba6437773c5bbd22e183051d648de2e7d6b014e1ef29b855ba677a7",
        md5={
            "train": "16019d7e3df5f24257cddd939b257f8d",
            "test": "f0ef6b0ae62326f3e7ffdfab6717acfc",
            "meta": "7973b15100ade9c7d40fb424638fde48",
        },
    ),
    binary=Release(
        archive="cifar-100-binary.tar.gz",
        folder="cifar-100-binary",
        splits={"train": ("train.bin",), "test": ("test.bin",)},
        names_file="fine_label_names.txt",
        sha256="58a81ae192c23a4be8b1804d68e518ed807d710a4eb253b1f2a199162a40d8ec",
    ),
    num_classes=100,
    images_by_split={"train": 50_000, "test": 10_000},
    labels_field=b"fine_labels",
    names_field=b"fine_label_names",
    label_bytes=2,
)
CIFAR_SETS = {"cifar10": CIFAR10, "cifar100": CIFAR100}
"""The data sets by the names that TFDS gives them."""


class CifarBatch(NamedTuple):
    """Images of one file or split.

    Attributes:
        pixels: the images, each as red, green and blue planes, row by row.
        labels: classes of the images.
    """

    pixels: UInt8[np.ndarray, "n 3072"]
    labels: Int64[np.ndarray, " n"]


class CifarImages(NamedTuple):
    """A data set as its official files hold it.

    Attributes:
        class_names: names of the classes, in the order of the labels.
        splits: images of the splits train and test.
        source: address of the official archive, and the SHA-256 digests of what was read.
    """

    class_names: tuple[str, ...]
    splits: dict[str, CifarBatch]
    source: dict[str, Any]


class _Files(NamedTuple):
    """The files that were read, and where they came from."""

    place: Path
    release: Release
    contents: dict[str, bytes]
    digests: dict[str, Any]


def read_cifar(name: str, path: Path) -> CifarImages:
    """Reads a data set from an official archive or from the folder that it unpacks to.

    Args:
        name: one of `CIFAR_SETS`.
        path: the archive, compressed or not, or the folder, or a folder in which it lies.

    Raises:
        InputError: there is no such file; it differs from the official one; a file of the folder is
            missing, of another size, or holds a label outside the classes. The message names it.
    """
    cifar = CIFAR_SETS[name]
    if not path.exists():
        raise InputError(
            f"expected the archive {' or '.join(r.archive for r in cifar.releases)}, or its "
            f"folder, got {path}, which does not exist; check the path, or leave --archive out to "
            "download it"
        )
    files = _read_folder(cifar, path) if path.is_dir() else _read_archive(cifar, path)
    _check_md5(files)
    read = _batch_of_pickle if files.release.md5 else _batch_of_records
    splits = {}
    for split, names in files.release.splits.items():
        batches = [read(cifar, files, split, file) for file in names]
        splits[split] = CifarBatch(*map(np.concatenate, zip(*batches, strict=True)))
    source = {"source": URL + files.release.archive, **files.digests}
    return CifarImages(_class_names(cifar, files), splits, source)


def _read_archive(cifar: CifarSet, path: Path) -> _Files:
    """Reads the files of an archive into memory; nothing is extracted."""
    digest = sha256_of(path)
    try:
        contents = _members(path, {name for each in cifar.releases for name in each.files})
    except (tarfile.TarError, EOFError, OSError, zlib.error) as error:
        raise _another_archive(cifar, path, digest) from error
    release = next((r for r in cifar.releases if set(r.files) <= set(contents)), None)
    if release is None:
        raise _another_archive(cifar, path, digest)
    own = {name: contents[name] for name in release.files}
    return _Files(path, release, own, {"archive_sha256": digest})


def _members(path: Path, wanted: set[str]) -> dict[str, bytes]:
    """Reads the wanted files of an archive, by their names without folders.

    The archive is read to its end, so that a compressed one is compared with its own checksum.
    """
    contents = {}
    with tarfile.open(path, "r:*") as tar:
        for member in tar:
            name = PurePosixPath(member.name).name
            if name in wanted and member.isfile() and member.size <= MEMBER_LIMIT_BYTES:
                file: Any = tar.extractfile(member)
                contents[name] = file.read()
        stream: Any = tar.fileobj
        while stream.read(2**20):
            pass
    return contents


def _another_archive(cifar: CifarSet, path: Path, digest: str) -> InputError:
    expected = " or ".join(f"{each.sha256} ({each.archive})" for each in cifar.releases)
    return InputError(
        f"expected an archive of {cifar.title} with the sha256 {expected}, or its files packed "
        f"again, got {digest} for {path}; it is damaged or another file: download it again from "
        f"{URL}{cifar.python.archive}"
    )


def _read_folder(cifar: CifarSet, path: Path) -> _Files:
    """Reads the files of an unpacked archive, or of an archive that lies in the folder."""
    for release in cifar.releases:
        found = sorted(
            file for way in WAYS_DOWN for file in path.glob(f"{way}{release.names_file}")
        )
        for names_file in found:
            if names_file.parent == path or names_file.parent.name == release.folder:
                return _files_of(names_file.parent, release)
    for release in cifar.releases:
        if (path / release.archive).is_file():
            return _read_archive(cifar, path / release.archive)
    expected = " or ".join(f"{r.names_file} (in {r.folder})" for r in cifar.releases)
    raise InputError(
        f"expected a folder with {expected}, got {path}, which has neither; give the folder "
        "that the archive unpacks to"
    )


def _files_of(folder: Path, release: Release) -> _Files:
    missing = [name for name in release.files if not (folder / name).is_file()]
    if missing:
        raise InputError(
            f"expected {', '.join(missing)} in {folder}, got a folder without; unpack "
            f"{release.archive} again"
        )
    contents = {name: (folder / name).read_bytes() for name in release.files}
    digests = {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()}
    return _Files(folder, release, contents, {"file_sha256": digests})


def _check_md5(files: _Files) -> None:
    """Raises InputError for a pickle that is not the official one; nothing is unpickled before."""
    for name, wanted in files.release.md5.items():
        found = hashlib.md5(files.contents[name], usedforsecurity=False).hexdigest()
        if found != wanted:
            raise InputError(
                f"expected the official {name} with the MD5 {wanted}, got {found} in "
                f"{files.place}; it is damaged or another file, and is not unpickled: unpack "
                f"{files.release.archive} again"
            )


def _class_names(cifar: CifarSet, files: _Files) -> tuple[str, ...]:
    content = files.contents[files.release.names_file]
    if files.release.md5:
        return tuple(name.decode() for name in load_pickle(content)[cifar.names_field])
    lines = content.decode(errors="replace").split("\n")
    names = tuple(line.strip() for line in lines if line.strip())
    count = cifar.num_classes
    if len(set(names)) != len(names) or len(names) != count or not "".join(names).isascii():
        raise InputError(
            f"expected {count} distinct names of classes in ASCII, got {names!r:.200} in "
            f"{files.release.names_file} of {files.place}; unpack {files.release.archive} again"
        )
    return names


def _batch_of_pickle(cifar: CifarSet, files: _Files, _: str, name: str) -> CifarBatch:
    fields = load_pickle(files.contents[name])
    return CifarBatch(fields[b"data"], np.array(fields[cifar.labels_field], np.int64))


def load_pickle(content: bytes) -> Any:
    """Loads a pickle that Python 2 wrote; its text becomes bytes.

    This runs whatever the pickle asks for.

    Args:
        content: an official file, already compared with its digest.
    """
    with warnings.catch_warnings():
        # NumPy 1 pickled a 0 where NumPy 2.4 wants False.
        warnings.simplefilter("ignore", np.exceptions.VisibleDeprecationWarning)
        return pickle.loads(content, encoding="bytes")  # noqa: S301 -- compared by _check_md5


def _batch_of_records(cifar: CifarSet, files: _Files, split: str, name: str) -> CifarBatch:
    """Reads records of a byte or two for the labels and 3,072 for the pixels."""
    content, count = files.contents[name], cifar.images_by_split[split]
    record_bytes = cifar.label_bytes + PIXELS
    if len(content) != count * record_bytes:
        raise InputError(
            f"expected {count * record_bytes:,} bytes ({count:,} images of {record_bytes:,}), got "
            f"{len(content):,} in {name} of {files.place}; unpack {files.release.archive} again"
        )
    records = np.frombuffer(content, np.uint8).reshape(count, record_bytes)
    labels = records[:, cifar.label_bytes - 1].astype(np.int64)
    if labels.max() >= cifar.num_classes:
        raise InputError(
            f"expected labels in [0, {cifar.num_classes}), got {labels.max()} in {name} of "
            f"{files.place}; unpack {files.release.archive} again"
        )
    return CifarBatch(records[:, cifar.label_bytes :], labels)
