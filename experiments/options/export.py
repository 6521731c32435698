"""Options of `elicit export`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, arg

from imgopt.errors import InputError

UNKNOWN = "unknown"
"""Licence of originals whose licence nobody gave."""

Form = Literal["huggingface", "folder", "npz", "jax"]


@dataclass(frozen=True)
class ExportConfig:
    """Writes an image set for other libraries, or a trained network as a program for JAX.

    `elicit data import` reads what is written of a set, with all columns.
    """

    source: Annotated[Positional[str], arg(metavar="SOURCE")]
    """An image set's directory or name, or, with --to jax, a run of a classifier or GAN."""
    to: Form
    """huggingface: Parquet files, a card and Croissant metadata; folder: PNG files in one folder a
    split and class, and a table; npz: a file of NumPy arrays a split; jax: a run's parameters, and
    a program that applies them without Elicit."""
    out: Path
    """The new directory."""
    licence: str = UNKNOWN
    """Licence of the original images, such as cc-by-4.0, for whoever gets what is exported."""
    data_dir: Path | None = None
    """TFDS's data directory, for a data set named by name."""
    split: tuple[str, ...] = ()
    """Splits to export; by default all, which must be labelled."""

    def __post_init__(self) -> None:
        """Raises InputError for options that do not fit together."""
        if len(set(self.split)) < len(self.split):
            raise InputError(f"splits must be distinct, got {' '.join(self.split)}")
        if not (self.licence.strip() and self.licence.isprintable()):
            raise InputError(f"licence must be a name in one line, got {self.licence!r}")
