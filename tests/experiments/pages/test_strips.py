"""Strips of images: every pixel in its place, and a name at each."""

import io

import numpy as np
import PIL.Image
import pytest

from experiments.pages.image_sheets import sample_grid
from experiments.pages.strips import (
    MAX_STRIPS,
    class_strips,
    elicited_strips,
    image_row,
    sheet_strips,
)

HEIGHT, WIDTH = 5, 7


def images(count, channels=3):
    shape = (count, HEIGHT, WIDTH, channels)
    return np.random.default_rng(0).integers(0, 255, shape, dtype=np.uint8)


def pixels(png):
    with PIL.Image.open(io.BytesIO(png)) as image:
        return np.array(image).reshape(image.height, image.width, -1)


@pytest.mark.parametrize("channels", [1, 3])
def test_images_lie_side_by_side_with_nothing_between(channels):
    row = images(3, channels)
    found = pixels(image_row(list(row)))
    assert found.shape == (HEIGHT, 3 * WIDTH + 2, channels + 1)
    for number, image in enumerate(row):
        place = found[:, number * (WIDTH + 1) :][:, :WIDTH]
        np.testing.assert_array_equal(place[..., :-1], image)
        assert (place[..., -1] == 255).all()
    assert (found[:, WIDTH :: WIDTH + 1, -1] == 0).all()


def test_a_sheet_is_cut_into_its_rows():
    sheet = images(6).reshape(2, 3, HEIGHT, WIDTH, 3)
    group = sheet_strips(sample_grid(sheet), ["ant", "bee"], caption="At the end.")
    assert [strip.label for strip in group.strips] == ["ant", "bee"]
    for strip, row in zip(group.strips, sheet, strict=True):
        found = pixels(strip.png)
        for number, image in enumerate(row):
            np.testing.assert_array_equal(found[:, number * (WIDTH + 1) :][:, :WIDTH], image)


def test_a_class_has_a_strip_and_too_many_are_told():
    names = [f"class {number}" for number in range(30)]
    group = class_strips(images(31), np.array([*range(30), 0]), names, caption="Made.")
    assert len(group.strips) == MAX_STRIPS
    assert f"The first {MAX_STRIPS} of 30 classes are shown." in group.caption
    assert pixels(group.strips[0].png).shape[1] == 2 * WIDTH + 1
    assert (
        "classes are shown"
        not in class_strips(images(1), np.array([0]), names[:1], caption="Made.").caption
    )


def test_asked_and_reached_stand_together():
    originals, made = images(1), images(1) // 2
    targets, outputs = np.array([[0.9, 0.1, 0, 0]]), np.array([[0.2, 0.1, 0.65, 0.05]])
    (strip,) = elicited_strips(
        originals, made, targets, outputs, np.array([0]), ["a", "b", "c", "d"], caption="First."
    ).strips
    asked, reached, kl = strip.notes
    assert asked == "asked a: 90.0%, b: 10.0%, c: 0.0%"
    assert reached == "reached a: 20.0%, b: 10.0%, c: 65.0%"
    assert kl.startswith("KL 1.4 nats")
    found = pixels(strip.png)
    np.testing.assert_array_equal(found[:, :WIDTH, :3], originals[0])
    np.testing.assert_array_equal(found[:, WIDTH + 1 :][:, :WIDTH, :3], made[0])
    wanted = np.clip(128 + 5.0 * (made[0].astype(float) - originals[0]), 0, 255)
    np.testing.assert_array_equal(found[:, 2 * WIDTH + 2 :, :3], np.rint(wanted))
