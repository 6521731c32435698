"""Run directories: the configuration first, then what the run appends, the result last.

`config.json` is what a run was asked for; `metrics.jsonl` has a line an epoch and no times, so that
an interrupted and resumed run ends with the same bytes as an undisturbed one.
"""

import contextlib
import dataclasses
import json
import sys
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

import jax

from train.files import atomic_write, naming, read_json, write_json

CONFIG_FILE = "config.json"
METRICS_FILE = "metrics.jsonl"
RESULT_FILE = "result.json"


def as_json(value: Any) -> Any:
    """A configuration as JSON's own types: dataclasses become objects, paths text."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: as_json(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, dict):
        return {str(name): as_json(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [as_json(item) for item in value]
    return str(value) if isinstance(value, Path) else value


def open_run(
    directory: Path, config: Any, *, check: Callable[[], object] = lambda: None
) -> dict[str, Any] | None:
    """Begins a run in a new directory, or finds one of the same configuration.

    Args:
        directory: made where it lacks.
        config: a dataclass or dict.
        check: called where the run is a new one, before anything is written into its directory;
            raises what is against it. For what takes long to find out.

    Returns:
        The content of its `result.json`, if the run is complete; None if there is something to do.

    Raises:
        ValueError: the directory holds something else; the message names what differs.
    """
    wanted = as_json(config)
    path = directory / CONFIG_FILE
    if path.is_file():
        differing = differences(read_json(path), wanted)
        if differing:
            raise ValueError(
                f"{directory} holds a run of another configuration: {'; '.join(differing)}. "
                "Choose another --out, or repeat the command that made it"
            )
        result = directory / RESULT_FILE
        return read_json(result) if result.is_file() else None
    if directory.exists() and not (directory.is_dir() and _is_empty(directory)):
        raise ValueError(f"{directory} is there already and is not a run; choose another --out")
    _begin(directory, check)
    write_json(path, wanted)
    return None


def _begin(directory: Path, check: Callable[[], object]) -> None:
    """Makes a directory, which is quickly refused, and unmakes it if the check refuses the run."""
    missing = [path for path in (directory, *directory.parents) if not path.exists()]
    directory.mkdir(parents=True, exist_ok=True)
    try:
        check()
    except BaseException:
        for path in missing:
            with contextlib.suppress(OSError):  # another process may have put something there
                path.rmdir()
        raise


def _is_empty(directory: Path) -> bool:
    """Whether a directory holds nothing but what a killed writer left under a temporary name."""
    return all(path.name.endswith(".partial") for path in directory.iterdir())


def differences(found: Any, wanted: Any, *, name: str = "") -> list[str]:
    """Lines such as "epochs was 5, now 6", one for each field that differs."""
    if not (isinstance(found, dict) and isinstance(wanted, dict)):
        return [] if found == wanted else [f"{name} was {found!r}, now {wanted!r}"]
    lines = []
    for field in sorted({*found, *wanted}):
        inner = f"{name}.{field}" if name else field
        lines += differences(found.get(field), wanted.get(field), name=inner)
    return lines


def check_key(key: int) -> None:
    """Raises ValueError for a seed that JAX would cut to 32 bits, hence make another's equal."""
    if not 0 <= key < 2**32:
        raise ValueError(f"key must be at least 0 and below 2**32, got {key}")


def append_metrics(directory: Path, line: dict[str, Any]) -> None:
    """Appends one line to a run's metrics."""
    path = directory / METRICS_FILE
    with naming(path), path.open("a") as file:
        file.write(json.dumps(line, sort_keys=True) + "\n")


def read_metrics(directory: Path) -> list[dict[str, Any]]:
    """All whole lines of a run's metrics; a last line cut off by a kill is left out."""
    path = directory / METRICS_FILE
    if not path.is_file():
        return []
    whole, _, _ = path.read_text().rpartition("\n")
    return [json.loads(line) for line in whole.splitlines()]


def keep_metrics(directory: Path, count: int, *, stage: str | None = None) -> None:
    """Drops lines after the checkpoint that a run goes on from.

    Args:
        directory: of the run.
        count: lines to keep of the stage, the first ones.
        stage: those of other stages are all kept; None: the run has no stages.
    """
    kept, seen = [], 0
    for line in read_metrics(directory):
        seen += line.get("stage") == stage
        if line.get("stage") != stage or seen <= count:
            kept.append(json.dumps(line, sort_keys=True) + "\n")
    atomic_write(directory / METRICS_FILE, "".join(kept).encode())


def environment() -> dict[str, Any]:
    """What a figure was made with: device, versions and the command."""
    packages = ("elicit", "jax", "jaxlib", "flax", "optax", "numpy", "tensorflow-datasets")
    device = jax.devices()[0]
    return {
        "device": f"{len(jax.devices())} × {device.platform} ({device.device_kind})",
        "versions": {
            "python": sys.version.split()[0],
            **{package: metadata.version(package) for package in packages},
        },
        "command": " ".join([Path(sys.argv[0]).name, *sys.argv[1:]]),
    }
