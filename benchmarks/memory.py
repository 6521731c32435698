"""Measures, in a process of its own, the memory that one side of a job takes.

Usage: python benchmarks/memory.py '{"case": {…}, "side": "ours"}'

For the peer, "side" is one of its modes. Prints JSON. In one process with the other side, peaks
could not be told apart. On GPUs it is the peak of the arrays on the device. On CPUs it is how far
the resident set, at its highest during a warm call, stands above that before the side was begun:
what compiling leaves behind counts, processes that a side starts do not.
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
    """The resident set of this process: "VmRSS" now, "VmHWM" at its highest."""
    found = re.search(rf"{which}:\s+(\d+) kB", STATUS.read_text())
    return 1024 * int(found[1]) if found else 0


def peak_of_call(call: Call, *, before: int) -> int:
    """How far the resident set stands above `before` bytes, at its highest during a warm call."""
    call()
    Path("/proc/self/clear_refs").write_text("5")  # the highest so far is forgotten
    call()
    return max(0, resident_bytes("VmHWM") - before)


def side_bytes(job: Job, side: str) -> int | None:
    """The peak of one side, in bytes; None where the system does not tell."""
    if jax.default_backend() != "cpu":
        return _device_bytes(job, side)
    if not STATUS.is_file():
        return None
    start = _starter(job, side)
    gc.collect()
    before = resident_bytes("VmRSS")
    return peak_of_call(start(), before=before)


def _starter(job: Job, side: str) -> Callable[[], Call]:
    """What makes the side's call, its libraries imported."""
    if side == "ours":
        return job.start
    torch_peers = importlib.import_module("torch_peers")
    torch_peers.torch_setup.set_up()
    return functools.partial(torch_peers.start, job, side)


def _device_bytes(job: Job, side: str) -> int | None:
    _starter(job, side)()()
    if side == "ours":
        return (jax.devices()[0].memory_stats() or {}).get("peak_bytes_in_use")
    return importlib.import_module("torch_setup").peak_device_bytes()


def main(task: dict[str, Any]) -> None:
    """Measures what the task says and prints it."""
    keep_memory()
    case = Case(**task["case"])
    print(json.dumps({"peak_bytes": side_bytes(JOBS[case.job].prepare(case), task["side"])}))


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
