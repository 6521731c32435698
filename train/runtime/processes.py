"""Several devices, and several processes, that train one model: each has its part of every batch.

Parameters, optimisers' states and the data set lie whole on every device; XLA adds what is summed
over a batch up between them. Every process runs the same program on the same arguments, so that
they agree without a word; what one of them alone knows is told to all by `in_any_process`. What
they write lies in directories that all of them see.
"""

import contextlib
from collections.abc import Iterator
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from imgopt.devices import check_device_count
from imgopt.errors import InputError

EXAMPLES_AXIS = "examples"
"""Name of the only axis of a mesh."""

START_AGAIN = "Start all of them again with the same command: they go on from here"
"""What to do when a process of a job is lost."""

Tree = TypeVar("Tree")


class LostProcessError(ChildProcessError):
    """Another process of the job has ended, or cannot be reached, in the middle of a step."""


def make_training_mesh(devices: int, *, batch_size: int) -> Mesh | None:
    """The first `devices` of every process's, in a row; None for a single one.

    Args:
        devices: of each process that share a batch.
        batch_size: examples in it.

    Raises:
        InputError: a process has fewer devices, or a batch cannot be dealt out evenly.
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
    chosen = [device for process in _devices_by_process() for device in process[:devices]]
    return jax.make_mesh((count,), (EXAMPLES_AXIS,), axis_types=(AxisType.Auto,), devices=chosen)


def _devices_by_process() -> list[list[Any]]:
    every: list[Any] = jax.devices()
    return [
        [device for device in every if device.process_index == process]
        for process in range(jax.process_count())
    ]


def shared_by(devices: int) -> dict[str, int]:
    """What a result's identity says of the devices of all processes: nothing of a single one."""
    count = devices * jax.process_count()
    return {"devices": count} if count > 1 else {}


def whole(mesh: Mesh) -> NamedSharding:
    """How arrays lie that every device has whole."""
    return NamedSharding(mesh, PartitionSpec())


def dealt_out(tree: Tree, mesh: Mesh | None, *, axis: int) -> Tree:
    """Deals a traced batch out, each device its examples.

    Args:
        tree: of arrays.
        mesh: the devices; None leaves the batch as it is.
        axis: of the examples.
    """
    if mesh is None:
        return tree
    parts = NamedSharding(mesh, PartitionSpec(*[None] * axis, EXAMPLES_AXIS))
    return jax.tree.map(lambda leaf: jax.lax.with_sharding_constraint(leaf, parts), tree)


def on_every_device(tree: Tree, mesh: Mesh | None) -> Tree:
    """Puts arrays, whole and alike in every process, on all devices of a mesh.

    Args:
        tree: of arrays of this process, keys among them.
        mesh: the devices; None is this process's first one.

    Raises:
        LostProcessError: another process of the job has ended.
    """
    if mesh is None:
        return jax.device_put(tree)
    placed = whole(mesh)

    def put(leaf: Any) -> Any:
        if isinstance(leaf, jax.Array) and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            data = jax.device_put(np.asarray(jax.random.key_data(leaf)), placed)
            return jax.random.wrap_key_data(data, impl=jax.random.key_impl(leaf))
        return jax.device_put(np.asarray(leaf), placed)

    with lost_processes_named():  # JAX has the processes compare what they put there
        return jax.tree.map(put, tree)


def as_local(tree: Tree, mesh: Mesh | None) -> Tree:
    """This process's own view of arrays that lie whole on every device; nothing is copied."""
    if mesh is None:
        return tree
    return jax.tree.map(lambda leaf: leaf.addressable_data(0), tree)


def is_first_process() -> bool:
    """Whether this is process 0, which writes what all processes of a job come to."""
    return jax.process_index() == 0


def in_any_process(flag: bool) -> bool:
    """Whether a flag is set in any of the processes, which all have to ask."""
    if jax.process_count() == 1:
        return flag
    with lost_processes_named():
        return bool(np.any(multihost_utils.process_allgather(np.bool_(flag))))


def wait_for_all() -> None:
    """Waits until all processes have come here.

    Raises:
        LostProcessError: one of them has ended.
    """
    if jax.process_count() > 1:
        with lost_processes_named():
            multihost_utils.sync_global_devices("elicit")


@contextlib.contextmanager
def first_process_first() -> Iterator[None]:
    """Has the other processes do what is inside only once the first one has done it.

    Raises:
        LostProcessError: one of them has ended.
    """
    if not is_first_process():
        wait_for_all()
    yield
    if is_first_process():
        wait_for_all()


def meet() -> list[int]:
    """Waits until every other process has come here or has ended; gives those that have ended."""
    if jax.process_count() == 1:
        return []
    while True:
        with (
            contextlib.suppress(multihost_utils.ProcessFailureError),  # one ended in between
            multihost_utils.live_devices(jax.devices()) as devices,
        ):
            live = {device.process_index for device in devices}
            return sorted(set(range(jax.process_count())) - live)


@contextlib.contextmanager
def lost_processes_named() -> Iterator[None]:
    """Says what an error of a step that several processes take together most likely means.

    Raises:
        LostProcessError: for any error of the device but a lack of memory, where there are several.
    """
    try:
        yield
    except (jax.errors.JaxRuntimeError, ValueError) as error:  # the latter is what Gloo's become
        if jax.process_count() == 1 or "RESOURCE_EXHAUSTED" in str(error):
            raise
        raise LostProcessError(
            f"process {jax.process_index()} of {jax.process_count()} has lost another one "
            f"({str(error).splitlines()[0]}). {START_AGAIN}"
        ) from error
