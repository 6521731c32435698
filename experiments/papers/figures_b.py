"""The command `elicit experiment figures-b`: paper B's figure 3.

For each class, beside each other: geometric augmentation, and the true and false positives of a
DCGAN and a Stacked GAN. The sets are the same as in table-b, so they are made once if both
experiments share the directory of their pieces.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from experiments.gan.select_report import SELECTION_FILE
from experiments.options.papers import FiguresBConfig
from experiments.pages.charts import class_shares
from experiments.pages.confusions import taken_for
from experiments.pages.html import Fact, Picture, Section, Table
from experiments.pages.saved_strips import read_strips
from experiments.pages.verdict import Verdict
from experiments.papers.engine.experiment import (
    ExperimentResult,
    PresetExperiment,
    Source,
)
from experiments.papers.engine.plan import Arm, Piece, Plan, Row
from experiments.papers.engine.result_pages import (
    FIGURES,
    ResultPages,
    draw_sets,
    write_pages,
)
from experiments.papers.engine.run import run_preset
from experiments.papers.table_b import GANS, GEOMETRIC, PRESETS, TABLE_B, TableBSettings
from train.data.load import open_images
from train.data.verify import read_manifest
from train.storage.strict_json import read_sealed

SETS = {
    GEOMETRIC: "geometric",
    **{
        f"{gan}-{kind}": f"{name} {kind.upper()}"
        for gan, name in GANS.items()
        for kind in ("tp", "fp")
    },
}
"""Sets of figure 3: names by the pieces of table-b; each is a row and an arm."""

STRIPS = "classes"
"""Name of the strips of images."""


class _Tried(NamedTuple):
    """How many images of a GAN were tried for a class, and how many are true positives."""

    images: int
    agreed: int

    @property
    def share(self) -> float:
        """Share of true positives, in [0, 1]."""
        return self.agreed / self.images


def figures_b(config: FiguresBConfig) -> ExperimentResult | None:
    """Runs the command; see `run_preset` for results and errors."""
    return run_preset(FIGURES_B, config)


def make_plan(settings: TableBSettings, source: Source, key: int) -> Plan:
    """Makes the plan: the pieces of table-b, with the sets of the figure as arms.

    Args:
        settings: settings of the preset of table-b.
        source: the data.
        key: key of GANs and image sets.
    """
    builds = TABLE_B.plan(settings, source, key).builds
    rows = tuple(Row(slug, name) for slug, name in SETS.items())
    return Plan(rows, tuple(Arm(slug, key, "", slug) for slug in SETS), builds)


def _record(directory: Path) -> dict[str, object]:
    """Number of images of each class; for a GAN's set also how the classifier sorted them."""
    reader = open_images(directory)
    counts = np.bincount(reader.labels, minlength=len(reader.class_names))
    record: dict[str, object] = {
        "images": len(reader),
        "class_names": list(reader.class_names),
        "images_by_class": dict(zip(reader.class_names, counts.tolist(), strict=True)),
    }
    is_sorted = "classifier" in (read_manifest(directory) or {})
    return {**read_sealed(directory / SELECTION_FILE), **record} if is_sorted else record


def _draw(out: Path, pieces: Mapping[str, Piece]) -> None:
    """Saves strips of the finished sets, class by class."""
    sets = {name: pieces[slug].directory for slug, name in SETS.items() if slug in pieces}
    if sets:
        draw_sets(out, STRIPS, sets)


def _write_pages(out: Path, result: ExperimentResult) -> None:
    records = result.by_row
    class_names = next(iter(records.values()))["class_names"]
    tried = _tried_by_gan(records)
    pages = ResultPages(
        markdown_file="figures.md",
        title="Images added to the real ones",
        verdict=_verdict(result, tried),
        facts=[
            Fact(
                f"true positives of the {name}",
                f"{_mean_share(classes):.1%}",
                f"mean of {len(classes)} classes, n = {_images(classes):,} images tried",
            )
            for name, classes in tried.items()
        ],
        sections=[
            _classes_section(out, records, tried),
            *_shares_sections(class_names, tried),
            *_mistakes_sections(records),
        ],
    )
    write_pages(out, result, pages)


def _tried_by_gan(records: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, _Tried]]:
    """Images tried, by the GAN's name and by class.

    Both sets of a GAN try the same images in the same order, so the one that tried more counts.
    """
    tried: dict[str, dict[str, _Tried]] = {}
    for gan, gan_name in GANS.items():
        for slug in {f"{gan}-tp", f"{gan}-fp"} & records.keys():
            own = tried.setdefault(gan_name, {})
            for name, counts in records[slug]["classes"].items():
                here = _Tried(counts["tried"], counts["predicted_as_intended"])
                own[name] = max(here, own.get(name, here))
    return tried


def _mean_share(classes: Mapping[str, _Tried]) -> float:
    """Mean of the classes' shares: the total would favour classes that needed more tries."""
    return float(np.mean([tried.share for tried in classes.values()]))


def _images(classes: Mapping[str, _Tried]) -> int:
    return sum(one.images for one in classes.values())


def _verdict(result: ExperimentResult, tried: Mapping[str, Mapping[str, _Tried]]) -> Verdict:
    shares = "; ".join(
        f"of the {name}'s, {_mean_share(classes):.1%} (n = {_images(classes):,} tried)"
        for name, classes in tried.items()
    )
    return Verdict(
        f"Images were made from {result.settings['per_class']} real images a class: enlarged "
        "squares of them, and images of GANs trained on them, sorted by a classifier trained on "
        "them too (Kono and Kawamoto, figure 3).",
        f"Predicted as the class intended were, in the mean of the classes, {shares}. Each GAN is "
        "one training (n = 1)."
        if tried
        else "No set of a GAN is finished.",
        "Whether they help a classifier is not measured here; elicit experiment table-b does that.",
    )


def _mistakes_sections(records: Mapping[str, Mapping[str, Any]]) -> Iterator[Section]:
    """Section on what the images of the GANs were taken for, if there are any."""
    tables = [
        replace(table, caption=f"{SETS[slug]}: {table.caption.lower()}")
        for slug, record in records.items()
        if "confusion" in record and slug.endswith("-fp")
        for table in [
            taken_for(
                np.array(record["confusion"]), record["class_names"], row_label="class intended"
            )
        ]
    ]
    if tables:
        yield Section("What false positives were taken for", tables=tables)


def _classes_section(
    out: Path, records: Mapping[str, Mapping[str, Any]], tried: Mapping[str, Mapping[str, _Tried]]
) -> Section:
    return Section(
        title="Class by class (figure 3)",
        text="The first images of each set. TP are images of a GAN whose predicted class is the "
        "intended one, under which they stand; FP are the others.\n\n"
        "Tried are the images of a GAN that were sorted until its sets were complete or the limit "
        "was reached. In the last row: their sum, and the mean of the classes' shares.",
        strips=read_strips(out / FIGURES, STRIPS),
        tables=(_class_table(records, tried),),
    )


def _class_table(
    records: Mapping[str, Mapping[str, Any]], tried: Mapping[str, Mapping[str, _Tried]]
) -> Table:
    header = ["class", *(f"{SETS[slug]}, images" for slug in records)]
    for name in tried:
        header += [f"{name}, tried", "of them TP"]
    rows = []
    for name in next(iter(records.values()))["class_names"]:
        row = [name, *(f"{record['images_by_class'][name]:,}" for record in records.values())]
        for classes in tried.values():
            row += [f"{classes[name].images:,}", f"{classes[name].share:.1%}"]
        rows.append(row)
    last = ["all", *(f"{record['images']:,}" for record in records.values())]
    for classes in tried.values():
        last += [f"{_images(classes):,}", f"{_mean_share(classes):.1%}"]
    return Table(header, [*rows, last])


def _shares_sections(
    class_names: Sequence[str], tried: Mapping[str, Mapping[str, _Tried]]
) -> Iterator[Section]:
    """Section with bars of the shares, if there is a set of a GAN."""
    if not tried:
        return
    shares = {
        gan: np.array([classes[name].share for name in class_names])
        for gan, classes in tried.items()
    }
    drawn = class_shares(shares, class_names, x_label="share of the images tried")
    yield Section(
        title="Share of true positives",
        pictures=(Picture(drawn, "True positives, class by class", name="shares"),),
    )


FIGURES_B = PresetExperiment(
    name="figures-b",
    about="paper B's figure 3: a GAN's images, sorted, beside geometric augmentation",
    presets=PRESETS,
    source=TABLE_B.source,
    plan=make_plan,
    record=_record,
    draw=_draw,
    write_pages=_write_pages,
)
