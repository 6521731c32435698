"""What defines an experiment, and the options of its command."""

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from experiments.options.papers import PresetConfig, PresetName
from experiments.papers.engine.plan import Piece, Plan, Row
from train.recipes.train_options import Precision


class ArmResult(NamedTuple):
    """A measurement and its results.

    Attributes:
        row: slug of the row.
        seed: key of everything random in it.
        budget: what is equal in all trainings that are compared; see `Arm`.
        piece: name of the piece that was measured.
        record: further fields of `result.json`, as the experiment's `record` read them.
    """

    row: str
    seed: int
    budget: str
    piece: str
    record: Mapping[str, Any]


@dataclass(frozen=True)
class ExperimentResult:
    """Results of an experiment.

    Attributes:
        rows: rows of the table or figure, from top to bottom.
        arms: finished measurements.
        missing: row and seed of every measurement that is not finished.
        settings: settings of the experiment, as JSON.
        content: content of `result.json`, with these and all other fields.
    """

    rows: tuple[Row, ...]
    arms: tuple[ArmResult, ...]
    missing: tuple[str, ...]
    settings: Mapping[str, Any]
    content: dict[str, Any]

    @property
    def by_row(self) -> dict[str, Mapping[str, Any]]:
        """Records of a figure, which has one measurement for each row, by the rows' slugs."""
        return {arm.row: arm.record for arm in self.arms}


class Source(NamedTuple):
    """The data of an experiment.

    Attributes:
        dataset: name of the data set.
        data_dir: TFDS's data directory; None for a data set that needs none.
        splits: the splits that are used.
    """

    dataset: str
    data_dir: Path | None
    splits: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """What is special to one experiment.

    Attributes:
        name: name on the command line.
        about: what it measures, in one line.
        record: reads an arm's fields of `result.json` from the directory of its piece.
        write_pages: writes table and report, given the results' directory and the results.
        describe: reads further fields of `result.json` from the directories of the finished pieces
            that the arms need, by name.
        draw: draws strips of images into the results' `figures/`, given the results' directory and
            the finished pieces by name; at least one arm is finished.
    """

    name: str
    about: str
    record: Callable[[Path], dict[str, object]]
    write_pages: Callable[[Path, ExperimentResult], None]
    describe: Callable[[Mapping[str, Path]], dict[str, object]] = lambda _: {}
    draw: Callable[[Path, Mapping[str, Piece]], None] = lambda *_: None


@dataclass(frozen=True, kw_only=True)
class PresetExperiment(Experiment):
    """An experiment whose settings are presets.

    Attributes:
        presets: settings by the presets' names, each a frozen dataclass.
        source: returns the data of such settings, given the data directory.
        plan: makes the plan of settings, data and key.
    """

    presets: Mapping[PresetName, Any]
    source: Callable[[Any, Path | None], Source]
    plan: Callable[[Any, Source, int], Plan]


def settings_of(experiment: PresetExperiment, config: PresetConfig) -> Any:
    """The settings of a preset, in the precision asked for.

    Args:
        experiment: the experiment.
        config: options with preset and precision.
    """
    return _in_precision(experiment.presets[config.preset], config.precision)


def _in_precision(settings: Any, precision: Precision) -> Any:
    """The same settings with this precision in every field of that name, at any depth."""
    changed = {}
    for field in dataclasses.fields(settings):
        value = getattr(settings, field.name)
        if field.name == "precision":
            changed[field.name] = precision
        elif dataclasses.is_dataclass(value):
            changed[field.name] = _in_precision(value, precision)
    return dataclasses.replace(settings, **changed)
