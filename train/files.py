"""Files that are whole or not there at all: written under a temporary name, flushed, renamed."""

import contextlib
import errno
import hashlib
import json
import math
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

# The longest list in any file is a manifest's: 100,000 shards, the most that five digits number,
# are 26 MB; a million images in shards of 1,024 are 250 kB.
JSON_LIMIT_BYTES = 32 * 2**20
JSON_LIMIT_LEVELS = 50  # our own files have 6; Python gives up at some 1,000
INTEGER_LIMIT_CHARACTERS = 20  # of 2**64 - 1 and of -2**63

SEAL = "sha256"
"""Field of a JSON object: the digest of all others."""


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
    """Reads a JSON file, which may be anyone's.

    Args:
        path: an existing file, in UTF-8.

    Returns:
        The value in it: of no NaN, no infinity, no number beyond 64 bits, no name twice in an
        object, and no more than `JSON_LIMIT_LEVELS` levels.

    Raises:
        ValueError: the file is no such JSON, or larger than `JSON_LIMIT_BYTES`; the message names
            it.
        FileNotFoundError: there is no such file.
    """
    try:
        return parse_json(_read_limited(path))
    except ValueError as error:
        raise ValueError(
            f"expected JSON in {path}, got something else ({error}); "
            "the file is damaged: restore it or make its directory again"
        ) from error


def parse_json(content: bytes) -> Any:
    """Reads JSON as `read_json` does.

    Raises:
        ValueError: it is no such JSON.
    """
    try:
        value = json.loads(
            content.decode(),
            parse_constant=_refuse_constant,
            parse_float=_finite_float,
            parse_int=_integer_of_64_bits,
            object_pairs_hook=_object_of_distinct_names,
        )
    except RecursionError as error:
        raise ValueError(f"it has more than {JSON_LIMIT_LEVELS} levels") from error
    level = [value]
    for _ in range(JSON_LIMIT_LEVELS):
        level = [inner for item in level for inner in _inside(item)]
    if any(isinstance(item, dict | list) for item in level):
        raise ValueError(f"it has more than {JSON_LIMIT_LEVELS} levels")
    return value


def _read_limited(path: Path) -> bytes:
    """Reads a file of at most `JSON_LIMIT_BYTES`; from a device or a pipe nothing is read."""
    if path.exists() and not path.is_file():
        raise ValueError("it is no file")
    if path.stat().st_size > JSON_LIMIT_BYTES:
        raise ValueError(f"it is larger than {JSON_LIMIT_BYTES // 2**20} MiB")
    return path.read_bytes()


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no number of JSON's")


def _finite_float(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text[:20]} is beyond a float's range")
    return number


def _integer_of_64_bits(text: str) -> int:
    if len(text) > INTEGER_LIMIT_CHARACTERS or not -(2**63) <= int(text) < 2**64:
        raise ValueError(f"{text[:20]}... is beyond 64 bits")
    return int(text)


def _object_of_distinct_names(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"an object has the name {twice!r} more than once")
    return value


def _inside(value: Any) -> Iterable[Any]:
    """The values that lie in an array or an object."""
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else ()


def write_sealed(path: Path, value: Mapping[str, Any]) -> None:
    """Writes a JSON object together with a digest of all that is in it, as its field `sha256`.

    Args:
        path: the file, in an existing directory.
        value: what `json.dumps` takes; without that field.

    Raises:
        ValueError: `value` has that field, or holds a NaN or an infinity, which JSON does not know.
    """
    if SEAL in value:
        raise ValueError(f"{path} must have a field {SEAL} of its own, got {value[SEAL]!r:.60}")
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
