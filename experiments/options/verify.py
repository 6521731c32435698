"""Options of `elicit verify`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from imgopt.errors import InputError
from train.storage.runs import check_key


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
