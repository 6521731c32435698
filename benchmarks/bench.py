"""Times Elicit's jobs beside the same jobs in PyTorch.

Usage: python benchmarks/bench.py [--job NAME … | all] [--peer torch|none] [--out FILE] …
(--help lists all options)

Both sides run in one process, in turn, on the same inputs and in the same precision. The result of
each job:

- milliseconds a step: median, minimum and maximum of the timed calls;
- images a second;
- FLOP/s, and their share of a large matrix product in the same run, by the faster side;
- compile time: first call minus a later one;
- peak memory of each side, measured in a process of its own;
- the ratio ours / peer, pair by pair.

Compare ratios, since absolute times drift from day to day. Run it on an idle machine; the load
average is reported. PyTorch's threads wait for each other by spinning, and beside other programs
PyTorch was seen to take ten times as long. XLA counts the FLOP (see
`train.flop`).

Without --job a few jobs are timed, in some minutes; `--job all` takes far longer. PyTorch needs
`pip install torch==2.13.0`; without it only Elicit is timed.
"""

import json
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

# By default JAX reserves most of a GPU's memory at once, which leaves PyTorch too little.
os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")

import jax
import tyro
from harness.comparison import describe_machine, load_peer, measure_ceilings, time_case
from harness.job_table import JOBS
from harness.jobs import Case
from harness.result_table import as_markdown, as_text

from imgopt.errors import InputError
from train.models import NetworkName
from train.recipes.train_options import Precision
from train.runtime.allocator import keep_memory
from train.storage.files import atomic_write
from train.storage.runs import as_json
from train.storage.strict_json import write_json

QUICK: dict[str, tuple[NetworkName | None, ...]] = {
    "synthesis-step": ("vgg16", "kono-cnn"),
    "training-step": ("kono-cnn",),
    "dcgan-step": (None,),
    "set-writing": (None,),
}
"""Jobs and models that are timed without --job, at the smallest batch size."""

MIN_PAIRS = 7


@dataclass(frozen=True)
class BenchConfig:
    """Times Elicit's jobs beside the same jobs in PyTorch."""

    job: tuple[str, ...] = ()
    """Names of jobs, or "all"; by default a few jobs that take some minutes."""
    model: tuple[NetworkName, ...] = ()
    """Classifiers for the jobs that have one; by default each job's own."""
    batch_size: tuple[int, ...] = ()
    """Images a step, for dcgan-per-class-step a step and class; by default each job's own."""
    images: int | None = None
    """Images of a call of synthesis, data-input and set-writing; by default each job's own."""
    data_dir: Path | None = None
    """TFDS's data directory with cifar10, which data-input reads."""
    precision: Precision = "float32"
    """Precision of the computation on both sides; parameters are float32."""
    peer: Literal["torch", "none"] = "torch"
    """Library to compare with."""
    pairs: int = MIN_PAIRS
    """Timed calls of each side."""
    memory: bool = True
    """Measure the memory of each side, each in a process of its own."""
    out: Path | None = None
    """JSON file for the results, written after each job, with a Markdown table beside it."""

    def __post_init__(self) -> None:
        """Raises InputError if a number is out of range."""
        if self.pairs < MIN_PAIRS:
            raise InputError(f"pairs must be at least {MIN_PAIRS}, got {self.pairs}")
        for name in ("batch_size", "images"):
            given = getattr(self, name)
            for number in given if isinstance(given, tuple) else (given,):
                if number is not None and number < 1:
                    raise InputError(f"{name} must be at least 1, got {number}")

    @property
    def cases(self) -> list[Case]:
        """The cases to time, in order.

        Raises:
            InputError: there is no job of that name.
        """
        for name in self.job:
            if name not in (*JOBS, "all"):
                raise InputError(f"unknown job {name!r}; expected all, or {', '.join(JOBS)}")
        names = JOBS if "all" in self.job else dict.fromkeys(self.job or QUICK)
        return [
            Case(name, model, size, self.precision, self.images, self.data_dir)
            for name in names
            for model in self._models(name)
            for size in self._batch_sizes(name)
        ]

    def _models(self, name: str) -> Sequence[NetworkName | None]:
        own = JOBS[name].models if self.job else QUICK[name]
        return own if own == (None,) else self.model or own

    def _batch_sizes(self, name: str) -> Sequence[int]:
        sizes = JOBS[name].batch_sizes
        if sizes is None:
            return (1,)
        own = sizes.get(jax.default_backend(), sizes["gpu"])
        return self.batch_size or (own if self.job else own[:1])


def main(config: BenchConfig) -> None:
    """Times all cases; prints each result and writes the file after each."""
    keep_memory()
    cases = config.cases
    peer = load_peer(config.peer)
    machine = describe_machine(peer)
    ceilings = measure_ceilings(peer, config.precision)
    machine["matrix_product_flops"] = ceilings
    print(json.dumps(machine, indent=2))
    results, ceiling = [], max(ceilings.values())
    for case in cases:
        result = time_case(
            case, peer, ceiling=ceiling, pairs=config.pairs, with_memory=config.memory
        )
        print(f"\n{as_text(result)}", flush=True)
        results.append(result)
        if config.out:
            record = {**machine, "results": results}
            write_json(config.out, as_json(record))
            atomic_write(config.out.with_suffix(".md"), as_markdown(record).encode())


if __name__ == "__main__":
    try:
        main(tyro.cli(BenchConfig))
    except InputError as error:
        print(f"bench.py: error: {error}", file=sys.stderr)
        sys.exit(2)
