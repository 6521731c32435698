"""Making the pieces of a plan: what is there already, what has to be made, what is damaged.

Every command goes on where it stopped, so a piece that was interrupted is simply asked for again.
Processes may share the place of the pieces: each piece is made by one of them.
"""

import shutil
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from experiments.classifier.train import ClassifierTrainConfig, train_classifier
from experiments.data.augment import AugmentConfig, augment
from experiments.data.subset import SubsetConfig, make_subset
from experiments.gan.sample import GanSampleConfig, sample_gan
from experiments.gan.train import GanTrainConfig, train_gan
from experiments.papers.engine.plan import Piece, needed
from experiments.synthesis.command import SynthesizeConfig, synthesize_set
from imgopt.errors import InputError
from train.data.verify import MANIFEST_FILE, verify
from train.storage.checkpoints import damaged_checkpoints
from train.storage.files import building_directory
from train.storage.locks import exclusive
from train.storage.runs import RESULT_FILE, result_problems
from train.storage.strict_json import read_sealed


class _Command(NamedTuple):
    """How a kind of piece is made.

    Attributes:
        make: the command; it goes on where it stopped.
        last_files: what it writes last, in this order; with the last one the piece is done.
        goes_on: whether it makes again what is damaged and keeps the rest, once its last file is
            gone; else its directory has to go.
    """

    make: Callable[[Any, str], object]
    last_files: tuple[str, ...]
    goes_on: bool


SET_FILES = (MANIFEST_FILE, "report.html")
"""Of an image set with a page."""

_COMMANDS: dict[type, _Command] = {
    AugmentConfig: _Command(lambda config, _: augment(config), (MANIFEST_FILE,), goes_on=True),
    ClassifierTrainConfig: _Command(
        lambda config, label: train_classifier(config, label=label), (RESULT_FILE,), goes_on=True
    ),
    GanSampleConfig: _Command(lambda config, _: sample_gan(config), SET_FILES, goes_on=True),
    GanTrainConfig: _Command(lambda config, _: train_gan(config), (RESULT_FILE,), goes_on=True),
    SubsetConfig: _Command(lambda config, _: make_subset(config), (MANIFEST_FILE,), goes_on=True),
    SynthesizeConfig: _Command(
        lambda config, label: synthesize_set(config, label=label), SET_FILES, goes_on=True
    ),
}


def is_done(piece: Piece) -> bool:
    """Whether a piece is there, by the files that its command writes last."""
    return not _absent(piece, piece.directory)


def make_pieces(
    pieces: Mapping[str, Piece],
    wanted: Sequence[str],
    *,
    on_made: Callable[[], object] = lambda: None,
) -> None:
    """Makes the pieces by these names and what they need, as far as they are not there.

    Those that are there are checked first, and mended where they are damaged.

    Args:
        pieces: all of a plan.
        wanted: names, in the order in which they are to be made.
        on_made: called after each of `wanted`, and each that was damaged, that had to be made.

    Warns:
        UserWarning: a piece is damaged; the message names the file.
    """
    damaged = [piece for piece in needed(pieces, wanted) if _damage(piece)]
    for piece in damaged:
        _mend(piece)
    asked = dict.fromkeys([*(piece.name for piece in damaged), *wanted])
    missing = [name for name in asked if not is_done(pieces[name])]
    for number, name in enumerate(missing, 1):
        for piece in needed(pieces, [name]):
            if not is_done(piece):
                print(f"{piece.name} ({number} of {len(missing)} to make)", flush=True)
                _make(piece)
        on_made()


def _make(piece: Piece) -> None:
    """Makes a piece, unless another share of the experiment is at it, and then waits for that."""
    with exclusive(piece.directory, wait=True):
        if not is_done(piece):
            _COMMANDS[type(piece.config)].make(piece.config, piece.name)


def find_damage(directory: Path) -> list[str]:
    """What is damaged in a run or an image set, a line a file; nothing where all is well.

    Args:
        directory: of the run or set; one that is neither has nothing to be damaged.
    """
    found = []
    if (directory / MANIFEST_FILE).is_file():
        found += _lines(lambda: verify(directory))
    if (directory / RESULT_FILE).is_file():
        found += result_problems(directory)
    for path in sorted(directory.glob("*.json")):
        found += _lines(lambda path=path: read_sealed(path) and [])
    for path in sorted(path for path in directory.rglob("*") if path.is_dir()):
        found += damaged_checkpoints(path)
    return list(dict.fromkeys(found))


def _lines(check: Callable[[], list[str]]) -> list[str]:
    """What a check finds, or what it stumbles over."""
    try:
        return check()
    except ValueError as error:
        return [str(error)]


def _mend(piece: Piece) -> None:
    """Leaves of a damaged piece what its command goes on from: the last good checkpoint or shard.

    Does nothing where another process was at it first.
    """
    with exclusive(piece.directory, wait=True):
        problems = _damage(piece)
        if not problems:
            return
        warnings.warn(
            f"{piece.directory} is damaged ({'; '.join(problems)}); it is made again", stacklevel=3
        )
        command = _COMMANDS[type(piece.config)]
        if command.goes_on:
            (piece.directory / command.last_files[-1]).unlink()
        else:
            shutil.rmtree(piece.directory)


def _damage(piece: Piece) -> list[str]:
    """What is wrong with a piece that is done, or was."""
    return _problems(piece, piece.directory) if _is_there(piece) else []


def _problems(piece: Piece, at: Path) -> list[str]:
    """What is wrong with a piece where it lies, or with a copy of it elsewhere."""
    return find_damage(at) + [f"{name}: missing" for name in _absent(piece, at)]


def _absent(piece: Piece, directory: Path) -> list[str]:
    """Of what the piece's command writes last, the files that are not in a directory."""
    last_files = _COMMANDS[type(piece.config)].last_files
    return [name for name in last_files if not (directory / name).is_file()]


def _is_there(piece: Piece) -> bool:
    """Whether a piece is done, or was: what is made in one go takes its name when it is done."""
    command = _COMMANDS[type(piece.config)]
    if not command.goes_on:
        return piece.directory.is_dir()
    return (piece.directory / command.last_files[-1]).is_file()


def collect_pieces(pieces: Iterable[Piece], places: Sequence[Path]) -> None:
    """Copies pieces that are done elsewhere, whole or not at all.

    Args:
        pieces: those wanted; one that is done already is left alone.
        places: directories of pieces, in the order in which they are looked through.

    Raises:
        InputError: a piece is damaged wherever it is found; the message names the files.
    """
    for piece in pieces:
        if is_done(piece):
            continue
        copies = [place / piece.directory.name for place in places]
        last_file = _COMMANDS[type(piece.config)].last_files[-1]
        found = [copy for copy in copies if (copy / last_file).is_file()]
        damage = {at: _problems(piece, at) for at in found}
        whole = next((at for at in found if not damage[at]), None)
        if whole is not None:
            with building_directory(piece.directory) as partial:
                shutil.copytree(whole, partial, dirs_exist_ok=True)
        elif found:
            problems = "; ".join(f"{at}: {', '.join(damage[at])}" for at in found)
            raise InputError(f"expected a whole {piece.name} to merge, got {problems}")
