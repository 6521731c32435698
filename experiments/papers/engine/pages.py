"""The pages of an experiment: `report.html`, and the same in Markdown.

Sheets of images are drawn while the sets are at hand and stay as files in `figures/`, so that the
pages can be made again without the sets.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from experiments.pages.html import Picture, Section, provenance, write_report
from experiments.pages.markdown import as_code, as_words
from imgopt.errors import InputError
from train.storage.files import atomic_write

FIGURES = "figures"
"""Directory of the pictures."""


def save_sheet(out: Path, name: str, png: bytes) -> None:
    """Keeps a sheet of images for the pages.

    Args:
        out: the results' directory, in which there is one for figures.
        name: of the sheet.
        png: its bytes.
    """
    atomic_write(out / FIGURES / f"{name}.png", png)


def saved_sheet(out: Path, name: str, caption: str) -> Picture:
    """A sheet that was drawn with the results.

    Args:
        out: the results' directory.
        name: of the sheet.
        caption: what there is to see.

    Raises:
        InputError: the file is missing.
    """
    path = out / FIGURES / f"{name}.png"
    if not path.is_file():
        raise InputError(
            f"expected the picture {path}, which is missing; it is drawn again when the command "
            "that made the results is repeated"
        )
    return Picture(path.read_bytes(), caption, name=name)


def row_arms(result: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """What each row that is there came to, by its slug; of figures, every row has one arm.

    Args:
        result: the content of `result.json`.
    """
    return {arm["row"]: arm for arm in result["arms"]}


def write_pages(
    out: Path,
    result: dict[str, Any],
    *,
    file: str,
    title: str,
    lead: str,
    facts: Mapping[str, str],
    sections: Sequence[Section],
    details: Sequence[Section] = (),
) -> None:
    """Writes `report.html`, and in Markdown all but its details.

    Args:
        out: the results' directory.
        result: the content of `result.json`.
        file: name of the Markdown.
        title: of the page.
        lead: a sentence or two below it; what is still missing is added.
        facts: key figures, by their labels.
        sections: the parts; every picture has a name.
        details: parts after them.
    """
    if result["missing"]:
        lead += f" Still missing (row, seed): {', '.join(result['missing'])}."
    footer = provenance(result)
    write_report(
        out / "report.html",
        title=title,
        lead=lead,
        facts=facts,
        sections=[*sections, *details],
        footer=footer,
    )
    parts = [f"# {as_words(title)}", as_words(lead)]
    parts.append("\n".join(as_words(f"- {label}: {value}") for label, value in facts.items()))
    parts += [part for section in sections for part in _markdown_parts(section)]
    parts.append(as_words(f"{footer['device']}; {footer['versions']}; key {footer['key']}"))
    parts.append(as_code(footer["command"]))
    atomic_write(out / file, ("\n\n".join(parts) + "\n").encode())


def _markdown_parts(section: Section) -> Iterator[str]:
    yield f"## {as_words(section.title)}"
    yield from map(as_words, section.paragraphs)
    for picture in section.pictures:
        yield f"![{as_words(picture.caption)}]({FIGURES}/{picture.name}{picture.suffix})"
    for table in section.tables:
        if table.caption:
            yield as_words(table.caption)
        yield table.markdown
