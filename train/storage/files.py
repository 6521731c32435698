"""Files that are whole or not there at all: written under a temporary name, flushed, renamed."""

import contextlib
import errno
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from imgopt.errors import InputError


@contextlib.contextmanager
def naming(path: Path) -> Iterator[None]:
    """Has whatever goes wrong in writing a file be an `OSError` that names it.

    Python's own errors of a full disk name no file, and libraries in C++ raise errors of other
    kinds, of which the text alone says what the system said.

    Args:
        path: the file or directory, under the name that a user knows.

    Raises:
        OSError: by the system's number of what went wrong.
    """
    try:
        yield
    except (OSError, RuntimeError, ValueError) as error:
        number = error.errno if isinstance(error, OSError) else _system_error_in(str(error))
        if number is None:
            raise
        raise OSError(number, os.strerror(number), str(path)) from error


def _system_error_in(text: str) -> int | None:
    """The number of the system's error whose words stand in a text."""
    return next((number for number in errno.errorcode if os.strerror(number) in text), None)


def partial_name(path: Path) -> Path:
    """The temporary name under which a file is written; what a killed writer left lies there."""
    return path.with_name(f".{path.name}.partial")


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Gives a temporary name beside a file; what is written there becomes the file at the end.

    The temporary name is always the same one, so that a job that was killed and started again
    overwrites what it left behind. After an exception the temporary file is removed and the file,
    old or absent, is as it was.

    Args:
        path: the final name, in an existing directory.

    Yields:
        The temporary name, in the same directory, hence in the same file system.

    Raises:
        OSError: the file cannot be written; the error names it.
    """
    partial = partial_name(path)
    try:
        with naming(path):
            yield partial
            _flush(partial)
            partial.replace(path)
    finally:
        with contextlib.suppress(OSError):  # which would hide the first error
            partial.unlink(missing_ok=True)
    # A rename lies in the directory, and survives a power cut only once that is flushed too.
    _flush(path.parent)


def atomic_write(path: Path, content: bytes) -> None:
    """Writes a file so that any reader, at any moment, sees the old content or the new one.

    Args:
        path: the file, in an existing directory.
        content: all of its bytes.
    """
    with replacing(path) as partial:
        partial.write_bytes(content)


def file_problem(path: Path, digest: str) -> str | None:
    """Compares a file with its digest.

    Args:
        path: where the file should be.
        digest: SHA-256 of its content, in hexadecimal.

    Returns:
        "missing" or "damaged", with a reason; None where all is well.
    """
    if not path.is_file():
        return "missing"
    return None if sha256_of(path) == digest else "damaged (its sha256 differs from the one kept)"


def sha256_of(path: Path) -> str:
    """Gives the SHA-256 digest of a file's content, in hexadecimal.

    Args:
        path: an existing file.
    """
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextlib.contextmanager
def building_directory(target: Path) -> Iterator[Path]:
    """Gives a temporary directory beside a new one; it takes the new one's name at the end.

    After an exception nothing is left: neither the temporary directory nor any parent made for it.

    Args:
        target: the directory to make; its parents are made where they lack.

    Yields:
        The temporary directory.

    Raises:
        InputError: the target exists already, or a parent of it is a file.
    """
    if target.exists():
        raise InputError(
            f"expected a new directory, got {target}, which exists already; "
            "choose another one or remove it first"
        )
    made = [parent for parent in target.parents if not parent.exists()]
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
    except (FileExistsError, NotADirectoryError) as error:
        raise InputError(
            f"expected a directory to make {target.name} in, got {target.parent}, "
            "which is or passes through a file; choose another place"
        ) from error
    try:
        yield partial
        _open_to_others(partial)
        partial.rename(target)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        for parent in made:
            with contextlib.suppress(OSError):  # another process may have put something there
                parent.rmdir()
        raise
    _flush(target.parent)


def _flush(path: Path) -> None:
    """Waits until a file or a directory lies on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _open_to_others(directory: Path) -> None:
    """Gives a directory of mkdtemp, which is its owner's only, the mode that mkdir would give."""
    mask = os.umask(0)
    os.umask(mask)
    directory.chmod(0o777 & ~mask)
