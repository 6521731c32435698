"""Measures Elicit on one GPU in at most twelve minutes, the most important things first.

Usage: python benchmarks/gpu.py --out gpu.json [--minutes 12] [--scale gpu|tiny] [--only NAME …]
(--help lists all options)

Every part runs in a process of its own, so that one that fails costs only its own time. The
results go into one JSON file after each part. What is measured there already is not measured again:
after an interruption, the same command goes on. A part that the time left is too short for is left
for the next call. `--scale tiny` rehearses everything on a CPU.

PyTorch is timed beside Elicit if it is installed. Compare ratios, and read the spread of the times.
"""

import json
import os
import re
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import tyro

from imgopt.errors import InputError
from train.storage.strict_json import read_json, write_json

DETERMINISTIC = "--xla_gpu_deterministic_ops=true"
"""Flag of XLA for kernels that add in a fixed order."""

MAX_BYTES = 16 * 2**20
"""Size that the file of results stays below."""


class Part(NamedTuple):
    """A part of the measurement.

    Attributes:
        function: name of the function in `gpu_parts`.
        seconds: expected time on an H200, by an estimate: nothing was run on one.
        arguments: what the function is given, by name.
        flags: flags of XLA.
    """

    function: str
    seconds: int
    arguments: dict[str, Any] = {}  # noqa: RUF012 -- never changed
    flags: str = ""


PARTS = {
    "machine": Part("machine", 20),
    "synthesis step vgg16": Part("beside", 80, {"job": "synthesis-step", "model": "vgg16"}),
    "synthesis of a data set": Part("whole_synthesis", 60),
    "training step vgg16": Part("beside", 60, {"job": "training-step", "model": "vgg16"}),
    "training step resnet9": Part("beside", 60, {"job": "training-step", "model": "resnet9"}),
    "DCGAN step": Part("beside", 50, {"job": "dcgan-step"}),
    "Stacked GAN step": Part("beside", 60, {"job": "sgan-step"}),
    "bits": Part("bits", 40),
    "bits again": Part("bits", 30),
    "bits, deterministic": Part("bits", 50, flags=DETERMINISTIC),
    "bits, deterministic, again": Part("bits", 40, flags=DETERMINISTIC),
    "profile of a synthesis": Part("profile", 40, {"job": "synthesis-step"}),
    "profile of a training": Part("profile", 40, {"job": "training-step"}),
    "table-b": Part("table_b", 90),
}
"""All parts, the most important first. Together they are expected to take 12 minutes."""

EXCEPTION = re.compile(r"^[\w.]*(Error|Exception|Interrupt)\b")
"""Beginning of the line of a traceback that names the exception."""


@dataclass(frozen=True)
class GpuConfig:
    """Measures Elicit on one GPU, the most important things first."""

    out: Path
    """JSON file of the results; existing results are continued."""
    minutes: float = 12.0
    """Time in all, of this call."""
    scale: Literal["gpu", "tiny"] = "gpu"
    """Sizes: those for a GPU, or tiny ones that rehearse everything on a CPU."""
    only: tuple[str, ...] = ()
    """Names of parts; by default all."""
    peer: Literal["torch", "none"] = "torch"
    """Library to compare with."""

    def __post_init__(self) -> None:
        """Raises InputError for a part that does not exist, or no time."""
        for name in self.only:
            if name not in PARTS:
                raise InputError(f"unknown part {name!r}; expected {', '.join(PARTS)}")
        if self.minutes <= 0:
            raise InputError(f"minutes must be above 0, got {self.minutes}")


def main(config: GpuConfig) -> None:
    """Measures the parts that are missing, as far as the time goes."""
    end = time.monotonic() + 60 * config.minutes
    results: dict[str, Any] = read_json(config.out) if config.out.is_file() else {}
    missing = {
        name: part
        for name, part in PARTS.items()
        if (not config.only or name in config.only)
        and "error" in results.get(name, {"error": "missing"})
    }
    print(expectation(missing), flush=True)
    for name, part in missing.items():
        left = end - time.monotonic()
        if config.scale == "gpu" and left < part.seconds:
            print(f"{name}: left for the next call, {left:.0f} s are too few", flush=True)
            continue
        results[name] = measure(name, config, limit_seconds=left)
        if len(json.dumps(results)) > MAX_BYTES:
            results[name] = {"error": f"its results are larger than {MAX_BYTES} bytes"}
        write_json(config.out, results)
        print(f"{name}: {summary(results[name])}", flush=True)


def expectation(parts: dict[str, Part]) -> str:
    """The time that each part is expected to take on an H200, and all of them."""
    lines = [f"{name}: {part.seconds} s" for name, part in parts.items()]
    total = sum(part.seconds for part in parts.values())
    return "\n".join(["expected on an H200:", *lines, f"in all: {total} s"])


def summary(result: dict[str, Any]) -> str:
    """What is said of a part on the terminal."""
    if "error" in result:
        return f"failed after {result.get('seconds', 0):.0f} s: {result['error']}"
    found = result.get("found", {})
    ratio, skipped = found.get("ratio"), found.get("ours", found).get("skipped")
    said = f", ratio to PyTorch's time {ratio['median']:.2f}" if ratio else ""
    return f"{result['seconds']:.0f} s{said}{f', skipped: {skipped}' if skipped else ''}"


def exception_line(text: str) -> str:
    """The last line of a traceback that names an exception; without one, the last line."""
    lines = text.strip().splitlines() or ["no message"]
    return next((line for line in reversed(lines) if EXCEPTION.match(line)), lines[-1])


def measure(name: str, config: GpuConfig, *, limit_seconds: float) -> dict[str, Any]:
    """Runs a part in a process of its own; gives what it found, or how it failed."""
    part = PARTS[name]
    given = {"scale": config.scale, "peer": config.peer}
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "found.json"
        order = {"function": part.function, **part.arguments, **given}
        flags = f"{os.environ.get('XLA_FLAGS', '')} {part.flags if config.scale == 'gpu' else ''}"
        script = Path(__file__).with_name("gpu_parts.py")
        try:
            done = subprocess.run(  # noqa: S603 -- our own script
                [sys.executable, script, json.dumps(order), path],
                # Every part compiles anew, so that its time does not depend on earlier ones.
                env={**os.environ, "XLA_FLAGS": flags.strip(), "ELICIT_COMPILATION_CACHE": "off"},
                stderr=subprocess.PIPE,
                timeout=limit_seconds,
                text=True,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return {"error": f"took longer than {limit_seconds:.0f} s", "seconds": limit_seconds}
        seconds = time.monotonic() - began
        if done.returncode:
            line = exception_line(done.stderr)
            return {"error": f"exit status {done.returncode}: {line[:500]}", "seconds": seconds}
        return {"seconds": seconds, "found": read_json(path)}


if __name__ == "__main__":
    try:
        main(tyro.cli(GpuConfig))
    except InputError as error:
        print(f"gpu.py: error: {error}", file=sys.stderr)
        sys.exit(2)
