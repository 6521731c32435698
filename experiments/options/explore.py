"""Options of `elicit explore`."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from tyro.conf import UseAppendAction, arg

from imgopt.errors import InputError
from train.data import DIGITS


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
