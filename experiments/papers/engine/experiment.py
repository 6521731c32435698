"""Running one of the papers' experiments, or a share of it, and writing down what came out.

A directory of results is bound to one configuration. It is filled by as many calls as it takes:
each makes what it was asked for and what that needs, and writes down all that there is by then.
"""

import dataclasses
import fnmatch
import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import jax

from experiments.papers.engine.make import collect_pieces, is_done, make_pieces
from experiments.papers.engine.plan import Arm, Piece, Plan, needed, place
from imgopt.errors import InputError
from train.classifiers import Precision, check_precision
from train.data.load import data_digest, open_images
from train.storage.runs import (
    CONFIG_FILE,
    as_json,
    check_key,
    differences,
    environment,
    open_run,
    read_result,
    write_result,
)
from train.storage.strict_json import read_sealed

PresetName = Literal["paper", "reduced", "smoke"]

PIECES = "pieces"

FROM_THE_MACHINE = ("device_kind", "versions")
"""Of a configuration: what is not asked for but found, and must be alike in what is merged."""


@dataclass(frozen=True)
class ExperimentConfig:
    """One of the papers' experiments."""

    out: Path
    """The directory of the results; repeated, the command goes on where it stopped."""
    preset: PresetName = "paper"
    """paper: all of it, for a GPU or TPU; reduced: what two CPU cores do in some hours; smoke: on
    handwritten digits, in minutes, which measures nothing."""
    data_dir: Path | None = None
    """TFDS's data directory with cifar10; not for smoke."""
    pieces: Path | None = None
    """Where teachers, GANs, image sets and trainings go, and are found again by the digest of their
    configuration: OUT/pieces, unless experiments are to share them."""
    only: tuple[str, ...] = ()
    """The arms to run, each as ROW,SEED, either of which may be *; all by default."""
    shard: str | None = None
    """The share to run, such as 2/8: the second of eight machines'."""
    merge: tuple[Path, ...] = ()
    """Directories of results to put together instead of running anything."""
    precision: Precision = "float32"
    """Of all networks' computation; parameters and what is measured are float32."""
    dry_run: bool = False
    """Print the arms, their arithmetic and about how long they take, and run nothing."""
    key: int = 0
    """Seed of everything random; the trainings that are compared have the keys after it."""

    def __post_init__(self) -> None:
        """Raises InputError for what can be told from the options alone."""
        check_key(self.key)
        _ = self.share
        if self.merge and (self.only or self.shard or self.dry_run):
            raise InputError("--merge runs nothing, so it takes no --only, --shard or --dry-run")

    @property
    def share(self) -> tuple[int, int]:
        """Number of the share, from 0, and number of shares."""
        if self.shard is None:
            return 0, 1
        number, _, count = self.shard.partition("/")
        if not (number.isdecimal() and count.isdecimal() and 1 <= int(number) <= int(count)):
            raise InputError(f"shard must be such as 2/8, from 1/8 to 8/8, got {self.shard!r}")
        return int(number) - 1, int(count)

    @property
    def root(self) -> Path:
        """Where the pieces lie."""
        return self.pieces or self.out / PIECES


class Source(NamedTuple):
    """The data that an experiment begins with.

    Attributes:
        dataset: name of the data set.
        data_dir: TFDS's data directory; None for one that needs none.
        splits: those that are used.
    """

    dataset: str
    data_dir: Path | None
    splits: tuple[str, ...]


@dataclass(frozen=True)
class Experiment:
    """What tells one experiment from another.

    Attributes:
        name: on the command line.
        presets: its settings by the preset's name, each a frozen dataclass.
        source: the data of such settings, given the data directory.
        plan: the plan by settings, source and key.
        record: what an arm's piece came to, for `result.json`, from the piece's directory.
        draw: writes the pictures of image sets into the results' `figures/`, from those of the
            pieces, by name, that are there; at least one of an arm is.
        write_pages: writes table and report from the results' directory and the content of
            `result.json`.
    """

    name: str
    presets: Mapping[PresetName, Any]
    source: Callable[[Any, Path | None], Source]
    plan: Callable[[Any, Source, int], Plan]
    record: Callable[[Path], dict[str, Any]]
    draw: Callable[[Path, Mapping[str, Piece]], None]
    write_pages: Callable[[Path, dict[str, Any]], None]


def run_experiment(experiment: Experiment, config: ExperimentConfig) -> dict[str, Any]:
    """Runs an experiment, a share of it, or a merger.

    Args:
        experiment: which.
        config: how much of it, and where.

    Returns:
        The content of `result.json`; of a dry run, nothing.

    Raises:
        InputError: something does not fit, found before anything is compiled or written.
        FloatingPointError: a loss, an image or an output is not finite.
    """
    job = _check(experiment, config)
    if config.dry_run:
        from experiments.papers.engine.cost import print_costs

        print_costs(job.plan, job.pieces, job.chosen)
        return {}
    open_run(config.out, job.identity)
    if config.merge:
        _merge(config, job)
    write_down = functools.partial(_write_down, experiment, config, job)
    make_pieces(job.pieces, [arm.piece for arm in job.chosen], on_made=write_down)
    result = write_down()
    (config.out / "figures").mkdir(exist_ok=True)
    experiment.draw(config.out, {n: p for n, p in job.pieces.items() if is_done(p)})
    experiment.write_pages(config.out, result)
    print(config.out / "report.html")
    return result


class _Job(NamedTuple):
    """A checked call; nothing is compiled or written yet.

    Attributes:
        plan: of the experiment.
        pieces: all of the plan's, by name.
        chosen: the arms asked for.
        identity: of the results' directory.
    """

    plan: Plan
    pieces: dict[str, Piece]
    chosen: list[Arm]
    identity: dict[str, Any]


def _check(experiment: Experiment, config: ExperimentConfig) -> _Job:
    check_precision(config.precision)
    settings = settings_of(experiment, config)
    source = experiment.source(settings, config.data_dir)
    plan = experiment.plan(settings, source, config.key)
    chosen = choose_arms(plan, config)
    identity = identity_of(experiment, config, source)
    if config.merge:
        identity |= _machine_of(config.merge, identity)
    surroundings = {name: identity[name] for name in ("data", *FROM_THE_MACHINE)}
    return _Job(plan, place(plan, config.root, surroundings), chosen, identity)


def choose_arms(plan: Plan, config: ExperimentConfig) -> list[Arm]:
    """The arms that a call is asked for.

    Args:
        plan: of the experiment.
        config: with --only and --shard.

    Raises:
        InputError: there is no such row or seed.
    """
    arms = list(plan.arms)
    for words in config.only:
        row, comma, seed = words.partition(",")
        if not comma or not any(_matches(arm, row, seed) for arm in arms):
            rows = ", ".join(row.slug for row in plan.rows)
            seeds = ", ".join(str(seed) for seed in sorted({arm.seed for arm in arms}))
            raise InputError(
                f"only must be ROW,SEED, got {words!r}; expected a row among {rows}, and a seed "
                f"among {seeds}, or * for any"
            )
    if config.only:
        wanted = [words.partition(",")[::2] for words in config.only]
        arms = [arm for arm in arms if any(_matches(arm, *each) for each in wanted)]
    number, count = config.share
    if count > len(arms):
        raise InputError(f"shard must be one of at most {len(arms)}, got {config.shard}")
    return arms[number::count]


def _matches(arm: Arm, row: str, seed: str) -> bool:
    return fnmatch.fnmatchcase(arm.row, row) and fnmatch.fnmatchcase(str(arm.seed), seed)


def settings_of(experiment: Experiment, config: ExperimentConfig) -> Any:
    """A preset's settings, in the precision asked for.

    Args:
        experiment: which.
        config: with preset and precision.
    """
    return _in_precision(experiment.presets[config.preset], config.precision)


def _in_precision(settings: Any, precision: Precision) -> Any:
    """The same dataclass with another value wherever it, or one inside, has a field precision."""
    changed = {}
    for field in dataclasses.fields(settings):
        value = getattr(settings, field.name)
        if field.name == "precision":
            changed[field.name] = precision
        elif dataclasses.is_dataclass(value):
            changed[field.name] = _in_precision(value, precision)
    return dataclasses.replace(settings, **changed)


def identity_of(experiment: Experiment, config: ExperimentConfig, source: Source) -> dict[str, Any]:
    """What a result depends on, the data by digest rather than by place.

    Args:
        experiment: which.
        config: with preset, precision and key.
        source: the data.

    Raises:
        InputError: the data are missing or damaged.
    """
    digests = {
        split: data_digest(open_images(source.dataset, split, data_dir=source.data_dir))
        for split in source.splits
    }
    versions = environment()["versions"]
    return {
        "experiment": experiment.name,
        "preset": config.preset,
        **({} if config.precision == "float32" else {"precision": config.precision}),
        "settings": as_json(settings_of(experiment, config)),
        "data": {"name": source.dataset, "sha256": digests},
        "key": config.key,
        "device_kind": jax.devices()[0].device_kind,
        "versions": {name: versions[name] for name in ("elicit", "jax", "jaxlib", "flax", "optax")},
    }


def _write_down(experiment: Experiment, config: ExperimentConfig, job: _Job) -> dict[str, Any]:
    """Writes what all arms that are there came to, whoever asked for them; gives it as written."""
    done = [arm for arm in job.plan.arms if is_done(job.pieces[arm.piece])]
    arms = [{**arm._asdict(), **experiment.record(job.pieces[arm.piece].directory)} for arm in done]
    kind = job.identity["device_kind"]
    result = {
        **environment(),
        **job.identity,
        "device": ", ".join(dict.fromkeys(arm.get("device", kind) for arm in arms)),
        "rows": [row._asdict() for row in job.plan.rows],
        "arms": arms,
        "missing": _missing(job),
        "pieces": {
            piece.name: piece.digest for piece in needed(job.pieces, [arm.piece for arm in done])
        },
    }
    # Table and report are made from the result, by every repetition and by `elicit report`.
    write_result(config.out, result, of=(CONFIG_FILE,))
    return read_result(config.out)  # in the order that `elicit report` will have it


def _missing(job: _Job) -> list[str]:
    """Row and seed of every arm that is not there."""
    lacking = (arm for arm in job.plan.arms if not is_done(job.pieces[arm.piece]))
    return list(dict.fromkeys(f"{arm.row},{arm.seed}" for arm in lacking))


def _machine_of(places: tuple[Path, ...], identity: Mapping[str, Any]) -> dict[str, Any]:
    """Device and versions that directories to be merged have in common.

    Raises:
        InputError: one of them is not of this experiment, or they differ; the message says in what.
    """
    found: dict[Path, Any] = {}
    for directory in places:
        if not (directory / CONFIG_FILE).is_file():
            raise InputError(f"expected results of an experiment to merge, got {directory}")
        found[directory] = read_sealed(directory / CONFIG_FILE)
    first = next(iter(found.values()))
    common = {name: first.get(name) for name in FROM_THE_MACHINE}
    for directory, own in found.items():
        differing = differences(own, {**identity, **common})
        if differing:
            raise InputError(f"{directory} cannot be merged: {'; '.join(differing)}")
    return common


def _merge(config: ExperimentConfig, job: _Job) -> None:
    """Copies the pieces of other directories.

    Raises:
        InputError: an arm is in none of them; the message names it. What was found is kept.
    """
    wanted = needed(job.pieces, [arm.piece for arm in job.plan.arms])
    collect_pieces(wanted, [directory / PIECES for directory in config.merge])
    if missing := _missing(job):
        raise InputError(
            f"expected all {len(job.plan.arms)} arms in {', '.join(map(str, config.merge))}, got "
            f"none of {' '.join(missing)}; run them with --only, and merge again"
        )
