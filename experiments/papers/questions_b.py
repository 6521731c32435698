"""The command `elicit experiment questions-b`: what paper B leaves open (sections 4 and 5).

- samples: how many true positives of a GAN help, and where more of them change nothing.
- ratio: how to mix a GAN's images with geometric augmentation.
- images: the comparison with fewer real images.
- levels: Stacked GANs of two, three and four levels.

Pieces are the same as in table-b, with the same settings. All trainings that are compared take the
same number of steps.
"""

from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import NamedTuple

from experiments.options.data import SubsetConfig
from experiments.options.papers import PresetName, Question, QuestionsBConfig
from experiments.papers.engine.accuracy_table import TableWords, write_table_pages
from experiments.papers.engine.experiment import ExperimentResult, PresetExperiment, Source
from experiments.papers.engine.plan import Arm, Build, Plan, Row
from experiments.papers.engine.results import training_record
from experiments.papers.engine.run import run_preset
from experiments.papers.table_b import (
    GEOMETRIC,
    TableBSettings,
    gan_build,
    sampling_build,
    set_builds,
    table_b_source,
    training_build,
)
from experiments.papers.table_b import PRESETS as PRESETS_B
from gans.options.training import CutPoint

TITLES: dict[Question, str] = {
    "samples": "How many images of a GAN help?",
    "ratio": "How to mix a GAN's images with geometric augmentation?",
    "images": "Do a GAN's images help with fewer real ones?",
    "levels": "Do more levels of a Stacked GAN help?",
}

MULTIPLES = (0.25, 0.5, 1, 2, 4)
"""Added true positives of each class, for each real image."""

SHARES = (0, 25, 50, 75, 100)
"""Percentage of the GAN's images among the added ones."""

CUT_POINTS: dict[int, tuple[CutPoint, ...]] = {
    2: ("pool2",),
    3: ("pool1", "pool2"),
    4: ("pool1", "pool2", "fc3"),
}
"""Layers of the encoder between the levels, by the number of levels; two as in the paper."""

REAL = "real"


@dataclass(frozen=True)
class QuestionsSettings(TableBSettings):
    """Settings of a preset: the settings of table-b, and the question."""

    question: Question = "samples"
    parts: tuple[float, ...] = (0.1, 0.2, 0.4, 1)
    """For images: shares of the real images; 50 to 500 of paper B's 500 a class."""


PRESETS: dict[PresetName, QuestionsSettings] = {
    name: QuestionsSettings(
        **{each.name: getattr(settings, each.name) for each in fields(settings)}
    )
    for name, settings in PRESETS_B.items()
}


def questions_b(config: QuestionsBConfig) -> ExperimentResult | None:
    """Runs the command; see `run_preset` for results and errors."""
    presets = {
        name: replace(settings, question=config.question) for name, settings in PRESETS.items()
    }
    return run_preset(replace(QUESTIONS_B, presets=presets), config)


class _Part(NamedTuple):
    """A row with what its training needs.

    Attributes:
        row: the row.
        sets: pieces that are added to the real images.
        table: heading of the table that it stands in.
        real: name of the piece with the real images.
        settings: settings of its training.
    """

    row: Row
    sets: tuple[str, ...]
    table: str
    real: str
    settings: TableBSettings


def make_plan(settings: QuestionsSettings, source: Source, key: int) -> Plan:
    """Makes the plan of a question.

    Args:
        settings: settings of the preset, with the question.
        source: the data.
        key: key of GANs and image sets; the arms have the keys after it.
    """
    makers = {"samples": _samples, "ratio": _ratio, "images": _images, "levels": _levels}
    builds = set_builds(settings, source, key)
    parts = list(makers[settings.question](settings, source, key, builds))
    arms = []
    for seed in range(key + 1, key + 1 + settings.seeds):
        for part in parts:
            name = f"{part.row.slug}-{settings.question}-seed-{seed}"
            train = replace(part.settings.train, steps=part.settings.steps)
            builds[name] = training_build(
                part.settings, source, train, part.sets, seed, real=part.real
            )
            arms.append(Arm(part.row.slug, seed, part.table, name))
    return Plan(tuple(part.row for part in parts), tuple(arms), builds)


def _part(
    settings: TableBSettings,
    slug: str,
    name: str,
    sets: tuple[str, ...] = (),
    *,
    table: str = "The same steps for every row",
    real: str = REAL,
) -> _Part:
    return _Part(Row(slug, name), sets, table, real, settings)


def _samples(
    settings: QuestionsSettings, source: Source, key: int, builds: dict[str, Build]
) -> Iterator[_Part]:
    del source
    yield _part(settings, REAL, "real")
    for multiple in MULTIPLES:
        count = max(round(multiple * settings.per_class), 1)
        name = f"dcgan-tp-{count}"
        builds[name] = sampling_build(settings, "dcgan", key, "tp", per_class=count)
        yield _part(settings, name, f"real + {count} TP of each class", (name,))


def _ratio(
    settings: QuestionsSettings, source: Source, key: int, builds: dict[str, Build]
) -> Iterator[_Part]:
    del source
    yield _part(settings, REAL, "real")
    for share in SHARES:
        of_gan = round(share / 100 * settings.per_class)
        added = {
            f"dcgan-tp-{of_gan}": sampling_build(settings, "dcgan", key, "tp", per_class=of_gan),
            f"{GEOMETRIC}-{settings.per_class - of_gan}": _geometric(settings, of_gan, key),
        }
        names = tuple(name for name in added if not name.endswith("-0"))
        builds |= {name: added[name] for name in names}
        yield _part(settings, f"share-{share}", f"real + {share}% GAN, rest geometric", names)


def _geometric(settings: QuestionsSettings, of_gan: int, key: int) -> Build:
    """Takes images of the geometric set, per class as many as the GAN's images leave free."""
    return lambda at, out: SubsetConfig(
        str(at(GEOMETRIC)), out, split=("train",), per_class=settings.per_class - of_gan,
        test_per_class=0, key=key,
    )  # fmt: skip


def _images(
    settings: QuestionsSettings, source: Source, key: int, builds: dict[str, Build]
) -> Iterator[_Part]:
    for part in settings.parts:
        few = replace(settings, per_class=max(round(part * settings.per_class), 1))
        table = f"With {few.per_class} real images of each class"
        names = {}
        for name, build in set_builds(few, source, key).items():
            names[name] = name if few.per_class == settings.per_class else f"{name}-{few.per_class}"
            builds[names[name]] = _renamed(build, names)
        for slug, words, sets in (
            (REAL, "real", ()),
            (GEOMETRIC, "real + geometric", (GEOMETRIC,)),
            ("dcgan-tp", "real + TP", ("dcgan-tp",)),
        ):
            yield _part(
                few,
                f"{slug}-{few.per_class}",
                words,
                tuple(names[each] for each in sets),
                table=table,
                real=names[REAL],
            )


def _renamed(build: Build, names: dict[str, str]) -> Build:
    """A piece's maker that finds other pieces by their new names."""
    return lambda at, out: build(lambda name: at(names.get(name, name)), out)


def _levels(
    settings: QuestionsSettings, source: Source, key: int, builds: dict[str, Build]
) -> Iterator[_Part]:
    del source
    yield _part(settings, REAL, "real")
    for levels, cut_points in CUT_POINTS.items():
        gan, name = f"sgan-of-{levels}", f"sgan-of-{levels}-tp"
        options = replace(settings.sgan, cut_points=cut_points)
        builds[gan] = gan_build(options, key)
        builds[name] = sampling_build(settings, gan, key, "tp")
        yield _part(settings, name, f"real + TP of {levels} levels", (name,))


def _write_pages(out: Path, result: ExperimentResult) -> None:
    settings = result.settings
    question: Question = settings["question"]
    real = [row.slug for row in result.rows if row.slug.startswith(REAL)]
    write_table_pages(
        out,
        result,
        TableWords(
            title=TITLES[question],
            lead="Classifiers were trained on a few real images with a GAN's images added, which "
            "are true positives by a classifier trained on the same real images. Kono and Kawamoto "
            "leave this question open (sections 4 and 5).",
            explanation=f"{settings['model']} at {settings['width']:g} of its width; the steps of "
            f"{settings['train']['epochs']} epochs on twice the real images.",
            row_heading="trained on",
            baselines=dict.fromkeys(real, "real alone"),
        ),
    )


QUESTIONS_B = PresetExperiment(
    name="questions-b",
    about="what paper B leaves open: how many samples, how mixed, fewer images, more levels",
    presets=PRESETS,
    source=table_b_source,
    plan=make_plan,
    record=training_record,
    write_pages=_write_pages,
)
