"""Strips of images: every pixel in its place, and a name at each."""

import io

import numpy as np
import PIL.Image
import pytest

from experiments.pages.html import Strip, Strips
from experiments.pages.image_sheets import sample_grid
from experiments.pages.saved_strips import read_strips, save_strips, strip_file
from experiments.pages.strips import (
    MAX_STRIPS,
    SET_COLUMNS,
    amplified,
    changed_strips,
    class_strips,
    elicited_strips,
    image_row,
    kl_nats,
    sets_by_class,
    sheet_strips,
)
from experiments.pages.style import over_white
from imgopt.errors import InputError
from train.data.image_data import ImageData

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


def test_an_original_stands_beside_what_was_made_of_it_and_above_the_differences():
    originals, made = images(2), images(2) // 2
    group = changed_strips(
        originals, {"SGD": made}, np.array([1, 0]), ["ant", "bee"], caption="First."
    )
    assert [strip.label for strip in group.strips] == ["bee", "ant"]
    assert "original; SGD" in group.caption
    found = pixels(group.strips[1].png)
    assert found.shape == (2 * HEIGHT + 1, 2 * WIDTH + 1, 4)
    places = [
        found[top:, left:][:HEIGHT, :WIDTH, :3]
        for top, left in ((0, 0), (0, WIDTH + 1), (HEIGHT + 1, 0), (HEIGHT + 1, WIDTH + 1))
    ]
    grey = np.full_like(originals[1], 128)
    expected = (originals[1], made[1], grey, amplified(made[1], originals[1], 5.0))
    np.testing.assert_array_equal(places, expected)
    assert (found[HEIGHT] == 0).all()  # a transparent gap


def test_sets_stand_side_by_side_class_by_class():
    labels, names = np.array([0, 0, 0, 0, 1], np.int32), ("ant", "bee", "cow")
    many = ImageData(images(5), labels, tuple("abcde"), names)
    few = ImageData(images(1), labels[:1], ("a",), names)
    ant, bee = sets_by_class({"real": many, "made": few})
    assert (ant.caption, bee.caption) == ("Images of ant.", "Images of bee.")  # and no cow
    assert [strip.label for strip in ant.strips] == ["real", "made"]
    assert [strip.label for strip in bee.strips] == ["real"]
    assert pixels(ant.strips[0].png).shape[1] == SET_COLUMNS * (WIDTH + 1) - 1
    assert ant.strips[1].alt == "made: ant"


def test_saved_strips_come_back_enlarged(tmp_path):
    row = image_row(list(images(3)))
    group = Strips([Strip("<ant> | 猫", row, ("asked 0.9", "KL 1"), "an ant")], "First.", 4)
    save_strips(tmp_path, "shown", [group, group._replace(caption="Second.")])
    first, second = read_strips(tmp_path, "shown")
    assert (first.caption, second.caption) == ("First.", "Second.")
    assert (first.name, second.name) == ("shown-0", "shown-1")
    (strip,) = first.strips
    assert (strip.label, strip.notes, strip.alt) == ("<ant> | 猫", ("asked 0.9", "KL 1"), "an ant")
    assert first.scale == 1
    np.testing.assert_array_equal(pixels(strip.png)[::4, ::4], pixels(row))
    assert strip.png == (tmp_path / strip_file("shown-0", 0)).read_bytes()


def test_missing_and_damaged_strips_are_named(tmp_path):
    with pytest.raises(InputError, match=r"shown\.json, which is missing; repeat the command"):
        read_strips(tmp_path, "shown")
    save_strips(
        tmp_path, "shown", [Strips([Strip("a", image_row(list(images(1))), (), "")], "", 1)]
    )
    (tmp_path / strip_file("shown-0", 0)).unlink()
    with pytest.raises(InputError, match=r"shown-0-00\.png, which is missing"):
        read_strips(tmp_path, "shown")
    for content in ("{}", "[3]", '[{"label": 3}]'):
        (tmp_path / "shown.json").write_text(content)
        with pytest.raises(InputError, match="expected"):
            read_strips(tmp_path, "shown")


def test_differences_are_amplified_around_mid_grey_and_clipped():
    originals = np.array([100, 100, 100, 0], np.uint8)
    changed = np.array([100, 103, 96, 255], np.uint8)
    np.testing.assert_array_equal(amplified(changed, originals, 10.0), [128, 158, 88, 255])


def test_the_divergence_written_is_scipy_s():
    entropy = pytest.importorskip("scipy.stats").entropy
    targets, outputs = np.random.default_rng(0).dirichlet(np.ones(4), (2, 5))
    targets[0] = [1, 0, 0, 0]
    np.testing.assert_allclose(
        kl_nats(targets, outputs), entropy(targets, outputs, axis=1), rtol=1e-12
    )


def test_a_half_opaque_image_is_half_white():
    image = np.array([[[[100, 0, 255, 0], [100, 0, 255, 255], [100, 0, 255, 51]]]], np.uint8)
    expected = [[[[255, 255, 255], [100, 0, 255], [224, 204, 255]]]]
    np.testing.assert_array_equal(over_white(image), expected)
    np.testing.assert_array_equal(over_white(image[..., :3]), image[..., :3])
