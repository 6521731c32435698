"""Run directories: the configuration is written first, then metrics, and the result last.

`config.json` is the configuration. `metrics.jsonl` has a line an epoch, without times, so that an
interrupted and resumed run ends with the same bytes as an undisturbed one; every checkpoint holds
the lines up to it. `result.json` holds the digests of all files of the run, and its own, so that
later damage is found.
"""

import contextlib
import dataclasses
import json
import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from types import MappingProxyType
from typing import Any

from elicit_jax import DISTRIBUTION
from imgopt.errors import InputError
from train.storage.files import (
    atomic_write,
    file_problem,
    is_unused,
    make_directory,
    naming,
    sha256_of,
)
from train.storage.listed_files import check_digests
from train.storage.strict_json import SEAL, parse_json, read_json, read_sealed, write_sealed

CONFIG_FILE = "config.json"
METRICS_FILE = "metrics.jsonl"
RESULT_FILE = "result.json"

FILES = "files"
"""Field of a result with the digests of the run's files."""

APPROXIMATE = "approximate_"
TOLERANCE = 1e-3
"""Share of the largest number by which approximate numbers may differ: float32 outputs of a deep
network differ by 1e-6 to 1e-5 with the number of threads, on GPUs with 10 bits of fraction (TF32)
by up to 1e-3; a step of training moves them more."""

MOST_DIFFERENCES = 8
"""Most fields that a message names."""

ADDED_LATER = MappingProxyType({"added later": True})
"""Metadata of a dataclass's field that older configurations on disk lack. `as_json` leaves out such
a field at its default, so that digests of older configurations stay the same."""


def as_json(value: Any) -> Any:
    """Turns a configuration into JSON's types: dataclasses become objects, paths text."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        found = {field: getattr(value, field.name) for field in dataclasses.fields(value)}
        return {f.name: as_json(item) for f, item in found.items() if not _is_left_out(f, item)}
    if isinstance(value, dict):
        return {str(name): as_json(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [as_json(item) for item in value]
    return str(value) if isinstance(value, Path) else value


def _is_left_out(field: dataclasses.Field, value: Any) -> bool:
    if not field.metadata.keys() & ADDED_LATER.keys():
        return False
    if field.default_factory is dataclasses.MISSING:
        return value == field.default
    return value == field.default_factory()


def open_run(
    directory: Path, config: Any, *, check: Callable[[], object] = lambda: None
) -> dict[str, Any] | None:
    """Begins a run in a new directory, or finds one with the same configuration.

    Args:
        directory: the run's directory; made if missing.
        config: a dataclass or dict.
        check: a slow check, called for a new run before anything is written; it raises an error to
            refuse the run.

    Returns:
        The content of `result.json` if the run is complete and undamaged; None if there is work.

    Warns:
        UserWarning: the run is complete but damaged, so there is work; each file is named.

    Raises:
        InputError: the directory holds something else; the message names the differences.
    """
    wanted = as_json(config)
    path = directory / CONFIG_FILE
    if path.is_file():
        differing = differences(read_sealed(path), wanted)
        if differing:
            raise InputError(
                f"{directory} holds a run of another configuration: {in_short(differing)}. "
                "Choose another --out, or repeat the command that made it; if this is that "
                f"command, {path} is damaged: restore it, or remove the directory"
            )
        return _whole_result(directory)
    if not is_unused(directory):
        raise InputError(
            f"{directory} is there already and is not a run, having no file {CONFIG_FILE}; choose "
            "another --out, or remove it"
        )
    _begin(directory, check)
    write_sealed(path, wanted)
    return None


def _whole_result(directory: Path) -> dict[str, Any] | None:
    """Gives the result of a run that is complete and undamaged, else None."""
    if not (directory / RESULT_FILE).is_file():
        return None
    problems = result_problems(directory)
    if not problems:
        return read_result(directory)
    warnings.warn(
        f"{directory} was complete and is damaged; it is made again from its last good "
        f"checkpoints: {'; '.join(problems)}",
        stacklevel=3,
    )
    return None


def write_result(directory: Path, result: Mapping[str, Any], *, of: Sequence[str]) -> None:
    """Writes a run's result, with the digests of the run's files; the run is then complete.

    Args:
        directory: the run's directory.
        result: a JSON object without the fields `files` and `sha256`.
        of: names of the files and directories that belong to the run; missing ones are left out.
    """
    paths = sorted(path for name in of for path in _files_of(directory / name))
    digests = {path.relative_to(directory).as_posix(): sha256_of(path) for path in paths}
    write_sealed(directory / RESULT_FILE, {**result, FILES: digests})


def read_result(directory: Path) -> dict[str, Any]:
    """Reads a run's result, without the digests.

    A result that has no digests, from an older version, is read as it is.

    Args:
        directory: the run's directory.

    Raises:
        InputError: the result is damaged; the message names the file.
        FileNotFoundError: the run has no result.
    """
    return {name: value for name, value in _read_result(directory).items() if name != FILES}


def check_digest(directory: Path, field: str, found: str, *, of: str) -> None:
    """Compares the digest of a loaded network with the run's result, if the run has one.

    Args:
        directory: the run's directory.
        field: field of the result with the digest.
        found: digest of the loaded network.
        of: name of the file or directory that it was loaded from.

    Raises:
        InputError: the two differ, or the result is damaged.
    """
    path = directory / RESULT_FILE
    if not path.is_file():
        return
    wanted = read_result(directory).get(field)
    if wanted != found:
        raise InputError(
            f"{path} does not agree with {of}: {field} was {wanted}, now {found}; one of them is "
            "damaged: repeat the command that made them"
        )


def result_problems(directory: Path) -> list[str]:
    """Compares a complete run with the digests in its result.

    Args:
        directory: the run's directory.

    Returns:
        A line for each missing or damaged file, with its name; none for a result without digests.
    """
    try:
        digests = _read_result(directory).get(FILES, {})
    except InputError as error:
        return [str(error)]
    found = ((path := directory / name, file_problem(path, digests[name])) for name in digests)
    return [f"{path}: {problem}" for path, problem in found if problem is not None]


def _read_result(directory: Path) -> dict[str, Any]:
    path = directory / RESULT_FILE
    result = read_sealed(path)
    if not isinstance(result, dict):
        raise InputError(f"expected an object in {path}, got {type(result).__name__}")
    check_digests(path, result.get(FILES, {}))
    # A flipped byte in the digest's name would hide it from read_sealed.
    if FILES in result and SEAL not in read_json(path):
        raise InputError(f"{path} is damaged: it has lost its sha256")
    return result


def _files_of(path: Path) -> list[Path]:
    """Gives a file, or all files below a directory; none if there is neither."""
    return [each for each in (path, *path.rglob("*")) if each.is_file()]


def _begin(directory: Path, check: Callable[[], object]) -> None:
    """Makes a run's directory and removes it again if the check refuses the run."""
    missing = [path for path in (directory, *directory.parents) if not path.exists()]
    make_directory(directory)
    try:
        check()
    except BaseException:
        for path in missing:
            with contextlib.suppress(OSError):  # another process may have put something there
                path.rmdir()
        raise


def differences(found: Any, wanted: Any, *, name: str = "") -> list[str]:
    """Gives a line such as "epochs was 5, now 6" for each field that differs.

    Lists of numbers in fields whose names begin with "approximate_" may differ a little, by
    `TOLERANCE` of their largest number.
    """
    if not (isinstance(found, dict) and isinstance(wanted, dict)):
        if name.rpartition(".")[2].startswith(APPROXIMATE) and _are_close(found, wanted):
            return []
        return [] if found == wanted else [f"{name} was {found!r:.80}, now {wanted!r:.80}"]
    lines = []
    for field in sorted({*found, *wanted}):
        inner = f"{name}.{field}" if name else field
        lines += differences(found.get(field), wanted.get(field), name=inner)
    return lines


def in_short(lines: Sequence[str]) -> str:
    """The first lines of `differences`, and how many more there are."""
    more = len(lines) - MOST_DIFFERENCES
    words = "; ".join(lines[:MOST_DIFFERENCES])
    return f"{words}; and {more} more" if more > 0 else words


def _are_close(found: Any, wanted: Any) -> bool:
    """Whether two lists of numbers are equal but for rounding."""
    try:
        pairs = [(float(a), float(b)) for a, b in zip(found, wanted, strict=True)]
    except (TypeError, ValueError):  # no lists, lists of other lengths, or no numbers
        return False
    largest = max((max(abs(a), abs(b)) for a, b in pairs), default=0)
    return all(abs(a - b) <= TOLERANCE * largest for a, b in pairs)


def check_key(key: int) -> None:
    """Raises InputError for a seed that JAX would cut to 32 bits, and so make equal to another."""
    if not 0 <= key < 2**32:
        raise InputError(f"key must be at least 0 and below 2**32, got {key}")


def append_metrics(directory: Path, line: dict[str, Any]) -> None:
    """Appends one line to a run's metrics."""
    path = directory / METRICS_FILE
    with naming(path), path.open("a") as file:
        file.write(json.dumps(line, sort_keys=True) + "\n")


def read_metrics(directory: Path) -> list[dict[str, Any]]:
    """Reads a run's metrics; a last line that a kill has cut off is left out.

    Args:
        directory: the run's directory.

    Raises:
        InputError: a line is no JSON object; the message names the file and the line.
    """
    path = directory / METRICS_FILE
    *whole, _ = metrics_bytes(directory).split(b"\n")
    return [_parse_line(path, number, line) for number, line in enumerate(whole, 1)]


def _parse_line(path: Path, number: int, line: bytes) -> dict[str, Any]:
    try:
        value = parse_json(line)
    except InputError as error:
        raise InputError(
            f"expected JSON in line {number} of {path}, got something else ({error})"
        ) from error
    if not isinstance(value, dict):
        raise InputError(f"expected a JSON object in line {number} of {path}, got {value!r:.60}")
    return value


def metrics_bytes(directory: Path) -> bytes:
    """Gives the bytes of a run's metrics; none if there is no file."""
    path = directory / METRICS_FILE
    return path.read_bytes() if path.is_file() else b""


def restore_metrics(directory: Path, lines: bytes) -> None:
    """Restores the metrics up to a checkpoint, if the file does not begin with them.

    Args:
        directory: the run's directory.
        lines: the result of `metrics_bytes` when the checkpoint was saved.

    Warns:
        UserWarning: the file was damaged.
    """
    if not metrics_bytes(directory).startswith(lines):
        warnings.warn(
            f"{directory / METRICS_FILE} is damaged; it is restored from the checkpoint",
            stacklevel=2,
        )
        write_metrics(directory, lines)


def write_metrics(directory: Path, lines: bytes) -> None:
    """Replaces a run's metrics by these lines."""
    atomic_write(directory / METRICS_FILE, lines)


def environment() -> dict[str, Any]:
    """Describes how a figure is made: device, versions and the command."""
    import jax  # here, since options, which need no JAX, are checked by this module

    packages = ("jax", "jaxlib", "flax", "optax", "numpy", "tensorflow-datasets")
    device = jax.devices()[0]
    return {
        "device": f"{len(jax.devices())} × {device.platform} ({device.device_kind})",
        "versions": {
            "python": sys.version.split()[0],
            "elicit": metadata.version(DISTRIBUTION),
            **{package: metadata.version(package) for package in packages},
        },
        "command": " ".join([Path(sys.argv[0]).name, *sys.argv[1:]]),
    }
