"""Charts: the laws of every picture."""

from collections.abc import Callable

import numpy as np
import pytest

from experiments.pages import charts, confusions
from experiments.pages.statistics import PairedDifference
from experiments.pages.svg import Chart, Scale
from tests.experiments.pages.pictures import (
    HOSTILE,
    assert_is_picture,
    assert_same_bytes_every_time,
)


def calibration() -> Chart:
    confidence, accuracy = np.array([np.nan, 0.5, 1.0]), np.array([np.nan, 0.4, 1.0])
    return charts.reliability(confidence, accuracy, np.array([0, 3, 9]))


def confusion(names: list[str]) -> Chart:
    matrix = np.arange(len(names) ** 2).reshape(len(names), len(names))
    drawn = confusions.confusion(matrix, names)
    assert drawn is not None
    return drawn


def shares(names: list[str], kinds: tuple[str, ...] = ("tp", "fp")) -> Chart:
    values = np.linspace(0, 1, len(names))
    return charts.class_shares(dict.fromkeys(kinds, values), names, x_label="share")


FIGURES: dict[str, Callable[[], Chart]] = {
    "curves": lambda: charts.curves(
        {"a": [1.0, np.nan, 3.0], "b": [2.0]}, x_label="epoch", y_label="%", spread={"b": [0.5]}
    ),
    "differences": lambda: charts.draw_differences(
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
    "confusion of many classes": lambda: confusion([str(i) for i in range(30)]),
    "class_shares": lambda: shares(["cat", "dog", "ship"]),
    "class_shares of one kind and class": lambda: shares(["cat"], ("tp",)),
    "class_shares of many classes": lambda: shares([str(i) for i in range(100)]),
    "reliability": calibration,
    "histogram": lambda: charts.histogram(
        {"SGD": np.array([0.0, 1e-3, 2.0]), "one": np.array([0.5])}, x_label="KL (nats)"
    ),
}
HOSTILE_FIGURES: dict[str, Callable[[str], Chart]] = {
    "curves": lambda name: charts.curves({name: [1.0, 2.0]}, x_label="epoch", y_label="%"),
    "differences": lambda name: charts.draw_differences(
        {name: PairedDifference(0.5, 1.0, 2, -1.0, 2.0)}, x_label="%"
    ),
    "comparison": lambda name: charts.comparison({name: [1.0, 2.0]}, y_label="%"),
    "confusion": lambda name: confusion([name, "b"]),
    "class_shares": lambda name: shares([name, "b"], (name, "b")),
    "histogram": lambda name: charts.histogram({name: np.array([0.1, 1.0])}, x_label="KL"),
}


@pytest.mark.parametrize("draw", FIGURES.values(), ids=FIGURES.keys())
def test_a_chart_is_a_picture_with_the_same_bytes_every_time(draw: Callable[[], Chart]) -> None:
    assert_same_bytes_every_time(draw)


def test_the_matrix_of_too_many_classes_gives_way_to_the_table() -> None:
    names = [f"class {number}" for number in range(40)]
    matrix = np.eye(40, dtype=int) * 9
    matrix[3, 5], matrix[3, 1], matrix[7, 0] = 4, 2, 1
    assert confusions.confusion(matrix, names) is None
    table = confusions.taken_for(matrix, names)
    assert len(table.rows) == confusions.MAX_ROWS < 40
    assert table.rows[0] == ["class 3", "15", "6", "40.0%", "class 5 (4), class 1 (2)"]
    assert table.rows[1][-1] == "class 0 (1)"
    assert str(confusions.MAX_ROWS) in table.note


def test_what_a_chart_shows_is_told_in_numbers() -> None:
    told = {name: draw().alt for name, draw in FIGURES.items()}
    assert told["differences"] == (
        "points: made – control +1.20 [+0.40, +2.00], n = 12: above 0; "
        "mixup -0.30 [-1.50, +0.90], n = 5: holds 0."
    )
    assert told["curves"] == "% by epoch: a from 1 to 3 at 3; b is 2."
    assert "a 97.17 ± 0.21 (n = 3)" in told["comparison"]
    assert "cat taken for ship, 2" in told["confusion"]
    assert "100.0% (ship)" in told["class_shares"]
    assert "0.001" in told["histogram"]


def test_a_calibration_diagram_has_no_empty_bins() -> None:
    assert calibration().body.count("<circle") == 2  # of three bins, one is empty
    assert "Expected calibration error 2.50%" in calibration().alt  # 3/12 × 0.1


@pytest.mark.parametrize(
    ("low", "high"), [(0, 1), (-3.1, 2.2), (97.8, 98.4), (1e-6, 3e-6), (1, 300)]
)
def test_an_axis_has_a_few_round_values(low: float, high: float) -> None:
    scale = Scale(low, high)
    assert 2 <= len(scale.ticks) <= 7
    assert all(low <= value <= high for value in scale.ticks)
    assert [scale(low), scale(high)] == [2, 98]


@pytest.mark.parametrize("name", HOSTILE, ids=ascii)
@pytest.mark.parametrize("draw", HOSTILE_FIGURES.values(), ids=HOSTILE_FIGURES.keys())
def test_a_hostile_name_is_drawn_as_plain_text(draw: Callable[[str], Chart], name: str) -> None:
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
