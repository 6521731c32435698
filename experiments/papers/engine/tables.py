"""An experiment's table: means, spreads and differences, beside what the paper has."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from experiments.pages.charts import comparison
from experiments.pages.html import Picture, Section, Table
from experiments.pages.statistics import (
    PairedDifference,
    difference_words,
    mean_and_deviation,
    mean_words,
    paired_difference,
)
from experiments.papers.engine.pages import write_pages

TABLE_FILE = "table.md"

BUDGETS = {"epochs": "The same epochs for every row", "steps": "The same steps for every row"}
"""Headings by budget."""

CAUTION = (
    "Accuracies are mean ± standard deviation over n trainings from different seeds. Differences "
    "are in percentage points, in pairs of trainings from the same seed: mean ± standard "
    "deviation, and the mean's 95% interval by Student's t. An interval is that of one difference: "
    "of twenty such, one misses the truth by chance. The seeds vary the trainings, and not the "
    "data or the images that are put beside or in place of them, so nothing is said of others."
)


class Baseline(NamedTuple):
    """A row that the others are compared with.

    Attributes:
        slug: the row's.
        name: what the others' differences to it are called by.
    """

    slug: str
    name: str


class TableWords(NamedTuple):
    """What a table says of itself.

    Attributes:
        title: of the page.
        lead: a sentence or two below it.
        explanation: what was trained, and what the paper's column is.
        row_heading: of the first column.
        baselines: rows that the others are compared with.
    """

    title: str
    lead: str
    explanation: str
    row_heading: str
    baselines: tuple[Baseline, ...]


class RowResult(NamedTuple):
    """A row's measurements under one budget.

    Attributes:
        slug: of the row.
        name: of the row.
        paper: accuracy in percent, where the paper gives it.
        accuracies: in percent, by seed.
        images: in the training set of the first seed.
    """

    slug: str
    name: str
    paper: float | None
    accuracies: dict[int, float]
    images: int

    @property
    def values(self) -> list[float]:
        """The accuracies."""
        return list(self.accuracies.values())

    def difference_to(self, baseline: "RowResult") -> PairedDifference | None:
        """In points, over the seeds that both have; None for itself, or fewer than two of them."""
        seeds = [seed for seed in self.accuracies if seed in baseline.accuracies]
        if self.slug == baseline.slug or len(seeds) < 2:
            return None
        return paired_difference(
            [self.accuracies[seed] for seed in seeds], [baseline.accuracies[seed] for seed in seeds]
        )


def row_results(result: Mapping[str, Any]) -> dict[str, list[RowResult]]:
    """A table's rows by budget, of those that have been measured.

    Args:
        result: the content of `result.json`.
    """
    tables: dict[str, list[RowResult]] = {}
    for budget in dict.fromkeys(arm["budget"] for arm in result["arms"]):
        of_budget = [arm for arm in result["arms"] if arm["budget"] == budget]
        rows = (
            (row, [arm for arm in of_budget if arm["row"] == row["slug"]]) for row in result["rows"]
        )
        tables[budget] = [_row_result(row, own) for row, own in rows if own]
    return tables


def _row_result(row: Mapping[str, Any], arms: Sequence[Mapping[str, Any]]) -> RowResult:
    accuracies = {arm["seed"]: _percent(arm["test_accuracy"]) for arm in arms}
    return RowResult(row["slug"], row["name"], row["paper"], accuracies, arms[0]["train_images"])


def _percent(accuracy: Any) -> float:
    """An accuracy in percent, if it is one: results may be anyone's, and text can be multiplied."""
    if not isinstance(accuracy, int | float):
        raise TypeError(f"expected a number as test_accuracy, got {accuracy!r:.60}")
    return 100 * accuracy


def write_table_pages(out: Path, result: dict[str, Any], words: TableWords) -> None:
    """Writes `table.md` and `report.html`.

    Args:
        out: the results' directory.
        result: the content of `result.json`.
        words: what the table says of itself.
    """
    tables = row_results(result)
    write_pages(
        out,
        result,
        file=TABLE_FILE,
        title=words.title,
        lead=f"{words.lead} {words.explanation}",
        facts=_facts(tables, words),
        sections=[
            *(_section(budget, rows, words, result) for budget, rows in tables.items()),
            Section("How to read it", CAUTION),
        ],
        details=[_arms_section(result)],
    )


def _table(rows: Sequence[RowResult], words: TableWords) -> Table:
    found = {row.slug: row for row in rows}
    baselines = [baseline for baseline in words.baselines if baseline.slug in found]
    header = [words.row_heading, "images", "n", "accuracy, %", "paper, %"]
    header += [f"difference to {baseline.name}" for baseline in baselines]
    cells = []
    for row in rows:
        paper = "–" if row.paper is None else f"{row.paper:g}"
        measured = [f"{row.images:,}", str(len(row.values)), mean_words(row.values), paper]
        differences = [row.difference_to(found[baseline.slug]) for baseline in baselines]
        cells.append([row.name, *measured, *map(difference_words, differences)])
    return Table(header, cells)


def _facts(tables: Mapping[str, Sequence[RowResult]], words: TableWords) -> dict[str, str]:
    """The baseline's accuracy, and the best row's, by the last budget."""
    if not tables:
        return {}
    rows = list(tables.values())[-1]
    best = max(rows, key=lambda row: mean_and_deviation(row.values)[0])
    shown = [row for row in rows if row is best or row.slug == words.baselines[0].slug]
    return {f"{row.name}, n = {len(row.values)}": f"{mean_words(row.values)} %" for row in shown}


def _section(
    budget: str, rows: Sequence[RowResult], words: TableWords, result: Mapping[str, Any]
) -> Section:
    drawn = comparison({row.name: row.values for row in rows}, y_label="test accuracy, %")
    images = result["arms"][0]["test_images"]
    return Section(
        title=BUDGETS[budget],
        text=f"Accuracy on {images:,} test images after the last epoch.",
        pictures=(Picture(drawn, "Every training, and means", name=budget),),
        tables=(_table(rows, words),),
    )


def _arms_section(result: Mapping[str, Any]) -> Section:
    names = {row["slug"]: row["name"] for row in result["rows"]}
    header = ("row", "budget", "seed", "accuracy, %", "steps", "seconds", "memory, MiB")
    cells = [
        [
            names[arm["row"]],
            arm["budget"],
            str(arm["seed"]),
            f"{_percent(arm['test_accuracy']):.2f}",
            f"{arm['step']:,}",
            f"{arm['timing']['seconds_of_last_session']:.0f}",
            f"{arm['timing']['peak_memory_mib']:,.0f}",
        ]
        for arm in result["arms"]
    ]
    return Section(
        title="Every training",
        text="Seconds are those of the last session, where a training was interrupted; memory is "
        "the device's peak where it tells, else that of the whole process by then.",
        tables=(Table(header, cells),),
    )
