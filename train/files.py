"""Files that are whole or not there at all: written under a temporary name, flushed, renamed."""

import contextlib
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

SEAL = "sha256"
"""Field of a JSON object: the digest of all others."""


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
    """
    partial = path.with_name(f".{path.name}.partial")
    try:
        yield partial
        _flush(partial)
        partial.replace(path)
    finally:
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


def write_json(path: Path, value: Any) -> None:
    """Writes JSON atomically, the same bytes for the same value: sorted keys, indented by 2.

    Args:
        path: the file, in an existing directory.
        value: what `json.dumps` takes.

    Raises:
        ValueError: `value` holds a NaN or an infinity, which JSON does not know.
    """
    text = json.dumps(value, sort_keys=True, indent=2, allow_nan=False)
    atomic_write(path, f"{text}\n".encode())


def read_json(path: Path) -> Any:
    """Reads a JSON file.

    Args:
        path: an existing file.

    Returns:
        The value in it.

    Raises:
        ValueError: the file is not valid JSON; the message names it.
        FileNotFoundError: there is no such file.
    """
    try:
        return json.loads(path.read_bytes())
    except ValueError as error:
        raise ValueError(
            f"expected JSON in {path}, got something else ({error}); "
            "the file is damaged: restore it or make its directory again"
        ) from error


def write_sealed(path: Path, value: Mapping[str, Any]) -> None:
    """Writes a JSON object together with a digest of all that is in it, as its field `sha256`.

    Args:
        path: the file, in an existing directory.
        value: what `json.dumps` takes; without that field.

    Raises:
        ValueError: `value` holds a NaN or an infinity, which JSON does not know.
    """
    plain = json.loads(json.dumps(value, allow_nan=False))  # as it will be read
    write_json(path, {**plain, SEAL: _seal(plain)})


def read_sealed(path: Path) -> Any:
    """Reads what `write_sealed` wrote, if nothing of it has changed; the digest is left out.

    JSON of another hand, which has no digest, is read as it is.

    Args:
        path: an existing file.

    Raises:
        ValueError: the file is not valid JSON, or differs from its digest; the message names it.
        FileNotFoundError: there is no such file.
    """
    value = read_json(path)
    if not isinstance(value, dict) or SEAL not in value:
        return value
    found = value.pop(SEAL)
    if found != _seal(value):
        raise ValueError(
            f"{path} is damaged: its content differs from the sha256 in it; restore it, or make "
            "its directory again"
        )
    return value


def _seal(value: dict[str, Any]) -> str:
    text = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


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
        ValueError: the target exists already, or a parent of it is a file.
    """
    if target.exists():
        raise ValueError(
            f"expected a new directory, got {target}, which exists already; "
            "choose another one or remove it first"
        )
    made = [parent for parent in target.parents if not parent.exists()]
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
    except (FileExistsError, NotADirectoryError) as error:
        raise ValueError(
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
