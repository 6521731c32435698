"""Compiles a lowered program, and reads what XLA says of the result."""

import re
import time
from typing import Any

import jax
from chips import Chip

QUICKLY = {"exec_time_optimization_effort": -1.0}
"""Compiles for TPUs 13 times faster; structure and memory are nearly the same, cycles are not."""

MIB = 2**20


def compile_lowered(lowered: jax.stages.Lowered, chip: Chip, *, quickly: bool) -> Any:
    """Compiles a program; `quickly` lowers the effort of a TPU's compiler."""
    options = QUICKLY if quickly and chip.platform == "tpu" else None
    return lowered.compile(compiler_options=options)


def measure(lowered: jax.stages.Lowered, chip: Chip, *, quickly: bool) -> dict[str, Any]:
    """Compiles a program and gives its figures.

    A loop's body counts once: the figures of the updates of a synthesis or of the steps of a
    training are those of one.

    Returns:
        `compile_seconds`; `faults`, see `faults_in`; memory in MiB, for one chip: `argument`,
        `output`, `alias` (donated arguments), `temp`, `needed` and its share of the chip's; `gflop`
        (0 where XLA does not count); `gigabytes` from and to memory, `mega_cycles` and
        `milliseconds` of them (each None where XLA does not say).
    """
    began = time.monotonic()
    compiled = compile_lowered(lowered, chip, quickly=quickly)
    seconds = time.monotonic() - began
    text = compiled.as_text()
    planned = compiled.memory_analysis()
    sizes = {
        name: getattr(planned, f"{name}_size_in_bytes") / MIB
        for name in ("argument", "output", "alias", "temp", "generated_code")
    }
    needed = sum(sizes.values()) - 2 * sizes["alias"]
    cost = compiled.cost_analysis() or {}
    cycles = None if quickly or chip.clock_hz is None else estimated_cycles(text)
    return {
        "compile_seconds": round(seconds, 1),
        "faults": faults_in(lowered.as_text(), text),
        **{f"{name}_mib": round(size, 1) for name, size in sizes.items()},
        "needed_mib": round(needed, 1),
        "memory_share": round(needed * MIB / chip.memory_bytes, 4),
        "gflop": cost.get("flops", 0) / 1e9,
        "gigabytes": cost["bytes accessed"] / 1e9 if cost.get("bytes accessed") else None,
        "mega_cycles": None if cycles is None else cycles / 1e6,
        "milliseconds": None if cycles is None else 1e3 * cycles / (chip.clock_hz or 1),
    }


def estimated_cycles(text: str) -> int:
    """The sum of the cycles that XLA's TPU compiler expects of each instruction."""
    return sum(map(int, re.findall(r'"estimated_cycles":"(\d+)"', text)))


def roofline(found: dict[str, Any], chip: Chip, *, precision: str) -> dict[str, Any]:
    """The least time that a chip's arithmetic and memory allow, and which of them bounds it."""
    flops = chip.flops if precision == "bfloat16" else chip.float32_flops
    arithmetic = 1e3 * found["gflop"] * 1e9 / flops
    if found["gigabytes"] is None:
        return {"arithmetic_ms": arithmetic, "memory_ms": None, "bound": None}
    memory = 1e3 * found["gigabytes"] * 1e9 / chip.bandwidth
    bound = "arithmetic" if arithmetic > memory else "memory"
    return {"arithmetic_ms": arithmetic, "memory_ms": memory, "bound": bound}


# ---- what a compiled program must not hold


def faults_in(lowered: str, compiled: str) -> list[str]:
    """What a device's program should not do: call the host, or compute in float64.

    Args:
        lowered: the program's text before compilation (StableHLO).
        compiled: its text afterwards (HLO).
    """
    forbidden = {
        "calls the host": r"callback|host_compute|\binfeed\b|\boutfeed\b",
        "computes in float64": r"\bf64\b|xf64>",
    }
    return [
        what
        for what, pattern in forbidden.items()
        if re.search(pattern, lowered) or re.search(pattern, compiled)
    ]


def convolutions(lowered: str) -> list[str]:
    """Types of the operands of every convolution, as text."""
    return re.findall(r"stablehlo\.convolution.*?: \((.*?)\) ->", lowered)
