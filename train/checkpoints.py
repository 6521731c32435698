"""Checkpoints: Orbax's files with sha256 digests of our own.

Orbax restores a flipped byte in array data without a word, so every file of a checkpoint is
digested. The digests are written last, to `<step>.json` beside the checkpoint: they are its
commit. What has none, or does not agree with them, is not a checkpoint.
"""

import hashlib
import shutil
import warnings
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import orbax.checkpoint as ocp

from train.files import read_json, sha256_of, write_json

CHECKPOINTS = "checkpoints"
"""Name of their directory in a run's."""


class Checkpoint(NamedTuple):
    """A restored checkpoint: the step that it was saved under, and its arrays (NumPy)."""

    step: int
    state: dict[str, Any]


def save_checkpoint(directory: Path, step: int, state: dict[str, Any], *, keep: int = 2) -> None:
    """Saves a checkpoint and removes all but the newest few.

    Args:
        directory: of a run's checkpoints; made where it lacks.
        step: names the checkpoint; at least 0.
        state: nested dicts and lists of arrays.
        keep: how many to leave, at least 1.
    """
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / str(step)
    _digest_file(path).unlink(missing_ok=True)  # one saved again is none until it is whole
    with ocp.Checkpointer(ocp.PyTreeCheckpointHandler()) as checkpointer:
        checkpointer.save(path.absolute(), jax.tree.map(np.asarray, state), force=True)
    write_json(_digest_file(path), _digests(path))
    # Any later one was damaged, or training would have gone on from there.
    _remove_all_but(directory, [saved for saved in _steps(directory) if saved <= step][:keep])


def latest_checkpoint(directory: Path) -> Checkpoint | None:
    """Restores the newest undamaged checkpoint, or None where there is none: to go on from.

    Warns:
        UserWarning: for every newer one that is damaged, naming the file.
    """
    for step in _steps(directory):
        path = directory / str(step)
        damaged = _first_damaged(path)
        if damaged is None:
            return _restore(path)
        warnings.warn(
            f"checkpoint {path} is damaged ({damaged}); trying the one before", stacklevel=2
        )
    return None


def remove_damaged(directory: Path) -> None:
    """Removes all checkpoints that are not whole, so that none is ever taken for a good one.

    Args:
        directory: of a run's checkpoints.

    Warns:
        UserWarning: for every damaged one before the newest whole one, naming the file; of those
            after it `latest_checkpoint` warns.
    """
    whole: list[int] = []
    for step in _steps(directory):
        path = directory / str(step)
        damaged = _first_damaged(path)
        if damaged is None:
            whole.append(step)
        elif whole:
            warnings.warn(f"checkpoint {path} is damaged ({damaged}); it is removed", stacklevel=2)
    _remove_all_but(directory, whole)


def newest_checkpoint(directory: Path) -> Checkpoint | None:
    """Restores the newest checkpoint, or None where there is none: to use what was trained.

    Raises:
        ValueError: it is damaged; the message names the file. An older one is something else.
    """
    for step in _steps(directory)[:1]:
        path = directory / str(step)
        damaged = _first_damaged(path)
        if damaged is not None:
            raise ValueError(
                f"checkpoint {path} is damaged ({damaged}); repeat the command that made it, which "
                "makes again what is lost"
            )
        return _restore(path)
    return None


def _restore(path: Path) -> Checkpoint:
    with ocp.Checkpointer(ocp.PyTreeCheckpointHandler()) as checkpointer:
        restored = checkpointer.restore(path.absolute())
    return Checkpoint(int(path.name), jax.tree.map(np.asarray, restored))


def damaged_checkpoints(directory: Path) -> list[str]:
    """Names a damaged file of each checkpoint that has one, a line each.

    Args:
        directory: of a run's checkpoints.
    """
    damaged = ((path := directory / str(step), _first_damaged(path)) for step in _steps(directory))
    return [f"{path}: {name} is damaged" for path, name in damaged if name is not None]


def digest_of(description: str, variables: Any) -> str:
    """Sha256 over a model's description and every variable's name, type, shape and bytes."""
    total = hashlib.sha256(description.encode())
    for path, leaf in jax.tree_util.tree_leaves_with_path(variables):
        array = np.asarray(leaf)
        total.update(f"{jax.tree_util.keystr(path)} {array.dtype} {array.shape}".encode())
        total.update(array.tobytes())
    return total.hexdigest()


def _steps(directory: Path) -> list[int]:
    """Steps of all committed checkpoints, the newest first."""
    stems = (path.stem for path in directory.glob("[0-9]*.json"))
    return sorted((int(stem) for stem in stems if stem.isdecimal()), reverse=True)


def _remove_all_but(directory: Path, steps: list[int]) -> None:
    """Removes older checkpoints, their digests first, and what killed writers left behind."""
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


def _digests(checkpoint: Path) -> dict[str, str]:
    files = sorted(path for path in checkpoint.rglob("*") if path.is_file())
    return {str(path.relative_to(checkpoint)): sha256_of(path) for path in files}


def _first_damaged(checkpoint: Path) -> str | None:
    """Names the first file that is missing, too many or of another content."""
    try:
        expected = read_json(_digest_file(checkpoint))
    except (ValueError, OSError) as error:
        return str(error)
    if not isinstance(expected, dict):
        return f"{_digest_file(checkpoint)} holds no digests"
    found = _digests(checkpoint)
    return next((f for f in sorted({*expected, *found}) if expected.get(f) != found.get(f)), None)
