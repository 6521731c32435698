"""Checkpoints: Orbax's files with sha256 digests of our own.

Orbax restores a flipped byte in array data without a word, so every file of a checkpoint is
digested. The digests are written last, to `<step>.json` beside the checkpoint: they are its
commit. What has none, or does not agree with them, is not a checkpoint.
"""

import asyncio
import contextlib
import hashlib
import logging
import math
import re
import shutil
import warnings
from collections.abc import Awaitable, Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import orbax.checkpoint as ocp

from imgopt.errors import InputError
from train.runtime.memory import check_host_room
from train.storage.files import naming, sha256_of
from train.storage.strict_json import read_json, write_json

CHECKPOINTS = "checkpoints"
"""Name of their directory in a run's."""

STEP = re.compile("0|[1-9][0-9]*")
"""As a checkpoint's name has it."""

KEPT = 2
"""Checkpoints, the newest ones: one to go on from where the other is damaged."""


class Checkpoint(NamedTuple):
    """A restored checkpoint: the step that it was saved under, and its arrays (NumPy)."""

    step: int
    state: dict[str, Any]


def save_checkpoint(directory: Path, step: int, state: dict[str, Any], *, keep: int = KEPT) -> None:
    """Saves a checkpoint and removes all but the newest few.

    Args:
        directory: of a run's checkpoints; made where it lacks.
        step: names the checkpoint; at least 0.
        state: nested dicts and lists of arrays.
        keep: how many to leave, at least 1.

    Raises:
        OSError: it cannot be written; the error names it.
    """
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / str(step)
    _digest_file(path).unlink(missing_ok=True)  # one saved again is none until it is whole
    with naming(path), _silent_absl(), _checkpointer() as checkpointer:
        checkpointer.save(path.absolute(), jax.tree.map(np.asarray, state), force=True)
    write_json(_digest_file(path), _digests(path))
    # Any later one was damaged, or training would have gone on from there.
    _remove_all_but(directory, [saved for saved in _steps(directory) if saved <= step][:keep])


def remove_damaged(directory: Path) -> None:
    """Removes all checkpoints but the newest whole ones, and what killed writers left behind.

    So none of them is ever taken for a good one. Whoever goes on from a checkpoint begins with it.

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
    _remove_all_but(directory, whole[:KEPT])


def latest_checkpoint(directory: Path) -> Checkpoint | None:
    """Restores the newest undamaged checkpoint, or None where there is none: to go on from.

    Raises:
        InputError: the newest undamaged one is not as Orbax writes them, or larger than memory.

    Warns:
        UserWarning: for every newer one that is damaged, naming the file.
    """
    for step in _steps(directory):
        path = directory / str(step)
        damaged = _first_damaged(path)
        if damaged is None:
            return Checkpoint(step, _restore(path))
        warnings.warn(
            f"checkpoint {path} is damaged ({damaged}); trying the one before", stacklevel=2
        )
    return None


def newest_checkpoint(directory: Path) -> Checkpoint | None:
    """Restores the newest checkpoint, or None where there is none: to use what was trained.

    Raises:
        InputError: it is damaged; the message names the file. An older one is something else.
    """
    for step in _steps(directory)[:1]:
        path = directory / str(step)
        damaged = _first_damaged(path)
        if damaged is not None:
            raise InputError(
                f"checkpoint {path} is damaged ({damaged}); repeat the command that made it, which "
                "makes again what is lost"
            )
        return Checkpoint(step, _restore(path))
    return None


def _checkpointer() -> ocp.Checkpointer:
    """Of this process alone: Orbax would wait for all others of a job to do the same."""
    alone = jax.process_index()
    options = ocp.options.MultiprocessingOptions(primary_host=alone, active_processes={alone})
    registry = ocp.type_handlers.create_type_handler_registry((np.ndarray, _PatientHandler()))
    handler = ocp.PyTreeCheckpointHandler(
        multiprocessing_options=options, type_handler_registry=registry
    )
    return ocp.Checkpointer(handler, multiprocessing_options=options)


class _PatientHandler(ocp.type_handlers.NumpyHandler):
    """Waits for every array, also after one could not be read or written.

    Orbax closes its event loop at the first failure; each array that is done after it then prints
    a traceback of its own, past whoever handles the error.
    """

    async def _background_serialize(self, values: Any, infos: Any, args: Any = None) -> None:
        write = super()._background_serialize
        arrays = zip(values, infos, args or [ocp.SaveArgs()] * len(values), strict=True)
        await _all_done(write([value], [info], [arg]) for value, info, arg in arrays)

    async def metadata(self, infos: Any) -> Any:
        describe = super().metadata
        return [one for (one,) in await _all_done(describe([info]) for info in infos)]

    async def deserialize(self, infos: Any, args: Any = None) -> Any:
        read = super().deserialize
        arrays = zip(infos, args or [ocp.RestoreArgs()] * len(infos), strict=True)
        return [one for (one,) in await _all_done(read([info], [arg]) for info, arg in arrays)]


async def _all_done(operations: Iterable[Awaitable[Any]]) -> list[Any]:
    """What operations give, or the first one's error; either when the last of them is done."""
    outcomes = await asyncio.gather(*operations, return_exceptions=True)
    for outcome in outcomes:
        if isinstance(outcome, BaseException):
            raise outcome
    return outcomes


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


def check_layout(
    run: str | Path, variables: Any, expected: Callable[[], Any], *, spec_file: str
) -> None:
    """Raises InputError unless restored arrays are those of the network that a run describes.

    Args:
        run: its directory, for the message.
        variables: restored.
        expected: gives the shapes and types that the arrays must have, in the same tree.
        spec_file: name of the file that describes the network.
    """
    try:
        wanted = _layout(expected())
    except (TypeError, OverflowError) as error:  # numbers of more than 64 bits
        raise InputError(f"{run}: {spec_file} is of a network of impossible size") from error
    if _layout(variables) != wanted:
        raise InputError(f"{run}: {spec_file} and the checkpoint are of different networks")


def _layout(variables: Any) -> dict[str, tuple[tuple[int, ...], Any]]:
    """Shape and type of every array in a tree, by name."""
    leaves = jax.tree_util.tree_leaves_with_path(variables)
    return {jax.tree_util.keystr(path): (leaf.shape, leaf.dtype) for path, leaf in leaves}


def _restore(path: Path) -> dict[str, Any]:
    """Reads a checkpoint, which may be anyone's; what it claims to hold is looked at first."""
    try:
        with _silent_absl(), _checkpointer() as checkpointer:
            claimed = checkpointer.metadata(path.absolute()).item_metadata
            if claimed is None:  # Orbax has swallowed the reason
                raise InputError("nothing tells its arrays' shapes and types")
            size = sum(map(_claimed_bytes, jax.tree.leaves(claimed.tree)))
            check_host_room(size, of="it", remedy="its run has to be made again")
            state = jax.tree.map(np.asarray, checkpointer.restore(path.absolute()))
    except Exception as error:  # what Orbax makes of files of others may be anything
        reason = str(error).strip().splitlines() or [""]
        raise InputError(
            f"expected a checkpoint of Orbax's, got {path}, which cannot be read "
            f"({type(error).__name__}: {reason[0]})"
        ) from error
    if not isinstance(state, dict):
        raise InputError(f"expected names of arrays in the checkpoint {path}, got {type(state)}")
    return state


def _claimed_bytes(array: Any) -> int:
    """Memory that reading an array takes: at least one chunk, however small the array."""
    chunk = array.storage.chunk_shape if array.storage else ()
    return np.dtype(array.dtype).itemsize * max(math.prod(array.shape), math.prod(chunk))


@contextlib.contextmanager
def _silent_absl() -> Iterator[None]:
    """Keeps what Orbax logs of an error to itself, tracebacks among it; the error is raised too."""
    logger = logging.getLogger("absl")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(level)


def _steps(directory: Path) -> list[int]:
    """Steps of all committed checkpoints, the newest first."""
    stems = (path.stem for path in directory.glob("[0-9]*.json"))
    return sorted((int(stem) for stem in stems if STEP.fullmatch(stem)), reverse=True)


def _remove_all_but(directory: Path, steps: list[int]) -> None:
    """Removes everything else, a checkpoint's digests first."""
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
    for path in sorted(checkpoint.rglob("*")):
        if path.is_symlink() or not (path.is_file() or path.is_dir()):
            return f"{path.relative_to(checkpoint)} is no file of its own"
    found = _digests(checkpoint)
    return next((f for f in sorted({*expected, *found}) if expected.get(f) != found.get(f)), None)
