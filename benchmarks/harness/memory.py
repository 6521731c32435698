"""Measures the peak memory of one side of a job, in a process of its own.

The peaks of two sides in one process could not be told apart.

On GPUs the result is the peak of the arrays on the device. On CPUs it is the highest resident set
size during a warm call, minus the resident set size before the side was started. That includes
memory left over from compiling. It excludes processes that a side starts.
"""

import functools
import gc
import importlib
import re
from collections.abc import Callable
from pathlib import Path

import jax

from harness.job_table import JOBS
from harness.jobs import Case, Job
from harness.timing import Call
from train.runtime.allocator import keep_memory
from train.runtime.memory import peak_bytes

STATUS = Path("/proc/self/status")


def resident_bytes(which: str) -> int:
    """Resident set size of this process: "VmRSS" is the current value, "VmHWM" the peak."""
    found = re.search(rf"{which}:\s+(\d+) kB", STATUS.read_text())
    return 1024 * int(found[1]) if found else 0


def peak_of_call(call: Call, *, before: int) -> int:
    """Peak resident set size during a warm call, minus `before`, in bytes."""
    call()
    Path("/proc/self/clear_refs").write_text("5")  # resets the peak
    call()
    return max(0, resident_bytes("VmHWM") - before)


def side_bytes(case: Case, side: str) -> int | None:
    """Peak memory of one side in bytes; None if the system does not report it.

    Args:
        case: the job and its size.
        side: "ours", or the mode of PyTorch.
    """
    keep_memory()
    job = JOBS[case.job].prepare(case)
    if jax.default_backend() != "cpu":
        return _device_bytes(job, side)
    if not STATUS.is_file():
        return None
    start = _starter(job, side)
    gc.collect()
    before = resident_bytes("VmRSS")
    return peak_of_call(start(), before=before)


def _starter(job: Job, side: str) -> Callable[[], Call]:
    """Imports the side's libraries and returns the function that makes its call."""
    if side == "ours":
        return job.start
    peer = importlib.import_module("peers.peer_table")
    peer.pytorch.set_up()
    return functools.partial(peer.start, job, side)


def _device_bytes(job: Job, side: str) -> int | None:
    _starter(job, side)()()
    if side == "ours":
        return peak_bytes()
    return importlib.import_module("peers.pytorch").peak_device_bytes()
