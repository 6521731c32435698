"""The pages of an experiment's results: `report.html`, and the same in Markdown.

Strips of images are drawn when the pieces are made, and kept as files in `figures/`. So the pages
can be made again without the image sets.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from experiments.pages.html import (
    Fact,
    Section,
    Strips,
    digest_words,
    provenance,
    write_report,
)
from experiments.pages.markdown import as_code, as_words
from experiments.pages.saved_strips import save_strips, strip_file
from experiments.pages.strips import sets_by_class
from experiments.pages.verdict import Verdict
from experiments.papers.engine.experiment import ExperimentResult
from train.data.load import load_images
from train.storage.files import atomic_write

FIGURES = "figures"
"""Name of the directory of pictures in the results' directory."""


@dataclass(frozen=True)
class ResultPages:
    """What the pages of an experiment's results show.

    Attributes:
        markdown_file: name of the Markdown file.
        title: heading of the pages, to which data, preset and key are added.
        verdict: what the results show.
        facts: key figures.
        sections: sections of both pages; every picture and group of strips in them has a name.
        details: further sections of `report.html` alone.
    """

    markdown_file: str
    title: str
    verdict: Verdict
    facts: Sequence[Fact]
    sections: Sequence[Section]
    details: Sequence[Section] = ()


def run_title(title: str, result: ExperimentResult) -> str:
    """A title that tells a run from others: with its data, preset and key.

    Args:
        title: what the experiment asks.
        result: the results.
    """
    content = result.content
    preset = [f"preset {content['preset']}"] if "preset" in content else []
    parts = [str(content["data"]["name"]), *preset, f"key {content['key']}"]
    return f"{title}{'' if title.endswith('?') else ':'} {', '.join(parts)}"


def run_footer(result: ExperimentResult) -> dict[str, str]:
    """The footer of an experiment's page: data, classifiers, and what made the results.

    Args:
        result: the results.
    """
    settings, data = result.settings, result.content["data"]
    digests = [f"{split} {digest_words(digest)}" for split, digest in data["sha256"].items()]
    return provenance(
        result.content,
        data=", ".join([str(data["name"]), *digests]),
        classifier=f"{settings['model']} at {settings['width']:g} of its width",
    )


def draw_sets(out: Path, name: str, sets: Mapping[str, Path]) -> None:
    """Saves strips of the first images of every class of some sets, class by class.

    Args:
        out: directory of the results; its folder for figures exists.
        name: name of the files.
        sets: directories of sets of the same classes, at least one, by the names to show.
    """
    found = {words: load_images(directory) for words, directory in sets.items()}
    save_strips(out / FIGURES, name, sets_by_class(found))


def write_pages(out: Path, result: ExperimentResult, pages: ResultPages) -> None:
    """Writes `report.html` and the Markdown file, and prints what was decided.

    Args:
        out: directory of the results.
        result: the results; missing measurements are named in the verdict.
        pages: what the pages show.
    """
    verdict, title, footer = pages.verdict, run_title(pages.title, result), run_footer(result)
    if result.missing:
        missing = f"Still missing (row, seed): {', '.join(result.missing)}."
        verdict = replace(verdict, made=f"{verdict.made} {missing}")
    write_report(
        out / "report.html",
        title=title,
        verdict=verdict,
        facts=pages.facts,
        sections=[*pages.sections, *pages.details],
        footer=footer,
    )
    parts = [f"# {as_words(title)}", as_words(verdict.text)]
    parts.append("\n".join(as_words(f"- {f.label}: {f.value} ({f.basis})") for f in pages.facts))
    parts += [part for section in pages.sections for part in _markdown_parts(section)]
    parts.append(as_words("; ".join(footer[name] for name in ("data", "device", "versions"))))
    parts.append(as_words(f"key {result.content['key']}"))
    parts.append(as_code(footer["command"]))
    atomic_write(out / pages.markdown_file, ("\n\n".join(parts) + "\n").encode())
    if verdict.helps:
        print(verdict.helps)


def _markdown_parts(section: Section) -> Iterator[str]:
    yield f"## {as_words(section.title)}"
    yield from map(as_words, section.paragraphs)
    for group in section.strips:
        yield as_words(group.caption)
        yield _strips_list(group)
    for picture in section.pictures:
        yield f"![{as_words(picture.words)}]({FIGURES}/{picture.name}{picture.suffix})"
    for table in section.tables:
        yield from [as_words(table.note)] * bool(table.note)
        yield table.markdown


def _strips_list(group: Strips) -> str:
    """The strips of a group in Markdown, each before its name and notes."""
    items = []
    for index, strip in enumerate(group.strips):
        image = f"![{as_words(strip.alt)}]({FIGURES}/{strip_file(group.name, index)})"
        items.append(f"- {image} {as_words('; '.join([strip.label, *strip.notes]))}")
    return "\n".join(items)
