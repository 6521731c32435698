"""Chooses a batch that fits in memory, and refuses one that does not before a program runs.

XLA plans a program's memory when it compiles it, so the need of a step is known beforehand. For a
TPU it refuses to compile what does not fit; then a smaller batch is compiled and its need scaled.
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

FITTING_SHARE = 0.6
"""Largest share of a device's memory that a chosen batch takes. The rest is for other programs, for
the data beside them, and for fragmented memory."""

UNITS = ("B", "KiB", "MiB", "GiB", "TiB")


class Footprint(NamedTuple):
    """Memory of each device that a program needs while it runs.

    Attributes:
        needed_bytes: memory for arguments, results and intermediate results.
        fixed_bytes: the part of it that does not depend on the batch; the rest is assumed to grow
            in proportion to the batch.
        batch_size: batch size of the program, as the option `--batch-size` counts it.
        devices: number of devices that run the program.
        step: the batch size has to be a multiple of it.
    """

    needed_bytes: int
    fixed_bytes: int
    batch_size: int
    devices: int = 1
    step: int = 1


Estimate = Callable[[int], Footprint]
"""Compiles a program for a batch size, or one near it that the devices can share, and gives its
footprint."""


def footprint(
    program: jax.stages.Compiled,
    *,
    batch_size: int,
    fixed: Any = (),
    beside: Any = (),
    devices: int = 1,
    step: int = 1,
) -> Footprint:
    """Gives the memory that XLA has planned for a compiled program.

    Args:
        program: the compiled program.
        batch_size: batch size that it is compiled for; see `Footprint`.
        fixed: arguments that do not grow with the batch, as arrays or their shapes.
        beside: other data on every device at the same time, as arrays or their shapes.
        devices: number of devices that run it.
        step: see `Footprint`.
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
    fixed_bytes = min(_size_of(fixed), needed) + other
    return Footprint(needed + other, fixed_bytes, batch_size, devices, step)


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


def choose_batch_size(estimate: Estimate, *, images: int, most: int) -> int:
    """Chooses the largest power of two of images that takes at most `FITTING_SHARE` of the memory.

    In most cases one program is compiled, which is the one that the job runs: for all images or for
    the largest batch. What a larger batch than this would need is found in proportion.

    Args:
        estimate: compiles the program and gives its footprint.
        images: number of images of the job, at least 1. The choice may be larger.
        most: largest batch to choose, a power of two.

    Raises:
        InputError: not even one image fits.
    """
    while True:
        asked = min(most, images)
        found = _compile_at_most(estimate, asked)
        fits = _power_of_two(_fitting(found, room=round(FITTING_SHARE * device_memory_bytes())))
        if found.batch_size == asked and fits >= asked:
            return min(fits, most)
        if asked == 1:
            _refuse_unless_it_fits(found, asked)
            return 1
        most = max(min(fits, _power_of_two(asked // 2)), 1)


def check_batch_fits(estimate: Estimate, batch_size: int) -> None:
    """Raises InputError if a program needs more memory than there is.

    The message says how many images would fit and which option to change.

    Args:
        estimate: compiles the program and gives its footprint.
        batch_size: the batch size that is asked for.
    """
    _refuse_unless_it_fits(_compile_at_most(estimate, batch_size), batch_size)


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
def explaining_out_of_memory(estimate: Estimate, batch_size: int) -> Iterator[None]:
    """Turns XLA's "resource exhausted" into an InputError with the advice of `check_batch_fits`.

    A program that fits alone can still run out of memory: other programs may use it too, or its
    free parts may be too small.

    Args:
        estimate: gives the footprint of the program that runs inside; called only after it ran out
            of memory.
        batch_size: batch size of that program.
    """
    try:
        yield
    except jax.errors.JaxRuntimeError as error:
        if not _is_out_of_memory(error):
            raise
        found = _compile_at_most(estimate, batch_size)
        advice = _advice(found, batch_size, at_most=batch_size // 2)
        raise InputError(f"out of memory: {advice}") from error


def _is_out_of_memory(error: Exception) -> bool:
    return "RESOURCE_EXHAUSTED" in str(error)


def _compile_at_most(estimate: Estimate, batch_size: int) -> Footprint:
    """Gives the footprint of a batch, or of its largest half, quarter, … that XLA compiles.

    Raises:
        InputError: XLA compiles not even one image.
    """
    while True:
        try:
            return estimate(batch_size)
        except jax.errors.JaxRuntimeError as error:
            if not _is_out_of_memory(error):
                raise
            if batch_size == 1:
                raise InputError(
                    f"{_NOT_ONE_FITS} ({jax.local_devices()[0].device_kind}: "
                    f"{str(error).splitlines()[0]})"
                ) from error
            batch_size //= 2


def _refuse_unless_it_fits(found: Footprint, batch_size: int) -> None:
    """Raises InputError if a batch did not compile or needs more memory than there is."""
    if found.batch_size < batch_size or _needed_here(found) > device_memory_bytes():
        at_most = min(batch_size, 2 * found.batch_size) - 1
        raise InputError(_advice(found, batch_size, at_most=at_most))


def _needed_here(found: Footprint) -> int:
    """Gives the memory needed; simulated devices on one CPU share its memory, so it adds up."""
    return found.needed_bytes * _sharers(found)


def _sharers(found: Footprint) -> int:
    return found.devices if jax.default_backend() == "cpu" else 1


def _per_image(found: Footprint) -> float:
    """Memory that each image of a batch takes."""
    return (found.needed_bytes - found.fixed_bytes) * _sharers(found) / found.batch_size


def _fitting(found: Footprint, *, room: int) -> int:
    """Gives the largest batch that takes so much memory, in proportion to a known one."""
    left, each = room - found.fixed_bytes * _sharers(found), _per_image(found)
    return max(int(left / each), 0) // found.step * found.step if each > 0 else 0


def _power_of_two(number: int) -> int:
    """The largest power of two that is not above a number; 0 for 0."""
    return 1 << (number.bit_length() - 1) if number > 0 else 0


_NOT_ONE_FITS = "not even one image would fit: take a smaller network or a larger device"


def _advice(found: Footprint, batch_size: int, *, at_most: int) -> str:
    """Says what a batch needs, what there is, and what would fit."""
    room = device_memory_bytes()
    needed = _needed_here(found) + round(_per_image(found) * (batch_size - found.batch_size))
    fits = min(_fitting(found, room=room), at_most // found.step * found.step)
    remedy = f"about {fits} would fit: lower --batch-size" if fits > 0 else _NOT_ONE_FITS
    return (
        f"a batch of {batch_size} needs about {_readable(needed)} of memory, and "
        f"{jax.local_devices()[0].device_kind} has {_readable(room)}; {remedy}"
    )


def _readable(size: int) -> str:
    power = min(max(size, 1).bit_length() // 10, len(UNITS) - 1)
    return f"{size / 1024**power:.3g} {UNITS[power]}"
