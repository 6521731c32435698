"""Checkpoints: Orbax's files with sha256 digests of our own.

Orbax does not notice a flipped byte in array data, so each file of a checkpoint has a digest. The
digests are written last, to `<step>.json` beside the checkpoint, and commit it. A directory without
digests, or with other digests, is no checkpoint.
"""

import hashlib
import re
import shutil
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from imgopt.errors import InputError, is_own_fault
from train.runtime.memory import check_machine_memory
from train.storage.files import naming, sha256_of
from train.storage.orbax_parts import claimed_bytes, load_arrays, save_arrays
from train.storage.strict_json import read_json, write_json

CHECKPOINTS = "checkpoints"
"""Name of the checkpoints' directory in a run."""

STEP = re.compile("0|[1-9][0-9]*")
"""A step as the name of a checkpoint."""

KEPT = 2
"""Number of checkpoints kept: the newest, and one to resume from if that is damaged."""


class Checkpoint(NamedTuple):
    """A restored checkpoint: its step and its arrays (NumPy)."""

    step: int
    state: dict[str, Any]


def save_checkpoint(
    directory: str | Path, step: int, state: dict[str, Any], *, keep: int = KEPT
) -> None:
    """Saves a checkpoint and removes all but the newest few.

    Args:
        directory: the run's directory of checkpoints; made if missing.
        step: the training step, at least 0, which is the checkpoint's name.
        state: nested dicts and lists of arrays.
        keep: number of checkpoints to keep, at least 1.

    Raises:
        OSError: it cannot be written; the error names it.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     save_checkpoint(folder, 10, {"weights": np.ones(3, np.float32)})
        ...     latest_checkpoint(folder).step
        10
    """
    directory = Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / str(step)
    _digest_file(path).unlink(missing_ok=True)  # a checkpoint that is replaced counts no more
    with naming(path):
        save_arrays(path, state)
    write_json(_digest_file(path), file_digests(path))
    # Later checkpoints are damaged, or the training would have resumed from them.
    _remove_all_but(directory, [saved for saved in _steps(directory) if saved <= step][:keep])


def remove_damaged(directory: str | Path) -> None:
    """Removes all checkpoints but the newest undamaged ones, and files that killed writers left.

    Call this before a training resumes.

    Args:
        directory: the run's directory of checkpoints.

    Warns:
        UserWarning: for every damaged checkpoint older than the newest undamaged one, with the
            file's name; `latest_checkpoint` warns about the newer ones.
    """
    directory = Path(directory)
    whole: list[int] = []
    for path, damaged in _checked(directory):
        if damaged is None:
            whole.append(int(path.name))
        elif whole:
            warnings.warn(f"checkpoint {path} is damaged ({damaged}); it is removed", stacklevel=2)
    _remove_all_but(directory, whole[:KEPT])


def latest_checkpoint(directory: str | Path) -> Checkpoint | None:
    """Restores the newest undamaged checkpoint, to resume from; None if there is none.

    Args:
        directory: the run's directory of checkpoints.

    Raises:
        InputError: its content is not Orbax's, or needs more memory than there is.

    Warns:
        UserWarning: for every newer checkpoint, which is damaged, with the file's name.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     latest_checkpoint(folder) is None
        True
    """
    for path, damaged in _checked(directory):
        if damaged is None:
            return _restore(path)
        warnings.warn(
            f"checkpoint {path} is damaged ({damaged}); trying the one before", stacklevel=2
        )
    return None


def newest_checkpoint(directory: str | Path) -> Checkpoint | None:
    """Restores the newest checkpoint, to use the trained network; None if there is none.

    Args:
        directory: the run's directory of checkpoints.

    Raises:
        InputError: it is damaged; the message names the file. An older checkpoint is never used
            instead, since it holds another network.
    """
    for path, damaged in _checked(directory):
        if damaged is not None:
            raise InputError(
                f"checkpoint {path} is damaged ({damaged}); repeat the command that made it, which "
                "makes again what is lost"
            )
        return _restore(path)
    return None


def damaged_checkpoints(directory: str | Path) -> list[str]:
    """Gives a line for each damaged checkpoint, which names a damaged file.

    Args:
        directory: the run's directory of checkpoints.
    """
    return [f"{path}: {name} is damaged" for path, name in _checked(directory) if name is not None]


def digest_of(description: str, variables: Any) -> str:
    """Gives the SHA-256 of a model's description and of all variables.

    Args:
        description: text that describes the model.
        variables: a tree of arrays; names, types, shapes and bytes count.
    """
    total = hashlib.sha256(description.encode())
    for path, leaf in jax.tree_util.tree_leaves_with_path(variables):
        array = np.asarray(leaf)
        total.update(f"{jax.tree_util.keystr(path)} {array.dtype} {array.shape}".encode())
        total.update(array.tobytes())
    return total.hexdigest()


def check_layout(
    run: str | Path, variables: Any, expected: Callable[[], Any], *, spec_file: str
) -> None:
    """Raises InputError if a network's arrays are not those that its description asks for.

    Args:
        run: the run's directory, for the message.
        variables: the arrays.
        expected: gives the shapes and types that the arrays must have, in the same tree.
        spec_file: what describes the network, for the message.
    """
    try:
        wanted = _layout(expected())
    except (TypeError, OverflowError) as error:  # numbers of more than 64 bits
        if is_own_fault(error):
            raise
        raise InputError(f"{run}: {spec_file} is of a network of impossible size") from error
    if _layout(variables) != wanted:
        raise InputError(f"{run}: {spec_file} and the checkpoint are of different networks")


def _layout(variables: Any) -> dict[str, tuple[tuple[int, ...], Any]]:
    """Gives the shape and type of every array in a tree, by name."""
    leaves = jax.tree_util.tree_leaves_with_path(variables)
    return {jax.tree_util.keystr(path): (leaf.shape, leaf.dtype) for path, leaf in leaves}


def _restore(path: Path) -> Checkpoint:
    """Reads a checkpoint, which anyone may have written, if memory is enough for what it claims."""
    try:
        check_machine_memory(claimed_bytes(path), of="it", remedy="its run has to be made again")
        state = load_arrays(path)
    except Exception as error:  # damaged files raise errors of any kind in Orbax
        reason = str(error).strip().splitlines() or [""]
        raise InputError(
            f"expected a checkpoint of Orbax's, got {path}, which cannot be read "
            f"({type(error).__name__}: {reason[0]})"
        ) from error
    if not isinstance(state, dict):
        raise InputError(f"expected names of arrays in the checkpoint {path}, got {type(state)}")
    return Checkpoint(int(path.name), state)


def _steps(directory: Path) -> list[int]:
    """Gives the steps of all committed checkpoints, the newest first."""
    stems = (path.stem for path in directory.glob("[0-9]*.json"))
    return sorted((int(stem) for stem in stems if STEP.fullmatch(stem)), reverse=True)


def _checked(directory: str | Path) -> Iterator[tuple[Path, str | None]]:
    """Gives every committed checkpoint, the newest first, and its first damaged file, if any."""
    directory = Path(directory)
    paths = (directory / str(step) for step in _steps(directory))
    return ((path, _first_damaged(path)) for path in paths)


def _remove_all_but(directory: Path, steps: list[int]) -> None:
    """Removes all but the checkpoints of these steps; a checkpoint's digests go first."""
    kept = {name for step in steps for name in (str(step), f"{step}.json")}
    for path in sorted(directory.iterdir(), key=Path.is_dir):
        if path.name in kept:
            continue
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()


def _digest_file(checkpoint: Path) -> Path:
    return checkpoint.with_name(f"{checkpoint.name}.json")


def file_digests(checkpoint: Path) -> dict[str, str]:
    """Gives the SHA-256 of each file of a checkpoint, by its path in the checkpoint.

    Args:
        checkpoint: the checkpoint's directory.
    """
    files = sorted(path for path in checkpoint.rglob("*") if path.is_file())
    return {str(path.relative_to(checkpoint)): sha256_of(path) for path in files}


def _first_damaged(checkpoint: Path) -> str | None:
    """Gives the first file that is missing, unexpected or changed."""
    try:
        expected = read_json(_digest_file(checkpoint))
    except (InputError, OSError) as error:
        return str(error)
    if not isinstance(expected, dict):
        return f"{_digest_file(checkpoint)} holds no digests"
    for path in sorted(checkpoint.rglob("*")):
        if path.is_symlink() or not (path.is_file() or path.is_dir()):
            return f"{path.relative_to(checkpoint)} is no regular file"
    found = file_digests(checkpoint)
    return next((f for f in sorted({*expected, *found}) if expected.get(f) != found.get(f)), None)
