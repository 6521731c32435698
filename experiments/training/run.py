"""A training command's run, from its configuration to its result.

Classifiers and GANs share this order: check the memory, open the run's directory, stop if the run
is complete, train, write the report, and write the result last.
"""

import functools
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import jax

from experiments.console.compilation import counted_compilations, timing
from experiments.console.progress import say
from experiments.training.session import Training
from train.classifiers import check_precision
from train.loop import compile_steps
from train.recipes.train_options import Precision
from train.runtime.memory import (
    Estimate,
    Footprint,
    check_batch_fits,
    explaining_out_of_memory,
    footprint,
)
from train.runtime.processes import (
    devices_field,
    first_process_first,
    is_first_process,
    make_training_mesh,
)
from train.storage.runs import environment, open_run, write_result
from train.storage.strict_json import write_sealed

Trained = TypeVar("Trained")


@dataclass(frozen=True)
class TrainingRun:
    """A run to open or to resume.

    Attributes:
        out: The run's directory.
        identity: Everything that the result depends on, as JSON, see `identity_of`.
        spec_file: Name of the file that describes the network.
        spec: Content of that file.
        files: Names of the files and directories whose digests stand in the result.
        estimate: Compiles the training steps for a batch size and gives the memory that they need.
        batch_size: Examples in a step, of all devices.
    """

    out: Path
    identity: Mapping[str, Any]
    spec_file: str
    spec: Mapping[str, Any]
    files: Sequence[str]
    estimate: Estimate
    batch_size: int


def run_training(
    run: TrainingRun,
    *,
    train: Callable[[], Trained],
    summarise: Callable[[Trained], dict[str, object]],
    report: Callable[[Trained, dict[str, Any]], None],
) -> dict[str, Any] | None:
    """Opens a run's directory, trains, and writes the report and the result.

    A complete run is left unchanged. The memory is checked only for a new run, since that compiles.

    Args:
        run: The run.
        train: Trains to the end, in every process of the job.
        summarise: Makes the fields of `result.json`, except times, versions and device.
        report: Writes the report, from what was trained and the content of `result.json`. This and
            `summarise` are called in the first process only.

    Returns:
        The content of `result.json`; None in other processes than the first.

    Raises:
        InputError: The directory holds something else, or a batch does not fit into memory.
        LostProcessError: Another process of the job has ended.
    """
    began = time.monotonic()
    explaining = explaining_out_of_memory(run.estimate, run.batch_size)
    with counted_compilations() as compiled, explaining:
        result = _open(run)
        if result:
            print(f"{run.out} is complete; nothing to do")
            return result
        trained = train()
    if not is_first_process():
        return None
    times = timing(began, compiled)
    result = {**summarise(trained), "timing": times, **environment()}
    report(trained, result)
    write_result(run.out, result, of=run.files)
    print(f"run: {run.out}")
    return result


def _open(run: TrainingRun) -> dict[str, Any] | None:
    """Opens the run's directory and writes the spec; gives the result of a complete run."""
    check = functools.partial(check_batch_fits, run.estimate, run.batch_size)
    if jax.process_count() > 1:
        check()  # compiles, which all processes have to do together
    with first_process_first():
        result = open_run(run.out, run.identity, check=check)
    if not result and is_first_process():
        write_sealed(run.out / run.spec_file, run.spec)
    return result


def identity_of(options: Mapping[str, Any], *, devices: int) -> dict[str, object]:
    """Identity of a run: its options, and what else decides the bits of its result.

    Args:
        options: The command's options as JSON, with digests of the data instead of its place.
        devices: Number of devices of each process that share a batch.
    """
    return {
        **options,
        **devices_field(devices),
        "device_kind": jax.devices()[0].device_kind,
        "jax": jax.__version__,
    }


def check_device_options(devices: int, *, batch_size: int, precision: Precision) -> None:
    """Raises InputError for devices that cannot share a batch, or that lack the precision."""
    make_training_mesh(devices, batch_size=batch_size)
    check_precision(precision)


def steps_footprint(training: Training, batch_size: int) -> Footprint:
    """Compiles a training's steps and gives the memory that they need.

    The compiled program is kept: the training does not compile it again.

    Args:
        training: The training.
        batch_size: Examples in a step, in place of the training's own; rounded to a multiple of the
            devices.
    """
    say("compiling the training's steps")
    options = training.options
    sharers = options.devices * jax.process_count()
    budget = replace(training.budget, batch_size=max(batch_size // sharers, 1) * sharers)
    program = compile_steps(training.learner, training.data, budget, options)
    return footprint(
        program,
        batch_size=budget.batch_size,
        fixed=options.constants,
        beside=training.data,
        devices=options.devices,
        step=sharers,
    )
