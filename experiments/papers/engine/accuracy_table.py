"""The table of an experiment that measures accuracies: means, deviations and differences."""

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
from experiments.papers.engine.experiment import ArmResult, ExperimentResult
from experiments.papers.engine.plan import Row
from experiments.papers.engine.result_pages import ResultPages, write_pages

TABLE_FILE = "table.md"

BUDGETS = {"epochs": "The same epochs for every row", "steps": "The same steps for every row"}
"""Headings by budget; any other budget is its own heading."""

CAUTION = (
    "Accuracies are mean ± standard deviation over n trainings with different seeds. Differences "
    "are in percentage points, between trainings with the same seed: mean ± standard deviation, "
    "and the 95% interval of the mean by Student's t. Each interval is that of one difference: of "
    "twenty such intervals, one misses the true difference by chance. The seeds change the "
    "trainings, and not the data or the images that are added or replaced, so the intervals say "
    "nothing about other data or images."
)


class TableWords(NamedTuple):
    """Words and baselines of a table.

    Attributes:
        title: title of the page.
        lead: one or two sentences below the title.
        explanation: what was trained, and what the column "paper" holds.
        row_heading: heading of the first column.
        baselines: rows that the others are compared with: names in the heading by slug.
    """

    title: str
    lead: str
    explanation: str
    row_heading: str
    baselines: Mapping[str, str]


class RowResult(NamedTuple):
    """Measurements of one row with one budget.

    Attributes:
        slug: slug of the row.
        name: name of the row.
        paper: accuracy in percent in the paper; None where the paper gives none.
        accuracies: accuracies in percent, by seed.
        images: training images of the first seed.
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
        """Difference in points over the common seeds; None if there are fewer than two of them.

        It is None too where the baseline is the row itself.
        """
        seeds = [seed for seed in self.accuracies if seed in baseline.accuracies]
        if self.slug == baseline.slug or len(seeds) < 2:
            return None
        return paired_difference(
            [self.accuracies[seed] for seed in seeds], [baseline.accuracies[seed] for seed in seeds]
        )


def row_results(result: ExperimentResult) -> dict[str, list[RowResult]]:
    """The measured rows of a table, by budget.

    Args:
        result: the results.
    """
    tables: dict[str, list[RowResult]] = {}
    for budget in dict.fromkeys(arm.budget for arm in result.arms):
        arms = [arm for arm in result.arms if arm.budget == budget]
        rows = ((row, [arm for arm in arms if arm.row == row.slug]) for row in result.rows)
        tables[budget] = [_row_result(row, own) for row, own in rows if own]
    return tables


def _row_result(row: Row, arms: Sequence[ArmResult]) -> RowResult:
    accuracies = {arm.seed: _percent(arm.record["test_accuracy"]) for arm in arms}
    images = arms[0].record["train_images"]
    return RowResult(row.slug, row.name, row.paper, accuracies, images)


def _percent(accuracy: Any) -> float:
    """An accuracy in percent; TypeError if it is no number, since results may be anyone's files."""
    if not isinstance(accuracy, int | float):
        raise TypeError(f"expected a number as test_accuracy, got {accuracy!r:.60}")
    return 100 * accuracy


def write_table_pages(
    out: Path,
    result: ExperimentResult,
    words: TableWords,
    *,
    facts: Mapping[str, str] | None = None,
    sections: Sequence[Section] = (),
) -> None:
    """Writes `table.md` and `report.html`.

    Args:
        out: directory of the results.
        result: the results.
        words: words and baselines of the table.
        facts: more key figures.
        sections: more sections, after the tables.
    """
    pages = ResultPages(
        markdown_file=TABLE_FILE,
        title=words.title,
        lead=f"{words.lead} {words.explanation}",
        facts={**table_facts(result, words), **(facts or {})},
        sections=[
            *table_sections(result, words),
            *sections,
            Section("How to read it", CAUTION),
        ],
        details=[trainings_section(result)],
    )
    write_pages(out, result, pages)


def table_facts(result: ExperimentResult, words: TableWords) -> dict[str, str]:
    """Mean accuracies of the first baseline and of the best row, with the last budget.

    Args:
        result: the results.
        words: words and baselines of the table.
    """
    tables = row_results(result)
    if not tables:
        return {}
    rows = list(tables.values())[-1]
    first = next(iter(words.baselines))
    best = max(rows, key=lambda row: mean_and_deviation(row.values)[0])
    shown = [row for row in rows if row is best or row.slug == first]
    return {f"{row.name}, n = {len(row.values)}": f"{mean_words(row.values)} %" for row in shown}


def table_sections(result: ExperimentResult, words: TableWords) -> list[Section]:
    """A section with chart and table for each budget.

    Args:
        result: the results.
        words: words and baselines of the table.
    """
    return [
        _budget_section(budget, rows, words, result) for budget, rows in row_results(result).items()
    ]


def _budget_section(
    budget: str, rows: Sequence[RowResult], words: TableWords, result: ExperimentResult
) -> Section:
    chart = comparison({row.name: row.values for row in rows}, y_label="test accuracy, %")
    images = result.arms[0].record["test_images"]
    with_paper = any(row.paper is not None for row in result.rows)
    return Section(
        title=BUDGETS.get(budget, budget),
        text=f"Accuracy on {images:,} test images after the last epoch.",
        pictures=(Picture(chart, "Every training, and means", name=budget),),
        tables=(_table(rows, words, with_paper=with_paper),),
    )


def _table(rows: Sequence[RowResult], words: TableWords, *, with_paper: bool) -> Table:
    by_slug = {row.slug: row for row in rows}
    baselines = {slug: name for slug, name in words.baselines.items() if slug in by_slug}
    header = [words.row_heading, "images", "n", "accuracy, %", *["paper, %"] * with_paper]
    header += [f"difference to {name}" for name in baselines.values()]
    cells = []
    for row in rows:
        measured = [f"{row.images:,}", str(len(row.values)), mean_words(row.values)]
        if with_paper:
            measured.append("–" if row.paper is None else f"{row.paper:g}")
        differences = [row.difference_to(by_slug[slug]) for slug in baselines]
        cells.append([row.name, *measured, *map(difference_words, differences)])
    return Table(header, cells)


def trainings_section(result: ExperimentResult) -> Section:
    """A section with every training, its length, time and memory.

    Args:
        result: the results.
    """
    names = {row.slug: row.name for row in result.rows}
    header = ("row", "budget", "seed", "accuracy, %", "steps", "seconds", "memory, MiB")
    cells = []
    for arm in result.arms:
        timing = arm.record["timing"]
        cells.append(
            [
                names[arm.row],
                arm.budget,
                str(arm.seed),
                f"{_percent(arm.record['test_accuracy']):.2f}",
                f"{arm.record['step']:,}",
                f"{timing['seconds_of_last_session']:.0f}",
                f"{timing['peak_memory_mib']:,.0f}",
            ]
        )
    return Section(
        title="Every training",
        text="Seconds are those of the last session, where a training was interrupted. Memory is "
        "the device's peak where the device reports it, otherwise the peak of the whole process.",
        tables=(Table(header, cells),),
    )
