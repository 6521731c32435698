import io
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable

import jaxtyping
import matplotlib as mpl
import numpy as np
import PIL.Image
import pytest

from experiments.pages import charts as figures  # CHECK

HOSTILE = [
    "$\\frac{",
    "<script>alert(1)</script>",
    "a&b\n\x00c",
    "\udcff",
    "猫🐈",
    "x" * 500,
    "_x",
    "",
]
HEIGHT, WIDTH = 9, 7


def images(count: int = 2, channels: int = 3, seed: int = 0) -> np.ndarray:
    shape = (count, HEIGHT, WIDTH, channels)
    return np.random.default_rng(seed).integers(0, 256, shape).astype(np.uint8)


def distributions(count: int = 2, classes: int = 4, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).dirichlet(np.ones(classes), count)


def pairs(
    count: int = 2, names: tuple[str, ...] = ("a", "b", "c", "d"), channels: int = 3
) -> bytes:
    return figures.image_pairs(
        images(count, channels),
        images(count, channels, seed=1),
        distributions(count, len(names)),
        distributions(count, len(names), seed=1),
        names,
    )


def rules(gain: float | None = 10.0, rule: str = "SGD") -> bytes:
    return figures.rules_grid(
        images(), {rule: images(seed=1)}, captions={rule: "mean |Δ| 2.1"}, difference_gain=gain
    )


def calibration() -> bytes:
    confidence, accuracy = np.array([np.nan, 0.5, 1.0]), np.array([np.nan, 0.4, 1.0])
    return figures.reliability(confidence, accuracy, np.array([0, 3, 9]))


def confusion(names: list[str]) -> bytes:
    matrix = np.arange(len(names) ** 2).reshape(len(names), len(names))
    return figures.confusion(matrix, names)


def shares(names: list[str], kinds: tuple[str, ...] = ("tp", "fp")) -> bytes:
    values = np.linspace(0, 1, len(names))
    return figures.class_shares(dict.fromkeys(kinds, values), names, x_label="share")


FIGURES: dict[str, Callable[[], bytes]] = {
    "image_pairs": pairs,
    "image_pairs of one grey image": lambda: pairs(1, channels=1),
    "image_pairs of many classes": lambda: pairs(8, tuple(map(str, range(100)))),
    "rules_grid": rules,
    "rules_grid without differences": lambda: rules(None),
    "curves": lambda: figures.curves(
        {"a": [1.0, np.nan, 3.0], "b": [2.0]}, x_label="epoch", y_label="%", spread={"b": [0.5]}
    ),
    "comparison": lambda: figures.comparison(
        {"a": [97.0, 97.4, 97.1], "b": [98.0], "c": [1.0, 1.0]}, y_label="accuracy (%)"
    ),
    "confusion": lambda: confusion(["cat", "dog", "ship"]),
    "confusion of many classes": lambda: confusion([str(i) for i in range(40)]),
    "confusion of intended classes": lambda: figures.confusion(
        np.eye(2, dtype=int), ["cat", "dog"], row_label="intended class"
    ),
    "class_shares": lambda: shares(["cat", "dog", "ship"]),
    "class_shares of one kind and class": lambda: shares(["cat"], ("tp",)),
    "class_shares of many classes": lambda: shares([str(i) for i in range(100)]),
    "reliability": calibration,
    "histogram": lambda: figures.histogram(
        {"SGD": np.array([0.0, 1e-3, 2.0]), "one": np.array([0.5])}, x_label="KL (nats)"
    ),
}
HOSTILE_FIGURES: dict[str, Callable[[str], bytes]] = {
    "image_pairs": lambda name: pairs(names=(name, name, "c")),
    "rules_grid": lambda name: rules(rule=name),
    "curves": lambda name: figures.curves({name: [1.0, 2.0]}, x_label="epoch", y_label="%"),
    "comparison": lambda name: figures.comparison({name: [1.0, 2.0]}, y_label="%"),
    "confusion": lambda name: confusion([name, "b"]),
    "class_shares": lambda name: shares([name, "b"], (name, "b")),
    "histogram": lambda name: figures.histogram({name: np.array([0.1, 1.0])}, x_label="KL"),
}


def decoded(data: bytes) -> np.ndarray:
    return np.asarray(PIL.Image.open(io.BytesIO(data)).convert("RGB"))


def assert_is_picture(data: bytes) -> None:
    if data.startswith(b"\x89PNG"):
        height, width, _ = decoded(data).shape
        assert 400 <= width <= 2 * figures.SHEET_WIDTH_PX
        assert 100 <= height <= 3000
    else:
        root = ElementTree.fromstring(data)  # noqa: S314 - we made this SVG
        assert root.tag == "{http://www.w3.org/2000/svg}svg"
        assert b"<script" not in data


@pytest.mark.parametrize("draw", FIGURES.values(), ids=FIGURES.keys())
def test_a_figure_is_a_picture_with_the_same_bytes_every_time(draw: Callable[[], bytes]) -> None:
    first = draw()
    assert_is_picture(first)
    with mpl.rc_context({"axes.facecolor": "red", "font.size": 30, "svg.hashsalt": None}):
        assert draw() == first  # the user's own settings don't leak in


def test_the_caller_s_settings_are_left_alone() -> None:
    before = dict(mpl.rcParams)
    calibration()
    assert dict(mpl.rcParams) == before


def test_no_line_is_missing_from_the_legend() -> None:
    drawn = [
        figures.curves({name: [1.0], "b": [2.0]}, x_label="", y_label="") for name in ("a", "_a")
    ]
    # An "_" is one glyph more; a legend without the line would have fewer.
    plain, underscored = (data.count(b"<use ") for data in drawn)
    assert underscored >= plain


@pytest.mark.parametrize("name", HOSTILE, ids=ascii)
@pytest.mark.parametrize("draw", HOSTILE_FIGURES.values(), ids=HOSTILE_FIGURES.keys())
def test_a_hostile_name_is_drawn_as_plain_text(draw: Callable[[str], bytes], name: str) -> None:
    assert_is_picture(draw(name))


def test_every_pixel_of_an_image_becomes_a_square_of_its_own_colour() -> None:
    original = images(1)
    picture = decoded(figures.rules_grid(original, {}, captions={}))
    # 160 CSS px, of 2 device px each, hold 7 columns 45 times; the sheet's margins are 138 and 6.
    side, left, top = 320 // WIDTH, 2 * 138, 2 * 6
    block = picture[top : top + side * HEIGHT, left : left + side * WIDTH]
    expected = original[0].repeat(side, axis=0).repeat(side, axis=1)
    np.testing.assert_array_equal(block, expected)


def test_differences_are_amplified_around_mid_grey_and_clipped() -> None:
    originals = np.array([100, 100, 100, 0], np.uint8)
    changed = np.array([100, 103, 96, 255], np.uint8)
    amplified = figures._amplified(changed, originals, 10.0)
    np.testing.assert_array_equal(amplified, [128, 158, 88, 255])


def test_the_divergence_written_is_scipy_s() -> None:
    entropy = pytest.importorskip("scipy.stats").entropy
    targets, outputs = distributions(5), distributions(5, seed=1)
    targets[0] = [1, 0, 0, 0]
    expected = entropy(targets, outputs, axis=1)
    np.testing.assert_allclose(figures._kl_nats(targets, outputs), expected, rtol=1e-12)


def test_classes_of_most_mass_are_shown_in_their_own_order() -> None:
    targets = np.zeros((1, 50))
    targets[0, [40, 3]] = 0.9, 0.1
    shown = figures._shown_classes(targets, targets)
    assert len(shown) == figures.MAX_CLASSES
    assert shown == sorted(shown)
    assert {3, 40} <= set(shown)


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
    written = figures._mean_and_deviation(float(np.mean(values)), deviation, len(values))
    assert written == expected


WRONG: dict[str, tuple[Callable[[], bytes], str]] = {
    "float images": (
        lambda: figures.rules_grid(images() / 255, {}, captions={}),
        r"originals as uint8 .* received float64 \(2, 9, 7, 3\)",
    ),
    "no images": (lambda: figures.rules_grid(images(0), {}, captions={}), "n ≥ 1"),
    "two channels": (lambda: figures.rules_grid(images(channels=2), {}, captions={}), "1 or 3"),
    "other images than originals": (
        lambda: figures.rules_grid(images(), {"SGD": images(3)}, captions={}),
        r"'SGD'.* of shape \(2, 9, 7, 3\); received uint8 \(3, 9, 7, 3\)",
    ),
    "caption of no rule": (
        lambda: figures.rules_grid(images(), {}, captions={"Adam": ""}),
        r"received \['Adam'\]",
    ),
    "gain of nothing": (lambda: rules(0.0), "above 0, or None; received 0.0"),
    "too many pairs": (lambda: pairs(9), "at most 8 images; received 9"),
    "targets of other classes": (
        lambda: figures.image_pairs(
            images(), images(), distributions(2, 3), distributions(), ["a", "b", "c", "d"]
        ),
        r"targets of shape \(2, 4\); received \(2, 3\)",
    ),
    "no curves": (lambda: figures.curves({}, x_label="", y_label=""), "series with at least one"),
    "spread of no line": (
        lambda: figures.curves({"a": [1.0]}, x_label="", y_label="", spread={"b": [1.0]}),
        r"spread\['b'\]",
    ),
    "spread of other length": (
        lambda: figures.curves({"a": [1.0]}, x_label="", y_label="", spread={"a": [1.0, 2.0]}),
        "received 2 values",
    ),
    "arm without runs": (lambda: figures.comparison({"a": []}, y_label=""), r"arms\['a'\]"),
    "matrix that isn't square": (
        lambda: figures.confusion(np.ones((2, 3), int), ["a", "b"]),
        r"shape \(2, 2\); received \(2, 3\)",
    ),
    "negative count": (
        lambda: figures.confusion(np.array([[1, -2], [0, 1]]), ["a", "b"]),
        "received -2",
    ),
    "shares of other classes": (
        lambda: figures.class_shares({"tp": np.ones(3)}, ["a", "b"], x_label=""),
        r"shares\['tp'\] as 2 numbers within \[0, 1\]; received \[1. 1. 1.\]",
    ),
    "shares in per cent": (
        lambda: figures.class_shares({"tp": np.array([97.0])}, ["a"], x_label=""),
        r"within \[0, 1\]; received \[97",
    ),
    "no shares": (lambda: figures.class_shares({}, ["a"], x_label=""), "shares with at least one"),
    "bins of two lengths": (
        lambda: figures.reliability(np.ones(2), np.ones(3), np.ones(3, int)),
        "three arrays of one length",
    ),
    "empty bins only": (
        lambda: figures.reliability(np.ones(2), np.ones(2), np.zeros(2, int)),
        "above 0; received",
    ),
    "accuracy in per cent": (
        lambda: figures.reliability(np.ones(1), np.array([97.0]), np.ones(1, int)),
        r"accuracy within \[0, 1\]; received \[97",
    ),
    "negative divergence": (
        lambda: figures.histogram({"a": np.array([-0.5])}, x_label=""),
        r"finite and ≥ 0; received \[-0.5\]",
    ),
    "divergence that isn't a number": (
        lambda: figures.histogram({"a": np.array([np.nan])}, x_label=""),
        r"received \[nan\]",
    ),
}


@pytest.mark.parametrize(("draw", "message"), WRONG.values(), ids=WRONG.keys())
def test_wrong_input_is_refused_with_what_was_expected_and_what_came(
    draw: Callable[[], bytes], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A user's process checks no annotations, and must get the message all the same.
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    with pytest.raises(ValueError, match=message) as caught:
        draw()
    assert "expected" in str(caught.value)
