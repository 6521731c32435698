"""Which distributions `elicit synthesize` asks for."""

import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import jax
import numpy as np
from jaxtyping import Float

from imgopt import check_targets, ranked_targets, two_class_targets, uniform_targets
from imgopt.errors import InputError
from train.data.image_data import ImageReader
from train.storage.files import sha256_of


@dataclass(frozen=True)
class TargetConfig:
    """The distributions asked for."""

    targets: Literal["two-class", "uniform", "ranked", "file"] = "two-class"
    """two-class: --own for the label, the rest for one other class drawn by key; uniform: the
    same for all classes; ranked: --ranking and --masses; file: --targets-file."""
    own: float = 0.9
    """Two-class: probability of the image's own label."""
    ranking: tuple[str, ...] = ()
    """Ranked: class names or numbers, the most likely first, such as: ship dog frog."""
    masses: tuple[float, ...] = ()
    """Ranked: their probabilities, such as: 0.5 0.3 0.2; the rest goes to the other classes."""
    targets_file: Path | None = None
    """File: an .npy matrix, float (images of the split or of the range, classes)."""


def make_targets(
    config: TargetConfig, data: ImageReader, *, start: int, stop: int, key: int
) -> Float[np.ndarray, "n k"]:
    """Targets of the images start to stop of a split.

    Raises:
        InputError: an option is missing or outside its range, or a file does not fit.
    """
    count, num_classes = stop - start, len(data.class_names)
    if config.targets == "two-class":
        made = two_class_targets(
            jax.random.key(key),
            data.labels[start:stop],
            num_classes=num_classes,
            own=config.own,
            indices=np.arange(start, stop),
        )
    elif config.targets == "uniform":
        made = uniform_targets(count, num_classes=num_classes)
    elif config.targets == "ranked":
        ranking = [class_number(name, data.class_names) for name in config.ranking]
        made = ranked_targets(count, ranking=ranking, masses=config.masses, num_classes=num_classes)
    else:
        return _read_targets(config.targets_file, data, start=start, stop=stop)
    return check_targets(made, count=count, num_classes=num_classes)


def describe_targets(config: TargetConfig) -> dict[str, object]:
    """What identifies the targets: the options that the kind uses, a file by its digest."""
    used = {
        "two-class": {"own": config.own},
        "uniform": {},
        "ranked": {"ranking": list(config.ranking), "masses": list(config.masses)},
        "file": {"sha256": sha256_of(config.targets_file) if config.targets_file else None},
    }
    return {"kind": config.targets, **used[config.targets]}


def class_number(name: str, class_names: tuple[str, ...]) -> int:
    """A class's number from its name or its number as text.

    Raises:
        InputError: there is no such class.
    """
    if name in class_names:
        return class_names.index(name)
    if name.isdecimal() and int(name) < len(class_names):
        return int(name)
    raise InputError(f"unknown class {name!r}; expected one of {', '.join(class_names)}")


def _read_targets(
    path: Path | None, data: ImageReader, *, start: int, stop: int
) -> Float[np.ndarray, "n k"]:
    if path is None:
        raise InputError("--targets file needs --targets-file MATRIX.npy")
    if not path.is_file():
        raise InputError(f"there is no targets file {path}")
    if zipfile.is_zipfile(path):
        raise InputError(f"{path} holds several arrays; expected one .npy matrix")
    try:
        # Read where they are needed: a file that claims more than it has is refused so.
        matrix = np.lib.format.open_memmap(path, mode="r")
    except Exception as error:  # numpy's parser of headers raises what Python's own does
        raise InputError(f"{path} is not a NumPy .npy file of numbers: {error}") from error
    if matrix.dtype.kind not in "fiu":
        raise InputError(f"{path} holds {matrix.dtype}; expected numbers")
    is_of_split = matrix.ndim == 2 and len(matrix) == len(data)
    rows = np.asarray(matrix[start:stop] if is_of_split else matrix)
    try:
        with np.errstate(over="ignore"):  # of a sum that is refused
            return check_targets(rows, count=stop - start, num_classes=len(data.class_names))
    except ValueError as error:
        raise InputError(f"{path}: {error}") from error
