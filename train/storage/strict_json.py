"""JSON files, read strictly, and sealed ones, which hold their own digest."""

import hashlib
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from imgopt.errors import InputError
from train.storage.files import atomic_write

# The longest list in any file is a manifest's: 100,000 shards, the most that five digits number,
# take 26 MB; a million images in shards of 1,024 take 250 kB.
JSON_LIMIT_BYTES = 32 * 2**20

SEAL = "sha256"
"""Field of a JSON object with the digest of all its other fields."""


def write_json(path: Path, value: Any) -> None:
    """Writes JSON atomically, the same bytes for the same value: sorted keys, indented by 2.

    Args:
        path: the file, in an existing directory.
        value: anything that `json.dumps` takes.

    Raises:
        ValueError: `value` holds a NaN or an infinity, which JSON does not have.
    """
    text = json.dumps(value, sort_keys=True, indent=2, allow_nan=False)
    atomic_write(path, f"{text}\n".encode())


def read_json(path: Path) -> Any:
    """Reads a JSON file, which anyone may have written.

    Args:
        path: an existing file, in UTF-8.

    Returns:
        Its value; no NaN, no infinity, and no object with a name twice.

    Raises:
        InputError: the file is no such JSON, or larger than `JSON_LIMIT_BYTES`; the message names
            it.
        FileNotFoundError: there is no such file.
    """
    try:
        return parse_json(_read_limited(path))
    except InputError as error:
        raise InputError(
            f"expected JSON in {path}, got something else ({error}); "
            "the file is damaged: restore it or make its directory again"
        ) from error


def parse_json(content: bytes) -> Any:
    """Parses JSON as `read_json` does.

    Args:
        content: the text, in UTF-8.

    Raises:
        InputError: it is no such JSON.
    """
    try:
        return json.loads(
            content.decode(),
            parse_constant=_refuse_constant,
            parse_float=_finite_float,
            object_pairs_hook=_object_of_distinct_names,
        )
    except RecursionError as error:
        raise InputError("it is nested too deeply") from error
    except ValueError as error:  # JSON's, UTF-8's, and that of a number of 5,000 digits
        raise InputError(str(error)) from error


def _read_limited(path: Path) -> bytes:
    """Reads a file of at most `JSON_LIMIT_BYTES`; refuses devices and pipes."""
    if path.exists() and not path.is_file():
        raise InputError("it is no file")
    if path.stat().st_size > JSON_LIMIT_BYTES:
        raise InputError(f"it is larger than {JSON_LIMIT_BYTES // 2**20} MiB")
    return path.read_bytes()


def _refuse_constant(name: str) -> None:
    raise InputError(f"{name} is no number in JSON")


def _finite_float(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise InputError(f"{text[:20]} is beyond a float's range")
    return number


def _object_of_distinct_names(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise InputError(f"an object has the name {twice!r} more than once")
    return value


def write_sealed(path: Path, value: Mapping[str, Any]) -> None:
    """Writes a JSON object with a digest of its content in the field `sha256`.

    Args:
        path: the file, in an existing directory.
        value: anything that `json.dumps` takes, without that field.

    Raises:
        ValueError: `value` has that field, or holds a NaN or an infinity, which JSON does not have.
    """
    if SEAL in value:
        raise ValueError(f"{path} must have a field {SEAL} of its own, got {value[SEAL]!r:.60}")
    plain = json.loads(json.dumps(value, allow_nan=False))  # as it will be read
    write_json(path, {**plain, SEAL: _seal(plain)})


def read_sealed(path: Path) -> Any:
    """Reads a sealed JSON file and compares its content with the digest in it.

    JSON without a digest, which others may have written, is read as it is.

    Args:
        path: an existing file.

    Returns:
        The content without the digest.

    Raises:
        InputError: the file is not valid JSON, or differs from its digest; the message names it.
        FileNotFoundError: there is no such file.
    """
    value = read_json(path)
    if not isinstance(value, dict) or SEAL not in value:
        return value
    found = value.pop(SEAL)
    if found != _seal(value):
        raise InputError(
            f"{path} is damaged: its content differs from the sha256 in it; restore it, or make "
            "its directory again"
        )
    return value


def _seal(value: dict[str, Any]) -> str:
    text = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()
