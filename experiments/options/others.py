"""Options of `elicit quickstart`, `explore`, `export` and `verify`."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, UseAppendAction, arg

from imgopt.errors import InputError
from train.data import DIGITS
from train.storage.runs import check_key

FRACTION = 0.3


@dataclass(frozen=True)
class QuickstartConfig:
    """Synthesis and training on scikit-learn's handwritten digits; downloads nothing."""

    out: Path | None = None
    """Directory of the run, with its report.html; by default runs/quickstart, or with --gan
    runs/quickstart-gan."""
    gan: bool = False
    """Train a GAN instead, sort its images by a classifier, and train with them."""
    fraction: float = FRACTION
    """Share of the training images to replace by synthesised ones."""
    seeds: int = 3
    """Trainings of each kind, at least 2 for a standard deviation."""
    key: int = 0
    """Seed of everything random."""

    def __post_init__(self) -> None:
        """Raises InputError for a number outside its range."""
        check_key(self.key + self.seeds)  # the trainings' seeds follow it
        if self.seeds < 2:
            raise InputError(f"seeds must be at least 2, got {self.seeds}")
        if not 0 <= self.fraction <= 1:
            raise InputError(f"fraction must be in [0, 1], got {self.fraction}")
        if self.gan and self.fraction != FRACTION:
            raise InputError("--fraction is for synthesised images, of which --gan makes none")

    @property
    def directory(self) -> Path:
        """Directory of the run."""
        return self.out or Path("runs/quickstart-gan" if self.gan else "runs/quickstart")


@dataclass(frozen=True)
class ClassifierOptions:
    """The options that name the classifier and its data set."""

    classifier: str | None = None
    """A run of `elicit classifier train`, or a callable of your own as package.module:name. By
    default a small classifier of handwritten digits, trained at the first use in
    runs/explore/digits."""
    data: str = DIGITS
    """Name of a data set, such as cifar10 or digits, or the directory of an image set, from which
    images are picked by number."""
    data_dir: Path | None = None
    """TFDS's data directory, for a data set named by name."""
    split: str = "train"
    """Split of the data set."""

    def __post_init__(self) -> None:
        """Raises InputError for a data set of which no classifier is given."""
        if self.classifier is None and self.data != DIGITS:
            raise InputError(
                f"--data {self.data} needs --classifier; without one, digits are explored"
            )


MAX_PORT = 2**16 - 1


@dataclass(frozen=True)
class ExploreConfig:
    """Serves a page: choose an output and watch an image elicit it; look at sets and GANs."""

    classified: Annotated[ClassifierOptions, arg(name="")] = field(
        default_factory=ClassifierOptions
    )
    images: UseAppendAction[tuple[Path, ...]] = ()
    """An image set to look through. For several: --images A --images B."""
    gan: UseAppendAction[tuple[Path, ...]] = ()
    """A run of `elicit gan train` to sample from. For several: --gan A --gan B."""
    results: Path | None = None
    """A directory with results of experiments; their tables are shown."""
    host: str = "127.0.0.1"
    """Address to serve on; the default is reached from this machine only."""
    port: int = 0
    """Port to serve on; 0 takes a free one."""
    open_browser: Annotated[bool, arg(name="open")] = True
    """Whether to open the page in the browser."""

    def __post_init__(self) -> None:
        """Raises InputError for a port outside its range."""
        if not 0 <= self.port <= MAX_PORT:
            raise InputError(f"port must be in [0, {MAX_PORT}], got {self.port}")


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


@dataclass(frozen=True)
class VerifyConfig:
    """Checks every digest in a directory, and repeats parts of an experiment."""

    directory: Annotated[Positional[Path], arg(metavar="DIR")]
    """Results of an experiment, a run, an image set, or a folder of these."""
    rerun: int = 0
    """Number of an experiment's pieces to repeat in part, drawn at random: a batch of a synthesis,
    some samples of a GAN, the first epoch of a training."""
    pieces: Path | None = None
    """Directory of the experiment's pieces, if it was run with --pieces; DIR/pieces by default."""
    data_dir: Path | None = None
    """TFDS's data directory, for --rerun of an experiment whose data set is given by name."""
    key: int = 0
    """Seed with which --rerun draws."""

    def __post_init__(self) -> None:
        """Raises InputError for what the options alone show to be wrong."""
        check_key(self.key)
        if self.rerun < 0:
            raise InputError(f"rerun must be at least 0, got {self.rerun}")
        if self.data_dir is not None and not self.rerun:
            raise InputError("--data-dir is for --rerun N, which reads the data")
