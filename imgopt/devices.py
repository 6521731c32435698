"""Sharing a batch between several devices: each runs the same program on its own rows.

No communication between devices is compiled in, whatever operations the program has. By itself,
XLA would gather all images for a filter's FFT, and every update would wait until all devices know
whether any image still moves.
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
    """Raises InputError unless this process has that many devices."""
    found = jax.local_devices()
    if not 1 <= devices <= len(found):
        raise InputError(
            f"devices must be at least 1 and at most {len(found)}, the number that this process "
            f"has ({found[0].device_kind}); got {devices}"
        )


def check_devices(devices: int, *, batch_size: int) -> None:
    """Raises InputError unless the process has that many devices and a batch divides by them.

    Args:
        devices: number of devices that share a batch.
        batch_size: number of images in a batch, at least 1.
    """
    check_device_count(devices)
    if batch_size % devices:
        larger = batch_size + -batch_size % devices
        raise InputError(
            f"the batch size must be a multiple of the {devices} devices that share a batch, got "
            f"{batch_size}; take {larger}"
        )


def make_mesh(devices: int) -> Mesh | None:
    """A one-axis mesh of this process's first `devices` devices; None for a single device."""
    if devices == 1:
        return None
    chosen = jax.local_devices()[:devices]
    return jax.make_mesh((devices,), (IMAGES_AXIS,), axis_types=(AxisType.Auto,), devices=chosen)


def sharding(mesh: Mesh | None, *, by_row: bool) -> NamedSharding | None:
    """The layout of arrays on a mesh: split by row (`by_row`), or whole on every device."""
    if mesh is None:
        return None
    return NamedSharding(mesh, PartitionSpec(IMAGES_AXIS) if by_row else PartitionSpec())


def place(tree: Tree, mesh: Mesh | None, *, by_row: bool) -> Tree:
    """Puts arrays on a mesh, laid out as `sharding` says; without a mesh they stay in place."""
    return tree if mesh is None else jax.device_put(tree, sharding(mesh, by_row=by_row))


def on_each_device(function: Callable[..., Tree], mesh: Mesh | None) -> Callable[..., Tree]:
    """Makes function(shared, *rows) run on every device of a mesh, each with its own rows.

    Args:
        function: takes arrays that all rows share, then pytrees of arrays with one row an image,
            and returns arrays with one row an image. Traced by JAX.
        mesh: the devices; None returns the function as it is.
    """
    if mesh is None:
        return function
    by_row, whole = PartitionSpec(IMAGES_AXIS), PartitionSpec()

    def run(shared: Any, *rows: Any) -> Tree:
        in_specs = (whole, *[by_row for _ in rows])
        # check_vma would refuse operations of a user's classifier for which JAX has no rule.
        mapped = jax.shard_map(
            function, mesh=mesh, in_specs=in_specs, out_specs=by_row, check_vma=False
        )
        return mapped(shared, *rows)

    return run
