"""Writes files and directories atomically: under a temporary name, flushed, then renamed."""

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
    """Turns every error of writing a file into an `OSError` that names the file.

    Python's own errors of a full disk name no file. Libraries in C++ raise errors of other kinds,
    with the system's message in their text.

    Args:
        path: the file or directory, under the name that a user knows.

    Raises:
        OSError: the error, with the system's error number.
    """
    try:
        yield
    except (OSError, RuntimeError, ValueError) as error:
        number = error.errno if isinstance(error, OSError) else _system_error_in(str(error))
        if number is None:
            raise
        raise OSError(number, os.strerror(number), str(path)) from error


def _system_error_in(text: str) -> int | None:
    """Gives the number of the system's error whose message stands in a text."""
    return next((number for number in errno.errorcode if os.strerror(number) in text), None)


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Gives a temporary name for a file, which gets its final name at the end.

    The temporary name is always the same, so a job that is started again overwrites what a killed
    one has left behind. After an exception the temporary file is removed, and an older file is
    unchanged.

    Args:
        path: the final name, in an existing directory.

    Yields:
        The temporary name, in the same directory and so in the same file system.

    Raises:
        OSError: the file cannot be written; the error names it.
    """
    partial = path.with_name(f".{path.name}.partial")
    try:
        with naming(path):
            yield partial
            _flush(partial)
            partial.replace(path)
    finally:
        with contextlib.suppress(OSError):  # it would hide the first error
            partial.unlink(missing_ok=True)
    # A rename is a change of the directory; it survives a power cut once that is flushed too.
    _flush(path.parent)


def atomic_write(path: Path, content: bytes) -> None:
    """Writes a file; a reader sees the old content or the new one, at any moment.

    Args:
        path: the file, in an existing directory.
        content: all of its bytes.
    """
    with replacing(path) as partial:
        partial.write_bytes(content)


def check_directory_name(directory: Path, *, of: str) -> None:
    """Raises InputError if the name of a file was given in place of its directory's.

    Args:
        directory: what was given as the directory.
        of: name of the file that will be made in it.
    """
    if directory.suffix.lower() == Path(of).suffix:
        raise InputError(f"expected a directory as --out, in which {of} is made, got {directory}")


def make_directory(directory: Path) -> None:
    """Makes a directory for a command's files, with its parents, if it is missing.

    Args:
        directory: the directory.

    Raises:
        InputError: a file is in the way.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        raise InputError(
            f"expected a place for the directory {directory}, got a path that passes through a "
            "file; choose another --out"
        ) from error


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
    """Gives a temporary directory for a new one, which gets its final name at the end.

    After an exception nothing is left, neither the temporary directory nor parents made for it.

    Args:
        target: the new directory; missing parents are made.

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
    """Waits until a file or a directory is on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _open_to_others(directory: Path) -> None:
    """Gives a directory of mkdtemp, which only its owner may read, the mode of mkdir."""
    mask = os.umask(0)
    os.umask(mask)
    directory.chmod(0o777 & ~mask)


def is_unused(directory: Path) -> bool:
    """Whether a directory is missing, or holds only temporary files of a killed command."""
    if directory.exists() and not directory.is_dir():
        return False
    return all(path.name.endswith(".partial") for path in directory.glob("*"))
