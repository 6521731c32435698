"""Reports: HTML pages that need no other file, no script and no network.

The template engine escapes every string. Pictures are embedded as ``data:`` images, in which a
browser runs no script, and a content security policy in the page forbids everything else.
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

SECTIONS_WITHOUT_CONTENTS = 4  # a page with more sections has a table of contents
CSS_PX_PER_INCH = 96
_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
# A number, with or without a deviation and a unit; or an empty cell, or a dash.
_NUMBER = re.compile(
    "[-+\N{MINUS SIGN}]?\\d[\\d.,]*(e[-+]?\\d+)?( ?± ?[\\d.,]+)?( ?\\S{1,6})?"
    "|[-\N{EN DASH}\N{EM DASH}]?"
)


@dataclass(frozen=True)
class Table:
    """A table of text; whoever makes it formats the numbers.

    Attributes:
        header: names of the columns.
        rows: cells by rows, in each as many as in the header.
    """

    header: Sequence[str]
    rows: Sequence[Sequence[str]]

    @property
    def markdown(self) -> str:
        """The table in Markdown, without a final newline."""
        rule = ["---"] * len(self.header)
        rows = (self.header, rule, *self.rows)
        return "\n".join(f"| {' | '.join(map(as_words, row))} |" for row in rows)

    @property
    def numeric(self) -> tuple[bool, ...]:
        """For each column, whether all cells are numbers, which are aligned to the right."""
        columns = range(len(self.header))
        return tuple(all(_NUMBER.fullmatch(row[i]) for row in self.rows) for i in columns)


@dataclass(frozen=True)
class Picture:
    """A picture for a report.

    Attributes:
        data: bytes of a PNG or SVG file.
        caption: what the picture shows; may be empty.
        name: name, without ending, of a copy that `write_report` writes to ``figures/``; if empty,
            there is no copy.

    Raises:
        InputError: the bytes are neither PNG nor SVG, or the name leads into another directory.
    """

    data: bytes
    caption: str
    name: str = ""

    def __post_init__(self) -> None:
        _ = self.size_px  # raises for a damaged picture
        if self.name and not PLAIN_NAME.fullmatch(self.name):
            raise InputError(f"expected a plain name of a picture, got {self.name!r:.60}")

    @property
    def media_type(self) -> str:
        """Media type, by the first bytes."""
        if self.data.startswith(_PNG_SIGNATURE):
            return "image/png"
        start = self.data[:1000].lstrip(b"\xef\xbb\xbf \t\r\n")
        if start.startswith((b"<svg", b"<?xml")) and b"<svg" in start:
            return "image/svg+xml"
        raise InputError(f"expected the bytes of a PNG or SVG; received {self.data[:16]!r}")

    @property
    def suffix(self) -> str:
        """Ending of the file's name."""
        return ".png" if self.media_type == "image/png" else ".svg"

    @property
    def uri(self) -> str:
        """The picture as a ``data:`` address."""
        return f"data:{self.media_type};base64,{base64.b64encode(self.data).decode('ascii')}"

    @property
    def size_px(self) -> tuple[int, int] | None:
        """Width and height of a PNG in CSS pixels, by the resolution in the file; None for an SVG.

        Without a resolution, a pixel of the PNG is a CSS pixel.
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
    """A section of a report: title, text, pictures and tables, in this order.

    Attributes:
        title: heading.
        text: plain paragraphs, separated by empty lines.
        pictures: pictures below the text, two side by side where both are narrow.
        tables: tables below the pictures.
    """

    title: str
    text: str = ""
    pictures: Sequence[Picture] = ()
    tables: Sequence[Table] = ()

    @property
    def paragraphs(self) -> list[str]:
        """The paragraphs of the text."""
        return [part.strip() for part in re.split(r"\n\s*\n", self.text) if part.strip()]


def write_report(
    path: Path,
    *,
    title: str,
    lead: str,
    facts: Mapping[str, str],
    sections: Sequence[Section],
    footer: Mapping[str, str],
) -> None:
    """Writes a report as one self-contained HTML page, and its named pictures to ``figures/``.

    Equal input gives an equal page: it holds no date.

    Args:
        path: file to write or replace; its folder exists, and ``figures/`` is made beside it.
        title: heading of the page.
        lead: one or two sentences below it: what was done, and the result.
        facts: key figures, shown large: values ("97.8 ± 0.2 %") by labels ("test accuracy").
        sections: sections, in order.
        footer: what is needed to repeat it: values of "command", "versions", "device", "key".
    """
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("experiments.pages"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    page = environment.get_template("report.html.j2").render(
        title=title,
        lead=lead,
        facts=facts,
        sections=sections,
        footer=footer,
        with_contents=len(sections) > SECTIONS_WITHOUT_CONTENTS,
    )
    for picture in (picture for section in sections for picture in section.pictures):
        if picture.name:
            figures = path.parent / "figures"
            figures.mkdir(exist_ok=True)
            atomic_write(figures / f"{picture.name}{picture.suffix}", picture.data)
    # The name of a folder may hold surrogates, which cannot be written as UTF-8.
    atomic_write(path, page.encode("utf-8", "xmlcharrefreplace"))


def provenance(result: dict[str, Any]) -> dict[str, str]:
    """The footer of a report: command, device, versions and key.

    Args:
        result: a result with the fields of `train.storage.runs.environment`, and the key.
    """
    return {
        "command": result["command"],
        "device": result["device"],
        "versions": ", ".join(f"{name} {v}" for name, v in result["versions"].items()),
        "key": str(result["key"]),
    }
