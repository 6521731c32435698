"""Plans: what an experiment is made of.

A piece is one ordinary command on a directory of its own: a teacher, a GAN, an image set, a
training. An arm is what a row of a table is measured by: one piece, for one seed. A piece's digest
is over its configuration, where other pieces stand by their digests and data by theirs; it is part
of the directory's name. So whatever lies there under that name is the piece that is wanted, however
many experiments share the place, and changing an option remakes just what depends on it.
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from experiments.classifier.train import ClassifierTrainConfig
from experiments.data.augment import AugmentConfig
from experiments.data.subset import SubsetConfig
from experiments.gan.sample import GanSampleConfig
from experiments.gan.train import GanTrainConfig
from experiments.synthesis.command import SynthesizeConfig
from train.storage.runs import as_json

PieceConfig = (
    AugmentConfig
    | ClassifierTrainConfig
    | GanSampleConfig
    | GanTrainConfig
    | SubsetConfig
    | SynthesizeConfig
)

At = Callable[[str], Path]
"""Gives the directory of an earlier piece by its name."""

Build = Callable[[At, Path], PieceConfig]
"""Makes a piece's configuration from where the earlier ones lie and its own directory."""

DIGEST_LETTERS = 12
"""Of a piece's digest, in its directory's name."""


class Row(NamedTuple):
    """A row of a table, or of a figure.

    Attributes:
        slug: its name on the command line and in directories.
        name: its name in tables.
        paper: what the paper has there, in percent; None where it says nothing.
        is_control: whether it is a comparison that the paper lacks.
    """

    slug: str
    name: str
    paper: float | None = None
    is_control: bool = False


class Arm(NamedTuple):
    """One measurement.

    Attributes:
        row: its row's slug.
        seed: the key of what is random in it.
        budget: "epochs" or "steps", by which all trainings that it is compared with are equally
            long; empty where nothing is trained.
        piece: name of the piece that it is measured on.
    """

    row: str
    seed: int
    budget: str
    piece: str


class Plan(NamedTuple):
    """What there is to make, each piece after those that it needs, and what to measure."""

    rows: tuple[Row, ...]
    arms: tuple[Arm, ...]
    builds: dict[str, Build]


class Piece(NamedTuple):
    """A piece with its place.

    Attributes:
        name: in the plan.
        config: of the command that makes it; its `out` is the piece's directory.
        digest: see the module.
        needs: names of the pieces that it is made from.
    """

    name: str
    config: PieceConfig
    digest: str
    needs: tuple[str, ...]

    @property
    def directory(self) -> Path:
        """Where it lies, or will."""
        return self.config.out


def place(plan: Plan, root: Path, surroundings: Mapping[str, Any]) -> dict[str, Piece]:
    """Gives every piece its directory below `root`.

    Args:
        plan: whose pieces.
        root: their common place; need not exist yet.
        surroundings: what all results depend on beside the configurations: data by digest, versions
            and the kind of device.
    """
    placed: dict[str, Piece] = {}
    for name, build in plan.builds.items():
        needs: dict[str, None] = {}

        def digest_at(need: str, needs: dict[str, None] = needs) -> Path:
            needs[need] = None
            return Path(placed[need].digest)

        digest = _digest(build(digest_at, Path()), surroundings)
        directory = root / f"{name}-{digest[:DIGEST_LETTERS]}"
        config = build(lambda need: placed[need].directory, directory)
        placed[name] = Piece(name, config, digest, tuple(needs))
    return placed


def _digest(config: PieceConfig, surroundings: Mapping[str, Any]) -> str:
    """Over the kind of command, its options and what surrounds it, but for where the data lie."""
    options = as_json(config)
    options.pop("data_dir", None)
    whole = [type(config).__name__, options, dict(surroundings)]
    return hashlib.sha256(json.dumps(whole, sort_keys=True).encode()).hexdigest()


def needed(pieces: Mapping[str, Piece], wanted: Iterable[str]) -> list[Piece]:
    """The pieces by these names and all that they are made from, in the plan's order."""
    names, waiting = set(), list(wanted)
    while waiting:
        name = waiting.pop()
        if name not in names:
            names.add(name)
            waiting += pieces[name].needs
    return [piece for name, piece in pieces.items() if name in names]
