"""Sheets of images: every pixel in its place, the laws of every picture, and what is refused."""

import io
from collections.abc import Callable

import numpy as np
import PIL.Image
import pytest

from experiments.pages import image_sheets
from experiments.pages.image_sheets import GAP_PX, GRID_SCALE, class_sheet, sample_grid
from experiments.pages.style import over_white
from tests.experiments.pages.pictures import (
    HOSTILE,
    assert_is_picture,
    assert_same_bytes_every_time,
    decoded,
)

HEIGHT, WIDTH = 9, 7
ROWS, COLUMNS, GRID_HEIGHT, GRID_WIDTH = 2, 3, 5, 4


def grid_images(channels: int = 3) -> np.ndarray:
    shape = (ROWS, COLUMNS, GRID_HEIGHT, GRID_WIDTH, channels)
    return np.random.default_rng(0).integers(0, 255, shape, dtype=np.uint8)


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_every_image_lies_in_its_place_on_white(channels):
    images, scale = grid_images(channels), GRID_SCALE
    with PIL.Image.open(io.BytesIO(sample_grid(images))) as image:
        assert image.format == "PNG"
        sheet = np.array(image).reshape(image.height, image.width, channels)
    height, width = GRID_HEIGHT * scale + GAP_PX, GRID_WIDTH * scale + GAP_PX
    assert sheet.shape == (ROWS * height - GAP_PX, COLUMNS * width - GAP_PX, channels)
    for row in range(ROWS):
        for column in range(COLUMNS):
            place = sheet[row * height :, column * width :][: height - GAP_PX, : width - GAP_PX]
            np.testing.assert_array_equal(
                place, np.kron(images[row, column], np.ones((scale, scale, 1), np.uint8))
            )
            sheet[row * height :, column * width :][: height - GAP_PX, : width - GAP_PX] = 255
    assert (sheet == 255).all()


def test_equal_images_give_equal_bytes():
    assert sample_grid(grid_images()) == sample_grid(grid_images())


def images(count: int = 2, channels: int = 3, seed: int = 0) -> np.ndarray:
    shape = (count, HEIGHT, WIDTH, channels)
    return np.random.default_rng(seed).integers(0, 256, shape).astype(np.uint8)


def distributions(count: int = 2, classes: int = 4, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).dirichlet(np.ones(classes), count)


def pairs(
    count: int = 2, names: tuple[str, ...] = ("a", "b", "c", "d"), channels: int = 3
) -> bytes:
    return image_sheets.image_pairs(
        images(count, channels),
        images(count, channels, seed=1),
        distributions(count, len(names)),
        distributions(count, len(names), seed=1),
        names,
    )


def rules(gain: float | None = 10.0, rule: str = "SGD", channels: int = 3) -> bytes:
    return image_sheets.rules_grid(
        images(channels=channels),
        {rule: images(channels=channels, seed=1)},
        captions={rule: "mean |Δ| 2.1"},
        difference_gain=gain,
    )


def classes(names: tuple[str, ...] = ("ant", "bee"), channels: int = 3) -> bytes:
    some = images(channels=channels)
    return class_sheet({name: [some, some[:0]] for name in names}, names, columns=2)


SHEETS: dict[str, Callable[[], bytes]] = {
    "image_pairs": pairs,
    "image_pairs of one grey image": lambda: pairs(1, channels=1),
    "image_pairs of many classes": lambda: pairs(8, tuple(map(str, range(100)))),
    "class_sheet": classes,
    "class_sheet of grey images": lambda: classes(channels=1),
    "rules_grid": rules,
    "rules_grid without differences": lambda: rules(None),
    **{
        f"{draw.__name__} of images with opacity": lambda draw=draw: draw(channels=4)
        for draw in (pairs, classes, rules)
    },
}
HOSTILE_SHEETS: dict[str, Callable[[str], bytes]] = {
    "image_pairs": lambda name: pairs(names=(name, name, "c")),
    "class_sheet": lambda name: classes((name, "b")),
    "rules_grid": lambda name: rules(rule=name),
}


def test_a_name_that_the_font_lacks_is_numbered() -> None:
    lacking, numbered = ("ant", "猫"), ("ant", "class 1")
    assert pairs(names=lacking) == pairs(names=numbered)
    sets = {"real": [images(), images()]}
    drawn = [class_sheet(sets, names, columns=2) for names in (lacking, numbered)]
    assert drawn[0] == drawn[1]


@pytest.mark.parametrize("draw", SHEETS.values(), ids=SHEETS.keys())
def test_a_sheet_is_a_picture_with_the_same_bytes_every_time(draw: Callable[[], bytes]) -> None:
    assert_same_bytes_every_time(draw)


@pytest.mark.parametrize("name", HOSTILE, ids=ascii)
@pytest.mark.parametrize("draw", HOSTILE_SHEETS.values(), ids=HOSTILE_SHEETS.keys())
def test_a_hostile_name_is_drawn_as_plain_text(draw: Callable[[str], bytes], name: str) -> None:
    assert_is_picture(draw(name))


def test_every_pixel_of_an_image_becomes_a_square_of_its_own_colour() -> None:
    original = images(1)
    picture = decoded(image_sheets.rules_grid(original, {}, captions={}))
    # 160 CSS px, of 2 device px each, hold 7 columns 45 times; the sheet's margins are 138 and 6.
    side, left, top = 320 // WIDTH, 2 * 138, 2 * 6
    block = picture[top : top + side * HEIGHT, left : left + side * WIDTH]
    expected = original[0].repeat(side, axis=0).repeat(side, axis=1)
    np.testing.assert_array_equal(block, expected)


def test_differences_are_amplified_around_mid_grey_and_clipped() -> None:
    originals = np.array([100, 100, 100, 0], np.uint8)
    changed = np.array([100, 103, 96, 255], np.uint8)
    amplified = image_sheets.amplified(changed, originals, 10.0)
    np.testing.assert_array_equal(amplified, [128, 158, 88, 255])


def test_the_divergence_written_is_scipy_s() -> None:
    entropy = pytest.importorskip("scipy.stats").entropy
    targets, outputs = distributions(5), distributions(5, seed=1)
    targets[0] = [1, 0, 0, 0]
    expected = entropy(targets, outputs, axis=1)
    np.testing.assert_allclose(image_sheets.kl_nats(targets, outputs), expected, rtol=1e-12)


def test_classes_of_most_mass_are_shown_in_their_own_order() -> None:
    targets = np.zeros((1, 50))
    targets[0, [40, 3]] = 0.9, 0.1
    shown = image_sheets._shown_classes(targets, targets)
    assert len(shown) == image_sheets.MAX_CLASSES
    assert shown == sorted(shown)
    assert {3, 40} <= set(shown)


def test_a_half_opaque_image_is_half_white():
    image = np.array([[[[100, 0, 255, 0], [100, 0, 255, 255], [100, 0, 255, 51]]]], np.uint8)
    expected = [[[[255, 255, 255], [100, 0, 255], [224, 204, 255]]]]
    np.testing.assert_array_equal(over_white(image), expected)
    np.testing.assert_array_equal(over_white(image[..., :3]), image[..., :3])
