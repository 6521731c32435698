"""Several devices share a batch: each runs the same program on rows of its own.

They have nothing to say to each other, so no communication is compiled in, whatever the program
holds. Left to itself, XLA would gather all images for a filter's FFT, and let every update wait for
all devices to learn whether an image anywhere still moves.
"""

from collections.abc import Callable
from typing import Any, TypeVar

import jax
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from imgopt.errors import InputError

IMAGES_AXIS = "images"
"""Name of the only axis of a mesh of devices."""

Tree = TypeVar("Tree")


def check_device_count(devices: int) -> None:
    """Raises InputError unless this process has so many devices."""
    there = jax.local_devices()
    if not 1 <= devices <= len(there):
        raise InputError(
            f"devices must be at least 1 and at most {len(there)}, as many as this process has "
            f"({there[0].device_kind}); got {devices}"
        )


def check_devices(devices: int, *, batch_size: int) -> None:
    """Raises InputError unless this process has so many devices, and a batch is dealt out evenly.

    Args:
        devices: how many share a batch.
        batch_size: images in it, at least 1.
    """
    check_device_count(devices)
    if batch_size % devices:
        larger = batch_size + -batch_size % devices
        raise InputError(
            f"the batch size must be a multiple of the {devices} devices that share a batch, got "
            f"{batch_size}; take {larger}"
        )


def make_mesh(devices: int) -> Mesh | None:
    """The first `devices` of this process's, in a row; None for one, which needs no mesh."""
    if devices == 1:
        return None
    chosen = jax.local_devices()[:devices]
    return jax.make_mesh((devices,), (IMAGES_AXIS,), axis_types=(AxisType.Auto,), devices=chosen)


def sharding(mesh: Mesh | None, *, by_row: bool) -> NamedSharding | None:
    """How arrays lie on a mesh: each device its rows, or the whole on every device."""
    if mesh is None:
        return None
    return NamedSharding(mesh, PartitionSpec(IMAGES_AXIS) if by_row else PartitionSpec())


def place(tree: Tree, mesh: Mesh | None, *, by_row: bool) -> Tree:
    """Puts arrays on a mesh as `sharding` says; what lies there already is left as it is."""
    return tree if mesh is None else jax.device_put(tree, sharding(mesh, by_row=by_row))


def on_each_device(function: Callable[..., Tree], mesh: Mesh | None) -> Callable[..., Tree]:
    """Makes function(shared, *rows), whose results have rows too, run on each device's rows.

    Args:
        function: of arrays that all rows have in common, and of trees of arrays with a row an
            image. Traced by JAX.
        mesh: the devices; None leaves the function as it is.
    """
    if mesh is None:
        return function
    by_row, whole = PartitionSpec(IMAGES_AXIS), PartitionSpec()

    def run(shared: Any, *rows: Any) -> Tree:
        in_specs = (whole, *[by_row for _ in rows])
        # Whether values differ between devices is not followed: a user's classifier may hold
        # operations that JAX has no rule for.
        mapped = jax.shard_map(
            function, mesh=mesh, in_specs=in_specs, out_specs=by_row, check_vma=False
        )
        return mapped(shared, *rows)

    return run
