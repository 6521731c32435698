"""Results of experiments on the page: the tables of each `result.json` in a folder."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from experiments.options.papers import PIECES
from experiments.pages.statistics import mean_words
from imgopt.errors import InputError
from train.storage.runs import RESULT_FILE
from train.storage.strict_json import read_json

MOST_RESULTS = 200
DEEPEST = 4
"""Levels of folders below the given one that are looked into."""

FACTS = ("experiment", "command", "device", "test_accuracy", "gan_sha256", "classifier_sha256")
"""Fields of a result that are shown above its tables."""

DIVIDER = re.compile(r"^\s*\|?(\s*:?-+:?\s*\|)+\s*:?-*:?\s*$")
ENTITIES = {"&lt;": "<", "&amp;": "&"}


def check_results(directory: Path | None) -> Path | None:
    """Gives the directory of the results, which has to exist.

    Raises:
        InputError: it is not a directory.
    """
    if directory is not None and not directory.is_dir():
        raise InputError(f"--results must be a directory, got {directory}")
    return directory


def read_shown_results(directory: Path) -> list[dict[str, Any]]:
    """The results below a directory as JSON: verdict, facts and tables of each.

    Verdict and tables are read from the Markdown files beside a result. Where there are none, the
    accuracies that the result holds are its table.

    The folder's own result comes first, then the results in its folders. Pieces of experiments,
    whose numbers are in the experiment's tables, are left out.

    A result that cannot be read is listed with what is wrong with it.

    Args:
        directory: the directory.

    Raises:
        InputError: the directory is gone.
    """
    if not directory.is_dir():
        raise InputError(f"the folder {directory} is gone; start elicit explore again")
    patterns = [f"{'*/' * depth}{RESULT_FILE}" for depth in range(DEEPEST + 1)]
    paths = [path for pattern in patterns for path in sorted(directory.glob(pattern))]
    found = [path for path in paths if PIECES not in path.relative_to(directory).parts]
    return [_result(path, directory) for path in found[:MOST_RESULTS]]


def _result(path: Path, directory: Path) -> dict[str, Any]:
    name = str(path.parent.relative_to(directory))
    shown: dict[str, Any] = {"name": directory.name if name == "." else name}
    try:
        content = read_json(path)
        pages = [page.read_text() for page in sorted(path.parent.glob("*.md"))]
        fields = content if isinstance(content, dict) else {}
        tables = [table for page in pages for table in markdown_tables(page)]
        tables = tables or list(_accuracy_tables(fields))
    except (InputError, OSError, UnicodeDecodeError) as error:
        problem = f"cannot be read: {error}"
        return shown | {"error": problem, "verdict": "", "facts": {}, "tables": []}
    facts = {name: _words(name, fields[name]) for name in FACTS if name in fields}
    verdict = next((words for page in pages if (words := first_paragraph(page))), "")
    return shown | {"verdict": verdict, "facts": facts, "tables": tables}


def _accuracy_tables(fields: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """A table of the test accuracies that a quickstart's result holds, if it holds any."""
    compared = fields.get("comparison", fields)
    arms = compared.get("arms") if isinstance(compared, dict) else None
    accuracies = fields.get("accuracies", {})
    try:
        named = {arm["name"]: arm["accuracies"] for arm in arms} if arms else dict(accuracies)
        rows = [
            [str(name), mean_words([100 * value for value in values]), str(len(values))]
            for name, values in named.items()
        ]
    except (TypeError, KeyError, ValueError):
        return  # a result of another kind
    if rows:
        yield {
            "title": "Trainings compared",
            "header": ["trained on", "test accuracy, %", "n"],
            "rows": rows,
        }


def first_paragraph(text: str) -> str:
    """The first paragraph of a Markdown file that is neither heading, list, table nor picture.

    Args:
        text: the file's text.
    """
    for part in re.split(r"\n\s*\n", text):
        if part.strip() and not part.lstrip().startswith(("#", "|", "- ", "![", "```")):
            return _plain(" ".join(part.split()))
    return ""


def _words(name: str, value: Any) -> str:
    if name == "test_accuracy" and isinstance(value, float):
        return f"{value:.2%}"
    if isinstance(value, dict):
        return ", ".join(f"{key} {inner}" for key, inner in value.items())
    return str(value)


def markdown_tables(text: str) -> Iterator[dict[str, Any]]:
    """The tables of a Markdown file, each with the last heading above it.

    Args:
        text: the file's text.
    """
    heading, table = "", []
    for line in [*text.splitlines(), ""]:
        if line.startswith("#"):
            heading = _plain(line.lstrip("#"))
        if line.lstrip().startswith("|"):
            table.append(line)
            continue
        if len(table) > 1 and DIVIDER.match(table[1]):
            header, _, *rows = map(_cells, table)
            yield {"title": heading, "header": header, "rows": rows}
        table = []


def _cells(line: str) -> list[str]:
    inner = line.strip().removeprefix("|").removesuffix("|")
    return [_plain(cell) for cell in re.split(r"(?<!\\)\|", inner)]


def _plain(text: str) -> str:
    """Text without Markdown's escapes and emphasis."""
    text = re.sub(r"\\([\\|])", r"\1", text.strip())
    text = re.sub(r"[*`]", "", text)
    return re.sub("|".join(ENTITIES), lambda found: ENTITIES[found[0]], text)
