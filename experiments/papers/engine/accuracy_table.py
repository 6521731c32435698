"""The table of an experiment that measures accuracies: means, deviations and differences."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from experiments.pages.charts import comparison, draw_differences
from experiments.pages.html import Fact, Picture, Section, Table
from experiments.pages.statistics import (
    CONFIDENCE,
    PairedDifference,
    difference_words,
    mean_and_deviation,
    mean_words,
    paired_difference,
)
from experiments.pages.verdict import Verdict, help_words
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
    "nothing about other data or images.\n\nThe intervals of the verdict and of the charts are "
    "wider than those of the table: they hold for all rows together (Bonferroni)."
)


class TableWords(NamedTuple):
    """Words and baselines of a table.

    Attributes:
        title: title of the page.
        lead: one or two sentences below the title.
        explanation: what was trained, and what the column "paper" holds.
        row_heading: heading of the first column.
        baselines: rows with which the other rows are compared: names in the heading by slug.
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
        others: accuracies in percent on a second test set, by seed; empty without one.
        images: training images of the first seed.
    """

    slug: str
    name: str
    paper: float | None
    accuracies: dict[int, float]
    others: dict[int, float]
    images: int

    @property
    def values(self) -> list[float]:
        """The accuracies."""
        return list(self.accuracies.values())

    def difference_to(
        self, baseline: "RowResult", *, confidence: float = CONFIDENCE
    ) -> PairedDifference | None:
        """Difference in points over the common seeds; None if there are fewer than two of them.

        It is None too where the baseline is the row itself.
        """
        seeds = [seed for seed in self.accuracies if seed in baseline.accuracies]
        if self.slug == baseline.slug or len(seeds) < 2:
            return None
        return paired_difference(
            [self.accuracies[seed] for seed in seeds],
            [baseline.accuracies[seed] for seed in seeds],
            confidence=confidence,
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
    accuracies, others = (
        {arm.seed: _percent(arm, name) for arm in arms if name in arm.record}
        for name in ("test_accuracy", "other_test_accuracy")
    )
    images = arms[0].record["train_images"]
    return RowResult(row.slug, row.name, row.paper, accuracies, others, images)


def _percent(arm: ArmResult, name: str) -> float:
    """An accuracy in percent; TypeError if it is no number, since results may be anyone's files."""
    accuracy = arm.record[name]
    if not isinstance(accuracy, int | float):
        raise TypeError(f"expected a number as {name}, got {accuracy!r:.60}")
    return 100 * accuracy


def write_table_pages(
    out: Path,
    result: ExperimentResult,
    words: TableWords,
    *,
    facts: Sequence[Fact] = (),
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
        verdict=table_verdict(result, words),
        facts=[*table_facts(result, words), *facts],
        sections=[*table_sections(result, words), *sections, reading_section(words)],
        details=[trainings_section(result)],
    )
    write_pages(out, result, pages)


def reading_section(words: TableWords) -> Section:
    """What was done, and how to read the numbers."""
    return Section("How to read it", f"{words.lead} {words.explanation}\n\n{CAUTION}")


def table_verdict(result: ExperimentResult, words: TableWords) -> Verdict:
    """What the last budget's rows show against the first baseline.

    Args:
        result: the results.
        words: words and baselines of the table.
    """
    tables = row_results(result)
    if not tables:
        return Verdict("No training is finished.", "Nothing is known yet.")
    budget, rows = list(tables.items())[-1]
    base = _baseline(rows, words)
    reached = "; ".join(
        f"{name} reaches {mean_words(row.values)} % (n = {len(row.values)})"
        for name, row in _base_and_best(rows, base).items()
    )
    controls = [row.name for row in result.rows if row.is_control]
    every = _corrected(rows, base)
    found = {name: each for name, each in every.items() if name not in controls}
    smoke = result.content.get("preset") == "smoke"
    return Verdict(
        f"{len(result.arms):,} classifiers were trained, of {len(result.rows)} kinds.",
        f"{BUDGETS.get(budget, budget)}: {reached}."
        + " The preset smoke measures nothing: it shows that every step runs." * smoke,
        help_words(found, against=base.name, together=len(every)),
    )


def table_facts(result: ExperimentResult, words: TableWords) -> list[Fact]:
    """Mean accuracies of the first baseline and of the best row, with the last budget.

    Args:
        result: the results.
        words: words and baselines of the table.
    """
    tables = row_results(result)
    if not tables:
        return []
    budget, rows = list(tables.items())[-1]
    return [
        Fact(
            name,
            f"{mean_words(row.values)} %",
            f"n = {len(row.values)} trainings, {BUDGETS.get(budget, budget).lower()}",
        )
        for name, row in _base_and_best(rows, _baseline(rows, words)).items()
    ]


def _base_and_best(rows: Sequence[RowResult], base: RowResult) -> dict[str, RowResult]:
    """The baseline, and the best of the other rows, by names."""
    others = [row for row in rows if row is not base]
    found = {base.name: base}
    if others:
        best = max(others, key=lambda row: mean_and_deviation(row.values)[0])
        found[f"best of the others: {best.name}"] = best
    return found


def _baseline(rows: Sequence[RowResult], words: TableWords) -> RowResult:
    """The first baseline that is among the rows; else the first row."""
    by_slug = {row.slug: row for row in rows}
    return next((by_slug[slug] for slug in words.baselines if slug in by_slug), rows[0])


def _corrected(rows: Sequence[RowResult], baseline: RowResult) -> dict[str, PairedDifference]:
    """Differences to a baseline by names, whose intervals hold together (Bonferroni)."""
    compared = [row for row in rows if row.difference_to(baseline) is not None]
    confidence = 1 - (1 - CONFIDENCE) / max(len(compared), 1)
    found = {row.name: row.difference_to(baseline, confidence=confidence) for row in compared}
    return {name: difference for name, difference in found.items() if difference is not None}


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
    pictures = [Picture(chart, "Every training, and means", name=budget)]
    by_slug = {row.slug: row for row in rows}
    for slug, name in words.baselines.items():
        found = _corrected(rows, by_slug[slug]) if slug in by_slug else {}
        if found:
            drawn = draw_differences(found, x_label="difference, points")
            caption = f"Differences to {name}; the 95% intervals hold for all {len(found)} together"
            pictures.append(Picture(drawn, caption, name=f"{budget}-to-{slug}"))
    first = result.arms[0].record
    images, other = first["test_images"], first.get("other_test_images")
    with_paper = any(row.paper is not None for row in result.rows)
    return Section(
        title=BUDGETS.get(budget, budget),
        text=f"Accuracy on {images:,} test images after the last epoch"
        + (f", and on {other:,} others." if other else "."),
        pictures=pictures,
        tables=(_table(rows, words, with_paper=with_paper, other=other),),
    )


def _table(
    rows: Sequence[RowResult], words: TableWords, *, with_paper: bool, other: int | None
) -> Table:
    by_slug = {row.slug: row for row in rows}
    baselines = {slug: name for slug, name in words.baselines.items() if slug in by_slug}
    header = [words.row_heading, "images", "n", "accuracy, %"]
    if other:
        header.append(f"on {other:,} others, %")
    if with_paper:
        header.append("paper, %")
    header += [f"difference to {name}" for name in baselines.values()]
    cells = []
    for row in rows:
        measured = [f"{row.images:,}", str(len(row.values)), mean_words(row.values)]
        if other:
            measured.append(mean_words(list(row.others.values())))
        if with_paper:
            measured.append("–" if row.paper is None else f"{row.paper:g}")
        found = [row.difference_to(by_slug[slug]) for slug in baselines]
        cells.append([row.name, *measured, *map(difference_words, found)])
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
                f"{_percent(arm, 'test_accuracy'):.2f}",
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
