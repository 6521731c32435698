"""Times one case on both sides in turn, PyTorch in its fastest mode."""

import functools
import importlib
import os
import platform
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import jax
import numpy as np

from harness import memory, timing
from harness.job_table import JOBS
from harness.jobs import Case, Job
from harness.new_process import in_new_process
from harness.timing import Call, WarmUp
from imgopt.errors import InputError
from train.storage.runs import as_json, environment

NO_TORCH = "PyTorch is not installed; pip install torch==2.13.0 to time it beside Elicit"
NO_PEER = "not asked for"
NO_DATA = "this job reads CIFAR-10: give TFDS's data directory by --data-dir"

CPU_INFO = Path("/proc/cpuinfo")

Record = dict[str, Any]
"""Part of the results as it is written to JSON."""


def load_peer(name: str) -> ModuleType | str:
    """Imports `peers.peer_table`; returns the reason as text if PyTorch cannot be used."""
    if name == "none":
        return NO_PEER
    try:
        peer = importlib.import_module("peers.peer_table")
        peer.pytorch.device()
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        return NO_TORCH
    except InputError as error:
        return str(error)
    return peer


def describe_machine(peer: ModuleType | str) -> Record:
    """The command, the machine and the versions of both sides."""
    return {
        **environment(),
        "cores": _usable_cores(),
        "load_average": os.getloadavg()[0],  # other processes slow one side more than the other
        "processor": _processor(),
        "peer": peer if isinstance(peer, str) else peer.pytorch.versions(),
    }


def _usable_cores() -> int | None:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


def _processor() -> str:
    lines = CPU_INFO.read_text().splitlines() if CPU_INFO.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def measure_ceilings(peer: ModuleType | str, precision: str) -> dict[str, float]:
    """FLOP/s of a large matrix product on each side."""
    ceilings = {"ours": timing.matrix_product_flops(precision)}
    if isinstance(peer, ModuleType):
        ceilings["peer"] = peer.pytorch.matrix_product_flops(precision)
    return ceilings


class WarmSide(NamedTuple):
    """One side of a case, compiled and ready to be timed."""

    call: Call
    warm_up: WarmUp


def time_case(
    case: Case, peer: ModuleType | str, *, ceiling: float, pairs: int, with_memory: bool
) -> Record:
    """Times one case on both sides.

    Args:
        case: what to time.
        peer: result of `load_peer`.
        ceiling: FLOP/s that the machine can reach.
        pairs: timed calls of each side.
        with_memory: whether to measure the memory of each side, each in a process of its own.
    """
    named = as_json(case._asdict())
    if case.job == "data-input" and case.data_dir is None:
        return {**named, "skipped": NO_DATA}
    job = JOBS[case.job].prepare(case)
    records, warm = {}, {}
    records["ours"], warm["ours"] = start_ours(job)
    records["peer"], warm["peer"] = start_peer(job, peer)
    warm = {name: side for name, side in warm.items() if side is not None}
    seconds = timing.time_in_turn({n: side.call for n, side in warm.items()}, rounds=pairs)
    for name, times in seconds.items():
        records[name] |= _rates(job, times, ceiling)
        if with_memory:
            records[name]["peak_memory_bytes"] = _peak_memory(case, records[name].get("mode", name))
    result = {**named, "compared": job.compared, **records}
    if len(seconds) == 2:
        result["ratio"] = timing.ratios(seconds["ours"], seconds["peer"])._asdict()
        outputs = [side.warm_up.result for side in warm.values()]
        if outputs[0] is not None:
            result["largest_difference"] = float(np.abs(np.subtract(*outputs)).max())
    return result


def start_ours(job: Job) -> tuple[Record, WarmSide | None]:
    """Warms up Elicit's side; a batch that does not fit in memory is recorded as skipped."""
    side = _warm(job.start, failures=(InputError, jax.errors.JaxRuntimeError))
    if isinstance(side, str):
        return {"skipped": side}, None
    return {"compilation_seconds": side.warm_up.compilation_seconds}, side


def start_peer(job: Job, peer: ModuleType | str) -> tuple[Record, WarmSide | None]:
    """Warms up PyTorch's side in every mode and keeps the fastest."""
    if isinstance(peer, str):
        return {"skipped": peer}, None
    peer.pytorch.set_up()
    sides = {
        # PyTorch's compiler fails in many ways, for instance if there is no C++ compiler.
        mode: _warm(functools.partial(peer.start, job, mode), failures=(Exception,))
        for mode in peer.modes(job.case.job)
    }
    tried = {
        mode: side if isinstance(side, str) else side.warm_up._asdict() | {"result": None}
        for mode, side in sides.items()
    }
    warm = {mode: side for mode, side in sides.items() if isinstance(side, WarmSide)}
    if not warm:
        reasons = "; ".join(f"{mode}: {reason}" for mode, reason in tried.items())
        return {"skipped": reasons, "tried": tried}, None
    mode = min(warm, key=lambda mode: warm[mode].warm_up.call_seconds)
    compilation = warm[mode].warm_up.compilation_seconds
    return {"mode": mode, "tried": tried, "compilation_seconds": compilation}, warm[mode]


def _warm(start: Callable[[], Call], *, failures: tuple[type[Exception], ...]) -> WarmSide | str:
    """Starts and warms up one side; returns the error's first line if it fails."""
    try:
        call = start()
        return WarmSide(call, timing.warm_up(call))
    except failures as error:
        lines = str(error).strip().splitlines() or [""]
        return f"{type(error).__name__}: {lines[0]}"


def _rates(job: Job, seconds: Sequence[float], ceiling: float) -> Record:
    """Time of a step; images and FLOP a second at the median time of a call."""
    call = timing.spread(seconds)
    rates: Record = {
        "step_seconds": timing.spread([each / job.steps for each in seconds])._asdict(),
        "call_seconds": list(seconds),
        "images_per_second": job.images / call.median,
    }
    if job.flop is not None:
        rates["flops"] = job.flop / call.median
        rates["share_of_ceiling"] = rates["flops"] / ceiling
    return rates


def _peak_memory(case: Case, side: str) -> int | None:
    try:
        return in_new_process(memory.side_bytes, case, side)
    except Exception:  # the times that were measured are kept
        traceback.print_exc()
        return None
