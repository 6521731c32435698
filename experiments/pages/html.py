"""A run's report: one HTML file that needs no other file, no script and no network.

Every string is escaped by the template engine, and pictures are embedded as ``data:`` images, in
which a browser runs no script; a content security policy in the page forbids the rest.
"""

import base64
import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
import PIL.Image

from experiments.pages.markdown import as_words
from imgopt.errors import InputError
from train.storage.files import atomic_write
from train.storage.listed_files import PLAIN_NAME

SECTIONS_WITHOUT_CONTENTS = 4  # a page with more sections than this gets a table of contents
CSS_PX_PER_INCH = 96
_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
# A figure, with or without a deviation and a unit; or nothing, or a dash that stands for nothing.
_NUMBER = re.compile(
    "[-+\N{MINUS SIGN}]?\\d[\\d.,]*(e[-+]?\\d+)?( ?± ?[\\d.,]+)?( ?\\S{1,6})?"
    "|[-\N{EN DASH}\N{EM DASH}]?"
)


@dataclass(frozen=True)
class Table:
    """A table of finished words: numbers are formatted by whoever knows their unit.

    Attributes:
        header: the columns' names.
        rows: the cells, row by row, as many in each as the header has.
        caption: what the table shows, or nothing.

    Raises:
        InputError: a row is shorter or longer than the header.
    """

    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    caption: str = ""

    def __post_init__(self) -> None:
        for row in self.rows:
            if len(row) != len(self.header):
                raise InputError(
                    f"expected rows of {len(self.header)} cells, as in the header "
                    f"{list(self.header)}; received {list(row)}"
                )

    @property
    def markdown(self) -> str:
        """The table in Markdown, without its caption and a final newline."""
        rule = ["---"] * len(self.header)
        rows = (self.header, rule, *self.rows)
        return "\n".join(f"| {' | '.join(map(as_words, row))} |" for row in rows)

    @property
    def numeric(self) -> tuple[bool, ...]:
        """For each column, whether all of its cells are numbers, which are set flush right."""
        columns = range(len(self.header))
        return tuple(all(_NUMBER.fullmatch(row[i]) for row in self.rows) for i in columns)


@dataclass(frozen=True)
class Picture:
    """A picture for a report.

    Attributes:
        data: the bytes of a PNG or SVG file.
        caption: what there is to see, or nothing.
        alt: words for those who can't see it; the caption, if none are given.
        name: of the file in ``figures/`` that `write_report` keeps it in too, without an ending;
            none if empty.

    Raises:
        InputError: the bytes are neither, or the name leads into another directory.
    """

    data: bytes
    caption: str
    alt: str = ""
    name: str = ""

    def __post_init__(self) -> None:
        _ = self.size_px  # refused here, and not halfway through a report
        if self.name and not PLAIN_NAME.fullmatch(self.name):
            raise InputError(f"expected a plain name of a picture, got {self.name!r:.60}")

    @property
    def media_type(self) -> str:
        """The picture's type, told from its first bytes."""
        if self.data.startswith(_PNG_SIGNATURE):
            return "image/png"
        start = self.data[:1000].lstrip(b"\xef\xbb\xbf \t\r\n")
        if start.startswith((b"<svg", b"<?xml")) and b"<svg" in start:
            return "image/svg+xml"
        raise InputError(f"expected the bytes of a PNG or SVG; received {self.data[:16]!r}")

    @property
    def suffix(self) -> str:
        """The ending of its file's name."""
        return ".png" if self.media_type == "image/png" else ".svg"

    @property
    def uri(self) -> str:
        """The whole picture as a ``data:`` address."""
        return f"data:{self.media_type};base64,{base64.b64encode(self.data).decode('ascii')}"

    @property
    def size_px(self) -> tuple[int, int] | None:
        """Width and height in CSS pixels of a PNG, by the resolution it states; of an SVG none.

        A PNG that states none, such as a bare sheet of images, has a CSS pixel for each of its own.
        """
        if self.media_type != "image/png":
            return None
        try:
            with PIL.Image.open(io.BytesIO(self.data), formats=("PNG",)) as image:
                dpi = image.info.get("dpi", (CSS_PX_PER_INCH, CSS_PX_PER_INCH))
                width, height = (
                    round(n * CSS_PX_PER_INCH / d) for n, d in zip(image.size, dpi, strict=True)
                )
        except Exception as error:  # Pillow has no class of its own; a resolution may be 0
            raise InputError(f"expected a whole PNG, got a damaged one ({error})") from error
        return width, height


@dataclass(frozen=True)
class Section:
    """A part of a report: a title, then its text, its pictures and its tables, in this order.

    Attributes:
        title: the heading.
        text: plain paragraphs, an empty line between two.
        pictures: shown below the text, two side by side where both are narrow.
        tables: shown below the pictures.
    """

    title: str
    text: str = ""
    pictures: Sequence[Picture] = ()
    tables: Sequence[Table] = ()

    @property
    def paragraphs(self) -> list[str]:
        """The text, cut at its empty lines."""
        return [part.strip() for part in re.split(r"\n\s*\n", self.text) if part.strip()]


def render_report(
    *,
    title: str,
    lead: str,
    facts: Mapping[str, str],
    sections: Sequence[Section],
    footer: Mapping[str, str],
) -> str:
    """Renders a report as one self-contained HTML page.

    Args:
        title: the page's heading.
        lead: one or two sentences below it: what was done, and what came out.
        facts: key figures, shown large: a label ("test accuracy") to a value ("97.8 ± 0.2 %").
        sections: the report's parts, in order.
        footer: how to get the same again: "command", "versions", "device", "key" and their values.

    Returns:
        The page. Equal input gives an equal page; it holds no date.
    """
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("experiments.pages"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("report.html.j2").render(
        title=title,
        lead=lead,
        facts=facts,
        sections=sections,
        footer=footer,
        with_contents=len(sections) > SECTIONS_WITHOUT_CONTENTS,
    )


def write_report(
    path: Path,
    *,
    title: str,
    lead: str,
    facts: Mapping[str, str],
    sections: Sequence[Section],
    footer: Mapping[str, str],
) -> None:
    """Writes the page of `render_report` to ``path``, and its named pictures to ``figures/``.

    Args:
        path: the file to make or replace; its folder exists.
        title: see `render_report`, as for all that follow.
        lead: ditto.
        facts: ditto.
        sections: ditto.
        footer: ditto.
    """
    page = render_report(title=title, lead=lead, facts=facts, sections=sections, footer=footer)
    for picture in (picture for section in sections for picture in section.pictures):
        if picture.name:
            figures = path.parent / "figures"
            figures.mkdir(exist_ok=True)
            atomic_write(figures / f"{picture.name}{picture.suffix}", picture.data)
    # A folder's name that isn't UTF-8 reaches us with surrogates, which UTF-8 refuses.
    atomic_write(path, page.encode("utf-8", "xmlcharrefreplace"))


def provenance(result: dict[str, Any]) -> dict[str, str]:
    """A report's footer: what it was made with.

    Args:
        result: with the fields of `train.storage.runs.environment`, and the key.
    """
    return {
        "command": result["command"],
        "device": result["device"],
        "versions": ", ".join(f"{name} {v}" for name, v in result["versions"].items()),
        "key": str(result["key"]),
    }
