"""The pages of a closed loop: the table, the GAN's images, and how they were sorted."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from experiments.gan.select_report import KIND_NAMES, SELECTION_FILE
from experiments.pages.charts import class_shares
from experiments.pages.confusions import taken_for
from experiments.pages.html import Fact, Picture, Section, Table
from experiments.pages.saved_strips import read_strips
from experiments.pages.verdict import Verdict
from experiments.papers.engine.accuracy_table import (
    TableWords,
    reading_section,
    table_facts,
    table_sections,
    table_verdict,
    write_table_pages,
)
from experiments.papers.engine.experiment import ExperimentResult
from experiments.papers.engine.plan import Piece
from experiments.papers.engine.result_pages import FIGURES, draw_sets
from experiments.papers.engine.results import training_record
from train.storage.strict_json import read_sealed

SELECTOR = "selector"
"""Name of the classifier that sorts, as piece or input of the plan."""

UNSORTED = "random"
"""Name of the set of the GAN's images that are not sorted."""

STRIPS = "sets"
"""Name of the strips of images."""

SHOWN_SETS = {"geometric": "geometric", UNSORTED: "random", "tp": "TP", "fp": "FP"}
"""Sets whose images are shown: names by their pieces."""

SORTED_SETS = (UNSORTED, *KIND_NAMES)
"""Names of the sets of the GAN's images."""


def describe_sets(directories: Mapping[str, Path]) -> dict[str, object]:
    """Fields of the result: how the GAN's images were sorted, and by which trained classifier.

    Args:
        directories: directories of the finished pieces, by name.
    """
    trained = SELECTOR in directories
    return {
        "selection": {
            name: read_sealed(directories[name] / SELECTION_FILE)
            for name in SORTED_SETS
            if name in directories
        },
        "selector": training_record(directories[SELECTOR]) if trained else None,
    }


def draw_strips(out: Path, pieces: Mapping[str, Piece]) -> None:
    """Saves strips of the first images of every class and set.

    Args:
        out: directory of the results.
        pieces: the finished pieces, by name.
    """
    sets = {name: pieces[slug].directory for slug, name in SHOWN_SETS.items() if slug in pieces}
    if sets:
        draw_sets(out, STRIPS, sets)


def write_loop_pages(out: Path, result: ExperimentResult) -> None:
    """Writes `table.md` and `report.html`.

    Args:
        out: directory of the results.
        result: the results.
    """
    write_table_pages(
        out,
        result,
        _words(result),
        facts=_acceptance_facts(result),
        sections=_set_sections(out, result),
    )


def loop_facts(result: ExperimentResult) -> list[Fact]:
    """Key figures: accuracies without and with the GAN's images, and the share of true positives.

    Args:
        result: the results.
    """
    return [*table_facts(result, _words(result)), *_acceptance_facts(result)]


def loop_verdict(result: ExperimentResult) -> Verdict:
    """What the trainings show about the GAN's images.

    Args:
        result: the results.
    """
    return table_verdict(result, _words(result))


def loop_sections(out: Path, result: ExperimentResult) -> list[Section]:
    """Sections with the table, the images, how they were sorted, and how to read it.

    Args:
        out: directory of the results, with their figures.
        result: the results.
    """
    words = _words(result)
    return [
        *table_sections(result, words),
        *_set_sections(out, result),
        reading_section(words),
    ]


def _words(result: ExperimentResult) -> TableWords:
    settings = result.settings
    return TableWords(
        title="Do a GAN's images help?",
        lead="Classifiers were trained on a few real images, alone and with other sets added: "
        "images of a GAN, sorted by a classifier or not, and geometric augmentation.",
        explanation=f"{settings['model']} at {settings['width']:g} of its width, "
        f"{settings['train']['steps']:,} optimiser steps in every training. TP are images of the "
        "GAN whose predicted class is the intended one, FP are the others, and random ones are "
        "not sorted. Geometric are enlarged squares of the real images.",
        row_heading="trained on",
        baselines={"real": "real", "geometric": "real + geometric"},
    )


def _acceptance_facts(result: ExperimentResult) -> list[Fact]:
    """Share of the unsorted images that are true positives, if that set is there."""
    selection = result.content["selection"]
    if UNSORTED not in selection:
        return []
    matrix = np.array(selection[UNSORTED]["confusion"])
    share = f"{np.trace(matrix) / matrix.sum():.1%}"
    return [Fact("true positives of the GAN", share, f"n = {matrix.sum():,} images, not sorted")]


def _set_sections(out: Path, result: ExperimentResult) -> list[Section]:
    """The sections of the sets that are there."""
    sections, selection = [], result.content["selection"]
    if selection:
        sections.append(_images_section(out, result))
    if UNSORTED in selection:
        sections += [_acceptance_section(selection), _mistakes_section(selection[UNSORTED])]
    return sections


def _images_section(out: Path, result: ExperimentResult) -> Section:
    sorted_by = "a classifier that was given"
    if selector := result.content["selector"]:
        accuracy = selector["test_accuracy"]
        sorted_by = (
            f"a classifier trained on the real images, with a test accuracy of {accuracy:.1%}"
        )
    return Section(
        title="The GAN's images",
        text=f"Sorted by {sorted_by}. TP are images whose predicted class is the one intended, "
        "under which they stand; FP are the others.",
        strips=read_strips(out / FIGURES, STRIPS),
    )


def _acceptance_section(selection: Mapping[str, Any]) -> Section:
    """Shares of true positives, and how many images were tried to find the images of each kind."""
    names, unsorted = selection[UNSORTED]["class_names"], selection[UNSORTED]["classes"]
    shares = np.array([unsorted[name]["acceptance_rate"]["tp"] for name in names])
    chart = class_shares({"true positives": shares}, names, x_label="share of the unsorted images")
    header = ["class", "unsorted images", "of them TP"]
    rows = [
        [name, f"{unsorted[name]['tried']:,}", f"{unsorted[name]['predicted_as_intended']:,}"]
        for name in names
    ]
    for kind in KIND_NAMES:
        if kind not in selection:
            continue
        header += [f"{kind.upper()} kept", "of tried"]
        for name, row in zip(names, rows, strict=True):
            row += _kept_cells(selection[kind]["classes"].get(name), kind)
    return Section(
        title="How many of the GAN's images are true positives",
        text="Shares of the unsorted images, of which every class has the same number.",
        pictures=(Picture(chart, "True positives by class", name="acceptance"),),
        tables=(Table(header, rows),),
    )


def _mistakes_section(unsorted: Mapping[str, Any]) -> Section:
    """What the false positives among the unsorted images were taken for."""
    table = taken_for(
        np.array(unsorted["confusion"]), unsorted["class_names"], row_label="class intended"
    )
    return Section("What false positives were taken for", tables=(table,))


def _kept_cells(of_class: Mapping[str, Any] | None, kind: str) -> list[str]:
    """Images kept and tried of one class and kind; None for a class that was left out."""
    if of_class is None:
        return ["0", "–"]
    return [f"{of_class['kept'][kind]:,}", f"{of_class['tried']:,}"]
