"""Charts: the laws of every picture."""

from collections.abc import Callable

import matplotlib as mpl
import numpy as np
import pytest

from experiments.pages import charts
from experiments.pages.statistics import PairedDifference
from tests.experiments.pages.pictures import (
    HOSTILE,
    assert_is_picture,
    assert_same_bytes_every_time,
)


def calibration() -> bytes:
    confidence, accuracy = np.array([np.nan, 0.5, 1.0]), np.array([np.nan, 0.4, 1.0])
    return charts.reliability(confidence, accuracy, np.array([0, 3, 9]))


def confusion(names: list[str]) -> bytes:
    matrix = np.arange(len(names) ** 2).reshape(len(names), len(names))
    return charts.confusion(matrix, names)


def shares(names: list[str], kinds: tuple[str, ...] = ("tp", "fp")) -> bytes:
    values = np.linspace(0, 1, len(names))
    return charts.class_shares(dict.fromkeys(kinds, values), names, x_label="share")


FIGURES: dict[str, Callable[[], bytes]] = {
    "curves": lambda: charts.curves(
        {"a": [1.0, np.nan, 3.0], "b": [2.0]}, x_label="epoch", y_label="%", spread={"b": [0.5]}
    ),
    "differences": lambda: charts.differences(
        {
            "made – control": PairedDifference(1.2, 1.0, 12, 0.4, 2.0),
            "mixup": PairedDifference(-0.3, 2.0, 5, -1.5, 0.9),
        },
        x_label="points",
    ),
    "comparison": lambda: charts.comparison(
        {"a": [97.0, 97.4, 97.1], "b": [98.0], "c": [1.0, 1.0]}, y_label="accuracy (%)"
    ),
    "confusion": lambda: confusion(["cat", "dog", "ship"]),
    "confusion of many classes": lambda: confusion([str(i) for i in range(40)]),
    "confusion of intended classes": lambda: charts.confusion(
        np.eye(2, dtype=int), ["cat", "dog"], row_label="intended class"
    ),
    "class_shares": lambda: shares(["cat", "dog", "ship"]),
    "class_shares of one kind and class": lambda: shares(["cat"], ("tp",)),
    "class_shares of many classes": lambda: shares([str(i) for i in range(100)]),
    "reliability": calibration,
    "histogram": lambda: charts.histogram(
        {"SGD": np.array([0.0, 1e-3, 2.0]), "one": np.array([0.5])}, x_label="KL (nats)"
    ),
}
HOSTILE_FIGURES: dict[str, Callable[[str], bytes]] = {
    "curves": lambda name: charts.curves({name: [1.0, 2.0]}, x_label="epoch", y_label="%"),
    "differences": lambda name: charts.differences(
        {name: PairedDifference(0.5, 1.0, 2, -1.0, 2.0)}, x_label="%"
    ),
    "comparison": lambda name: charts.comparison({name: [1.0, 2.0]}, y_label="%"),
    "confusion": lambda name: confusion([name, "b"]),
    "class_shares": lambda name: shares([name, "b"], (name, "b")),
    "histogram": lambda name: charts.histogram({name: np.array([0.1, 1.0])}, x_label="KL"),
}


@pytest.mark.parametrize("draw", FIGURES.values(), ids=FIGURES.keys())
def test_a_chart_is_a_picture_with_the_same_bytes_every_time(draw: Callable[[], bytes]) -> None:
    assert_same_bytes_every_time(draw)


def test_the_caller_s_settings_are_left_alone() -> None:
    before = dict(mpl.rcParams)
    calibration()
    assert dict(mpl.rcParams) == before


def test_no_line_is_missing_from_the_legend() -> None:
    drawn = [
        charts.curves({name: [1.0], "b": [2.0]}, x_label="", y_label="") for name in ("a", "_a")
    ]
    # An "_" is one glyph more; a legend without the line would have fewer.
    plain, underscored = (data.count(b"<use ") for data in drawn)
    assert underscored >= plain


@pytest.mark.parametrize("name", HOSTILE, ids=ascii)
@pytest.mark.parametrize("draw", HOSTILE_FIGURES.values(), ids=HOSTILE_FIGURES.keys())
def test_a_hostile_name_is_drawn_as_plain_text(draw: Callable[[str], bytes], name: str) -> None:
    assert_is_picture(draw(name))


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([97.5, 98.1, 97.8], "97.80 ± 0.30 (n = 3)"),
        ([0.0123], "0.0123 (n = 1)"),
        ([100.0, 300.0], "200 ± 141 (n = 2)"),
    ],
)
def test_a_mean_is_written_with_its_deviation(values: list[float], expected: str) -> None:
    deviation = float(np.std(values, ddof=1)) if len(values) > 1 else 0.0
    written = charts._mean_and_deviation(float(np.mean(values)), deviation, len(values))
    assert written == expected
