"""The command `elicit report`: an experiment's pages from its files, or two results compared."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import scipy.stats
from tyro.conf import Positional

from experiments.pages.html import Table
from experiments.pages.markdown import as_code, as_words
from experiments.pages.statistics import mean_and_deviation, mean_words
from experiments.papers.engine.tables import RowResult, row_results
from experiments.papers.registry import read_results, results_expected
from imgopt.errors import InputError
from train.storage.files import atomic_write
from train.storage.runs import differences

IDENTITY = ("preset", "settings", "data", "key", "device_kind", "versions")
"""Of a result: what it was asked for, from what and on what it was made."""

CAUTION = (
    "Accuracies in percent are mean ± standard deviation over n trainings. Differences are in "
    "percentage points, with 95% intervals by Welch's t. They are not those of pairs, since A and "
    "B need not have the same seeds. An interval is that of one difference: of twenty such, one "
    "misses the truth by chance."
)

NOTHING = "–"
"""In a table, where one of two has no value."""


@dataclass(frozen=True)
class ReportConfig:
    """Makes an experiment's table and report again from its files, or compares two results."""

    results: Positional[Path]
    """Directory of an experiment's results."""
    other: Positional[Path | None] = None
    """Another one of the same experiment, which the first is then compared with."""
    out: Path | None = None
    """Markdown file to write the comparison to."""

    def __post_init__(self) -> None:
        """Raises InputError for a file to which nothing would be written."""
        if self.out is not None and self.other is None:
            raise InputError("--out is for comparisons; give two directories of results, got one")


class WelchDifference(NamedTuple):
    """Difference of two means, and its 95% interval."""

    mean: float
    low: float
    high: float


def report(config: ReportConfig) -> None:
    """Runs the command; it needs neither the data nor the pieces of the experiment.

    Args:
        config: which results.

    Raises:
        InputError: a directory holds no results, or the two are not of one table.
    """
    experiment, result = read_results(config.results)
    if config.other is None:
        with results_expected(config.results):
            experiment.write_pages(config.results, result)
        print(config.results / "report.html")
        return
    _, other = read_results(config.other)
    with results_expected(config.results, config.other):
        page = compare(result, other, names=(str(config.results), str(config.other)))
    if config.out is not None:
        atomic_write(config.out, page.encode())
    print(page, end="")


def compare(a: dict[str, Any], b: dict[str, Any], *, names: tuple[str, str]) -> str:
    """Two results of one table side by side, in Markdown.

    Args:
        a: the content of a `result.json`.
        b: that of another one.
        names: what the two are called.

    Raises:
        InputError: they are of two experiments, or of one that is no table.
    """
    _check_comparable(a, b, names)
    parts = [f"# {a['experiment']}: A and B"]
    for letter, result, name in zip("AB", (a, b), names, strict=True):
        device, command = as_words(result["device"]), as_code(result["command"])
        parts.append(f"{letter}: {as_words(name)}. {device}. {command}")
    lines = differences(*({name: result[name] for name in IDENTITY} for result in (a, b)))
    differing = [f"- {as_words(line)}" for line in lines] or ["- nothing"]
    parts += ["What differs, from A to B:", "\n".join(differing), CAUTION]
    parts.append(Table(*_table(row_results(a), row_results(b))).markdown)
    return "\n\n".join(parts) + "\n"


def _check_comparable(a: dict[str, Any], b: dict[str, Any], names: tuple[str, str]) -> None:
    if a["experiment"] != b["experiment"]:
        raise InputError(
            f"expected results of one experiment, got {a['experiment']} in {names[0]} and "
            f"{b['experiment']} in {names[1]}"
        )
    for result, name in zip((a, b), names, strict=True):
        if not result["arms"]:
            raise InputError(f"expected results with a measurement, got none in {name}")
        if any("test_accuracy" not in arm for arm in result["arms"]):
            raise InputError(
                f"expected results of a table, which have accuracies, got {name} of "
                f"{a['experiment']}; look at the two report.html instead"
            )


def _table(
    a: dict[str, list[RowResult]], b: dict[str, list[RowResult]]
) -> tuple[list[str], list[list[str]]]:
    """Header and cells, with the rows of either."""
    rows_of_a, rows_of_b = (
        {(row.slug, budget): row for budget, rows in tables.items() for row in rows}
        for tables in (a, b)
    )
    cells = []
    for place in dict.fromkeys([*rows_of_a, *rows_of_b]):
        pair = rows_of_a.get(place), rows_of_b.get(place)
        name = next(row.name for row in pair if row is not None)
        cells.append([name, place[1], *map(_accuracy_cell, pair), _difference_cell(*pair)])
    return ["row", "budget", "A, %", "B, %", "B - A"], cells


def _accuracy_cell(row: RowResult | None) -> str:
    if row is None:
        return NOTHING
    return f"{mean_words(row.values)} (n = {len(row.values)})"


def _difference_cell(a: RowResult | None, b: RowResult | None) -> str:
    """A difference without an interval where one of the two has but one training."""
    if a is None or b is None:
        return NOTHING
    if min(len(a.values), len(b.values)) < 2:
        return f"{mean_and_deviation(b.values)[0] - mean_and_deviation(a.values)[0]:+.2f}"
    difference, low, high = welch_difference(b.values, a.values)
    return f"{difference:+.2f} [{low:+.2f}, {high:+.2f}]"


def welch_difference(values: Sequence[float], baseline: Sequence[float]) -> WelchDifference:
    """Difference of two means, with the interval of Welch's t (Welch 1947; Satterthwaite 1946).

    d ± t(0.975, ν) s, s² = s₁²/n₁ + s₂²/n₂, ν = s⁴ / Σ (sᵢ²/nᵢ)² / (nᵢ - 1).

    Args:
        values: at least 2.
        baseline: at least 2, of any spread.

    Raises:
        InputError: there are fewer.
    """
    if min(len(values), len(baseline)) < 2:
        raise InputError(f"expected 2 values or more of each, got {len(values)}, {len(baseline)}")
    (mean, deviation), (mean_before, deviation_before) = map(mean_and_deviation, (values, baseline))
    parts = [
        (own**2 / len(each), len(each) - 1)
        for own, each in ((deviation, values), (deviation_before, baseline))
    ]
    variance, half = sum(part for part, _ in parts), 0.0
    if variance:  # without any spread there is no ν either
        freedom = variance**2 / sum(part**2 / count for part, count in parts)
        half = float(scipy.stats.t.ppf(0.975, freedom)) * variance**0.5
    difference = mean - mean_before
    return WelchDifference(difference, difference - half, difference + half)
