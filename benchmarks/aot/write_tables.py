"""Writes the tables of AOT.md from the results of `compile.py`.

Usage: python benchmarks/aot/write_tables.py
"""

import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from chips import CHIPS
from measure import roofline

from train.storage.files import atomic_write
from train.storage.strict_json import read_json

RESULTS = Path(__file__).parents[1] / "results" / "aot.json"
DOCUMENT = Path(__file__).parents[1] / "AOT.md"
BEGIN, END = "<!-- tables: made by write_tables.py -->", "<!-- end of tables -->"

MAIN = ("updates", "steps", "predict", "generate")
"""Programs that take nearly all of a job's time; they have a row of their own."""

COLUMNS = (
    "job",
    "precision",
    "images × chips",
    "memory, MiB",
    "of the chip",
    "GFLOP",
    "GB moved",
    "arithmetic, ms",
    "memory, ms",
    "bound by",
    "XLA's estimate, ms",
    "compiled in, s",
    "commit",
)


def tables(results: Mapping[str, Any]) -> str:
    """Markdown: a table for each chip, and what the other programs need at most."""
    parts = []
    with_flop(results)
    for chip in dict.fromkeys(case["chip"] for case in results.values()):
        cases = [case for case in results.values() if case["chip"] == chip]
        cases.sort(key=lambda case: case["chips"])
        rows = [
            row(case, name, figures)
            for case in cases
            for name, figures in case["programs"].items()
            if name in MAIN
        ]
        parts += [f"### {chip}", _table(rows), _others(cases)]
    return "\n\n".join(parts)


def with_flop(results: Mapping[str, Any]) -> None:
    """Gives programs of GPUs, whose FLOP XLA does not count, those of the same program on a TPU."""
    same = ("job", "model", "precision", "batch_size", "chips")
    known = {}
    for case in results.values():
        for name, figures in case["programs"].items():
            if figures.get("gflop"):
                known[(name, *(case[each] for each in same))] = figures["gflop"]
    for case in results.values():
        chip = CHIPS[case["chip"]]
        for name, figures in case["programs"].items():
            if "error" not in figures and not figures["gflop"]:
                figures["gflop"] = known.get((name, *(case[each] for each in same)), 0)
                figures |= roofline(figures, chip, precision=case["precision"])


def row(case: Mapping[str, Any], name: str, figures: Mapping[str, Any]) -> list[str]:
    """Cells of a program's row."""
    job = f"{case['job']} {case['model']}".strip()
    head = [job, case["precision"], f"{case['batch_size']} × {case['chips']}"]
    commit = case.get("commit", "")
    if "error" in figures:
        return [*head, f"{name} does not compile: {figures['error']}", *[""] * 8, commit]
    return [
        *head,
        f"{figures['needed_mib']:,.0f}",
        f"{100 * figures['memory_share']:.1f}%",
        _number(figures["gflop"]),
        _number(figures["gigabytes"]),
        _number(figures["arithmetic_ms"]),
        _number(figures["memory_ms"]),
        figures["bound"] or "",
        _number(figures["milliseconds"]),
        f"{figures['compile_seconds']:.0f}",
        commit,
    ]


def _number(value: float | None) -> str:
    return "" if not value else f"{value:.3g}" if value < 100 else f"{value:,.0f}"


def _table(rows: Iterable[Sequence[str]]) -> str:
    lines = [COLUMNS, ["---"] * 3 + ["---:"] * 6 + ["---"] + ["---:"] * 2 + ["---"], *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def _others(cases: Sequence[Mapping[str, Any]]) -> str:
    """A sentence about the programs that begin and end a job and take its batches."""
    others = [
        (figures, f"{name} of {case['job']} {case['model']}".strip())
        for case in cases
        for name, figures in case["programs"].items()
        if name not in MAIN
    ]
    failed = [name for figures, name in others if "error" in figures]
    found = [(figures, name) for figures, name in others if "error" not in figures]
    if not found:
        return ""
    largest, of = max(found, key=lambda each: each[0]["needed_mib"])
    slowest, which = max(found, key=lambda each: each[0]["compile_seconds"])
    return (
        f"The {len(found)} other programs need at most {largest['needed_mib']:,.0f} MiB ({of}), "
        f"and took at most {slowest['compile_seconds']:.0f} s to compile ({which})."
        + (f" Those that do not compile: {', '.join(failed)}." if failed else "")
    )


def main() -> None:
    """Puts the tables between the two marks in AOT.md."""
    before, rest = DOCUMENT.read_text().split(BEGIN)
    _, after = rest.split(END)
    text = f"{before}{BEGIN}\n\n{tables(read_json(RESULTS))}\n\n{END}{after}"
    atomic_write(DOCUMENT, text.encode())


if __name__ == "__main__":
    main()
