"""Reports: HTML pages that need no other file, no script and no network.

A page begins with its verdict and ends with what is needed to make it again. The template engine
escapes every string. Images are embedded as ``data:`` images, charts are the SVG that
`experiments.pages.svg` writes, and a content security policy in the page forbids everything else.
"""

import base64
import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import jinja2
import PIL.Image

from experiments.pages.markdown import as_words
from experiments.pages.svg import CHART_STYLE, Chart
from experiments.pages.verdict import Verdict
from imgopt.errors import InputError
from train.storage.files import atomic_write
from train.storage.listed_files import PLAIN_NAME

SECTIONS_WITHOUT_CONTENTS = 4  # a page with more sections has a table of contents
CSS_PX_PER_INCH = 96
MAX_SHRUNK_PX = 700  # a wider image is a sheet with words
_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
# A number, with or without a deviation and a unit; or an empty cell, or a dash.
_NUMBER = re.compile(
    "[-+\N{MINUS SIGN}]?\\d[\\d.,]*(e[-+]?\\d+)?( ?± ?[\\d.,]+)?( ?\\S{1,6})?"
    "|[-\N{EN DASH}\N{EM DASH}]?"
)


class Fact(NamedTuple):
    """A key figure, shown large.

    Attributes:
        label: what it is, such as "test accuracy"; "↓" at its end says that lower is better.
        value: the number with its unit.
        basis: what it rests on: n, and the budget it took.
    """

    label: str
    value: str
    basis: str


@dataclass(frozen=True)
class Table:
    """A table of text; whoever makes it formats the numbers.

    Attributes:
        header: names of the columns; "↓" at the end of one says that lower is better.
        rows: cells by rows, in each as many as in the header.
        caption: what the table shows; may be empty.
    """

    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    caption: str = ""

    @property
    def markdown(self) -> str:
        """The table in Markdown, without a final newline."""
        rule = ["---"] * len(self.header)
        rows = (self.header, rule, *self.rows)
        return "\n".join(f"| {' | '.join(map(as_words, row))} |" for row in rows)

    @property
    def note(self) -> str:
        """Caption, and the meaning of the mark that a column may have."""
        mark = "↓ lower is better" if any(name.endswith("↓") for name in self.header) else ""
        return ". ".join(part for part in (self.caption, mark) if part)

    @property
    def numeric(self) -> tuple[bool, ...]:
        """For each column, whether all cells are numbers, which are aligned to the right."""
        columns = range(len(self.header))
        return tuple(all(_NUMBER.fullmatch(row[i]) for row in self.rows) for i in columns)


@dataclass(frozen=True)
class Picture:
    """A chart or an image for a report.

    Attributes:
        data: a chart, or the bytes of a PNG.
        caption: what it shows; may be empty.
        name: name, without ending, of a copy that `write_report` writes to ``figures/``; if empty,
            there is no copy.

    Raises:
        InputError: the bytes are no PNG, or the name leads into another directory.
    """

    data: Chart | bytes
    caption: str
    name: str = ""

    def __post_init__(self) -> None:
        _ = self.size_px  # raises for a damaged image
        if self.name and not PLAIN_NAME.fullmatch(self.name):
            raise InputError(f"expected a plain name of a picture, got {self.name!r:.60}")

    @property
    def inline(self) -> str | None:
        """The chart as a part of the page; None for an image."""
        return self.data.inline if isinstance(self.data, Chart) else None

    @property
    def words(self) -> str:
        """Alternative text: what the picture shows."""
        return self.data.alt if isinstance(self.data, Chart) else self.caption

    @property
    def file(self) -> bytes:
        """Content of the copy."""
        return self.data.file if isinstance(self.data, Chart) else self.data

    @property
    def suffix(self) -> str:
        """Ending of the copy's name."""
        return ".svg" if isinstance(self.data, Chart) else ".png"

    @property
    def uri(self) -> str:
        """An image as a ``data:`` address."""
        return f"data:image/png;base64,{base64.b64encode(self.file).decode('ascii')}"

    @property
    def size_px(self) -> tuple[int, int] | None:
        """Width and height in CSS pixels of an image, by its resolution; None for a chart.

        Without a resolution, a pixel of the PNG is a CSS pixel.
        """
        if isinstance(self.data, Chart):
            return None
        if not self.data.startswith(_PNG_SIGNATURE):
            raise InputError(f"expected the bytes of a PNG; received {self.data[:16]!r}")
        try:
            with PIL.Image.open(io.BytesIO(self.data), formats=("PNG",)) as image:
                dpi = image.info.get("dpi", (CSS_PX_PER_INCH, CSS_PX_PER_INCH))
                width, height = (
                    round(n * CSS_PX_PER_INCH / d) for n, d in zip(image.size, dpi, strict=True)
                )
        except Exception as error:  # Pillow has no class of its own; a resolution may be 0
            raise InputError(f"expected a whole PNG, got a damaged one ({error})") from error
        return width, height

    @property
    def is_wide(self) -> bool:
        """Whether an image has words that a narrow page would make too small: it scrolls there."""
        return self.size_px is not None and self.size_px[0] > MAX_SHRUNK_PX


class Strip(NamedTuple):
    """Images side by side, with a name before and notes after them.

    Attributes:
        label: name, such as the name of their class.
        png: the images, each pixel a pixel of the PNG.
        notes: lines about them.
        alt: what they are, for readers who do not see them.
    """

    label: str
    png: bytes
    notes: Sequence[str]
    alt: str

    @property
    def uri(self) -> str:
        """The images as a ``data:`` address."""
        return f"data:image/png;base64,{base64.b64encode(self.png).decode('ascii')}"

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the PNG."""
        with PIL.Image.open(io.BytesIO(self.png), formats=("PNG",)) as image:
            return image.size


class Strips(NamedTuple):
    """Strips of one kind.

    Attributes:
        strips: the strips.
        caption: what they show, and which are left out.
        scale: CSS pixels for each pixel of an image.
        name: name of the files that `experiments.pages.saved_strips` keeps; empty without files.
    """

    strips: Sequence[Strip]
    caption: str
    scale: int
    name: str = ""


@dataclass(frozen=True)
class Section:
    """A section of a report: title, text, strips, pictures and tables, in this order.

    Attributes:
        title: heading.
        text: plain paragraphs, separated by empty lines.
        pictures: pictures below the text, two side by side where both are narrow.
        tables: tables below the pictures.
        strips: groups of images below the text.
    """

    title: str
    text: str = ""
    pictures: Sequence[Picture] = ()
    tables: Sequence[Table] = ()
    strips: Sequence[Strips] = ()

    @property
    def paragraphs(self) -> list[str]:
        """The paragraphs of the text."""
        return [part.strip() for part in re.split(r"\n\s*\n", self.text) if part.strip()]


def write_report(
    path: Path,
    *,
    title: str,
    verdict: Verdict,
    facts: Sequence[Fact],
    sections: Sequence[Section],
    footer: Mapping[str, str],
) -> None:
    """Writes a report as one self-contained HTML page, and its named pictures to ``figures/``.

    Equal input gives an equal page: it holds no date.

    Args:
        path: file to write or replace; its folder exists, and ``figures/`` is made beside it.
        title: heading of the page; it tells this run from others.
        verdict: what the page shows, in a few sentences.
        facts: key figures, shown large.
        sections: sections, in order.
        footer: what is needed to repeat it, see `provenance`.
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
        verdict=verdict.text,
        facts=facts,
        sections=sections,
        footer=footer,
        chart_style=CHART_STYLE,
        with_contents=len(sections) > SECTIONS_WITHOUT_CONTENTS,
    )
    for picture in (picture for section in sections for picture in section.pictures):
        if picture.name:
            figures = path.parent / "figures"
            figures.mkdir(exist_ok=True)
            atomic_write(figures / f"{picture.name}{picture.suffix}", picture.file)
    # The name of a folder may hold surrogates, which cannot be written as UTF-8.
    atomic_write(path, page.encode("utf-8", "xmlcharrefreplace"))


def provenance(result: Mapping[str, Any], *, data: str, classifier: str = "none") -> dict[str, str]:
    """The footer of a report: command, data, classifier, device, versions and key.

    Args:
        result: a result with the fields of `train.storage.runs.environment`, and the key, if the
            result depends on one.
        data: name of the data, with its digest if it is known.
        classifier: name or digest of the classifier that took part, or "none".
    """
    return {
        "command": result["command"],
        "data": data,
        "classifier": classifier,
        "device": result["device"],
        "versions": ", ".join(f"{name} {v}" for name, v in result["versions"].items()),
        **({"key": str(result["key"])} if "key" in result else {}),
    }


def digest_words(sha256: str | None) -> str:
    """The beginning of a digest, which tells things apart, such as "sha256 1f3a9c0b57d2…"."""
    return f"sha256 {sha256[:12]}…" if sha256 else "without a digest"
