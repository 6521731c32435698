"""Checks before a program runs whether a batch fits in memory.

XLA plans a program's memory when it compiles it, so the need of a step is known beforehand.
Accelerators report their memory; on CPUs we ask the operating system.
"""

import contextlib
import math
import os
import resource
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax

from imgopt.errors import InputError

MEMINFO = Path("/proc/meminfo")
"""Linux' file that says how much memory a new process could have."""

UNITS = ("B", "KiB", "MiB", "GiB", "TiB")


class Footprint(NamedTuple):
    """Memory of each device that a program needs while it runs.

    Attributes:
        needed_bytes: memory for arguments, results and intermediate results.
        fixed_bytes: the part of it that does not depend on the batch; the rest is assumed to grow
            in proportion to the batch.
        batch_size: batch size of the program, as the option `--batch-size` counts it.
        devices: number of devices that run the program.
    """

    needed_bytes: int
    fixed_bytes: int
    batch_size: int
    devices: int = 1


def footprint(
    program: jax.stages.Compiled,
    *,
    batch_size: int,
    fixed: Any = (),
    beside: Any = (),
    devices: int = 1,
) -> Footprint:
    """Gives the memory that XLA has planned for a compiled program.

    Args:
        program: the compiled program.
        batch_size: batch size that it is compiled for; see `Footprint`.
        fixed: arguments that do not grow with the batch, as arrays or their shapes.
        beside: other data on every device at the same time, as arrays or their shapes.
        devices: number of devices that run it.
    """
    planned: Any = program.memory_analysis()
    needed = (
        planned.argument_size_in_bytes
        + planned.output_size_in_bytes
        - planned.alias_size_in_bytes  # of donated arguments, which become results
        + planned.temp_size_in_bytes
        + planned.generated_code_size_in_bytes
    )
    other = _size_of(beside)
    return Footprint(needed + other, min(_size_of(fixed), needed) + other, batch_size, devices)


def _size_of(tree: Any) -> int:
    """Gives the bytes of a tree of arrays, or of their shapes."""
    return sum(math.prod(leaf.shape) * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))


def device_memory_bytes() -> int:
    """Gives the memory that a program may use on a device; for a CPU, that of this machine."""
    stats = jax.local_devices()[0].memory_stats() or {}
    return stats["bytes_limit"] if "bytes_limit" in stats else machine_memory_bytes()


def machine_memory_bytes() -> int:
    """Gives the memory of this machine that a program may use."""
    if MEMINFO.is_file():
        fields = dict(line.split(":") for line in MEMINFO.read_text().splitlines())
        return int(fields["MemAvailable"].split()[0]) * 1024
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def peak_bytes() -> int:
    """Gives the peak of memory so far: of the device if it reports one, else of this process."""
    stats = jax.local_devices()[0].memory_stats() or {}
    unit = 1 if sys.platform == "darwin" else 1024
    in_process = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    return stats.get("peak_bytes_in_use", in_process)


def check_batch_fits(estimate: Callable[[], Footprint]) -> None:
    """Raises InputError if a program needs more memory than there is.

    The message says how many images would fit and which option to change.

    Args:
        estimate: compiles the program and gives its footprint.
    """
    found = estimate()
    if _needed_here(found) > device_memory_bytes():
        raise InputError(_advice(found, at_most=found.batch_size - 1))


def check_machine_memory(needed_bytes: int, *, of: str, remedy: str) -> None:
    """Raises InputError if something needs more memory than this machine has left.

    Args:
        needed_bytes: the least memory that it will take.
        of: what takes the memory, for the message.
        remedy: what to do, for the message.
    """
    room = machine_memory_bytes()
    if needed_bytes > room:
        raise InputError(
            f"{of} would take {_readable(needed_bytes)} of memory, and this machine has "
            f"{_readable(room)} left; {remedy}"
        )


@contextlib.contextmanager
def explaining_out_of_memory(estimate: Callable[[], Footprint]) -> Iterator[None]:
    """Turns XLA's "resource exhausted" into an InputError with the advice of `check_batch_fits`.

    A program that fits alone can still run out of memory: other programs may use it too, or its
    free parts may be too small.

    Args:
        estimate: gives the footprint of the program that runs inside; called only after it ran out
            of memory.
    """
    try:
        yield
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        found = estimate()
        raise InputError(
            f"out of memory: {_advice(found, at_most=found.batch_size // 2)}"
        ) from error


def _needed_here(found: Footprint) -> int:
    """Gives the memory needed; simulated devices on one CPU share its memory, so it adds up."""
    shared = found.devices if jax.default_backend() == "cpu" else 1
    return found.needed_bytes * shared


def _advice(found: Footprint, *, at_most: int) -> str:
    room, needed = device_memory_bytes(), _needed_here(found)
    fixed = found.fixed_bytes * needed // found.needed_bytes
    fits = int((room - fixed) / (needed - fixed) * found.batch_size) if needed > fixed else 0
    fits = min(fits, at_most) // found.devices * found.devices
    remedy = (
        f"about {fits} would fit: lower --batch-size"
        if fits > 0
        else "not even one image would fit: take a smaller network or a larger device"
    )
    return (
        f"a batch of {found.batch_size} needs about {_readable(needed)} of memory, and "
        f"{jax.local_devices()[0].device_kind} has {_readable(room)}; {remedy}"
    )


def _readable(size: int) -> str:
    power = min(max(size, 1).bit_length() // 10, len(UNITS) - 1)
    return f"{size / 1024**power:.3g} {UNITS[power]}"
