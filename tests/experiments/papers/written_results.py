"""Reads the directories that experiments write."""

from pathlib import Path
from typing import Any

from train.storage.strict_json import read_json


def piece(out: Path, name: str) -> Path:
    """The directory of a piece."""
    (found,) = (out / "pieces").glob(f"{name}-????????????")
    return found


def arms(out: Path) -> dict[str, list[dict[str, Any]]]:
    """The measurements of every row, in the order of the seeds."""
    found: dict[str, list[dict[str, Any]]] = {}
    for arm in read_json(out / "result.json")["arms"]:
        found.setdefault(arm["row"], []).append(arm)
    return found


def table(markdown: Path) -> dict[str, list[str]]:
    """The rows of the first table of a page by their first cell, the heading's too."""
    lines = markdown.read_text().partition("\n| ")[2].partition("\n\n")[0].splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return {row[0]: row[1:] for row in rows if set(row[0]) != {"-"}}


def timeless(out: Path) -> Any:
    """The result without times and memory, and without the words of the command."""
    result = read_json(out / "result.json")
    for record in (*result["arms"], result.get("selector")):
        if record is not None:
            assert record.pop("timing")["seconds_of_last_session"] >= 0
    del result["command"], result["sha256"]
    return result
