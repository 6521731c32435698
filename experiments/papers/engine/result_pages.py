"""The pages of an experiment's results: `report.html`, and the same in Markdown.

Sheets of images are drawn when the pieces are made, and kept as files in `figures/`. So the pages
can be made again without the image sets.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from experiments.pages.html import Picture, Section, provenance, write_report
from experiments.pages.markdown import as_code, as_words
from experiments.papers.engine.experiment import ExperimentResult
from imgopt.errors import InputError
from train.storage.files import atomic_write

FIGURES = "figures"
"""Name of the directory of pictures in the results' directory."""


@dataclass(frozen=True)
class ResultPages:
    """What the pages of an experiment's results show.

    Attributes:
        markdown_file: name of the Markdown file.
        title: heading of the pages.
        lead: one or two sentences below the heading.
        facts: key figures by their labels.
        sections: sections of both pages; every picture in them has a name.
        details: further sections of `report.html` alone.
    """

    markdown_file: str
    title: str
    lead: str
    facts: Mapping[str, str]
    sections: Sequence[Section]
    details: Sequence[Section] = ()


def save_sheet(out: Path, name: str, png: bytes) -> None:
    """Saves a sheet of images for the pages.

    Args:
        out: directory of the results; its folder for figures exists.
        name: name of the sheet.
        png: content of the PNG file.
    """
    atomic_write(out / FIGURES / f"{name}.png", png)


def saved_sheet(out: Path, name: str, caption: str) -> Picture:
    """Reads a sheet of images that `save_sheet` saved.

    Args:
        out: directory of the results.
        name: name of the sheet.
        caption: what the sheet shows.

    Raises:
        InputError: the file is missing.
    """
    path = out / FIGURES / f"{name}.png"
    if not path.is_file():
        raise InputError(
            f"expected the picture {path}, which is missing; repeat the command that made the "
            "results, and it is drawn again"
        )
    return Picture(path.read_bytes(), caption, name=name)


def write_pages(out: Path, result: ExperimentResult, pages: ResultPages) -> None:
    """Writes `report.html` and the Markdown file.

    Args:
        out: directory of the results.
        result: the results; missing measurements are named below the heading.
        pages: what the pages show.
    """
    lead = pages.lead
    if result.missing:
        lead += f" Still missing (row, seed): {', '.join(result.missing)}."
    footer = provenance(result.content)
    write_report(
        out / "report.html",
        title=pages.title,
        lead=lead,
        facts=pages.facts,
        sections=[*pages.sections, *pages.details],
        footer=footer,
    )
    parts = [f"# {as_words(pages.title)}", as_words(lead)]
    parts.append("\n".join(as_words(f"- {name}: {value}") for name, value in pages.facts.items()))
    parts += [part for section in pages.sections for part in _markdown_parts(section)]
    parts.append(as_words(f"{footer['device']}; {footer['versions']}; key {footer['key']}"))
    parts.append(as_code(footer["command"]))
    atomic_write(out / pages.markdown_file, ("\n\n".join(parts) + "\n").encode())


def _markdown_parts(section: Section) -> Iterator[str]:
    yield f"## {as_words(section.title)}"
    yield from map(as_words, section.paragraphs)
    for picture in section.pictures:
        yield f"![{as_words(picture.caption)}]({FIGURES}/{picture.name}{picture.suffix})"
    for table in section.tables:
        yield table.markdown
