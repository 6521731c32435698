"""Whether a batch fits in memory: found out from the compiled program, before it runs.

XLA plans a program's memory when it compiles it, so what a step will need is known beforehand. What
a device has is asked of it; CPUs do not tell, and there it is what the operating system could give.
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
"""Where Linux tells how much memory a new process could have."""

UNITS = ("B", "KiB", "MiB", "GiB", "TiB")


class Footprint(NamedTuple):
    """What a program needs of each device's memory while it runs.

    Attributes:
        needed_bytes: arguments, results and everything in between.
        fixed_bytes: the part of it that does not depend on the batch; the rest is taken to grow in
            proportion to the batch.
        batch_size: that the program is compiled for, as the option counts it: what is to be lowered
            where it does not fit.
        devices: that run the program.
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
    """What XLA has planned for a compiled program.

    Args:
        program: compiled.
        batch_size: that it is compiled for; see `Footprint`.
        fixed: those of its arguments that do not grow with the batch, as arrays or their shapes.
        beside: what else lies on every device meanwhile, likewise.
        devices: that run it.
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
    """Bytes of arrays, or of what has only their shapes."""
    return sum(math.prod(leaf.shape) * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))


def room_bytes() -> int:
    """Memory that a program may use on a device, or on this machine if the device is its CPU."""
    stats = jax.local_devices()[0].memory_stats() or {}
    return stats["bytes_limit"] if "bytes_limit" in stats else host_room_bytes()


def host_room_bytes() -> int:
    """Memory of this machine that a program may use."""
    if MEMINFO.is_file():
        fields = dict(line.split(":") for line in MEMINFO.read_text().splitlines())
        return int(fields["MemAvailable"].split()[0]) * 1024
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def peak_bytes() -> int:
    """The most memory used so far: of the device where it tells, else by the whole process."""
    stats = jax.local_devices()[0].memory_stats() or {}
    unit = 1 if sys.platform == "darwin" else 1024
    in_process = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    return stats.get("peak_bytes_in_use", in_process)


def check_fits(estimate: Callable[[], Footprint]) -> None:
    """Raises InputError if a program needs more memory than there is.

    The message names the batch, about how many images would fit, and the option to change.

    Args:
        estimate: compiles the program.
    """
    found = estimate()
    if _needed_here(found) > room_bytes():
        raise InputError(_advice(found, at_most=found.batch_size - 1))


def check_host_room(needed_bytes: int, *, of: str, remedy: str) -> None:
    """Raises InputError if something does not fit into the memory of this machine.

    Args:
        needed_bytes: how much it will take at least.
        of: what it is, for the message.
        remedy: what to do.
    """
    room = host_room_bytes()
    if needed_bytes > room:
        raise InputError(
            f"{of} would take {_readable(needed_bytes)} of memory, and this machine has "
            f"{_readable(room)} left; {remedy}"
        )


@contextlib.contextmanager
def explained(estimate: Callable[[], Footprint]) -> Iterator[None]:
    """Turns XLA's "resource exhausted" into an InputError such as `check_fits` raises.

    Other programs may use the memory too, or fragments of it may be too small: a program that fits
    by itself can still run out.

    Args:
        estimate: of the program that runs inside; called only after it ran out of memory.
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
    """The devices that a CPU is divided into share its memory."""
    shared = found.devices if jax.default_backend() == "cpu" else 1
    return found.needed_bytes * shared


def _advice(found: Footprint, *, at_most: int) -> str:
    room, needed = room_bytes(), _needed_here(found)
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
