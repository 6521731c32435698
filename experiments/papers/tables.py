"""An experiment's table: means, spreads and differences, beside what the paper has."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from experiments.figures import comparison
from experiments.report import Picture, Section, Table, provenance, write_report
from experiments.statistics import PairedDifference, mean_and_deviation, paired_difference
from train.files import atomic_write

TABLE_FILE = "table.md"

BUDGETS = {"epochs": "The same epochs for every row", "steps": "The same steps for every row"}
"""Headings by budget."""

CAUTION = (
    "Accuracies are of the last epoch, mean ± standard deviation over n trainings from different "
    "seeds. Differences are in percentage points, in pairs of trainings from the same seed: mean ± "
    "standard deviation, and the mean's 95% interval by Student's t. An interval is that of one "
    "difference: of twenty such, one misses the truth by chance. The seeds vary the trainings, and "
    "not the data or the images that are put beside or in place of them, so nothing is said of "
    "others."
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
    images: int | None = None

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
        for row in result["rows"]:
            own = [
                arm
                for arm in result["arms"]
                if arm["row"] == row["slug"] and arm["budget"] == budget
            ]
            accuracies = {arm["seed"]: 100 * arm["test_accuracy"] for arm in own}
            if own:
                tables.setdefault(budget, []).append(
                    RowResult(
                        row["slug"], row["name"], row["paper"], accuracies, own[0]["train_images"]
                    )
                )
    return tables


def write_table_pages(out: Path, result: dict[str, Any], words: TableWords) -> None:
    """Writes `table.md` and `report.html`.

    Args:
        out: the results' directory.
        result: the content of `result.json`.
        words: what the table says of itself.
    """
    tables = row_results(result)
    atomic_write(out / TABLE_FILE, _markdown(result, words, tables).encode())
    sections = [_section(budget, rows, words, result) for budget, rows in tables.items()]
    write_report(
        out / "report.html",
        title=words.title,
        lead=words.lead,
        facts=_facts(tables, words),
        sections=[*sections, _arms_section(result)],
        footer=provenance(result),
    )


def table_of(rows: Sequence[RowResult], words: TableWords) -> tuple[list[str], list[list[str]]]:
    """Header and cells.

    Args:
        rows: of one budget.
        words: with the first column's heading and the baselines.
    """
    found = {row.slug: row for row in rows}
    baselines = [baseline for baseline in words.baselines if baseline.slug in found]
    header = [words.row_heading, "images", "n", "accuracy, %", "paper, %"]
    header += [f"difference to {baseline.name}" for baseline in baselines]
    cells = []
    for row in rows:
        differences = [row.difference_to(found[baseline.slug]) for baseline in baselines]
        cells.append(
            [
                row.name,
                f"{row.images:,}",
                str(len(row.values)),
                accuracy_words(row.values),
                f"{row.paper:g}" if row.paper is not None else "–",
                *map(difference_words, differences),
            ]
        )
    return header, cells


def accuracy_words(values: Sequence[float]) -> str:
    """Such as "61.70 ± 0.41"; a single value has no deviation."""
    mean, deviation = mean_and_deviation(values)
    return f"{mean:.2f} ± {deviation:.2f}" if len(values) > 1 else f"{mean:.2f}"


def difference_words(difference: PairedDifference | None) -> str:
    """Such as "+1.20 ± 0.31 [+0.43, +1.97]"; a dash where there is none."""
    if difference is None:
        return "–"
    mean, deviation, _, low, high = difference
    return f"{mean:+.2f} ± {deviation:.2f} [{low:+.2f}, {high:+.2f}]"


def markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table in Markdown, without a final newline."""
    return "\n".join(f"| {' | '.join(row)} |" for row in (header, ["---"] * len(header), *rows))


def _markdown(
    result: Mapping[str, Any], words: TableWords, tables: Mapping[str, Sequence[RowResult]]
) -> str:
    parts = [f"# {words.title}", words.lead, f"{words.explanation} {CAUTION}"]
    if result["missing"]:
        parts.append(f"Still missing (row, seed): {', '.join(result['missing'])}.")
    for budget, rows in tables.items():
        parts += [f"## {BUDGETS[budget]}", markdown(*table_of(rows, words))]
    made_with = provenance(dict(result))
    parts += [f"{made_with['device']}; {made_with['versions']}", f"`{made_with['command']}`"]
    return "\n\n".join(parts) + "\n"


def _facts(tables: Mapping[str, Sequence[RowResult]], words: TableWords) -> dict[str, str]:
    """The baseline's accuracy, and the best row's, by the last budget."""
    if not tables:
        return {}
    rows = list(tables.values())[-1]
    best = max(rows, key=lambda row: mean_and_deviation(row.values)[0])
    baseline = next((row for row in rows if row.slug == words.baselines[0].slug), best)
    return {
        f"{row.name}, n = {len(row.values)}": f"{accuracy_words(row.values)} %"
        for row in dict.fromkeys([row.slug for row in (baseline, best)])
        for row in rows
        if row.slug in (baseline.slug, best.slug)
    }


def _section(
    budget: str, rows: Sequence[RowResult], words: TableWords, result: Mapping[str, Any]
) -> Section:
    drawn = comparison({row.name: row.values for row in rows}, y_label="test accuracy, %")
    images = result["arms"][0]["test_images"]
    return Section(
        title=BUDGETS[budget],
        text=f"{words.explanation} {images:,} test images.\n\n{CAUTION}",
        pictures=(Picture(drawn, "Every training, and means", name=f"{budget}"),),
        tables=(Table(*table_of(rows, words)),),
    )


def _arms_section(result: Mapping[str, Any]) -> Section:
    names = {row["slug"]: row["name"] for row in result["rows"]}
    header = ("row", "budget", "seed", "accuracy, %", "steps", "seconds", "memory, MiB")
    cells = [
        [
            names[arm["row"]],
            arm["budget"],
            str(arm["seed"]),
            f"{100 * arm['test_accuracy']:.2f}",
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
