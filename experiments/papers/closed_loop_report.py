"""What a closed loop came to: as a table in Markdown and on the screen, and as a page."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from experiments.gan.select_report import GRID_FILE, KIND_NAMES
from experiments.pages.charts import class_shares, comparison
from experiments.pages.html import Picture, Section, Table, provenance, write_report
from experiments.pages.markdown import as_code, as_words
from experiments.pages.statistics import PairedDifference, difference_words, mean_words

BASELINES = ("real", "real + geometric")
"""Arms that the others are compared with: what one has without a GAN."""

UNSORTED = "random"
"""Directory of the set that is judged and not sorted."""

EXPLANATION = (
    "Accuracy on {test_images:,} test images after {steps:,} optimiser steps, which is what every "
    "training takes, mean ± standard deviation over n trainings. Differences are in percentage "
    "points, in pairs of trainings from the same seed: mean ± standard deviation, and the mean's "
    "95% interval. TP are images of the GAN that the selector takes for the class intended, FP "
    "those that it takes for another; random ones are not sorted. Geometric are cuts of the real "
    "images, enlarged."
)

CAUTION = (
    "The interval is that of one difference: of twenty such, one misses the truth by chance. The "
    "seeds vary the trainings and not the data, the GAN or its images, so nothing is said of "
    "others."
)


def write_loop_report(out: Path, result: Mapping[str, Any]) -> None:
    """Writes `report.html` beside a closed loop's sets and trainings.

    Args:
        out: the directory of the results, with the generated sets.
        result: the content of `result.json`.
    """
    write_report(
        out / "report.html",
        title="Do a GAN's images help?",
        lead=f"Classifiers were trained on {result['arms'][0]['images']:,} real images, alone and "
        "with other sets beside them: the images of a GAN, sorted by a classifier or not, and "
        "geometric augmentation.",
        facts=loop_facts(result),
        sections=loop_sections(out, result),
        footer={**provenance(dict(result)), "GAN": result["gan_sha256"]},
    )


def loop_facts(result: Mapping[str, Any]) -> dict[str, str]:
    """A report's key figures: what one has without a GAN, and how good the GAN is."""
    accuracies = {arm["name"]: f"{100 * arm['mean']:.1f}%" for arm in result["arms"]}
    return {
        **{name: accuracies[name] for name in BASELINES},
        "of the GAN's images are TP": f"{_acceptance(result):.1%}",
    }


def loop_sections(out: Path, result: Mapping[str, Any]) -> list[Section]:
    """A report's sections.

    Args:
        out: the directory of the results, with the generated sets.
        result: the content of `result.json`.
    """
    return [
        _comparison_section(result),
        _images_section(out, result),
        _acceptance_section(result),
    ]


def _acceptance(result: Mapping[str, Any]) -> float:
    """Share of the unsorted images that the selector takes for the class intended."""
    matrix = np.array(result["selection"][UNSORTED]["confusion"])
    return float(np.trace(matrix) / matrix.sum())


def _comparison_section(result: Mapping[str, Any]) -> Section:
    percent = {arm["name"]: [100 * value for value in arm["accuracies"]] for arm in result["arms"]}
    drawn = comparison(percent, y_label="test accuracy, %")
    return Section(
        title="Every training",
        text=f"{_explanation(result)}\n\n{CAUTION}",
        pictures=(Picture(drawn, "Every training, and means", name="comparison"),),
        tables=(Table(*_table(result)),),
    )


def _explanation(result: Mapping[str, Any]) -> str:
    return EXPLANATION.format(test_images=result["test_images"], steps=result["steps"])


def _images_section(out: Path, result: Mapping[str, Any]) -> Section:
    sorted_by = "a callable or a run that was given"
    if result["selector"]:
        accuracy = result["selector"]["test_accuracy"]
        sorted_by = f"a classifier trained on the real images, right on {accuracy:.1%} of the test"
    return Section(
        title="The GAN's images",
        text=f"Sorted by {sorted_by}. A row a class, the first images of each.",
        pictures=tuple(
            Picture((out / kind / GRID_FILE).read_bytes(), words.capitalize(), name=kind)
            for kind, words in KIND_NAMES.items()
        ),
    )


def _acceptance_section(result: Mapping[str, Any]) -> Section:
    """How often the selector agrees, and how many images it took to find those of each kind."""
    names = result["selection"][UNSORTED]["class_names"]
    unsorted = result["selection"][UNSORTED]["classes"]
    shares = np.array([unsorted[name]["acceptance_rate"]["tp"] for name in names])
    drawn = class_shares({"true positives": shares}, names, x_label="share of the unsorted images")
    header = ["class", "unsorted images", "of them TP"]
    rows = [
        [name, f"{unsorted[name]['tried']:,}", f"{unsorted[name]['predicted_as_intended']:,}"]
        for name in names
    ]
    for kind in KIND_NAMES:
        header += [f"{kind.upper()} kept", "of tried"]
        for name, row in zip(names, rows, strict=True):
            of_class = result["selection"][kind]["classes"].get(name)
            row += (
                [f"{of_class['kept'][kind]:,}", f"{of_class['tried']:,}"]
                if of_class
                else ["0", "–"]
            )
    return Section(
        title="What the selector takes them for",
        text="Shares of the unsorted images, of which each class has as many.",
        pictures=(Picture(drawn, "True positives, class by class", name="acceptance"),),
        tables=(Table(header, rows),),
    )


def _table(result: Mapping[str, Any]) -> tuple[list[str], list[list[str]]]:
    """Header and rows, an arm each."""
    header = ["trained on", "images", "n", "accuracy, %"]
    header += [f"difference to {baseline}" for baseline in BASELINES]
    rows = []
    for arm in result["arms"]:
        accuracy = mean_words([100 * value for value in arm["accuracies"]])
        found = [arm["differences"].get(baseline) for baseline in BASELINES]
        pairs = (PairedDifference(**each) if each else None for each in found)
        differences = [difference_words(pair, factor=100) for pair in pairs]
        count = len(arm["accuracies"])
        rows.append([arm["name"], f"{arm['images']:,}", str(count), accuracy, *differences])
    return header, rows


def markdown_table(result: Mapping[str, Any]) -> str:
    """The table in Markdown, with what it says and what it was made with.

    Args:
        result: the content of `result.json`.
    """
    header, rows = _table(result)
    versions = ", ".join(f"{name} {version}" for name, version in result["versions"].items())
    lines = [
        _explanation(result),
        "",
        Table(header, rows).markdown,
        "",
        as_words(f"{result['device']}; {versions}"),
        "",
        as_code(result["command"]),
    ]
    return "\n".join(lines) + "\n"


def print_table(result: Mapping[str, Any]) -> None:
    """Prints the table, its columns aligned.

    Args:
        result: the content of `result.json`.
    """
    header, rows = _table(result)
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    for row in (header, *rows):
        print(
            "  ".join(f"{cell:{width}}" for cell, width in zip(row, widths, strict=True)).rstrip()
        )
