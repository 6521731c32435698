"""Runs an experiment, or a share of it, and writes its results.

A directory of results belongs to one configuration. It may be filled by several calls: each makes
the arms that it is asked for, with the pieces that they need, and writes the results of all arms
that are finished by then.
"""

import fnmatch
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from experiments.console.options import check_unused
from experiments.options.papers import PIECES, ExperimentConfig, PresetConfig
from experiments.papers.engine.experiment import (
    Experiment,
    ExperimentResult,
    PresetExperiment,
    Source,
    settings_of,
)
from experiments.papers.engine.make_pieces import collect_pieces, is_done, make_pieces
from experiments.papers.engine.plan import Arm, Piece, Plan, input_pieces, needed, place
from experiments.papers.engine.results import (
    MACHINE_FIELDS,
    common_machine,
    missing_arms,
    preset_identity,
    write_results,
)
from imgopt.errors import InputError
from train.classifiers import check_precision
from train.data import DIGITS
from train.data.load import HINT
from train.storage.runs import open_run


def run_preset(experiment: PresetExperiment, config: PresetConfig) -> ExperimentResult | None:
    """Runs a preset of an experiment, a share of it, or a merger.

    Args:
        experiment: the experiment.
        config: how much of it to run, and where.

    Returns:
        The results; None after a dry run.

    Raises:
        InputError: something does not fit; found before anything is compiled or written.
        FloatingPointError: a loss, an image or an output is not finite.
    """
    check_precision(config.precision)
    settings = settings_of(experiment, config)
    source = experiment.source(settings, config.data_dir)
    _check_data_dir(config, source)
    plan = experiment.plan(settings, source, config.key)
    return run_plan(experiment, config, plan, lambda: preset_identity(experiment, config, source))


def run_plan(
    experiment: Experiment,
    config: ExperimentConfig,
    plan: Plan,
    identify: Callable[[], dict[str, Any]],
    *,
    steps_before: int = 0,
) -> ExperimentResult | None:
    """Runs the plan of an experiment, a share of it, or a merger.

    Args:
        experiment: the experiment.
        config: how much of it to run, and where.
        plan: what to make and to measure.
        identify: returns everything that the results depend on; called once the options are
            checked, since it may read the data.
        steps_before: steps that the caller has made, for the progress.

    Returns:
        The results; None after a dry run.

    Raises:
        InputError: something does not fit; found before anything is compiled or written.
        FloatingPointError: a loss, an image or an output is not finite.
    """
    chosen = choose_arms(plan, config)
    identity = identify()
    if config.merge:
        identity |= common_machine(config.merge, identity)
    surroundings = {name: identity[name] for name in ("data", *MACHINE_FIELDS)}
    pieces = place(plan, config.root, surroundings)
    if config.dry_run:
        from experiments.papers.engine.cost import print_costs

        print_costs(plan, {**input_pieces(plan), **pieces}, chosen)
        return None
    open_run(config.out, identity)
    if config.merge:
        _merge(config, plan, pieces)

    def write() -> ExperimentResult:
        return write_results(experiment, config.out, plan, pieces, identity)

    wanted = [arm.piece for arm in chosen]
    make_pieces(pieces, wanted, on_made=write, steps_before=steps_before)
    result = write()
    (config.out / "figures").mkdir(exist_ok=True)
    experiment.draw(config.out, {name: piece for name, piece in pieces.items() if is_done(piece)})
    experiment.write_pages(config.out, result)
    print(config.out / "report.html")
    return result


def _check_data_dir(config: PresetConfig, source: Source) -> None:
    """Refuses a data directory that is not read, and its absence where one is needed."""
    if source.dataset == DIGITS:
        check_unused(config, "data_dir", why=f"with --preset {config.preset}")
    elif config.data_dir is None and not Path(source.dataset).is_dir():
        raise InputError(
            f"--preset {config.preset} reads {source.dataset} and needs --data-dir DIR, TFDS's "
            f"data directory; to make it: {HINT}"
        )


def choose_arms(plan: Plan, config: ExperimentConfig) -> list[Arm]:
    """The arms that a call asks for.

    Args:
        plan: the plan.
        config: options with --only and --shard.

    Raises:
        InputError: there is no such row or seed, or there are fewer arms than shares.
    """
    arms = list(plan.arms)
    for words in config.only:
        row, comma, seed = words.partition(",")
        if not comma or not any(_matches(arm, row, seed) for arm in arms):
            rows = ", ".join(row.slug for row in plan.rows)
            seeds = ", ".join(str(seed) for seed in sorted({arm.seed for arm in arms}))
            raise InputError(
                f"--only must be ROW,SEED, got {words!r}; expected a row among {rows}, and a seed "
                f"among {seeds}, or * for any"
            )
    if config.only:
        wanted = [words.partition(",")[::2] for words in config.only]
        arms = [arm for arm in arms if any(_matches(arm, *each) for each in wanted)]
    number, count = config.share
    if count > len(arms):
        raise InputError(
            f"--shard {config.shard} shares {len(arms)} measurements (a row with a seed) among "
            f"{count}; expected at most {len(arms)}"
        )
    return arms[number::count]


def _matches(arm: Arm, row: str, seed: str) -> bool:
    return fnmatch.fnmatchcase(arm.row, row) and fnmatch.fnmatchcase(str(arm.seed), seed)


def _merge(config: ExperimentConfig, plan: Plan, pieces: Mapping[str, Piece]) -> None:
    """Copies the pieces of other directories of results.

    Raises:
        InputError: an arm is in none of them; the message names it. The pieces found are kept.
    """
    wanted = needed(pieces, [arm.piece for arm in plan.arms])
    collect_pieces(wanted, [directory / PIECES for directory in config.merge])
    if missing := missing_arms(plan, pieces):
        raise InputError(
            f"expected all {len(plan.arms)} measurements in {', '.join(map(str, config.merge))}, "
            f"got none of {' '.join(missing)}; run them with --only, and merge again"
        )
