"""The command `elicit verify`: checks results by their digests, and by repeating parts of them."""

from dataclasses import dataclass
from pathlib import Path

from tyro.conf import Positional

from experiments.verify.integrity import check_below
from imgopt.errors import InputError
from train.storage.runs import check_key


@dataclass(frozen=True)
class VerifyConfig:
    """Checks every digest in a directory, and repeats parts of an experiment."""

    directory: Positional[Path]
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


def verify(config: VerifyConfig) -> None:
    """Runs the command.

    Args:
        config: what to check.

    Raises:
        InputError: something is damaged or missing, contradicts something else, or differs when it
            is repeated; the message has a line for each. Or there is nothing to check or to repeat.
        FloatingPointError: a repeated result is not finite.
    """
    found = check_below(config.directory, pieces=config.pieces)
    for kind, count in found.counts.items():
        if count:
            print(f"{kind:26} {count:6,}")
    for path in found.unchecked:
        print(
            f"no digests: {path} (an image set that is unfinished or has no manifest.json, or a "
            "result of an earlier version)"
        )
    if found.problems:
        raise InputError(_listed(f"{config.directory} is not as it was written", found.problems))
    print("all as it was written")
    if config.rerun:
        from experiments.verify.rerun import rerun

        differing = rerun(
            config.directory,
            config.rerun,
            pieces=config.pieces,
            data_dir=config.data_dir,
            key=config.key,
        )
        if differing:
            raise InputError(_listed("repeated, and not the same", differing))


def _listed(head: str, lines: list[str]) -> str:
    return "\n".join([f"{head}:", *(f"  {line}" for line in lines)])
