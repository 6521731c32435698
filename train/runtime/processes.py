"""Training of one model on several devices and in several processes: data parallelism.

Each device has a part of every batch. Parameters, optimiser states and the data set are replicated.
XLA adds up sums over a batch between the devices. Every process runs the same program on the same
arguments, so all decide the same; `in_any_process` tells all of them what one alone knows. They
write to directories that all of them share.
"""

import contextlib
from collections.abc import Iterator
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from imgopt.errors import InputError
from imgopt.programs import check_device_count

EXAMPLES_AXIS = "examples"
"""Name of a mesh's only axis."""

START_AGAIN = "Start all of them again with the same command: they go on from here"
"""Advice for a job that has lost a process."""

Tree = TypeVar("Tree")


class LostProcessError(ChildProcessError):
    """Another process of the job has ended, or cannot be reached, in the middle of a step."""


def make_training_mesh(devices: int, *, batch_size: int) -> Mesh | None:
    """Makes a mesh of the first devices of every process; None for a single device.

    Args:
        devices: devices of each process that share a batch.
        batch_size: number of examples in a batch.

    Raises:
        InputError: a process has fewer devices, or the devices do not divide the batch.
    """
    check_device_count(devices)
    count = devices * jax.process_count()
    if batch_size % count:
        smaller, larger = batch_size // count * count, -(-batch_size // count) * count
        raise InputError(
            f"the batch size must be a multiple of the {count} devices that share a batch, got "
            f"{batch_size}; take {f'{smaller} or ' if smaller else ''}{larger}"
        )
    if count == 1:
        return None
    every = map(jax.local_devices, range(jax.process_count()))
    chosen = [device for own in every for device in own[:devices]]
    return jax.make_mesh((count,), (EXAMPLES_AXIS,), axis_types=(AxisType.Auto,), devices=chosen)


def devices_field(devices: int) -> dict[str, int]:
    """Gives the number of devices of all processes as a field for results; empty for one device."""
    count = devices * jax.process_count()
    return {"devices": count} if count > 1 else {}


def replicated(mesh: Mesh) -> NamedSharding:
    """Gives the sharding of arrays that every device has whole."""
    return NamedSharding(mesh, PartitionSpec())


def shard_batch(tree: Tree, mesh: Mesh | None, *, axis: int) -> Tree:
    """Shards a traced batch, so that each device has its examples.

    Args:
        tree: a tree of arrays.
        mesh: the devices; None leaves the batch as it is.
        axis: the axis of the examples.
    """
    if mesh is None:
        return tree
    parts = batch_sharding(mesh, axis=axis)
    return jax.tree.map(lambda leaf: jax.lax.with_sharding_constraint(leaf, parts), tree)


def batch_sharding(mesh: Mesh, *, axis: int) -> NamedSharding:
    """Gives the sharding of arrays of which each device has a part along one axis."""
    return NamedSharding(mesh, PartitionSpec(*[None] * axis, EXAMPLES_AXIS))


def replicate(tree: Tree, mesh: Mesh | None) -> Tree:
    """Puts arrays, which must be equal in every process, on each device of a mesh.

    Args:
        tree: a tree of this process's arrays and keys.
        mesh: the devices; None means this process's first device.

    Raises:
        LostProcessError: another process of the job has ended.
    """
    if mesh is None:
        return jax.device_put(tree)
    placed = replicated(mesh)

    def put(leaf: Any) -> Any:
        if isinstance(leaf, jax.Array) and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            data = jax.device_put(np.asarray(jax.random.key_data(leaf)), placed)
            return jax.random.wrap_key_data(data, impl=jax.random.key_impl(leaf))
        return jax.device_put(np.asarray(leaf), placed)

    with naming_lost_processes():  # JAX compares the arrays of all processes
        return jax.tree.map(put, tree)


def as_local(tree: Tree, mesh: Mesh | None) -> Tree:
    """Gives this process's view of replicated arrays, without a copy."""
    if mesh is None:
        return tree
    return jax.tree.map(lambda leaf: leaf.addressable_data(0), tree)


def is_first_process() -> bool:
    """Whether this is process 0, which writes the results of a job."""
    return jax.process_index() == 0


def in_any_process(flag: bool) -> bool:
    """Whether a flag is set in any process; all processes must call this together."""
    if jax.process_count() == 1:
        return flag
    with naming_lost_processes():
        return bool(np.any(multihost_utils.process_allgather(np.bool_(flag))))


def wait_for_all() -> None:
    """Waits until all processes have called this.

    Raises:
        LostProcessError: one of them has ended.
    """
    if jax.process_count() > 1:
        with naming_lost_processes():
            multihost_utils.sync_global_devices("elicit")


@contextlib.contextmanager
def first_process_first() -> Iterator[None]:
    """Runs a block in process 0 first; the others wait and then run it.

    Raises:
        LostProcessError: one of them has ended.
    """
    if not is_first_process():
        wait_for_all()
    yield
    if is_first_process():
        wait_for_all()


def wait_for_live() -> list[int]:
    """Waits until every other process has called this or has ended; gives those that have ended."""
    if jax.process_count() == 1:
        return []
    while True:
        with (
            contextlib.suppress(multihost_utils.ProcessFailureError),  # one has just ended
            multihost_utils.live_devices(jax.devices()) as devices,
        ):
            live = {device.process_index for device in devices}
            return sorted(set(range(jax.process_count())) - live)


@contextlib.contextmanager
def naming_lost_processes() -> Iterator[None]:
    """Turns a device error of a job of several processes into "another process is lost".

    Raises:
        LostProcessError: for any device error but a lack of memory, if there are several processes.
    """
    try:
        yield
    except (jax.errors.JaxRuntimeError, ValueError) as error:  # Gloo's errors are ValueErrors
        if jax.process_count() == 1 or "RESOURCE_EXHAUSTED" in str(error):
            raise
        raise LostProcessError(
            f"process {jax.process_index()} of {jax.process_count()} has lost another one "
            f"({str(error).splitlines()[0]}). {START_AGAIN}"
        ) from error
