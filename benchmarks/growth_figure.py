"""Draws the figure of `growth.py`: a panel of time and a panel of memory for each axis."""

import statistics
from collections.abc import Sequence
from typing import NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, NullFormatter, NullLocator

from experiments.pages.style import (
    BLUE,
    PALETTE,
    RULE,
    SHEET_WIDTH_PX,
    make_figure,
    style,
    svg,
)
from imgopt.errors import InputError

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
    with style():
        figure = make_figure(SHEET_WIDTH_PX, 2 * rows * PANEL_HEIGHT_PX + 40)
        panels = figure.subplots(2 * rows, COLUMNS, squeeze=False)
        for axes in panels.flat:
            axes.set_visible(False)
        for index, each in enumerate(series):
            row, column = divmod(index, COLUMNS)
            _draw(panels[2 * row, column], panels[2 * row + 1, column], each)
        _legend(figure)
        return svg(figure)


def _draw(above: Axes, below: Axes, series: Series) -> None:
    medians = [statistics.median(each) for each in series.seconds]
    least, most = [min(each) for each in series.seconds], [max(each) for each in series.seconds]
    _proportion(above, series.places, medians[0])
    above.fill_between(series.places, least, most, color=BLUE, alpha=0.2, linewidth=0)
    above.plot(series.places, medians, "o-", color=BLUE, markersize=4)
    _proportion(below, series.places, series.planned_mib[0])
    below.plot(series.places, series.planned_mib, "o-", color=PALETTE[1], markersize=4)
    below.plot(series.places, series.peak_mib, "s--", color=PALETTE[2], markersize=4)
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
            ("o-", PALETTE[1], "memory planned by XLA, each device"),
            ("s--", PALETTE[2], "peak of device or process"),
            ("-", RULE, "in proportion"),
        )
    ]
    figure.legend(handles=handles, loc="outside upper left", ncols=4)
