"""Sends metrics to TensorBoard, Weights & Biases or Trackio, beside what a command writes itself.

A training sends the lines of `metrics.jsonl`, one an epoch; a synthesis sends the means of every
batch. The result does not depend on it.
"""

import contextlib
import functools
import importlib
import importlib.util
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from experiments.options.tracking import PACKAGES, TrackerName
from imgopt.errors import InputError

PROJECT = "elicit"
"""Name of the project under which the services list all runs."""

Track = Callable[[Mapping[str, Any]], None]
"""Takes a line of metrics."""


def check_tracker(name: TrackerName | None) -> None:
    """Raises InputError if the tracker's package is missing."""
    if name is not None and importlib.util.find_spec(PACKAGES[name]) is None:
        raise InputError(
            f"--track {name} needs the package {PACKAGES[name]}, which is missing; install it: "
            f"pip install {PACKAGES[name]}"
        )


def track_nothing(line: Mapping[str, Any]) -> None:
    """Takes a line of metrics and sends it nowhere."""
    del line


@contextlib.contextmanager
def tracking(name: TrackerName | None, out: Path, options: dict[str, Any]) -> Iterator[Track]:
    """Gives a function that sends a line of metrics; it does nothing without a tracker.

    Args:
        name: the tracker.
        out: directory of the run or set; its name becomes the name of the run.
        options: the command's options as JSON, which the services show beside the run.

    Raises:
        InputError: the tracker's package is missing.
    """
    if name is None:
        yield track_nothing
        return
    check_tracker(name)
    package = importlib.import_module(PACKAGES[name])
    if name == "tensorboard":
        with package.SummaryWriter(str(out / name)) as writer:
            yield lambda line: _write_scalars(writer, line)
        return
    place = {"dir": str(out)} if name == "wandb" else {}
    package.init(project=PROJECT, name=out.name, config=options, **place)
    try:
        yield functools.partial(_log, package)
    finally:
        package.finish()


def _log(package: Any, line: Mapping[str, Any]) -> None:
    """Logs a line at its step; without one, as in a GAN's stages, the service counts the lines."""
    numbers = scalars(line)
    step = numbers.pop("step", None)
    package.log(numbers, step=step)


def scalars(line: Mapping[str, Any]) -> dict[str, float]:
    """The numbers of a line of metrics by name; a GAN's have the stage's name in front.

    Args:
        line: a line as in `metrics.jsonl`; lists are left out.
    """
    found: dict[str, float] = {}
    prefix = f"{line['stage']}/" if "stage" in line else ""
    for name, value in line.items():
        if isinstance(value, Mapping):
            found |= {f"{prefix}{name}/{inner}": number for inner, number in scalars(value).items()}
        elif isinstance(value, int | float):
            found[prefix + name] = value
    return found


def _write_scalars(writer: Any, line: Mapping[str, Any]) -> None:
    for name, value in scalars(line).items():
        writer.add_scalar(name, value, line["step"])
    writer.flush()
