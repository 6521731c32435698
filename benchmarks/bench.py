"""Times our jobs beside PyTorch's: in one process, in turn, on the same inputs, in one precision.

Usage: python benchmarks/bench.py [--job NAME … | all] [--peer torch|none] [--out FILE]

For each job: milliseconds a step (median, minimum and maximum of the calls), images a second,
FLOP/s and their share of what a large matrix product reaches in the same run, by the quicker of the
two; what compiling took beyond a later call; the memory of each side, in a process of its own; and
the ratio ours / peer, pair by pair. Compare ratios: absolute times drift from day to day. But run
it on an idle machine (the load average is told): PyTorch's threads wait for each other by spinning,
and beside other work it was seen to take ten times as long. XLA counts the arithmetic (see
`train.flop`).

Without --job a few of the jobs are timed, in some minutes; all of them take far longer. The peer
needs `pip install torch==2.13.0`; without it, ours is timed alone.
"""

import json
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

# JAX would take most of a GPU's memory at once, and leave PyTorch too little.
os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")

import jax
import tyro
from comparison import as_text, describe, find_ceilings, load_peer, time_case
from job_table import JOBS
from jobs import Case
from result_table import as_markdown

from train.classifiers import Precision
from train.models.networks import NetworkName
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
"""Jobs and their models without --job, at the smallest batch."""

MIN_PAIRS = 7


@dataclass(frozen=True)
class BenchConfig:
    """Times our jobs, and the same in PyTorch beside them."""

    job: tuple[str, ...] = ()
    """Names of jobs, or "all"; none: a few that take some minutes."""
    model: tuple[NetworkName, ...] = ()
    """Classifiers, for jobs that have one, instead of each job's own."""
    batch_size: tuple[int, ...] = ()
    """Images a step, instead of each job's own; of each class for dcgan-per-class-step."""
    images: int | None = None
    """Images of a whole synthesis, of data-input and of set-writing, instead of their own."""
    data_dir: Path | None = None
    """TFDS's data directory with cifar10, for data-input."""
    precision: Precision = "float32"
    """Of the computation, on both sides; parameters are float32."""
    peer: Literal["torch", "none"] = "torch"
    """What to stand beside."""
    pairs: int = MIN_PAIRS
    """Calls of each side that count."""
    memory: bool = True
    """Measure the memory of each side, in a process of its own."""
    out: Path | None = None
    """JSON file for the results, written after each job; a table in Markdown lies beside it."""

    def __post_init__(self) -> None:
        """Raises ValueError for a number outside its range."""
        if self.pairs < MIN_PAIRS:
            raise ValueError(f"pairs must be at least {MIN_PAIRS}, got {self.pairs}")
        for name in ("batch_size", "images"):
            given = getattr(self, name)
            for number in given if isinstance(given, tuple) else (given,):
                if number is not None and number < 1:
                    raise ValueError(f"{name} must be at least 1, got {number}")

    @property
    def cases(self) -> list[Case]:
        """What is to be timed, in order.

        Raises:
            ValueError: there is no such job.
        """
        for name in self.job:
            if name not in (*JOBS, "all"):
                raise ValueError(f"unknown job {name!r}; expected all, or {', '.join(JOBS)}")
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
    """Runs the jobs, printing what each took; writes the file after each."""
    keep_memory()
    cases = config.cases
    peer = load_peer(config.peer)
    surroundings = describe(peer)
    ceilings = find_ceilings(peer, config.precision)
    print(json.dumps({**surroundings, "matrix_product_flops": ceilings}, indent=2))
    results = []
    for case in cases:
        result = time_case(
            case, peer, ceiling=max(ceilings.values()), pairs=config.pairs, memory=config.memory
        )
        print(f"\n{as_text(result)}", flush=True)
        results.append(result)
        if config.out:
            found = {**surroundings, "matrix_product_flops": ceilings, "results": results}
            write_json(config.out, as_json(found))
            atomic_write(config.out.with_suffix(".md"), as_markdown(found).encode())


if __name__ == "__main__":
    try:
        main(tyro.cli(BenchConfig))
    except ValueError as error:
        print(f"bench.py: error: {error}", file=sys.stderr)
        sys.exit(2)
