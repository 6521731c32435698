"""The command `elicit verify`: are results what they say, by their digests and by repetition."""

from dataclasses import dataclass
from pathlib import Path

from tyro.conf import Positional

from experiments.verify.integrity import check_below
from imgopt.errors import InputError
from train.storage.runs import check_key


@dataclass(frozen=True)
class VerifyConfig:
    """Checks every digest in a directory; and repeats some of what an experiment computed."""

    directory: Positional[Path]
    """An experiment's results, a run, an image set, or a folder of such things."""
    rerun: int = 0
    """Of an experiment, so many pieces drawn at random to repeat a part of: a batch of a synthesis,
    a few samples of a GAN, the first epoch of a training."""
    pieces: Path | None = None
    """Where the experiment's pieces lie: DIR/pieces, unless it was run with another --pieces."""
    data_dir: Path | None = None
    """TFDS's data directory, with --rerun of an experiment whose data set is named by name."""
    key: int = 0
    """Seed by which --rerun draws."""

    def __post_init__(self) -> None:
        """Raises InputError for what can be told from the options alone."""
        check_key(self.key)
        if self.rerun < 0:
            raise InputError(f"rerun must be at least 0, got {self.rerun}")
        if self.data_dir is not None and not self.rerun:
            raise InputError("--data-dir is for --rerun N, which repeats something of the data")


def verify(config: VerifyConfig) -> None:
    """Runs the command.

    Args:
        config: what to check.

    Raises:
        InputError: something is damaged, missing or contradicts something else, or comes out
            otherwise when it is repeated; the message has a line for each. Or there is nothing to
            check, or to repeat.
        FloatingPointError: what is repeated is not finite.
    """
    found = check_below(config.directory, pieces=config.pieces)
    for kind, count in found.counts.items():
        if count:
            print(f"{kind:26} {count:6,}")
    for path in found.unchecked:
        print(
            f"no digests: {path} (an unfinished image set, one without a manifest.json, or a "
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
