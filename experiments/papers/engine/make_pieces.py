"""Makes the pieces of a plan, checks those that are there, and makes damaged ones again.

Every command goes on where it stopped, so an interrupted piece is simply made again by the same
command. Several processes may share the directory of the pieces: each piece is made by one of them.
"""

import shutil
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from experiments.classifier.train import train_classifier
from experiments.data.augment import augment
from experiments.data.subset import make_subset
from experiments.gan.sample import sample_gan
from experiments.gan.train import train_gan
from experiments.options.classifier import ClassifierTrainConfig
from experiments.options.data import AugmentConfig, SubsetConfig
from experiments.options.gan import GanSampleConfig, GanTrainConfig
from experiments.options.synthesis import SynthesizeConfig
from experiments.papers.engine.plan import Piece, needed
from experiments.synthesis.command import synthesize_set
from imgopt.errors import InputError
from train.data.verify import MANIFEST_FILE, verify
from train.storage.checkpoints import damaged_checkpoints
from train.storage.files import building_directory
from train.storage.locks import exclusive
from train.storage.runs import RESULT_FILE, result_problems
from train.storage.strict_json import read_sealed


class Maker(NamedTuple):
    """How pieces of one kind are made.

    Attributes:
        make: runs the command, given the configuration and a label for its progress. The command
            continues what an interrupted call has left, and makes damaged parts again.
        last_files: the files that the command writes last, in this order; the piece is finished
            when the last one is there.
    """

    make: Callable[[Any, str], object]
    last_files: tuple[str, ...]


SET_FILES = (MANIFEST_FILE, "report.html")
"""Last files of an image set that has a page."""

MAKERS: dict[type, Maker] = {
    AugmentConfig: Maker(lambda config, _: augment(config), (MANIFEST_FILE,)),
    ClassifierTrainConfig: Maker(
        lambda config, label: train_classifier(config, label=label), (RESULT_FILE,)
    ),
    GanSampleConfig: Maker(lambda config, label: sample_gan(config, label=label), SET_FILES),
    GanTrainConfig: Maker(lambda config, label: train_gan(config, label=label), (RESULT_FILE,)),
    SubsetConfig: Maker(lambda config, _: make_subset(config), (MANIFEST_FILE,)),
    SynthesizeConfig: Maker(lambda config, label: synthesize_set(config, label=label), SET_FILES),
}
"""The maker of each kind of piece, by the type of its configuration."""


def is_done(piece: Piece) -> bool:
    """Whether a piece is finished: whether the files that its command writes last are there."""
    return not _missing_files(piece, piece.directory)


def make_pieces(
    pieces: Mapping[str, Piece],
    wanted: Sequence[str],
    *,
    on_made: Callable[[], object] = lambda: None,
    steps_before: int = 0,
) -> None:
    """Makes the wanted pieces and all that they need, unless they are finished already.

    Finished pieces are checked first, and made again where they are damaged. The progress of each
    piece says which of all steps it is, those that are finished included.

    Args:
        pieces: all pieces of a plan.
        wanted: names of pieces, in the order in which to make them.
        on_made: called after each wanted or damaged piece that had to be made.
        steps_before: steps of the caller before the first piece.

    Warns:
        UserWarning: a piece is damaged; the message names the file.
    """
    damaged = [piece for piece in needed(pieces, wanted) if _damage(piece, piece.directory)]
    for piece in damaged:
        _discard_damage(piece)
    names = dict.fromkeys([*(piece.name for piece in damaged), *wanted])
    order = dict.fromkeys(piece.name for name in names for piece in needed(pieces, [name]))
    total = steps_before + len(order)
    labels = {
        name: f"step {steps_before + number} of {total}: {name}"
        for number, name in enumerate(order, 1)
    }
    missing = [name for name in names if not is_done(pieces[name])]
    for name in missing:
        for piece in needed(pieces, [name]):
            if not is_done(piece):
                print(labels[piece.name], flush=True)
                _make(piece, labels[piece.name])
        on_made()


def _make(piece: Piece, label: str) -> None:
    """Makes a piece; if another process is making it, waits for that process instead."""
    with exclusive(piece.directory, wait=True):
        if not is_done(piece):
            MAKERS[type(piece.config)].make(piece.config, label)


def find_damage(directory: Path) -> list[str]:
    """Lists the damage in a run or an image set, one line a file; empty if there is none.

    Args:
        directory: the run or the image set; any other directory has no damage.
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
    """Lines that a check finds, or its error where it cannot read a file."""
    try:
        return check()
    except InputError as error:
        return [str(error)]


def _discard_damage(piece: Piece) -> None:
    """Removes the last file of a damaged piece, so that its command makes the damaged parts again.

    Does nothing if another process has done so already.
    """
    with exclusive(piece.directory, wait=True):
        problems = _damage(piece, piece.directory)
        if not problems:
            return
        warnings.warn(
            f"{piece.directory} is damaged ({'; '.join(problems)}); it is made again", stacklevel=3
        )
        _last_file(piece, piece.directory).unlink()


def _damage(piece: Piece, at: Path) -> list[str]:
    """Lists the problems of a piece, or of a copy elsewhere, if it is finished or was once."""
    if not _last_file(piece, at).is_file():
        return []
    return find_damage(at) + [f"{name}: missing" for name in _missing_files(piece, at)]


def _missing_files(piece: Piece, directory: Path) -> list[str]:
    """Names the last files of a piece that are not in a directory."""
    last_files = MAKERS[type(piece.config)].last_files
    return [name for name in last_files if not (directory / name).is_file()]


def _last_file(piece: Piece, directory: Path) -> Path:
    """The file that says that a piece was finished once, even if other files are missing now."""
    return directory / MAKERS[type(piece.config)].last_files[-1]


def collect_pieces(pieces: Iterable[Piece], places: Sequence[Path]) -> None:
    """Copies finished pieces from other directories, each one whole or not at all.

    Args:
        pieces: the pieces wanted; finished ones are left alone.
        places: directories of pieces, in the order in which to search them.

    Raises:
        InputError: every copy of a piece is damaged; the message names the files.
    """
    for piece in pieces:
        if is_done(piece):
            continue
        copies = [place / piece.directory.name for place in places]
        damage = {at: _damage(piece, at) for at in copies if _last_file(piece, at).is_file()}
        whole = next((at for at, problems in damage.items() if not problems), None)
        if whole is not None:
            with building_directory(piece.directory) as partial:
                shutil.copytree(whole, partial, dirs_exist_ok=True)
        elif damage:
            problems = "; ".join(f"{at}: {', '.join(found)}" for at, found in damage.items())
            raise InputError(f"expected a whole {piece.name} to merge, got {problems}")
