"""One case on both sides: timed in turn, the peer in its quickest way; what was found, as text."""

import functools
import importlib
import json
import os
import platform
import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import jax
import numpy as np
import timing
from job_table import JOBS
from jobs import Case, Job
from timing import Call, Spread, WarmUp

from train.storage.runs import as_json, environment

NO_TORCH = "PyTorch is not installed; with pip install torch==2.13.0 it is timed beside ours"
NO_PEER = "not asked for"
NO_DATA = "it reads CIFAR-10; name TFDS's data directory by --data-dir"

CPU_INFO = Path("/proc/cpuinfo")

Result = dict[str, Any]
"""What was found, as JSON's own types."""


def load_peer(name: str) -> ModuleType | str:
    """The module of the peers, or why there is none."""
    if name == "none":
        return NO_PEER
    try:
        peers = importlib.import_module("torch_peers")
        peers.torch_setup.device()
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        return NO_TORCH
    except ValueError as error:
        return str(error)
    return peers


def describe(peer: ModuleType | str) -> Result:
    """The machine, the versions of both sides, and the command."""
    return {
        **environment(),
        "cores": _cores(),
        "load_average": os.getloadavg()[0],  # other processes hurt one side more than the other
        "processor": _processor(),
        "peer": peer if isinstance(peer, str) else peer.torch_setup.versions(),
    }


def _cores() -> int | None:
    """Those that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


def _processor() -> str:
    lines = CPU_INFO.read_text().splitlines() if CPU_INFO.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def find_ceilings(peer: ModuleType | str, precision: str) -> dict[str, float]:
    """FLOP/s that a large matrix product reaches on each side."""
    found = {"ours": timing.matrix_product_flops(precision)}
    if isinstance(peer, ModuleType):
        found["peer"] = peer.torch_setup.matrix_product_flops(precision)
    return found


class Ready(NamedTuple):
    """A side that can be timed: its call, and what warming it up has told."""

    call: Call
    warm_up: WarmUp


def time_case(
    case: Case, peer: ModuleType | str, *, ceiling: float, pairs: int, memory: bool
) -> Result:
    """Times one case on both sides.

    Args:
        case: what to time.
        peer: as `load_peer` gives it.
        ceiling: FLOP/s that the machine can reach.
        pairs: calls of each side that count.
        memory: whether to measure each side's memory, in processes of their own.
    """
    named = as_json(case._asdict())
    if case.job == "data-input" and case.data_dir is None:
        return {**named, "skipped": NO_DATA}
    job = JOBS[case.job].prepare(case)
    sides, ready = {}, {}
    sides["ours"], ready["ours"] = _our_side(job)
    sides["peer"], ready["peer"] = _peer_side(job, peer)
    ready = {name: side for name, side in ready.items() if side is not None}
    seconds = timing.time_in_turn({n: side.call for n, side in ready.items()}, rounds=pairs)
    for name, found in seconds.items():
        sides[name] |= _rates(job, found, ceiling)
        if memory:
            sides[name]["peak_memory_bytes"] = _peak_memory(case, sides[name].get("mode", name))
    result = {**named, "compared": job.compared, **sides}
    if len(seconds) == 2:
        result["ratio"] = timing.ratios(seconds["ours"], seconds["peer"])._asdict()
        results = [side.warm_up.result for side in ready.values()]
        if results[0] is not None:
            result["largest_difference"] = float(np.abs(np.subtract(*results)).max())
    return result


def _our_side(job: Job) -> tuple[Result, Ready | None]:
    # A batch that does not fit is either; all else is an error of ours, and is not hidden.
    side = _get_ready(job.start, failures=(ValueError, jax.errors.JaxRuntimeError))
    if isinstance(side, str):
        return {"skipped": side}, None
    return {"compilation_seconds": side.warm_up.compilation_seconds}, side


def _peer_side(job: Job, peer: ModuleType | str) -> tuple[Result, Ready | None]:
    """Tries the peer's modes and takes the quickest."""
    if isinstance(peer, str):
        return {"skipped": peer}, None
    peer.torch_setup.set_up()
    tried = {
        # PyTorch's compiler fails in many ways, such as for want of a C++ compiler.
        mode: _get_ready(functools.partial(peer.start, job, mode), failures=(Exception,))
        for mode in peer.modes(job.case.job)
    }
    told = {
        mode: side if isinstance(side, str) else side.warm_up._asdict() | {"result": None}
        for mode, side in tried.items()
    }
    able = {mode: side for mode, side in tried.items() if isinstance(side, Ready)}
    if not able:
        reasons = "; ".join(f"{mode}: {reason}" for mode, reason in told.items())
        return {"skipped": reasons, "tried": told}, None
    mode = min(able, key=lambda mode: able[mode].warm_up.call_seconds)
    compilation = able[mode].warm_up.compilation_seconds
    return {"mode": mode, "tried": told, "compilation_seconds": compilation}, able[mode]


def _get_ready(start: Callable[[], Call], *, failures: tuple[type[Exception], ...]) -> Ready | str:
    """A side that is warm, or in a line why it cannot be timed."""
    try:
        call = start()
        return Ready(call, timing.warm_up(call))
    except failures as error:
        lines = str(error).strip().splitlines() or [""]
        return f"{type(error).__name__}: {lines[0]}"


def _rates(job: Job, seconds: Sequence[float], ceiling: float) -> Result:
    """Times of a step, and what is done in a second by the median call."""
    call = timing.spread(seconds)
    rates: Result = {
        "step_seconds": timing.spread([each / job.steps for each in seconds])._asdict(),
        "call_seconds": list(seconds),
        "images_per_second": job.images / call.median,
    }
    if job.flop is not None:
        rates["flops"] = job.flop / call.median
        rates["share_of_ceiling"] = rates["flops"] / ceiling
    return rates


def _peak_memory(case: Case, side: str) -> int | None:
    task = json.dumps({"case": as_json(case._asdict()), "side": side})
    command = [sys.executable, str(Path(__file__).with_name("memory.py")), task]
    # Its errors are told on the terminal; the times that were found are worth more than the peak.
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)  # noqa: S603
    return json.loads(done.stdout.splitlines()[-1])["peak_bytes"] if not done.returncode else None


# ---- as text


def as_text(result: Result) -> str:
    """What was found of one case, as a small table."""
    title = " · ".join(_title(result))
    if "skipped" in result:
        return f"{title}\n  skipped: {result['skipped']}"
    lines = [title, f"  {result['compared']}", _line(COLUMNS)]
    lines += [_row(name, result[name]) for name in ("ours", "peer")]
    if "ratio" in result:
        ratio = Spread(**result["ratio"])
        range_ = f"({ratio.min:.3f} to {ratio.max:.3f})"
        lines.append(f"  ours / peer, {ratio.n} pairs: {ratio.median:.3f} {range_}")
    if "largest_difference" in result:
        lines.append(f"  outputs of the two differ by at most {result['largest_difference']:.1e}")
    return "\n".join(lines)


COLUMNS = {
    "": "<38",
    "ms a step": ">10",
    "(min to max)": ">22",
    "images/s": ">11",
    "GFLOP/s": ">10",
    "of ceiling": ">12",
    "compile s": ">11",
    "memory MB": ">11",
}
"""Of the table, with alignment and width."""


def _line(cells: Iterable[str]) -> str:
    widths = COLUMNS.values()
    return "  " + "".join(f"{cell:{width}}" for cell, width in zip(cells, widths, strict=True))


def _title(result: Result) -> list[str]:
    words = [result["job"], result["model"], result["precision"]]
    batch = None if result["batch_size"] == 1 else f"batch {result['batch_size']}"
    return [word for word in (*words[:2], batch, words[2]) if word]


def _row(name: str, side: Result) -> str:
    label = f"{name} ({side['mode']})" if "mode" in side else name
    if "skipped" in side:
        return f"  {label}: {side['skipped']}"
    step = side["step_seconds"]
    median, low, high = (f"{1e3 * step[key]:.1f}" for key in ("median", "min", "max"))
    cells = [label, median, f"({low} to {high})", f"{side['images_per_second']:.0f}"]
    if "flops" in side:
        cells += [f"{side['flops'] / 1e9:.1f}", f"{side['share_of_ceiling']:.0%}"]
        cells += [f"{side['compilation_seconds']:.1f}"]
    else:
        cells += ["–"] * 3
    peak = side.get("peak_memory_bytes")
    return _line([*cells, "–" if peak is None else f"{peak / 1e6:.0f}"])
