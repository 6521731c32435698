"""Charts: numbers in, a `Chart` out, with a description of what it shows.

Names from data, such as names of classes, are plain text and shortened if they are long.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float, Integer

from experiments.pages.statistics import PairedDifference, difference_sign, mean_and_deviation
from experiments.pages.style import short
from experiments.pages.svg import (
    Chart,
    Scale,
    dot,
    element,
    legend,
    line,
    rect,
    scale_of,
    series_style,
    text,
    tick_words,
    x_axis,
)

MAX_NAMED_CLASSES = 30
"""Most classes for which names and percentages are written."""

MAX_ROW_CHARACTERS = 44
"""Most characters of the name of a row."""

MAX_TOLD = 8
"""Most rows or series that a description tells one by one."""

KL_FLOOR = 1e-7
"""Smallest divergence shown, in nats: float32 cannot tell smaller ones from zero."""

PLOT_LEFT, PLOT_RIGHT, PLOT_PX = 13.0, 98.0, 210
"""Place of a plot with a vertical axis, in percent, and its height in pixels."""

AXIS_PX = 42
"""Height of the values and the label below a plot."""

ROW_PX = 58
"""Height of a row with a name, numbers and a strip."""


def told(parts: Sequence[str]) -> str:
    """Joins what a description tells, and says how much more there is."""
    more = len(parts) - MAX_TOLD
    return "; ".join(parts[:MAX_TOLD]) + (f"; and {more} more" if more > 0 else "")


def curves(
    series: Mapping[str, Sequence[float]],
    *,
    x_label: str,
    y_label: str,
    spread: Mapping[str, Sequence[float]] | None = None,
) -> Chart:
    """Draws lines over epochs 1, 2, …, with a band of ± the spread where one is given.

    Args:
        series: values by the lines' names; NaN leaves a gap, and values apart are dots.
        x_label: label of the horizontal axis.
        y_label: quantity and unit.
        spread: half the height of the band at each point, ≥ 0, for some or all of the lines.
    """
    arrays = {name: np.asarray(values, float) for name, values in series.items()}
    bands = {name: np.asarray(values, float) for name, values in (spread or {}).items()}
    ends = [array + sign * bands.get(name, np.zeros(())) for name, array in arrays.items()
            for sign in (-1, 1)]  # fmt: skip
    y_scale = scale_of(np.concatenate(ends).tolist(), start=1000, end=0)
    last = max(len(array) for array in arrays.values())
    x_scale = Scale(1, max(last, 2), PLOT_LEFT, PLOT_RIGHT)
    names, top = legend(list(series), 0)
    parts = [names, text(0, top + 12, y_label, "soft")]
    top += 24
    parts += [_y_axis(y_scale, top), x_axis(x_scale, top, top + PLOT_PX, x_label, words=_whole)]
    for number, (name, array) in enumerate(arrays.items()):
        style = series_style(number)
        parts.append(_plot(top, _polylines(array, bands.get(name), last, y_scale, style)))
        parts += [
            dot(x_scale(i + 1), top + PLOT_PX * y_scale(array[i]) / 1000, 3.5, f"fill {style}")
            for i in _lonely(array)
        ]
    ways = [f"{name} {_way(array)}" for name, array in arrays.items()]
    return Chart(
        "".join(parts), int(top + PLOT_PX + AXIS_PX), f"{y_label} by {x_label}: {told(ways)}."
    )


def _whole(value: float) -> str:
    """An epoch's number; nothing between two epochs."""
    return f"{value:,.0f}" if value == round(value) else ""


def _way(array: np.ndarray) -> str:
    """First and last finite value of a line, with the epochs between."""
    there = np.flatnonzero(np.isfinite(array))
    if not len(there):
        return "has no values"
    first, last = there[0], there[-1]
    if first == last:
        return f"is {array[last]:.3g}"
    return f"from {array[first]:.3g} to {array[last]:.3g} at {last + 1}"


def _lonely(array: np.ndarray) -> list[int]:
    """Points without a finite neighbour, which no line would show."""
    there = np.concatenate(([False], np.isfinite(array), [False]))
    return np.flatnonzero(there[1:-1] & ~there[:-2] & ~there[2:]).tolist()


def _polylines(
    array: np.ndarray, band: np.ndarray | None, last: int, y_scale: Scale, style: str
) -> str:
    """The line of a series, piece by piece between gaps, with its band; 1000 units each way."""
    x = 1000 * np.arange(len(array)) / max(last - 1, 1)
    parts = []
    if band is not None:
        ends = [
            *zip(x, array - band, strict=True),
            *zip(x[::-1], (array + band)[::-1], strict=True),
        ]
        edge = " ".join(f"{a:.1f},{y_scale(b):.1f}" for a, b in np.array(ends).tolist() if b == b)
        parts.append(element("polygon", points=edge, class_=f"band {style}"))
    there = np.flatnonzero(np.isfinite(array))
    for piece in np.split(there, np.flatnonzero(np.diff(there) > 1) + 1):
        points = " ".join(f"{x[i]:.1f},{y_scale(float(array[i])):.1f}" for i in piece)
        parts.append(element("polyline", points=points, class_=f"line {style}"))
    return "".join(parts)


def _plot(top: float, inside: str) -> str:
    """A box of 1000 by 1000 units, stretched over the plot."""
    return element(
        "svg",
        inside,
        x=f"{PLOT_LEFT:g}%",
        y=top,
        width=f"{PLOT_RIGHT - PLOT_LEFT:g}%",
        height=PLOT_PX,
        viewBox="0 0 1000 1000",
        preserveAspectRatio="none",
    )


def _y_axis(scale: Scale, top: float, *, words=tick_words) -> str:
    """Grid lines at round values, with the values at the left; the scale counts 1000 units."""
    parts = []
    for value in scale.ticks:
        y = top + PLOT_PX * scale(value) / 1000
        parts.append(line((PLOT_LEFT, PLOT_RIGHT), (y, y), "rule"))
        parts.append(text(PLOT_LEFT - 1.5, y + 4, words(value), "soft small", anchor="end"))
    return "".join(parts)


def comparison(arms: Mapping[str, Sequence[float]], *, y_label: str) -> Chart:
    """Compares the arms of an experiment, one row for each arm.

    Every run is a dot. Below the dots are the mean and, for two or more runs, a bar of ± the sample
    standard deviation (n - 1).

    Args:
        arms: results of the runs by the arms' names.
        y_label: quantity and unit.
    """
    means = {name: mean_and_deviation(values) for name, values in arms.items()}
    ends = [mean + sign * deviation for mean, deviation in means.values() for sign in (-1, 1)]
    scale = scale_of([*ends, *(value for values in arms.values() for value in values)])
    parts = [x_axis(scale, 30, ROW_PX * len(arms) + 4, y_label)]
    words = {}
    for row, (name, values) in enumerate(arms.items()):
        (mean, deviation), y, style = means[name], ROW_PX * row, f"c{row % 7}"
        words[name] = _mean_and_deviation(mean, deviation, len(values))
        parts += _row_names(y, name, words[name])
        parts += [dot(scale(v), y + 40, 4, f"fill {style}", fill_opacity=0.5) for v in values]
        if len(values) > 1:
            bar = (scale(mean - deviation), scale(mean + deviation))
            parts.append(line(bar, (y + 51, y + 51), f"line thick {style}"))
        parts.append(dot(scale(mean), y + 51, 5, f"fill {style}"))
    told_means = told([f"{name} {each}" for name, each in words.items()])
    return Chart("".join(parts), ROW_PX * len(arms) + 4 + AXIS_PX, f"{y_label}: {told_means}.")


def _row_names(y: float, name: str, numbers: str) -> list[str]:
    return [
        text(0, y + 13, short(name, MAX_ROW_CHARACTERS), "strong"),
        text(0, y + 28, numbers, "soft small"),
    ]


def _mean_and_deviation(mean: float, deviation: float, count: int) -> str:
    """Text such as "97.82 ± 0.21 (n = 3)", with two digits of the deviation, ≤ 4 decimals."""
    if not 0 < deviation < np.inf:
        return f"{mean:.4g} (n = {count})"
    decimals = int(np.clip(1 - np.floor(np.log10(deviation)), 0, 4))
    return f"{mean:.{decimals}f} ± {deviation:.{decimals}f} (n = {count})"


def draw_differences(rows: Mapping[str, PairedDifference], *, x_label: str) -> Chart:
    """Draws mean differences with their intervals, one row each, across a line at 0.

    An interval that holds 0 is grey. Others are blue above 0 and orange below.

    Args:
        rows: the differences by their names, from top to bottom.
        x_label: quantity and unit.
    """
    scale = scale_of([0.0, *(end for row in rows.values() for end in (row.low, row.high))])
    bottom = ROW_PX * len(rows) + 4
    parts = [x_axis(scale, 30, bottom, x_label)]
    parts.append(line((scale(0), scale(0)), (30, bottom), "zero"))
    words = {}
    for row, (name, found) in enumerate(rows.items()):
        y, sign = ROW_PX * row, difference_sign(found)
        style = {1: "c0", -1: "c1", 0: "none"}[sign]
        mean, _, n, low, high = found
        holds = "holds 0" if low <= 0 <= high else "not decided"
        decided = {1: "above 0", -1: "below 0", 0: holds}[sign]
        words[name] = f"{mean:+.2f} [{low:+.2f}, {high:+.2f}], n = {n}: {decided}"
        parts += _row_names(y, name, words[name])
        if np.isfinite([low, mean, high]).all():
            parts.append(line((scale(low), scale(high)), (y + 45, y + 45), f"line thick {style}"))
            parts.append(dot(scale(mean), y + 45, 6, f"fill {style}"))
    told_rows = told([f"{name} {each}" for name, each in words.items()])
    return Chart("".join(parts), bottom + AXIS_PX, f"{x_label}: {told_rows}.")


def class_shares(
    shares: Mapping[str, Float[np.ndarray, " k"]], class_names: Sequence[str], *, x_label: str
) -> Chart:
    """Draws shares by class as bars, one row for each class.

    Percentages and names are written for up to 30 classes.

    Args:
        shares: share of every class, in [0, 1], by the names of the kinds of bars.
        class_names: the k names.
        x_label: what the shares are shares of.
    """
    is_named = len(class_names) <= MAX_NAMED_CLASSES
    head, bar, gap = (18, 7, 9) if is_named else (0, 3, 1)
    names, top = legend(list(shares), 0, is_filled=True) if len(shares) > 1 else ("", 0.0)
    bottom = top + (head + bar * len(shares) + gap) * len(class_names)
    scale = Scale(0, 1, 0, 100)
    parts = [names, x_axis(scale, top, bottom, x_label, words=lambda value: f"{value:.0%}")]
    for label, name in enumerate(class_names):
        y = top + (head + bar * len(shares) + gap) * label
        values = [each[label] for each in shares.values()]
        if is_named:
            parts.append(text(0, y + 13, short(name)))
            numbers = " · ".join(f"{value:.1%}" for value in values)
            parts.append(text(100, y + 13, numbers, "soft small", anchor="end"))
        for number, value in enumerate(values):
            place = (y + head + bar * number, y + head + bar * number + bar - 1)
            parts.append(rect((0, 100), place, "track"))
            parts.append(rect((0, scale(value)), place, f"fill c{number % 7}"))
    ranges = [f"{kind} {_range(values, class_names)}" for kind, values in shares.items()]
    alt = f"{x_label[:1].upper()}{x_label[1:]}, by class: {told(ranges)}."
    return Chart("".join(parts), int(bottom + AXIS_PX), alt)


def _range(values: np.ndarray, class_names: Sequence[str]) -> str:
    """The smallest and the largest share, with their classes."""
    low, high = int(np.argmin(values)), int(np.argmax(values))
    if low == high:
        return f"{values[low]:.1%} ({class_names[low]})"
    return (
        f"from {values[low]:.1%} ({class_names[low]}) to {values[high]:.1%} ({class_names[high]})"
    )


def reliability(
    confidence_bins: Float[np.ndarray, " b"],
    accuracy_bins: Float[np.ndarray, " b"],
    counts: Integer[np.ndarray, " b"],
) -> Chart:
    """Draws a calibration diagram: accuracy by confidence, a dot for each bin with predictions.

    Empty bins are left out, and both axes begin below the first dot. Lines show the distances from
    the diagonal. Their mean, weighted by the counts, is the expected calibration error.

    Args:
        confidence_bins: mean confidence of the predictions in each bin, in [0, 1].
        accuracy_bins: share of correct predictions in each bin, in [0, 1].
        counts: predictions in each bin; the other numbers of an empty bin may be NaN.
    """
    full = counts > 0
    confidence, accuracy, numbers = confidence_bins[full], accuracy_bins[full], counts[full]
    error = float(np.sum(numbers * np.abs(accuracy - confidence)) / numbers.sum())
    low = min(np.floor(10 * min(confidence.min(), accuracy.min())) / 10, 0.9)
    x_scale, y_scale = Scale(low, 1, PLOT_LEFT, PLOT_RIGHT), Scale(low, 1, 1000, 0)
    words = f"expected calibration error {error:.2%} ↓"
    parts = [text(0, 12, words, "strong"), text(0, 30, "accuracy", "soft")]
    top = 42
    parts += [_y_axis(y_scale, top), x_axis(x_scale, top, top + PLOT_PX, "confidence")]
    diagonal = element("polyline", points="0,1000 1000,0", class_="line d1 none")
    parts.append(_plot(top, diagonal))
    for x, y, count in zip(confidence, accuracy, numbers, strict=True):
        place, height = x_scale(x), top + PLOT_PX * y_scale(y) / 1000
        parts.append(line((place, place), (top + PLOT_PX * y_scale(x) / 1000, height), "line c1"))
        parts.append(dot(place, height, 3 + 5 * float(np.sqrt(count / numbers.sum())), "fill c0"))
    bins = [f"{y:.1%} right at confidence {x:.2f} ({count:,})"
            for x, y, count in zip(confidence, accuracy, numbers, strict=True)]  # fmt: skip
    alt = (
        f"Expected calibration error {error:.2%}. From the most confident bin: {told(bins[::-1])}."
    )
    return Chart("".join(parts), top + PLOT_PX + AXIS_PX, alt)


def histogram(values: Mapping[str, Float[np.ndarray, " _"]], *, x_label: str) -> Chart:
    """Draws histograms of several kinds of values, such as divergences, on one log scale.

    All kinds share their bins. Steps show shares of the values of a kind, and an upright line its
    median. Values below 1e-7, including zero, are counted at 1e-7.

    Args:
        values: values by the kinds' names, finite, ≥ 0; their numbers may differ.
        x_label: quantity and unit.
    """
    floored = {name: np.maximum(array, KL_FLOOR) for name, array in values.items()}
    low = min(array.min() for array in floored.values()) / 1.1
    high = max(array.max() for array in floored.values()) * 1.1
    edges = np.geomspace(low, high, 41)
    shares = {name: np.histogram(array, edges)[0] / array.size for name, array in floored.items()}
    medians = {name: float(np.median(array)) for name, array in floored.items()}
    named = [f"{name} (n = {values[name].size:,}, median {m:.2g})" for name, m in medians.items()]
    names, top = legend(named, 0)
    parts = [names, text(0, top + 12, "share of images", "soft")]
    top += 24
    y_scale = Scale(0, 1.05 * max(float(each.max()) for each in shares.values()), 1000, 0)
    x_scale = Scale(np.log10(low), np.log10(high), PLOT_LEFT, PLOT_RIGHT)
    parts.append(_y_axis(y_scale, top, words=lambda value: f"{value:.3g}".rstrip("%")))
    parts.append(_log_axis(x_scale, top, x_label))
    for number, (name, each) in enumerate(shares.items()):
        style, place = series_style(number), x_scale(np.log10(medians[name]))
        parts.append(_plot(top, _steps(each, y_scale, style)))
        parts.append(line((place, place), (top, top + PLOT_PX), f"line d1 {style}"))
    return Chart("".join(parts), int(top + PLOT_PX + AXIS_PX), f"{x_label}: {told(named)}.")


def _steps(shares: np.ndarray, y_scale: Scale, style: str) -> str:
    """The outline of a histogram, filled; 1000 units each way."""
    x = np.repeat(np.linspace(0, 1000, len(shares) + 1), 2)[1:-1]
    y = np.repeat([y_scale(share) for share in shares], 2)
    points = " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(x, y, strict=True))
    filled = element("polygon", points=f"0,1000 {points} 1000,1000", class_=f"band {style}")
    return filled + element("polyline", points=points, class_=f"line {style}")


def _log_axis(scale: Scale, top: float, label: str) -> str:
    """Grid lines at round values whose logarithms the scale counts."""
    decades = range(int(np.floor(scale.low)), int(np.ceil(scale.high)) + 1)
    factors = (1, 2, 5) if len(decades) <= 3 else (1,)
    every = max(len(decades) // 5, 1)
    values = [f * 10.0**d for d in decades[::every] for f in factors]
    inside = [v for v in values if scale.low <= np.log10(v) <= scale.high]
    parts, bottom = [], top + PLOT_PX
    for value in inside:
        place = scale(np.log10(value))
        parts.append(line((place, place), (top, bottom), "rule"))
        anchor = "end" if place > 95 else "middle"
        parts.append(text(place, bottom + 15, f"{value:g}", "soft small", anchor=anchor))
    return "".join(parts) + text(0, bottom + 33, label, "soft")
