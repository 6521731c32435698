"""The plan of an experiment: the pieces to make, and the arms to measure.

A piece is one ordinary command with a directory of its own: it trains a classifier or a GAN, or
makes an image set. An arm is one measurement of a table's row: it is taken from one piece, for one
seed.

The name of a piece's directory holds a digest of the piece's configuration. In that digest, other
pieces and data are represented by their own digests. So a directory of that name always holds the
piece that is wanted, several experiments can share the place of their pieces, and a changed option
makes again only what depends on it.
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from experiments.options.classifier import ClassifierTrainConfig
from experiments.options.data import AugmentConfig, SubsetConfig
from experiments.options.gan import GanSampleConfig, GanTrainConfig
from experiments.options.synthesis import SynthesizeConfig
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
"""Returns the directory of an earlier piece, or the place of an input, by its name."""

Build = Callable[[At, Path], PieceConfig]
"""Makes a piece's configuration from the directories of other pieces and its own directory."""

ONLY_THE_LAST = 2**31 - 1
"""Epochs between tests, so that only the last epoch is tested: a test costs more than an epoch."""

DIGEST_LETTERS = 12
"""Letters of a piece's digest in the name of its directory."""


class Row(NamedTuple):
    """A row of a table, or of a figure.

    Attributes:
        slug: short name, for the command line and directories.
        name: name in tables.
        paper: the paper's accuracy in percent; None where the paper gives none.
        is_control: whether the row is a comparison that the paper does not have.
    """

    slug: str
    name: str
    paper: float | None = None
    is_control: bool = False


class Arm(NamedTuple):
    """One measurement.

    Attributes:
        row: slug of the row.
        seed: key of everything random in it.
        budget: "epochs" or "steps": what is equal in all trainings that are compared; empty where
            nothing is trained.
        piece: name of the piece that is measured.
    """

    row: str
    seed: int
    budget: str
    piece: str


class Input(NamedTuple):
    """A data set, run or classifier that the user names: the plan reads it and does not make it.

    Attributes:
        place: a directory, or another name that a command accepts.
        digest: digest of the content; the name, where the content has no digest.
        config: the configuration that it was made with, for estimates of costs; None if unknown.
    """

    place: str
    digest: str
    config: PieceConfig | None = None


class Plan(NamedTuple):
    """What to make and what to measure.

    Attributes:
        rows: rows of the table or figure, from top to bottom.
        arms: the measurements.
        builds: makers of the pieces' configurations by name, each after those that it needs.
        inputs: what the user names, by the names that `builds` ask for.
    """

    rows: tuple[Row, ...]
    arms: tuple[Arm, ...]
    builds: dict[str, Build]
    inputs: Mapping[str, Input] = MappingProxyType({})


class Piece(NamedTuple):
    """A piece with its configuration.

    Attributes:
        name: name in the plan.
        config: configuration of the command that makes it.
        digest: digest of the configuration; see the module's docstring.
        needs: names of the pieces that it is made from.
    """

    name: str
    config: PieceConfig
    digest: str
    needs: tuple[str, ...]

    @property
    def directory(self) -> Path:
        """The piece's directory."""
        return self.config.out


def place(plan: Plan, root: Path, surroundings: Mapping[str, Any]) -> dict[str, Piece]:
    """Assigns a directory to every piece.

    Args:
        plan: the plan.
        root: directory of all pieces; it need not exist yet.
        surroundings: what all results depend on beside the configurations: the data's digests,
            versions and the kind of device.
    """
    placed: dict[str, Piece] = {}
    for name, build in plan.builds.items():
        needs: dict[str, None] = {}

        def digest_at(need: str, needs: dict[str, None] = needs) -> Path:
            if need in plan.inputs:
                return Path(plan.inputs[need].digest)
            needs[need] = None
            return Path(placed[need].digest)

        def directory_at(need: str) -> Path:
            given = plan.inputs.get(need)
            return Path(given.place) if given else placed[need].directory

        digest = _digest(build(digest_at, Path()), surroundings)
        directory = root / f"{name}-{digest[:DIGEST_LETTERS]}"
        placed[name] = Piece(name, build(directory_at, directory), digest, tuple(needs))
    return placed


def input_pieces(plan: Plan) -> dict[str, Piece]:
    """The inputs whose configurations are known, as finished pieces."""
    return {
        name: Piece(name, given.config, given.digest, ())
        for name, given in plan.inputs.items()
        if given.config is not None
    }


def _digest(config: PieceConfig, surroundings: Mapping[str, Any]) -> str:
    """Digest of a command's kind, options and surroundings, but not of where the data lie."""
    options = as_json(config)
    for name in ("data_dir", "track"):
        options.pop(name, None)
    whole = [type(config).__name__, options, dict(surroundings)]
    return hashlib.sha256(json.dumps(whole, sort_keys=True).encode()).hexdigest()


def needed(pieces: Mapping[str, Piece], wanted: Iterable[str]) -> list[Piece]:
    """The pieces of these names and all pieces that they are made from, in the plan's order."""
    names, waiting = set(), list(wanted)
    while waiting:
        name = waiting.pop()
        if name not in names:
            names.add(name)
            waiting += pieces[name].needs
    return [piece for name, piece in pieces.items() if name in names]
