"""JSON files, strictly read, and sealed ones that hold their own digest."""

import hashlib
import json
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from imgopt.errors import InputError
from train.storage.files import atomic_write

# The longest list in any file is a manifest's: 100,000 shards, the most that five digits number,
# are 26 MB; a million images in shards of 1,024 are 250 kB.
JSON_LIMIT_BYTES = 32 * 2**20
JSON_LIMIT_LEVELS = 50  # our own files have 6; Python gives up at some 1,000
INTEGER_LIMIT_CHARACTERS = 20  # of 2**64 - 1 and of -2**63

SEAL = "sha256"
"""Field of a JSON object: the digest of all others."""


def write_json(path: Path, value: Any) -> None:
    """Writes JSON atomically, the same bytes for the same value: sorted keys, indented by 2.

    Args:
        path: the file, in an existing directory.
        value: what `json.dumps` takes.

    Raises:
        InputError: `value` holds a NaN or an infinity, which JSON does not know.
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
        InputError: the file is no such JSON, or larger than `JSON_LIMIT_BYTES`; the message names
            it.
        FileNotFoundError: there is no such file.
    """
    try:
        return parse_json(_read_limited(path))
    except ValueError as error:
        raise InputError(
            f"expected JSON in {path}, got something else ({error}); "
            "the file is damaged: restore it or make its directory again"
        ) from error


def parse_json(content: bytes) -> Any:
    """Reads JSON as `read_json` does.

    Raises:
        InputError: it is no such JSON.
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
        raise InputError(f"it has more than {JSON_LIMIT_LEVELS} levels") from error
    level = [value]
    for _ in range(JSON_LIMIT_LEVELS):
        level = [inner for item in level for inner in _inside(item)]
    if any(isinstance(item, dict | list) for item in level):
        raise InputError(f"it has more than {JSON_LIMIT_LEVELS} levels")
    return value


def _read_limited(path: Path) -> bytes:
    """Reads a file of at most `JSON_LIMIT_BYTES`; from a device or a pipe nothing is read."""
    if path.exists() and not path.is_file():
        raise InputError("it is no file")
    if path.stat().st_size > JSON_LIMIT_BYTES:
        raise InputError(f"it is larger than {JSON_LIMIT_BYTES // 2**20} MiB")
    return path.read_bytes()


def _refuse_constant(name: str) -> None:
    raise InputError(f"{name} is no number of JSON's")


def _finite_float(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise InputError(f"{text[:20]} is beyond a float's range")
    return number


def _integer_of_64_bits(text: str) -> int:
    if len(text) > INTEGER_LIMIT_CHARACTERS or not -(2**63) <= int(text) < 2**64:
        raise InputError(f"{text[:20]}... is beyond 64 bits")
    return int(text)


def _object_of_distinct_names(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise InputError(f"an object has the name {twice!r} more than once")
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
        InputError: `value` has that field, or holds a NaN or an infinity, which JSON does not know.
    """
    if SEAL in value:
        raise InputError(f"{path} must have a field {SEAL} of its own, got {value[SEAL]!r:.60}")
    plain = json.loads(json.dumps(value, allow_nan=False))  # as it will be read
    write_json(path, {**plain, SEAL: _seal(plain)})


def read_sealed(path: Path) -> Any:
    """Reads what `write_sealed` wrote, if nothing of it has changed; the digest is left out.

    JSON of another hand, which has no digest, is read as it is.

    Args:
        path: an existing file.

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
