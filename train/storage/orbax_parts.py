"""Writes and reads trees of arrays with Orbax, in a process of its own among several.

This file has all parts of Orbax that we use, also parts that are not in its public interface. A
test names them. If a new version of Orbax moves one of them, change this file, and the bound of
orbax-checkpoint in pyproject.toml.
"""

import asyncio
import contextlib
import logging
import math
from collections.abc import Awaitable, Iterable, Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp

from imgopt.errors import InputError


def save_arrays(path: Path, tree: Any) -> None:
    """Writes arrays as a directory of Orbax's; one that is there is replaced.

    Args:
        path: the directory.
        tree: nested dicts and lists of arrays.
    """
    with _silent_absl(), _checkpointer() as checkpointer:
        checkpointer.save(path.absolute(), jax.tree.map(np.asarray, tree), force=True)


def claimed_bytes(path: Path) -> int:
    """Gives the memory that reading a directory of Orbax's will take, as its files claim.

    Args:
        path: the directory, which anyone may have written.

    Raises:
        InputError: the shapes of the arrays cannot be read.
        Exception: of any kind, for damaged files.
    """
    with _silent_absl(), _checkpointer() as checkpointer:
        metadata = checkpointer.metadata(path.absolute()).item_metadata
    if metadata is None:  # Orbax hides the reason
        raise InputError("its arrays' shapes and types cannot be read")
    return sum(map(_array_bytes, jax.tree.leaves(metadata.tree)))


def load_arrays(path: Path) -> Any:
    """Reads all arrays of a directory of Orbax's.

    Args:
        path: the directory.

    Returns:
        The tree, with NumPy arrays.

    Raises:
        Exception: of any kind, for damaged files.
    """
    with _silent_absl(), _checkpointer() as checkpointer:
        return jax.tree.map(np.asarray, checkpointer.restore(path.absolute()))


def _array_bytes(array: Any) -> int:
    """Memory that reading an array takes: at least one chunk, however small the array."""
    chunk = array.storage.chunk_shape if array.storage else ()
    return np.dtype(array.dtype).itemsize * max(math.prod(array.shape), math.prod(chunk))


def _checkpointer() -> ocp.Checkpointer:
    """Makes a checkpointer for this process alone; by default all processes of a job would wait."""
    alone = jax.process_index()
    options = ocp.options.MultiprocessingOptions(primary_host=alone, active_processes={alone})
    registry = ocp.type_handlers.create_type_handler_registry((np.ndarray, _PatientHandler()))
    handler = ocp.PyTreeCheckpointHandler(
        multiprocessing_options=options, type_handler_registry=registry
    )
    return ocp.Checkpointer(handler, multiprocessing_options=options)


class _PatientHandler(ocp.type_handlers.NumpyHandler):
    """Waits for every array, also after one could not be read or written.

    Orbax closes its event loop at the first failure. Each array that is done after that prints a
    traceback, which no handler of errors can catch.
    """

    async def _background_serialize(self, values: Any, infos: Any, args: Any = None) -> None:
        write = super()._background_serialize
        arrays = zip(values, infos, args or [ocp.SaveArgs()] * len(values), strict=True)
        await _all_done(write([value], [info], [arg]) for value, info, arg in arrays)

    async def metadata(self, infos: Any) -> Any:
        """Gives the metadata of arrays, as the base class does."""
        describe = super().metadata
        return [one for (one,) in await _all_done(describe([info]) for info in infos)]

    async def deserialize(self, infos: Any, args: Any = None) -> Any:
        """Reads arrays, as the base class does."""
        read = super().deserialize
        arrays = zip(infos, args or [ocp.RestoreArgs()] * len(infos), strict=True)
        return [one for (one,) in await _all_done(read([info], [arg]) for info, arg in arrays)]


async def _all_done(operations: Iterable[Awaitable[Any]]) -> list[Any]:
    """Waits for all operations, then gives their results or raises the first error."""
    outcomes = await asyncio.gather(*operations, return_exceptions=True)
    for outcome in outcomes:
        if isinstance(outcome, BaseException):
            raise outcome
    return outcomes


@contextlib.contextmanager
def _silent_absl() -> Iterator[None]:
    """Keeps Orbax from logging errors with their tracebacks; the errors are raised too."""
    logger = logging.getLogger("absl")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(level)
