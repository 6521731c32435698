"""Charts as SVG that takes its colours and its width from the page that it stands in.

Horizontal places are percentages and vertical ones CSS pixels, and there is no `viewBox`: a chart
is as wide as its column, and its text stays as large as the page's. Colours are CSS variables of
the page, so charts are dark where the page is. A file that stands alone has the colours of a light
page. Equal input gives equal text.
"""

import html
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from experiments.pages.style import short

FILE_WIDTH_PX = 640
"""Width of a chart in a file of its own."""

COLOURS = 7
"""Number of colours that tell series apart; later series begin again, with other dashes."""

CHART_STYLE = """
.chart { display: block; width: 100%; overflow: visible; background: var(--card, #ffffff); }
.chart text { font: 12px/1 system-ui, -apple-system, "Segoe UI", Roboto, Arial, sans-serif;
  fill: var(--ink, #1f2933); paint-order: stroke; stroke: var(--card, #ffffff); stroke-width: 3px;
  stroke-linejoin: round; font-variant-numeric: tabular-nums; }
.chart .strong { font-weight: 600; }
.chart .soft { fill: var(--soft, #5b6773); }
.chart .small { font-size: 11px; }
.chart .on { fill: var(--card, #ffffff); stroke: none; }
.chart .plain { stroke: none; }
.chart .rule { stroke: var(--rule, #dfe5ea); stroke-width: 1px; }
.chart .zero { stroke: var(--ink, #1f2933); stroke-width: 1px; }
.chart .track { fill: var(--rule, #dfe5ea); opacity: 0.6; }
.chart .line { stroke: var(--c); stroke-width: 2px; fill: none; stroke-linecap: round;
  stroke-linejoin: round; vector-effect: non-scaling-stroke; }
.chart .thick { stroke-width: 4px; }
.chart .fill { fill: var(--c); }
.chart .band { fill: var(--c); fill-opacity: 0.16; stroke: none; }
.chart .d1 { stroke-dasharray: 7 5; }
.chart .d2 { stroke-dasharray: 2 5; }
.chart .d3 { stroke-dasharray: 9 4 2 4; }
.chart .c0 { --c: var(--c0, #0072b2); } .chart .c1 { --c: var(--c1, #c24e00); }
.chart .c2 { --c: var(--c2, #007a5e); } .chart .c3 { --c: var(--c3, #b0508a); }
.chart .c4 { --c: var(--c4, #946300); } .chart .c5 { --c: var(--c5, #6a55b0); }
.chart .c6 { --c: var(--c6, #4d5660); } .chart .none { --c: var(--soft, #5b6773); }
"""
"""Style of all charts, for the page and for files of their own; `--c` is the colour of a series."""


@dataclass(frozen=True)
class Chart:
    """A finished chart.

    Attributes:
        body: its elements.
        height_px: its height in CSS pixels.
        alt: what it shows, in words and numbers, for readers who do not see it.
    """

    body: str
    height_px: int
    alt: str

    @property
    def inline(self) -> str:
        """The chart as a part of a page, whose style has `CHART_STYLE`."""
        return element("svg", self.body, **self._attributes)

    @property
    def file(self) -> bytes:
        """The chart as a file."""
        inside = element("style", CHART_STYLE) + self.body
        attributes = {"xmlns": "http://www.w3.org/2000/svg", **self._attributes}
        return (element("svg", inside, **attributes) + "\n").encode()

    @property
    def _attributes(self) -> dict[str, str | float]:
        return {
            "class": "chart",
            "role": "img",
            "aria-label": short(self.alt, len(self.alt)),
            "width": FILE_WIDTH_PX,
            "height": self.height_px,
        }


def element(name: str, inside: str = "", /, **attributes: str | float) -> str:
    """One element of SVG; an underscore in an attribute's name becomes a hyphen."""
    words = "".join(
        f' {key.strip("_").replace("_", "-")}="{html.escape(_value(value))}"'
        for key, value in attributes.items()
    )
    return f"<{name}{words}>{inside}</{name}>" if inside else f"<{name}{words}/>"


def _value(value: str | float) -> str:
    return value if isinstance(value, str) else f"{value:.6g}"


def text(x: float, y: float, words: str, style: str = "", *, anchor: str = "start") -> str:
    """Words on one line; x in percent, y of their foot in pixels; anchor start, middle or end."""
    left = f"{x:.6g}%"
    return element("text", escaped(words), class_=style, x=left, y=y, text_anchor=anchor)


def escaped(words: str) -> str:
    """Words as the content of an element, on one line and without what cannot be printed."""
    return html.escape(short(words, len(words)))


def line(x: tuple[float, float], y: tuple[float, float], style: str) -> str:
    """A straight line; x in percent, y in pixels."""
    return element("line", x1=f"{x[0]:.6g}%", x2=f"{x[1]:.6g}%", y1=y[0], y2=y[1], class_=style)


def rect(x: tuple[float, float], y: tuple[float, float], style: str, **more: str | float) -> str:
    """A rectangle from x to x in percent and from y to y in pixels."""
    left, width, height = f"{x[0]:.6g}%", f"{max(x[1] - x[0], 0):.6g}%", y[1] - y[0]
    return element("rect", class_=style, x=left, width=width, y=y[0], height=height, **more)


def dot(x: float, y: float, radius: float, style: str, **more: str | float) -> str:
    """A circle; x in percent, y and radius in pixels."""
    return element("circle", cx=f"{x:.6g}%", cy=y, r=radius, class_=style, **more)


def series_style(number: int) -> str:
    """Classes that tell a series from others: its colour, and its dashes after the last colour."""
    return f"c{number % COLOURS} d{number % 4}"


@dataclass(frozen=True)
class Scale:
    """A linear scale from values to places.

    Attributes:
        low: smallest value.
        high: largest value; above ``low``.
        start: place of the smallest value.
        end: place of the largest value.
    """

    low: float
    high: float
    start: float = 2.0
    end: float = 98.0

    def __call__(self, value: float) -> float:
        """The place of a value."""
        share = (value - self.low) / (self.high - self.low)
        return self.start + share * (self.end - self.start)

    @property
    def ticks(self) -> list[float]:
        """Three to six round values within the scale."""
        raw = (self.high - self.low) / 4
        power = 10.0 ** math.floor(math.log10(raw))
        step = power * min((1, 2, 5, 10), key=lambda factor: abs(factor * power - raw))
        first, last = math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9)
        return [0.0 if n == 0 else float(f"{n * step:.12g}") for n in range(first, last + 1)]


def scale_of(values: Iterable[float], *, start: float = 2.0, end: float = 98.0) -> Scale:
    """A scale that holds all finite values, with a little room."""
    finite = [value for value in values if math.isfinite(value)] or [0.0]
    low, high = min(finite), max(finite)
    room = 0.04 * (high - low) or 0.02 * abs(high) or 1.0
    return Scale(low - room, high + room, start, end)


def tick_words(value: float) -> str:
    """A round value as text."""
    return f"{value:,.6g}"


def x_axis(scale: Scale, top: float, bottom: float, label: str, *, words=tick_words) -> str:
    """Grid lines at round values that have words, the words below them, and the axis's label."""
    parts = []
    for value in filter(words, scale.ticks):
        place = scale(value)
        parts.append(line((place, place), (top, bottom), "rule"))
        anchor = "start" if place < 4 else "end" if place > 96 else "middle"
        parts.append(text(place, bottom + 15, words(value), "soft small", anchor=anchor))
    return "".join(parts) + text(0, bottom + 33, label, "soft")


def legend(names: Sequence[str], top: float, *, is_filled: bool = False) -> tuple[str, float]:
    """Names of series beside their colours, and the height that they take.

    Two names stand side by side where all are short.

    Args:
        names: names of the series.
        top: place of the first name.
        is_filled: whether the series are bars and not lines.
    """
    columns = 2 if len(names) > 1 and max(map(len, names)) <= 22 else 1
    parts = []
    for number, name in enumerate(names):
        x, y = 50.0 * (number % columns), top + 18 * (number // columns) + 8
        style = series_style(number)
        key = (
            rect((0, 100), (0, 8), f"fill {style}")
            if is_filled
            else line((0, 100), (4, 4), f"line {style}")
        )
        key = element("svg", key, x=f"{x:.6g}%", y=y - 4, width=26, height=8)
        words = element("svg", text(0, 12, short(name, 48)), x=f"{x:.6g}%", y=y - 8)
        parts.append(key + element("g", words, transform="translate(34 0)"))
    return "".join(parts), 18.0 * -(-len(names) // columns) + 8
