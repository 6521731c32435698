"""Charts as SVG: numbers in, the bytes of a finished file out.

The same input gives the same bytes (see `experiments.pages.style`). Names from data, such as those
of classes, are drawn as plain text and shortened if they are long.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Integer
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.container import BarContainer
from matplotlib.ticker import (
    FuncFormatter,
    LogLocator,
    MaxNLocator,
    NullFormatter,
    PercentFormatter,
)

from experiments.pages.fonts import drawn_names
from experiments.pages.statistics import PairedDifference, mean_and_deviation
from experiments.pages.style import (
    BLUE,
    DASHES,
    INK,
    MAX_LEGEND_CHARACTERS,
    PALE,
    PALETTE,
    RULE,
    SHADES,
    legend_label,
    make_figure,
    short,
    style,
    svg,
)

MAX_WRITTEN_CLASSES, MAX_NAMED_CLASSES = 12, 30
"""Most classes for which counts, and names, are written."""

MAX_ROW_CHARACTERS = 44
"""Most characters of the name of a difference, which may be that of two arms."""

KL_FLOOR = 1e-7
"""Smallest divergence shown, in nats: float32 cannot tell smaller ones from zero."""


def curves(
    series: Mapping[str, Sequence[float]],
    *,
    x_label: str,
    y_label: str,
    spread: Mapping[str, Sequence[float]] | None = None,
) -> bytes:
    """Draws lines over epochs 1, 2, …, with a band of ± the spread where one is given.

    Args:
        series: values by the lines' names; NaN leaves a gap, and values apart are dots.
        x_label: label of the horizontal axis.
        y_label: quantity and unit.
        spread: half the height of the band at each point, ≥ 0, for some or all of the lines.

    Returns:
        The bytes of an SVG, 640 by 340 CSS pixels.
    """
    spread = spread or {}
    with style():
        figure = make_figure(640, 340)
        axes = figure.add_subplot()
        for i, (name, values) in enumerate(series.items()):
            _curve(axes, i, name, np.asarray(values, float), spread.get(name))
        axes.set(xlabel=x_label, ylabel=y_label)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.margins(x=0.02)
        axes.grid(axis="y")
        figure.legend(loc="outside upper left", ncols=min(len(series), 3), handlelength=2.4)
        return svg(figure)


def _curve(
    axes: Axes, i: int, name: str, values: np.ndarray, spread: Sequence[float] | None
) -> None:
    epochs = np.arange(1, len(values) + 1)
    colour, dash = PALETTE[i % len(PALETTE)], DASHES[i % len(DASHES)]
    is_there = np.isfinite(values)
    is_apart = not (is_there[1:] & is_there[:-1]).any()
    marker = "o" if is_apart else ""
    style: dict[str, Any] = {"color": colour, "linestyle": dash, "marker": marker}
    axes.plot(epochs, values, label=legend_label(name), **style)
    if spread is not None:
        low, high = values - np.asarray(spread), values + np.asarray(spread)
        axes.fill_between(epochs, low, high, color=colour, alpha=0.15, linewidth=0)


def comparison(arms: Mapping[str, Sequence[float]], *, y_label: str) -> bytes:
    """Compares the arms of an experiment, one row for each arm.

    Every run is a dot. Below the dots are the mean and, for two or more runs, a bar of ± the sample
    standard deviation (n - 1). The numbers stand at the right.

    Args:
        arms: results of the runs by the arms' names.
        y_label: quantity and unit.

    Returns:
        The bytes of an SVG, 640 CSS pixels wide.
    """
    with style():
        figure = make_figure(640, 62 + 46 * len(arms))
        axes = figure.add_subplot()
        for row, values in enumerate(arms.values()):
            _arm(axes, row, np.asarray(values, float))
        _name_rows(axes, [short(name, MAX_LEGEND_CHARACTERS) for name in arms], x_label=y_label)
        return svg(figure)


def differences(rows: Mapping[str, PairedDifference], *, x_label: str) -> bytes:
    """Draws mean differences with their intervals, one row each, beside a line at 0.

    An interval that does not hold 0 is dark, any other one is pale. The numbers stand at the right.

    Args:
        rows: the differences by their names, from top to bottom.
        x_label: quantity and unit.

    Returns:
        The bytes of an SVG, 640 CSS pixels wide.
    """
    with style():
        figure = make_figure(640, 62 + 30 * len(rows))
        axes = figure.add_subplot()
        axes.axvline(0, color=INK, linewidth=0.9)
        for row, (mean, _, n, low, high) in enumerate(rows.values()):
            colour = BLUE if low > 0 or high < 0 else RULE
            axes.plot([low, high], [row, row], color=colour, linewidth=2.4)
            axes.plot(mean, row, "D", markersize=5.5, color=colour, markeredgecolor="white")
            words = f"{mean:+.2f} [{low:+.2f}, {high:+.2f}] (n = {n})"
            axes.text(
                1.02, row, words, transform=axes.get_yaxis_transform(), va="center", fontsize=8.5
            )
        _name_rows(axes, [short(name, MAX_ROW_CHARACTERS) for name in rows], x_label=x_label)
        return svg(figure)


def _name_rows(axes: Axes, names: Sequence[str], *, x_label: str) -> None:
    """Names the rows of a chart, counted downwards, and draws its grid."""
    axes.set(ylim=(len(names) - 0.45, -0.55), xlabel=x_label)
    axes.set_yticks(range(len(names)), names, color=INK)
    axes.spines["left"].set_visible(False)
    axes.tick_params(pad=6)
    axes.xaxis.set_major_locator(MaxNLocator(6))
    axes.margins(x=0.06)
    axes.grid(axis="x")


def _arm(axes: Axes, row: int, values: np.ndarray) -> None:
    """Draws one arm of `comparison` at the height ``row``, counted downwards."""
    colour = PALETTE[row % len(PALETTE)]
    mean, deviation = mean_and_deviation(values.tolist())
    axes.scatter(values, [row - 0.17] * len(values), s=34, color=colour, alpha=0.55, linewidths=0)
    if len(values) > 1:
        ends = [mean - deviation, mean + deviation]
        axes.plot(ends, [row + 0.14] * 2, color=colour, linewidth=2.4)
    axes.plot(mean, row + 0.14, "D", markersize=5.5, color=colour, markeredgecolor="white")
    words = _mean_and_deviation(mean, deviation, len(values))
    axes.text(1.02, row, words, transform=axes.get_yaxis_transform(), va="center", fontsize=8.5)


def _mean_and_deviation(mean: float, deviation: float, count: int) -> str:
    """Text such as "97.82 ± 0.21 (n = 3)", with two digits of the deviation, ≤ 4 decimals."""
    if not 0 < deviation < np.inf:
        return f"{mean:.4g} (n = {count})"
    decimals = int(np.clip(1 - np.floor(np.log10(deviation)), 0, 4))
    return f"{mean:.{decimals}f} ± {deviation:.{decimals}f} (n = {count})"


def confusion(
    matrix: Integer[np.ndarray, "k k"],
    class_names: Sequence[str],
    *,
    row_label: str = "true class",
) -> bytes:
    """Draws a confusion matrix: a row is a true class, a column a predicted class.

    The shade shows the share of the row by its square root, which makes small errors visible.
    Counts are written for up to 12 classes, names for up to 30.

    Args:
        matrix: counts, ≥ 0.
        class_names: the k names.
        row_label: label of the rows, if they are not the true classes.

    Returns:
        The bytes of an SVG.
    """
    size = len(class_names)
    share = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    with style():
        side = int(np.clip(165 + 32 * size, 280, 600))
        figure = make_figure(side, side)
        axes = figure.add_subplot()
        shades = LinearSegmentedColormap.from_list("shades", SHADES)
        edges = {"edgecolors": "#EDF1F5", "linewidth": 0.8} if size <= MAX_NAMED_CLASSES else {}
        axes.pcolormesh(np.sqrt(share), cmap=shades, vmin=0, vmax=1, rasterized=not edges, **edges)
        if size <= MAX_WRITTEN_CLASSES:
            _write_counts(axes, matrix, share)
        _name_both_axes(axes, class_names)
        axes.set(xlabel="predicted", ylabel=row_label)
        return svg(figure)


def _write_counts(axes: Axes, matrix: np.ndarray, share: np.ndarray) -> None:
    middle = {"ha": "center", "va": "center", "fontsize": 7.5}
    for row, column in zip(*np.nonzero(matrix), strict=True):
        colour = "white" if share[row, column] > 0.3 else INK
        count = str(matrix[row, column])
        axes.text(column + 0.5, row + 0.5, count, color=colour, **middle)


def _name_both_axes(axes: Axes, class_names: Sequence[str]) -> None:
    size = len(class_names)
    axes.set(aspect="equal", xlim=(0, size), ylim=(size, 0))
    axes.spines[:].set_visible(False)
    if size > MAX_NAMED_CLASSES:
        return
    names = [short(name) for name in drawn_names(class_names)]
    turned: dict[str, Any] = {"rotation": 45, "ha": "right", "rotation_mode": "anchor"}
    if max(map(len, names)) <= 2:
        turned = {}
    axes.set_xticks(np.arange(size) + 0.5, names, **turned)
    axes.set_yticks(np.arange(size) + 0.5, names)


def class_shares(
    shares: Mapping[str, Float[np.ndarray, " k"]], class_names: Sequence[str], *, x_label: str
) -> bytes:
    """Draws shares by class as bars, one row for each class.

    Percentages and names are written for up to 30 classes.

    Args:
        shares: share of every class, in [0, 1], by the names of the kinds of bars.
        class_names: the k names.
        x_label: what the shares are shares of.

    Returns:
        The bytes of an SVG, 640 CSS pixels wide.
    """
    is_named = len(class_names) <= MAX_NAMED_CLASSES
    row_px = 10 + 12 * len(shares) if is_named else 4
    with style():
        figure = make_figure(640, 74 + row_px * len(class_names))
        axes = figure.add_subplot()
        for i, (kind, values) in enumerate(shares.items()):
            bars = _class_bars(axes, i, values, thickness=0.8 / len(shares))
            bars.set_label(legend_label(kind))
            if is_named:
                words = [f"{value:.1%}" for value in values]
                axes.bar_label(bars, words, padding=4, fontsize=7.5)
        names = [short(name) for name in drawn_names(class_names)] if is_named else []
        axes.set_yticks(np.arange(len(names)), names)
        axes.set(xlabel=x_label, xlim=(0, 1), ylim=(len(class_names) - 0.4, -0.6))
        axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        axes.grid(axis="x")
        figure.legend(loc="outside upper left", ncols=3, handlelength=1.4)
        return svg(figure)


def _class_bars(axes: Axes, i: int, values: np.ndarray, *, thickness: float) -> BarContainer:
    """Draws the bars of the i-th kind in `class_shares`, below those of earlier kinds."""
    heights = np.arange(len(values)) - 0.4 + (i + 0.5) * thickness
    return axes.barh(heights, values, 0.9 * thickness, color=PALETTE[i % len(PALETTE)])


def reliability(
    confidence_bins: Float[np.ndarray, " b"],
    accuracy_bins: Float[np.ndarray, " b"],
    counts: Integer[np.ndarray, " b"],
) -> bytes:
    """Draws a calibration diagram: accuracy and number of predictions by confidence.

    Lines show the distances of the points from the diagonal. Their mean, weighted by the counts, is
    the expected calibration error; it is written in the picture.

    Args:
        confidence_bins: mean confidence of the predictions in each bin, in [0, 1].
        accuracy_bins: share of correct predictions in each bin, in [0, 1].
        counts: predictions in each bin; the other numbers of an empty bin may be NaN.

    Returns:
        The bytes of an SVG.
    """
    full = counts > 0
    confidence, accuracy, weights = confidence_bins[full], accuracy_bins[full], counts[full]
    with style():
        figure = make_figure(380, 420)
        upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(4, 1))
        _calibration_points(upper, confidence, accuracy, weights / weights.sum())
        lower.bar(confidence, weights / weights.sum(), width=0.5 / len(counts), color=PALE)
        lower.set(xlabel="confidence", ylabel="share", xlim=(0, 1))
        lower.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        lower.tick_params(axis="x", pad=8)
        return svg(figure)


def _calibration_points(
    axes: Axes, confidence: np.ndarray, accuracy: np.ndarray, weights: np.ndarray
) -> None:
    error = np.sum(weights * np.abs(accuracy - confidence))
    axes.plot([0, 1], [0, 1], color=RULE, linewidth=1.2, linestyle="--")
    axes.vlines(confidence, confidence, accuracy, color=PALETTE[1], linewidth=2)
    axes.plot(confidence, accuracy, "o-", color=BLUE, linewidth=1.2, markersize=5, clip_on=False)
    words = f"expected calibration error {error:.3f}"
    axes.text(0.03, 0.97, words, va="top", transform=axes.transAxes)
    axes.set(ylabel="accuracy", ylim=(0, 1))
    axes.grid()


def histogram(values: Mapping[str, Float[np.ndarray, " _"]], *, x_label: str) -> bytes:
    """Draws histograms of several kinds of values, such as divergences, on one log scale.

    All kinds share their bins. Bars show shares of the values of a kind, and a dashed line its
    median. Values below 1e-7, including zero, are counted at 1e-7.

    Args:
        values: values by the kinds' names, finite, ≥ 0; their numbers may differ.
        x_label: quantity and unit.

    Returns:
        The bytes of an SVG, 640 by 300 CSS pixels.
    """
    floored = {name: np.maximum(array, KL_FLOOR) for name, array in values.items()}
    low = min(array.min() for array in floored.values()) / 1.1
    high = max(array.max() for array in floored.values()) * 1.1
    bins = np.geomspace(low, high, 41)
    with style():
        figure = make_figure(640, 300)
        axes = figure.add_subplot()
        for i, (name, array) in enumerate(floored.items()):
            _outline(axes, bins, array, name, PALETTE[i % len(PALETTE)])
        _log_axis(axes)
        axes.set(xlabel=x_label, ylabel="share of images", xlim=(low, high))
        axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        axes.grid(axis="y")
        figure.legend(loc="outside upper left", ncols=min(len(values), 3), handlelength=1.4)
        return svg(figure)


def _outline(axes: Axes, bins: np.ndarray, array: np.ndarray, name: str, colour: str) -> None:
    shares = np.histogram(array, bins)[0] / array.size
    median = float(np.median(array))
    label = f"{legend_label(name)} (median {median:.2g})"
    axes.stairs(shares, bins, fill=True, color=colour, alpha=0.15)
    axes.stairs(shares, bins, color=colour, linewidth=1.6, label=label)
    axes.axvline(median, color=colour, linewidth=1.2, linestyle="--")


def _log_axis(axes: Axes) -> None:
    """Sets a log scale with plain numbers: powers of ten would need math text, which is off."""
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(numticks=9))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
