"""The command `elicit report`: an experiment's pages from its files, or two results compared."""

from collections.abc import Mapping

from experiments.options.papers import COMPARISON_FILE, ReportConfig
from experiments.pages.html import Table
from experiments.pages.markdown import as_code, as_words
from experiments.pages.statistics import mean_and_deviation, mean_words, welch_difference
from experiments.papers.engine.accuracy_table import RowResult, row_results
from experiments.papers.engine.experiment import ExperimentResult
from experiments.papers.registry import read_results, results_expected
from imgopt.errors import InputError
from train.storage.files import atomic_write, make_directory
from train.storage.runs import differences

COMPARED_FIELDS = ("preset", "settings", "data", "key", "device_kind", "versions")
"""Fields of two results whose differences are listed; an experiment may lack some."""

CAUTION = (
    "Accuracies are in percent, mean ± standard deviation over n trainings. Differences are in "
    "percentage points, with 95% intervals by Welch's t. They are not differences within pairs, "
    "since A and B need not have the same seeds. Each interval is that of one difference: of "
    "twenty such intervals, one misses the true difference by chance."
)


NO_VALUE = "–"
"""Cell of a table where one of the two results has no value."""


def report(config: ReportConfig) -> None:
    """Runs the command; it needs neither the data nor the pieces of the experiment.

    Args:
        config: the directories of results.

    Raises:
        InputError: a directory holds no results, or the two are not of the same table.
    """
    experiment, result = read_results(config.results)
    if config.other is None:
        with results_expected(config.results):
            experiment.write_pages(config.results, result)
        print(config.results / "report.html")
        return
    _, other = read_results(config.other)
    with results_expected(config.results, config.other):
        page = compare_results(result, other, names=(str(config.results), str(config.other)))
    if config.out is not None:
        make_directory(config.out)
        atomic_write(config.out / COMPARISON_FILE, page.encode())
    print(page, end="")


def compare_results(a: ExperimentResult, b: ExperimentResult, *, names: tuple[str, str]) -> str:
    """Puts two results of one table side by side, in Markdown.

    Args:
        a: the first results.
        b: the second results.
        names: names of the two.

    Raises:
        InputError: they belong to two experiments, or to one that is no table.
    """
    _check_comparable(a, b, names)
    parts = [f"# {a.content['experiment']}: A and B"]
    for letter, result, name in zip("AB", (a, b), names, strict=True):
        device, command = as_words(result.content["device"]), as_code(result.content["command"])
        parts.append(f"{letter}: {as_words(name)}. {device}. {command}")
    lines = differences(_compared(a), _compared(b))
    differing = [f"- {as_words(line)}" for line in lines] or ["- nothing"]
    parts += ["What differs, from A to B:", "\n".join(differing), CAUTION]
    parts.append(_table(row_results(a), row_results(b)).markdown)
    return "\n\n".join(parts) + "\n"


def _compared(result: ExperimentResult) -> dict[str, object]:
    return {name: result.content[name] for name in COMPARED_FIELDS if name in result.content}


def _check_comparable(a: ExperimentResult, b: ExperimentResult, names: tuple[str, str]) -> None:
    kind_of_a, kind_of_b = a.content["experiment"], b.content["experiment"]
    if kind_of_a != kind_of_b:
        raise InputError(
            f"expected results of one experiment, got {kind_of_a} in {names[0]} and {kind_of_b} "
            f"in {names[1]}"
        )
    for result, name in zip((a, b), names, strict=True):
        if not result.arms:
            raise InputError(f"expected results with a measurement, got none in {name}")
        if any("test_accuracy" not in arm.record for arm in result.arms):
            raise InputError(
                f"expected results of a table, which have accuracies, got {name} of {kind_of_a}; "
                "look at the two report.html instead"
            )


def _table(a: Mapping[str, list[RowResult]], b: Mapping[str, list[RowResult]]) -> Table:
    """The rows that A or B has, by budget."""
    rows_of_a, rows_of_b = (
        {(row.slug, budget): row for budget, rows in tables.items() for row in rows}
        for tables in (a, b)
    )
    cells = []
    for place in dict.fromkeys([*rows_of_a, *rows_of_b]):
        pair = rows_of_a.get(place), rows_of_b.get(place)
        name = next(row.name for row in pair if row is not None)
        cells.append([name, place[1], *map(_accuracy_cell, pair), _difference_cell(*pair)])
    return Table(["row", "budget", "A, %", "B, %", "B - A"], cells)


def _accuracy_cell(row: RowResult | None) -> str:
    if row is None:
        return NO_VALUE
    return f"{mean_words(row.values)} (n = {len(row.values)})"


def _difference_cell(a: RowResult | None, b: RowResult | None) -> str:
    """The difference; without an interval where A or B has only one training."""
    if a is None or b is None:
        return NO_VALUE
    if min(len(a.values), len(b.values)) < 2:
        return f"{mean_and_deviation(b.values)[0] - mean_and_deviation(a.values)[0]:+.2f}"
    difference = welch_difference(b.values, a.values)
    return f"{difference.mean:+.2f} [{difference.low:+.2f}, {difference.high:+.2f}]"
