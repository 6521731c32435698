"""The command `elicit experiment figures-a`: paper A's figures 1 and 3 to 5.

The paper shows a few images made with SGD, momentum SGD and momentum SGD with a low-pass filter
(figures 3 to 5) and describes what is seen: little noise, noise, rainbows. Here the same rules run
on the same test images with the same targets and the teacher of table-a, and numbers stand beside
the pictures: noise is measured as high-frequency energy, rainbows as a rise in saturation. Figure
1, the targets and the classifier's outputs, is drawn for each rule.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from experiments.options.papers import FiguresAConfig, PresetName
from experiments.options.synthesis import PAPER_RULE, RuleConfig, SynthesizeConfig
from experiments.pages.html import Fact, Section, Table
from experiments.pages.saved_strips import read_strips, save_strips
from experiments.pages.strips import changed_strips, elicited_strips
from experiments.pages.verdict import Verdict
from experiments.papers.engine.experiment import ExperimentResult, PresetExperiment, Source
from experiments.papers.engine.plan import Arm, At, Build, Piece, Plan, Row
from experiments.papers.engine.result_pages import (
    FIGURES,
    ResultPages,
    write_pages,
)
from experiments.papers.engine.run import run_preset
from experiments.papers.table_a import PRESETS as TABLE_A_PRESETS
from experiments.papers.teacher import TeacherSettings, teacher_config, teacher_source
from experiments.synthesis.summary import Pair, distributions, pairs_in_parts
from train.data.image_data import ImageData, take_images
from train.data.load import open_images
from train.recipes.train_options import Precision
from train.storage.strict_json import read_sealed


class _Rule(NamedTuple):
    """One of the paper's update rules.

    Attributes:
        name: name in tables and pictures.
        config: options of the rule, with the paper's numbers.
    """

    name: str
    config: RuleConfig


RULES = {
    "sgd": _Rule("SGD", PAPER_RULE),
    "momentum": _Rule("momentum", replace(PAPER_RULE, rule="momentum")),
    "momentum-as-printed": _Rule(
        "momentum, as printed", replace(PAPER_RULE, rule="momentum", rule_options=("form=printed",))
    ),
    "momentum-low-pass-10": _Rule(
        "momentum, low-pass 10",
        replace(PAPER_RULE, rule="momentum", filter="low-pass", radius=10.0),
    ),
}
"""Rules of figures 3, 4 (eqs. 7 and 8 read in two ways) and 5; each is a row and a piece."""

COLUMNS = {
    "kl_mean": ("mean KL, nats ↓", "{:.4f}"),
    "kl_p95": ("95th pct. KL ↓", "{:.4f}"),
    "max_error_mean": ("mean max error ↓", "{:.4f}"),
    "ranking_as_asked": ("ranking as asked", "{:.1%}"),
    "mean_change_levels": ("mean change, grey levels", "{:.2f}"),
    "high_frequency_energy": ("high-frequency energy, levels²", "{:.1f}"),
    "saturation": ("saturation", "{:.4f}"),
    "saturation_shift": ("saturation shift", "{:+.4f}"),
}
"""Heading and format of each measurement in the table."""

SHOWN_IMAGES = 8

RULES_STRIPS, OUTPUTS_STRIPS = "rules", "outputs"
"""Names of the strips of figures 3 to 5, and of figure 1."""


@dataclass(frozen=True)
class FiguresASettings(TeacherSettings):
    """Settings of a preset of figures-a; the defaults are the paper's."""

    images: int = 1000
    """How many of the first test images each rule starts from."""
    steps: int = 100
    """Updates of every image."""
    batch_size: int = 1000
    """Images in one batch of the synthesis."""
    precision: Precision = "float32"
    """Precision of the classifier's computation in the synthesis."""


def _settings(preset: PresetName, **own: Any) -> FiguresASettings:
    """Settings with the teacher of table-a, which is trained once if both share their pieces."""
    names = [field.name for field in fields(TeacherSettings)]
    teacher = {name: getattr(TABLE_A_PRESETS[preset], name) for name in names}
    return FiguresASettings(**teacher, **own)


PRESETS: dict[PresetName, FiguresASettings] = {
    "paper": _settings("paper"),
    "reduced": _settings("reduced", batch_size=125),
    "smoke": _settings("smoke", images=16, steps=3, batch_size=16),
}


def figures_a(config: FiguresAConfig) -> ExperimentResult | None:
    """Runs the command; see `run_preset` for results and errors."""
    return run_preset(FIGURES_A, config)


def make_plan(settings: FiguresASettings, source: Source, key: int) -> Plan:
    """Makes the plan: a teacher, and for each rule a set of images, which is an arm.

    Args:
        settings: settings of the preset.
        source: the data.
        key: key of the teacher and of the targets, which are the same for all rules.
    """

    def images(rule: RuleConfig) -> Build:
        def build(at: At, out: Path) -> SynthesizeConfig:
            return SynthesizeConfig(
                classifier=str(at("teacher")),
                data=source.dataset,
                data_dir=source.data_dir,
                split=settings.test_split,
                stop=settings.images,
                out=out,
                rule=replace(rule, steps=settings.steps),
                batch_size=settings.batch_size,
                precision=settings.precision,
                key=key,
            )

        return build

    builds: dict[str, Build] = {
        "teacher": lambda _, out: teacher_config(settings, source, key, out),
        **{slug: images(rule.config) for slug, rule in RULES.items()},
    }
    rows = tuple(Row(slug, rule.name) for slug, rule in RULES.items())
    return Plan(rows, tuple(Arm(slug, key, "", slug) for slug in RULES), builds)


def _record(directory: Path) -> dict[str, object]:
    """Measurements of a set, and its rise in saturation."""
    measures = read_sealed(directory / "summary.json")
    shift = measures["saturation"] - measures["saturation_of_originals"]
    return {**measures, "saturation_shift": shift}


def _draw(out: Path, pieces: Mapping[str, Piece]) -> None:
    """Saves strips of the rules side by side (figures 3 to 5), and of figure 1 for each rule."""
    found = {slug: next(_pairs(config)) for slug, config in _sets(pieces).items()}
    if not found:
        return
    common = list(set.intersection(*(set(originals.ids) for _, originals in found.values())))
    shown = {slug: [_first_of(data, pair, common) for data in pair] for slug, pair in found.items()}
    outputs = [
        elicited_strips(
            originals.images,
            made.images,
            *distributions(made),
            originals.labels,
            originals.class_names,
            caption=f"{RULES[slug].name}.",
        )
        for slug, (made, originals) in shown.items()
    ]
    _, originals = next(iter(shown.values()))
    rules = changed_strips(
        originals.images,
        {RULES[slug].name: made.images for slug, (made, _) in shown.items()},
        originals.labels,
        originals.class_names,
        caption="The first of all images.",
    )
    save_strips(out / FIGURES, RULES_STRIPS, [rules])
    save_strips(out / FIGURES, OUTPUTS_STRIPS, outputs)


def _first_of(data: ImageData, pair: Pair, common: list[str]) -> ImageData:
    """The first images of one side of a pair whose originals all rules have."""
    return take_images(data, np.flatnonzero(np.isin(pair[1].ids, common))[:SHOWN_IMAGES])


def _sets(pieces: Mapping[str, Piece]) -> dict[str, SynthesizeConfig]:
    """Configurations of the finished sets by the slugs of their rules, in the paper's order."""
    found = {slug: pieces[slug].config for slug in RULES if slug in pieces}
    return {s: config for s, config in found.items() if isinstance(config, SynthesizeConfig)}


def _pairs(config: SynthesizeConfig) -> Iterator[Pair]:
    """Images of a set, and the images that they were made from."""
    originals = open_images(config.data, config.split, data_dir=config.data_dir)
    rows = range(config.start, len(originals) if config.stop is None else config.stop)
    return pairs_in_parts(open_images(config.out), originals, rows)


def _write_pages(out: Path, result: ExperimentResult) -> None:
    settings, records = result.settings, result.by_row
    pages = ResultPages(
        markdown_file="figures.md",
        title="Update rules side by side",
        verdict=_verdict(settings, records),
        facts=[
            Fact(
                f"KL, {RULES[slug].name} ↓",
                f"{record['kl_mean']:.3f} nats",
                f"n = {record['images']:,} images, {settings['steps']} updates",
            )
            for slug, record in records.items()
        ],
        sections=[_rules_section(out, records), _outputs_section(out)],
    )
    write_pages(out, result, pages)


def _verdict(settings: Mapping[str, Any], records: Mapping[str, Mapping[str, Any]]) -> Verdict:
    best = min(records, key=lambda slug: records[slug]["kl_mean"])
    record = records[best]
    return Verdict(
        f"{record['images']:,} images were made from the same test images and targets, 0.9 for the "
        f"own class and 0.1 for another class, with each of {len(records)} update rules of Hirano, "
        f"Iwamura and Kise (figures 1 and 3 to 5): {settings['steps']} updates, learning rate "
        "0.05, weight decay 5e-4, momentum 0.9.",
        f"The outputs are nearest to their targets with {RULES[best].name}: "
        f"{record['kl_mean']:.3f} nats on average, and {record['ranking_as_asked']:.1%} of the "
        "images rank all classes as asked. The rules ran on one classifier (n = 1): "
        f"{settings['model']} at {settings['width']:g} of its width after "
        f"{settings['train']['epochs']} epochs.",
        "Whether such images help a classifier is not measured here; elicit experiment table-a "
        "does that.",
    )


def _rules_section(out: Path, records: Mapping[str, Mapping[str, Any]]) -> Section:
    return Section(
        title="The rules (figures 3 to 5)",
        text="The first images of the test split, and what each rule makes of them.\n\n"
        "The numbers are means over all images, measured after rounding to 8 bits. High-frequency "
        "energy, which noise raises, is the mean square of the frequencies of 10 or more cycles "
        "per image. Saturation, which rainbows raise, is the mean of max − min over the channels; "
        "its shift is the difference from that of the originals.",
        strips=read_strips(out / FIGURES, RULES_STRIPS),
        tables=(_table(records),),
    )


def _outputs_section(out: Path) -> Section:
    return Section(
        title="Targets and outputs (figure 1)",
        text="The same images, with the target and the classifier's output for the image as saved "
        "in 8 bits.",
        strips=read_strips(out / FIGURES, OUTPUTS_STRIPS),
    )


def _table(records: Mapping[str, Mapping[str, Any]]) -> Table:
    """One row for each rule, below a row of the originals with the values that they have."""
    first = next(iter(records.values()))
    originals = [
        form.format(first[f"{field}_of_originals"]) if f"{field}_of_originals" in first else ""
        for field, (_, form) in COLUMNS.items()
    ]
    cells = [["originals", *originals]]
    for slug, record in records.items():
        values = [form.format(record[field]) for field, (_, form) in COLUMNS.items()]
        cells.append([RULES[slug].name, *values])
    return Table(["rule", *(heading for heading, _ in COLUMNS.values())], cells)


FIGURES_A = PresetExperiment(
    name="figures-a",
    about="paper A's figures 1 and 3 to 5: its update rules side by side, with numbers",
    presets=PRESETS,
    source=teacher_source,
    plan=make_plan,
    record=_record,
    draw=_draw,
    write_pages=_write_pages,
)
