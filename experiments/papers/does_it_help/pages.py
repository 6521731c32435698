"""The page of `elicit experiment does-it-help`: the verdict first, then the differences."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from experiments.pages.charts import draw_differences
from experiments.pages.html import Fact, Picture, Section, Table
from experiments.pages.statistics import mean_words
from experiments.pages.verdict import Verdict
from experiments.papers.does_it_help.arms import ARMS, BASE
from experiments.papers.does_it_help.comparisons import (
    CONFIDENCE,
    Comparison,
    to_base,
    to_controls,
    verdict,
)
from experiments.papers.engine.accuracy_table import (
    TABLE_FILE,
    RowResult,
    row_results,
    trainings_section,
)
from experiments.papers.engine.experiment import ExperimentResult
from experiments.papers.engine.result_pages import ResultPages, write_pages

HEADINGS = {
    "compute": "With equal compute",
    "steps": "With equal steps",
}
"""Headings by budget, in the order of the page; the verdict is about the first."""

READING = (
    "Accuracies are in percent, mean ± standard deviation over n seeds. Every seed draws its own "
    "images from the data set and trains its own teachers, so the intervals hold for the choice of "
    "the images as well as for the trainings. Differences are between trainings with the same seed "
    "and images, in percentage points. The intervals of a table's column are Student's, corrected "
    "for their number (Bonferroni): all of them hold together with probability "
    f"{CONFIDENCE:.0%}.\n\n"
    "A matched control has the same steps, views, labels and teachers as its arm, on the pixels of "
    "the originals. Only the difference to it tells what the making of images does; the difference "
    "to the base also holds what soft labels or a second view do.\n\n"
    "Equal compute: every arm has the FLOP of the most expensive one, so that cheaper ones train "
    "for more steps. Equal steps: all have the same number of updates. The making of image sets "
    "and the training of teachers is in neither."
)


def write_help_pages(out: Path, result: ExperimentResult) -> None:
    """Writes `table.md` and `report.html`.

    Args:
        out: directory of the results.
        result: the results.
    """
    tables = row_results(result)
    budgets = [budget for budget in HEADINGS if budget in tables]
    first = tables[budgets[0]] if budgets else []
    sections = [
        _section(budget, tables[budget], is_first=not n) for n, budget in enumerate(budgets)
    ]
    pages = ResultPages(
        markdown_file=TABLE_FILE,
        title="Do the images help?",
        verdict=Verdict(_made(result), _worked(first), verdict(first)),
        facts=_facts(result, first),
        sections=[
            *sections,
            _length_section(tables),
            _measures_section(result, budgets),
            Section("How to read it", READING),
        ],
        details=[trainings_section(result)],
    )
    write_pages(out, result, pages)


def _made(result: ExperimentResult) -> str:
    settings, data = result.settings, result.content["data"]
    return (
        f"{len(result.arms):,} classifiers were trained, {settings['model']} at "
        f"{settings['width']:g} of its width, on {settings['per_class']} images a class of "
        f"{data['name']}, with and without images made from them."
    )


def _worked(rows: Sequence[RowResult]) -> str:
    base = [row for row in rows if row.slug == BASE]
    words = "".join(f"The base reaches {mean_words(row.values)} % (n = {len(row.values)}). "
                    for row in base)  # fmt: skip
    return f"{words}All arms have equal compute unless it says otherwise."


def _facts(result: ExperimentResult, rows: Sequence[RowResult]) -> list[Fact]:
    if not rows:
        return []
    best = max(rows, key=lambda row: sum(row.values) / len(row.values))
    shown = {
        row.name if row.slug == BASE else f"best: {row.name}": row
        for row in rows
        if row.slug == BASE or row is best
    }
    images = f"{result.arms[0].record['test_images']:,} test images"
    return [
        Fact(name, f"{mean_words(row.values)} %", f"n = {len(row.values)} trainings, {images}")
        for name, row in shown.items()
    ]


def _section(budget: str, rows: Sequence[RowResult], *, is_first: bool) -> Section:
    """Differences to the controls and to the base, and the accuracies."""
    controls, base = to_controls(rows), to_base(rows)
    pictures = []
    if controls:
        caption = "Arms of made images against their matched controls, in points"
        pictures.append(_picture(controls, caption, name=f"{budget}-controls"))
    if base:
        caption = "All arms against the base, in points"
        pictures.append(_picture(base, caption, name=f"{budget}-base"))
    text = "Accuracy on the whole test set after the last epoch."
    if not is_first:  # whose verdict opens the page
        text += f" {verdict(rows)}"
    return Section(
        HEADINGS[budget], text, pictures=tuple(pictures), tables=(_table(rows, controls, base),)
    )


def _picture(comparisons: Sequence[Comparison], caption: str, *, name: str) -> Picture:
    rows = {ARMS[each.arm].name: each.difference for each in comparisons}
    return Picture(draw_differences(rows, x_label="difference, points"), caption, name=name)


def _table(
    rows: Sequence[RowResult], controls: Sequence[Comparison], base: Sequence[Comparison]
) -> Table:
    header = ["arm", "images", "n", "accuracy, %", "difference to base", "matched control"]
    header.append("difference to it")
    columns = [{each.arm: each for each in column} for column in (base, controls)]
    cells = []
    for row in rows:
        to_own_base, to_control = (column.get(row.slug) for column in columns)
        control = ARMS[to_control.against].name if to_control else "–"
        measured = [row.name, f"{row.images:,}", str(len(row.values)), mean_words(row.values)]
        cells.append([*measured, _cell(to_own_base), control, _cell(to_control)])
    return Table(header, cells)


def _cell(comparison: Comparison | None) -> str:
    if comparison is None:
        return "–"
    mean, deviation, _, low, high = comparison.difference
    return f"{mean:+.2f} ± {deviation:.2f} [{low:+.2f}, {high:+.2f}]"


def _length_section(tables: Mapping[str, Sequence[RowResult]]) -> Section:
    """Whether the base is trained out: the same arm with more updates."""
    found = [(row, budget) for budget, rows in tables.items() for row in rows if row.slug == BASE]
    cells = [
        [HEADINGS[budget].lower(), str(len(row.values)), mean_words(row.values)]
        for row, budget in found
    ]
    return Section(
        "Is the base trained out?",
        "The base has more steps with equal compute than with equal steps. If that changes little, "
        "more training of the real images alone would not change the answer.",
        tables=(Table(["base", "n", "accuracy, %"], cells),),
    )


def _measures_section(result: ExperimentResult, budgets: Sequence[str]) -> Section:
    """Loss and calibration on the test set, with the first budget."""
    cells = []
    for row in result.rows:
        arms = [arm for arm in result.arms if arm.row == row.slug and arm.budget in budgets[:1]]
        if arms:
            losses = [float(arm.record["test_loss"]) for arm in arms]
            errors = [100 * float(arm.record["calibration_error"]) for arm in arms]
            steps = f"{arms[0].record['step']:,}"
            flop = f"{result.content['flop_per_update'][row.slug]:.2e}"
            cells.append([row.name, steps, flop, mean_words(losses), mean_words(errors)])
    return Section(
        "Other measures",
        "Lower is better for both. The test loss is the mean cross entropy in nats, the expected "
        "calibration error is in percentage points. FLOP of an update as XLA counts them.",
        tables=(
            Table(["arm", "steps", "FLOP an update", "test loss ↓", "calibration error ↓"], cells),
        ),
    )
