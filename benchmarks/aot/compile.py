"""Compiles the commands' programs for chips that are not there, and keeps what XLA says of them.

Usage: python benchmarks/aot/compile.py [--only WORDS …] [--chip NAME …] [--effort quick|full]
(--help lists all options)

The results go into a JSON file after every program. What stands there already is not compiled
again, so a run that was stopped goes on with the same command. `write_tables.py` makes AOT.md of
the file. Nothing is run: a program that compiles for a chip was not seen to run on it.
"""

import itertools
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

os.environ["JAX_PLATFORMS"] = "cpu"  # the chips are not there
sys.path.insert(0, str(Path(__file__).parents[1]))

import jax
import tyro
from chips import CHIPS, find_devices
from measure import measure, roofline
from programs import NETWORK_JOBS, ONE_DEVICE_JOBS, Case, lower

from imgopt.errors import InputError
from train.recipes.train_options import Precision
from train.storage.strict_json import read_json, write_json

RESULTS = Path(__file__).parents[1] / "results" / "aot.json"

FULL_EFFORT = {("synthesize", "vgg16"), ("synthesize by gradient descent", "vgg16")}
"""Main jobs, compiled with full effort for one v5e, so that XLA's estimated cycles count."""

BATCH_SIZES = {
    "synthesize": 2048,
    "synthesize by gradient descent": 2048,
    "train": 128,
    "predict": 500,
    "conditional DCGAN": 128,
    "DCGAN a class": 100,
    "sample DCGAN": 256,
    "sample Stacked GAN": 256,
}
"""Images that a chip takes at a time; of the other jobs 128."""

NETWORKS = ("vgg16", "kono-cnn", "resnet9", "wrn-16-4")
GAN_JOBS = (
    "conditional DCGAN",
    "DCGAN a class",
    "Stacked GAN, images",
    "Stacked GAN, features",
    "Stacked GAN, joint",
    "Stacked GAN, encoder",
)

PRECISIONS: tuple[Precision, ...] = ("float32", "bfloat16")


@dataclass(frozen=True)
class AotConfig:
    """Compiles the commands' programs for chips that are not there."""

    chip: tuple[str, ...] = ("v5e", "h200", "v6e")
    """Chips to compile for; v5p is known too."""
    only: tuple[str, ...] = ()
    """Compile only programs whose name holds one of these texts, such as "train vgg16"."""
    effort: Literal["auto", "quick", "full"] = "auto"
    """Effort of a TPU's compiler; auto: full for the main jobs on one v5e."""
    out: Path = RESULTS
    """JSON file of the results."""


def all_cases(chips: tuple[str, ...]) -> list[Case]:
    """Every case: one chip before four, the first chip before the others."""
    cases = []
    for count, chip, precision in itertools.product((1, 4), chips, PRECISIONS):
        shape = {"precision": precision, "chip": chip, "chips": count}
        is_first = count == 1 and precision == "float32"
        for job in (*NETWORK_JOBS, *GAN_JOBS, *ONE_DEVICE_JOBS[1:]):
            if job in ONE_DEVICE_JOBS and not is_first:
                continue
            models = NETWORKS if job in NETWORK_JOBS else ("",)
            size = BATCH_SIZES.get(job, 128)
            cases += [Case(job, model, batch_size=size, **shape) for model in models]
    return cases


def is_quick(case: Case, effort: str) -> bool:
    """Whether the compiler takes its lowest effort."""
    is_main = (case.job, case.model) in FULL_EFFORT and (case.chip, case.chips) == ("v5e", 1)
    return effort == "quick" or (effort == "auto" and not is_main)


def main(config: AotConfig) -> None:
    """Compiles what is missing, and writes the file after each program."""
    results: dict[str, Any] = read_json(config.out) if config.out.is_file() else {}
    for name in config.chip:
        find_devices(name, 1)
    for case in all_cases(config.chip):
        if config.only and not any(words in case.name for words in config.only):
            continue
        quickly = is_quick(case, config.effort)
        known = results.get(case.name, {})
        if known.get("quickly") == quickly or (known and quickly):
            continue
        results[case.name] = compile_case(case, quickly=quickly)
        config.out.parent.mkdir(exist_ok=True)
        write_json(config.out, results)


def compile_case(case: Case, *, quickly: bool) -> dict[str, Any]:
    """Compiles the programs of a case, and gives their figures by name, or why one failed."""
    chip = CHIPS[case.chip]
    found: dict[str, Any] = {}
    began = time.monotonic()
    lowered = lower(case, find_devices(case.chip, case.chips))
    seconds = time.monotonic() - began
    for name, program in lowered.items():
        try:
            figures = measure(program, chip, quickly=quickly)
            figures |= roofline(figures, chip, precision=case.precision)
        except jax.errors.JaxRuntimeError as error:  # such as a program that needs too much memory
            figures = {"error": str(error).splitlines()[0][:300]}
        found[name] = figures
        print(f"{case.name}: {name}: {figures}", flush=True)
    return {
        **case._asdict(),
        "quickly": quickly,
        "commit": current_commit(),
        "jax": jax.__version__,
        "lowering_seconds": round(seconds, 1),
        "programs": found,
    }


def current_commit() -> str:
    """The commit of the code that is compiled; empty outside a git checkout."""
    command = ["git", "-C", Path(__file__).parent, "rev-parse", "--short", "HEAD"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    return done.stdout.strip()


if __name__ == "__main__":
    try:
        main(tyro.cli(AotConfig))
    except InputError as error:
        print(f"compile.py: error: {error}", file=sys.stderr)
        sys.exit(2)
