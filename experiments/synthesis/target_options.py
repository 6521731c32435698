"""The targets of `elicit synthesize`: distributions that the classifier's output shall reach."""

import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import jax
import numpy as np
from jaxtyping import Float

from experiments.console.options import check_unused
from imgopt import check_targets, ranked_targets, two_class_targets, uniform_targets
from imgopt.errors import InputError
from train.data.image_data import ImageReader
from train.storage.files import sha256_of


@dataclass(frozen=True)
class TargetConfig:
    """Options that choose the targets."""

    targets: Literal["two-class", "uniform", "ranked", "file"] = "two-class"
    """two-class: --own for the label, the rest for one other class drawn by key; uniform: the same
    for all classes; ranked: by --ranking and --masses; file: from --targets-file."""
    own: float = 0.9
    """For two-class: probability of the image's label."""
    ranking: tuple[str, ...] = ()
    """For ranked: class names or numbers, the most likely first, such as: ship dog frog."""
    masses: tuple[float, ...] = ()
    """For ranked: probabilities of these classes, such as: 0.5 0.3 0.2. The other classes share the
    rest."""
    targets_file: Path | None = None
    """For file: an .npy matrix of floats, shape (images of the split or of the range, classes)."""

    def __post_init__(self) -> None:
        """Raises InputError for an option of targets of another kind."""
        own_options = {
            "two-class": ("own",),
            "ranked": ("ranking", "masses"),
            "file": ("targets_file",),
        }
        for kind, names in own_options.items():
            if kind != self.targets:
                check_unused(self, *names, why=f"without --targets {kind}")
        if self.targets == "ranked" and not (self.ranking and self.masses):
            raise InputError(
                "--targets ranked needs --ranking and --masses, such as --ranking ship dog frog "
                "--masses 0.5 0.3 0.2"
            )


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
