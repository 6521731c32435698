"""The targets of `elicit synthesize`: distributions that the classifier's output has to reach."""

import zipfile
from pathlib import Path

import jax
import numpy as np
from jaxtyping import Float

from experiments.options.synthesis import TargetConfig
from imgopt import check_targets, ranked_targets, two_class_targets, uniform_targets
from imgopt.errors import InputError
from train.data.image_data import ImageReader
from train.storage.files import sha256_of


def make_targets(
    config: TargetConfig, data: ImageReader, *, start: int, stop: int, key: int
) -> Float[np.ndarray, "n k"]:
    """Makes the targets of the images `start` to `stop` of a split.

    Args:
        config: the options.
        data: the split.
        start: first image.
        stop: end of the range.
        key: seed of the random targets.

    Raises:
        InputError: an option is missing or outside its range, or the file does not fit the data.
    """
    count, num_classes = stop - start, len(data.class_names)
    if config.targets == "two-class":
        targets = two_class_targets(
            jax.random.key(key),
            data.labels[start:stop],
            num_classes=num_classes,
            own=config.own,
            indices=np.arange(start, stop),
        )
    elif config.targets == "uniform":
        targets = uniform_targets(count, num_classes=num_classes)
    elif config.targets == "ranked":
        ranking = [class_number(name, data.class_names) for name in config.ranking]
        targets = ranked_targets(
            count, ranking=ranking, masses=config.masses, num_classes=num_classes
        )
    else:
        return _read_targets(config.targets_file, data, start=start, stop=stop)
    return check_targets(targets, count=count, num_classes=num_classes)


def describe_targets(config: TargetConfig) -> dict[str, object]:
    """Everything that the targets depend on: the options in use, and the digest of a file."""
    file = config.targets_file if config.targets == "file" else None
    used = {
        "two-class": {"own": config.own},
        "uniform": {},
        "ranked": {"ranking": list(config.ranking), "masses": list(config.masses)},
        "file": {"sha256": sha256_of(file) if file else None},
    }
    return {"kind": config.targets, **used[config.targets]}


def class_number(name: str, class_names: tuple[str, ...]) -> int:
    """Gives a class's number from its name, or from its number as text.

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
        # A memory map refuses a file that is shorter than its header claims.
        matrix = np.lib.format.open_memmap(path, mode="r")
    except Exception as error:  # NumPy's parser of headers raises errors of many kinds
        raise InputError(f"{path} is not a NumPy .npy file of numbers: {error}") from error
    if matrix.dtype.kind not in "fiu":
        raise InputError(f"{path} holds {matrix.dtype}; expected numbers")
    is_of_split = matrix.ndim == 2 and len(matrix) == len(data)
    rows = np.asarray(matrix[start:stop] if is_of_split else matrix)
    try:
        with np.errstate(over="ignore"):  # a sum that overflows is refused anyway
            return check_targets(rows, count=stop - start, num_classes=len(data.class_names))
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
