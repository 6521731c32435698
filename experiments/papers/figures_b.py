"""The command `elicit experiment figures-b`: paper B's figure 3.

Class by class and side by side: geometric augmentation, and the true and false positives of a DCGAN
and a Stacked GAN. The sets are those of table-b, so the two commands make them once where they
share the place of their pieces.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from experiments.gan.select_report import SELECTION_FILE
from experiments.pages.charts import class_shares
from experiments.pages.class_sheet import class_sheet
from experiments.pages.html import Picture, Section, Table
from experiments.papers.engine.experiment import (
    Experiment,
    ExperimentConfig,
    Source,
    run_experiment,
)
from experiments.papers.engine.pages import row_arms, save_sheet, saved_sheet, write_pages
from experiments.papers.engine.plan import Arm, Piece, Plan, Row
from experiments.papers.table_b import GANS, GEOMETRIC, PRESETS, TABLE_B, TableBSettings
from train.data.load import load_images, open_images
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
"""Names of the sets of figure 3, by those of table-b's pieces; a row and an arm each."""

SHOWN_IMAGES = 3
"""Of a class and set."""


class _Tried(NamedTuple):
    """Images of a GAN that were tried for a class, and how many of them are true positives."""

    images: int
    agreed: int

    @property
    def share(self) -> float:
        """Of true positives, in [0, 1]."""
        return self.agreed / self.images


@dataclass(frozen=True)
class FiguresBConfig(ExperimentConfig):
    """Paper B's figure 3: a GAN's images, sorted, beside geometric augmentation."""


def figures_b(config: FiguresBConfig) -> dict[str, Any]:
    """Runs the command; see `run_experiment` for what it gives and raises."""
    return run_experiment(FIGURES_B, config)


def make_plan(settings: TableBSettings, source: Source, key: int) -> Plan:
    """The pieces of table-b, of which the figure's sets are the arms.

    Args:
        settings: table-b's.
        source: the data.
        key: of all that is drawn.
    """
    builds = TABLE_B.plan(settings, source, key).builds
    rows = tuple(Row(slug, name) for slug, name in SETS.items())
    return Plan(rows, tuple(Arm(slug, key, "", slug) for slug in SETS), builds)


def _record(directory: Path) -> dict[str, Any]:
    """What a set holds, class by class, and of a GAN's what the selector said of it."""
    reader = open_images(directory)
    counts = np.bincount(reader.labels, minlength=len(reader.class_names))
    record: dict[str, Any] = {
        "images": len(reader),
        "class_names": list(reader.class_names),
        "images_by_class": dict(zip(reader.class_names, counts.tolist(), strict=True)),
    }
    is_judged = "classifier" in (read_manifest(directory) or {})
    return {**read_sealed(directory / SELECTION_FILE), **record} if is_judged else record


def _draw(out: Path, pieces: Mapping[str, Piece]) -> None:
    """Draws the sets that are there side by side."""
    sets, class_names = {}, ()
    for slug, name in SETS.items():
        if slug in pieces:
            data = load_images(pieces[slug].directory)
            class_names = data.class_names
            sets[name] = [
                data.images[data.labels == label][:SHOWN_IMAGES]
                for label in range(len(class_names))
            ]
    save_sheet(out, "classes", class_sheet(sets, class_names, columns=SHOWN_IMAGES))


def _write_pages(out: Path, result: dict[str, Any]) -> None:
    arms = row_arms(result)
    class_names = next(iter(arms.values()))["class_names"]
    tried = _tried_by_gan(arms)
    write_pages(
        out,
        result,
        file="figures.md",
        title="Images put beside the real ones",
        lead=f"From {result['settings']['per_class']} real images a class: cuts of them, enlarged, "
        "and what a DCGAN and a Stacked GAN make that were trained on them, sorted by a classifier "
        "that was trained on them too (Kono and Kawamoto, figure 3).",
        facts={
            f"of the {name}'s images are TP": f"{_mean_share(classes):.1%}"
            for name, classes in tried.items()
        },
        sections=[_classes_section(out, arms, tried), *_shares_sections(class_names, tried)],
    )


def _tried_by_gan(arms: Mapping[str, dict[str, Any]]) -> dict[str, dict[str, _Tried]]:
    """By a GAN's name and by class, what was tried.

    Both sets of a GAN begin with the same images, and the one that goes on for longer says it all.
    """
    tried: dict[str, dict[str, _Tried]] = {}
    for gan, gan_name in GANS.items():
        for slug in {f"{gan}-tp", f"{gan}-fp"} & arms.keys():
            own = tried.setdefault(gan_name, {})
            for name, judged in arms[slug]["classes"].items():
                here = _Tried(judged["tried"], judged["predicted_as_intended"])
                own[name] = max(here, own.get(name, here))
    return tried


def _mean_share(classes: Mapping[str, _Tried]) -> float:
    """Mean of the classes' shares, since those of which few are accepted are tried the longer."""
    return float(np.mean([tried.share for tried in classes.values()]))


def _classes_section(
    out: Path, arms: Mapping[str, dict[str, Any]], tried: Mapping[str, Mapping[str, _Tried]]
) -> Section:
    return Section(
        title="Class by class (figure 3)",
        text="The first images of each set. TP are images of a GAN that the classifier takes for "
        "the class intended, which is the row's, and FP those that it takes for another.\n\n"
        "Tried are the images of a GAN that the classifier saw until its sets were complete, or "
        "tries ran out. In the last row: their sum, and the mean of the classes' shares.",
        pictures=(saved_sheet(out, "classes", "A row a class, a few images of each set"),),
        tables=(_class_table(arms, tried),),
    )


def _class_table(
    arms: Mapping[str, dict[str, Any]], tried: Mapping[str, Mapping[str, _Tried]]
) -> Table:
    header = ["class", *(f"{SETS[slug]}, images" for slug in arms)]
    for name in tried:
        header += [f"{name}, tried", "of them TP"]
    rows = []
    for name in next(iter(arms.values()))["class_names"]:
        row = [name, *(f"{arm['images_by_class'][name]:,}" for arm in arms.values())]
        for classes in tried.values():
            row += [f"{classes[name].images:,}", f"{classes[name].share:.1%}"]
        rows.append(row)
    last = ["all", *(f"{arm['images']:,}" for arm in arms.values())]
    for classes in tried.values():
        images = sum(one.images for one in classes.values())
        last += [f"{images:,}", f"{_mean_share(classes):.1%}"]
    return Table(header, [*rows, last])


def _shares_sections(
    class_names: Sequence[str], tried: Mapping[str, Mapping[str, _Tried]]
) -> Iterator[Section]:
    """Bars of the shares, if a GAN's set is there."""
    if not tried:
        return
    shares = {
        gan: np.array([classes[name].share for name in class_names])
        for gan, classes in tried.items()
    }
    drawn = class_shares(shares, class_names, x_label="share of the images tried")
    yield Section(
        title="How many of a GAN's images are true positives",
        pictures=(Picture(drawn, "True positives, class by class", name="shares"),),
    )


FIGURES_B = Experiment(
    name="figures-b",
    presets=PRESETS,
    source=TABLE_B.source,
    plan=make_plan,
    record=_record,
    draw=_draw,
    write_pages=_write_pages,
)
