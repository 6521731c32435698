"""Draws the figure of `growth.py`: a panel of time and a panel of memory for each axis.

The same input gives the same bytes: the file holds no date, identifiers in it have a fixed salt,
fonts are matplotlib's own, and the user's matplotlib settings are ignored.
"""

import io
import statistics
from collections.abc import Sequence
from typing import Any, NamedTuple

import matplotlib.style
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, NullFormatter, NullLocator

from imgopt.errors import InputError

# Okabe and Ito's colours ("Color Universal Design", 2008), told apart by colour-blind readers too.
BLUE, ORANGE, GREEN = "#0072B2", "#D55E00", "#009E73"
SOFT_INK, RULE = "#5B6773", "#C9D1D9"

STYLE: dict[str, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "axes.edgecolor": RULE,
    "axes.labelcolor": SOFT_INK,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "figure.facecolor": "white",
    "grid.color": "#E9EDF1",
    "legend.borderaxespad": 0.4,
    "legend.frameon": False,
    "legend.handleheight": 0.8,
    "lines.linewidth": 1.8,
    "lines.solid_capstyle": "round",
    "svg.hashsalt": "elicit",
    "text.color": "#1F2933",
    "xtick.color": RULE,
    "ytick.color": RULE,
    "xtick.labelcolor": SOFT_INK,
    "ytick.labelcolor": SOFT_INK,
    **{f"{axis}tick.{rank}.size": 0 for axis in "xy" for rank in ("major", "minor")},
}

CSS_PX_PER_INCH = 96
WIDTH_PX = 920  # fits a README without being shrunk
COLUMNS = 3
PANEL_HEIGHT_PX = 190
MAX_TICKS = 5


class Series(NamedTuple):
    """Measurements along one axis.

    Attributes:
        label: name of the axis, with its unit.
        places: values along the axis, ascending, above 0.
        seconds: times measured at each place, above 0.
        planned_mib: memory that XLA plans at each place, in MiB.
        peak_mib: peak memory of the device or process at each place, in MiB.
    """

    label: str
    places: Sequence[float]
    seconds: Sequence[Sequence[float]]
    planned_mib: Sequence[float]
    peak_mib: Sequence[float]


def growth_figure(series: Sequence[Series]) -> bytes:
    """Draws time and memory along several axes, all on log scales.

    Time is the median, with a band from minimum to maximum. A pale line shows growth in proportion
    for comparison.

    Args:
        series: one or more.

    Returns:
        An SVG file, 920 CSS pixels wide.

    Raises:
        InputError: there is nothing to draw.
    """
    if not series:
        raise InputError("expected at least one axis, got none")
    rows = -(-len(series) // COLUMNS)
    with matplotlib.style.context(STYLE, after_reset=True):
        height_px = 2 * rows * PANEL_HEIGHT_PX + 40
        size_inches = (WIDTH_PX / CSS_PX_PER_INCH, height_px / CSS_PX_PER_INCH)
        figure = Figure(figsize=size_inches, layout="constrained")
        FigureCanvasSVG(figure)
        panels = figure.subplots(2 * rows, COLUMNS, squeeze=False)
        for axes in panels.flat:
            axes.set_visible(False)
        for index, each in enumerate(series):
            row, column = divmod(index, COLUMNS)
            _draw(panels[2 * row, column], panels[2 * row + 1, column], each)
        _legend(figure)
        file = io.BytesIO()
        figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None})
        return file.getvalue()


def _draw(above: Axes, below: Axes, series: Series) -> None:
    medians = [statistics.median(each) for each in series.seconds]
    least, most = [min(each) for each in series.seconds], [max(each) for each in series.seconds]
    _proportion(above, series.places, medians[0])
    above.fill_between(series.places, least, most, color=BLUE, alpha=0.2, linewidth=0)
    above.plot(series.places, medians, "o-", color=BLUE, markersize=4)
    _proportion(below, series.places, series.planned_mib[0])
    below.plot(series.places, series.planned_mib, "o-", color=ORANGE, markersize=4)
    below.plot(series.places, series.peak_mib, "s--", color=GREEN, markersize=4)
    for axes, quantity in ((above, "seconds"), (below, "memory, MiB")):
        axes.set_visible(True)
        axes.set(xscale="log", yscale="log", xlabel=series.label, ylabel=quantity)
        _plain_numbers(axes, series.places)
        axes.grid()


def _proportion(axes: Axes, places: Sequence[float], first: float) -> None:
    axes.plot(places, [first * place / places[0] for place in places], color=RULE, linewidth=1.2)


def _plain_numbers(axes: Axes, places: Sequence[float]) -> None:
    """Puts ticks at some of the places, since powers of ten would need matplotlib's math text."""
    every = -(-len(places) // MAX_TICKS)
    plain = FuncFormatter(
        lambda value, _: f"{value:,g}" if value < 10_000 else f"{value / 1000:g}k"
    )
    axes.xaxis.set_major_locator(FixedLocator(list(places)[::-every]))
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5), numticks=5))
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(plain)
        axis.set_minor_formatter(NullFormatter())
        axis.set_minor_locator(NullLocator())


def _legend(figure: Figure) -> None:
    handles = [
        figure.axes[0].plot([], [], mark, color=colour, label=label, markersize=4)[0]
        for mark, colour, label in (
            ("o-", BLUE, "time (median, least to most)"),
            ("o-", ORANGE, "memory planned by XLA, each device"),
            ("s--", GREEN, "peak of device or process"),
            ("-", RULE, "in proportion"),
        )
    ]
    figure.legend(handles=handles, loc="outside upper left", ncols=4)
