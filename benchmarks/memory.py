"""Measures the peak memory of one side of a job, in a process of its own.

Usage: python benchmarks/memory.py '{"case": {…}, "side": "ours"}'

`bench.py` starts it, since the peaks of two sides in one process could not be told apart. For
PyTorch, "side" is the mode. Prints JSON.

On GPUs the result is the peak of the arrays on the device. On CPUs it is the highest resident set
size during a warm call, minus the resident set size before the side was started. That includes
memory left over from compiling. It excludes processes that a side starts.
"""

import functools
import gc
import importlib
import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
from job_table import JOBS
from jobs import Case, Job
from timing import Call

from train.runtime.allocator import keep_memory

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


def side_bytes(job: Job, side: str) -> int | None:
    """Peak memory of one side in bytes; None if the system does not report it."""
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
        return (jax.devices()[0].memory_stats() or {}).get("peak_bytes_in_use")
    return importlib.import_module("peers.pytorch").peak_device_bytes()


def main(task: dict[str, Any]) -> None:
    """Measures the memory of the task's side and prints it."""
    keep_memory()
    case = Case(**task["case"])
    print(json.dumps({"peak_bytes": side_bytes(JOBS[case.job].prepare(case), task["side"])}))


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
