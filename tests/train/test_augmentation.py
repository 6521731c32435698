"""Augmentation: every result is one of the few possible ones."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage

import train.augmentation
from train.augmentation import crop_and_zoom, flip_and_crop, resize_bilinear

IMAGES = np.random.default_rng(9).integers(1, 256, (60, 5, 6, 3), np.uint8)


def possible(image, *, flip, pad_px):
    """All possible results, by mirroring, row and column of the cut."""
    found = {}
    for mirrored in (False, True) if flip else (False,):
        padded = np.pad(image[:, ::-1] if mirrored else image, [(pad_px,) * 2] * 2 + [(0, 0)])
        for row in range(2 * pad_px + 1):
            for column in range(2 * pad_px + 1):
                cut = padded[row : row + image.shape[0], column : column + image.shape[1]]
                found[cut.tobytes()] = (mirrored, row, column)
    return found


@pytest.mark.parametrize(("flip", "pad_px"), [(True, 4), (True, 0), (False, 2)])
def test_results_are_mirrored_cuts_of_the_padded_image(flip, pad_px):
    results = flip_and_crop(jax.random.key(2), jnp.asarray(IMAGES), flip=flip, pad_px=pad_px)
    assert results.dtype == jnp.uint8
    places = []
    for image, result in zip(IMAGES, np.asarray(results), strict=True):
        all_possible = possible(image, flip=flip, pad_px=pad_px)
        assert result.tobytes() in all_possible
        places.append(all_possible[result.tobytes()])
    mirrored, rows, columns = np.array(places).T
    assert set(rows) == set(columns) == set(range(2 * pad_px + 1))
    # 60 fair coins: 30, standard deviation 3.9.
    assert (10 < mirrored.sum() < 50) if flip else not mirrored.any()
    if pad_px:
        assert (rows != columns).any()  # drawn apart


def test_the_key_decides():
    def run(seed):
        return np.asarray(
            flip_and_crop(jax.random.key(seed), jnp.asarray(IMAGES), flip=True, pad_px=4)
        )

    np.testing.assert_array_equal(run(1), run(1))
    assert (run(1) != run(2)).any()


def test_nothing_asked_nothing_done():
    result = flip_and_crop(jax.random.key(0), jnp.asarray(IMAGES), flip=False, pad_px=0)
    np.testing.assert_array_equal(result, IMAGES)


# ---- crop and zoom


def zoomed(image, shape):
    """SciPy's bilinear resizing in float64: pixel centres at k + 1/2, edges repeated."""
    factors = (shape[0] / image.shape[0], shape[1] / image.shape[1], 1)
    return ndimage.zoom(image.astype(float), factors, order=1, mode="nearest", grid_mode=True)


def zooms(image, crop_px):
    """All possible results before rounding, by row and column of the square."""
    shape = image.shape[:2]
    return {
        (row, column): zoomed(image[row : row + crop_px, column : column + crop_px], shape)
        for row in range(shape[0] - crop_px + 1)
        for column in range(shape[1] - crop_px + 1)
    }


def test_bilinear_as_pytorch(vectors):
    images = np.float32(vectors["resize_24_to_32_input"])
    for image, expected in zip(images, vectors["resize_24_to_32_bilinear"], strict=True):
        found = resize_bilinear(image, height=32, width=32)
        np.testing.assert_allclose(found, expected, atol=1e-5)


def test_bilinear_to_another_height_than_width():
    image = np.random.default_rng(0).random((3, 4, 2), np.float32)
    found = resize_bilinear(image, height=7, width=5)
    np.testing.assert_allclose(found, zoomed(image, (7, 5)), atol=1e-6)


@pytest.mark.parametrize("crop_px", [1, 3, 5])
def test_results_are_enlarged_squares_of_the_image(crop_px):
    results = crop_and_zoom(jax.random.key(4), IMAGES, crop_px=crop_px)
    assert results.dtype == jnp.uint8
    places = []
    for image, result in zip(IMAGES, np.asarray(results), strict=True):
        # A hair above one half, for what lies between two levels.
        fitting = [
            place
            for place, exact in zooms(image, crop_px).items()
            if abs(exact - result).max() < 0.5001
        ]
        assert fitting
        places += fitting
    assert {row for row, _ in places} == set(range(5 - crop_px + 1))
    assert {column for _, column in places} == set(range(6 - crop_px + 1))


def test_paper_b_s_size_is_rounded_exactly():
    images = np.random.default_rng(1).integers(0, 256, (3, 32, 32, 3), np.uint8)
    results = np.asarray(crop_and_zoom(jax.random.key(5), images, crop_px=24))
    for image, result in zip(images, results, strict=True):
        rounded = [np.rint(exact) for exact in zooms(image, 24).values()]
        assert sum(np.array_equal(result, each) for each in rounded) == 1


def test_an_image_s_square_is_its_own(monkeypatch):
    """It does not depend on the other images, their number, batches or compilation."""
    key = jax.random.key(6)
    whole = np.asarray(crop_and_zoom(key, IMAGES, crop_px=3))
    np.testing.assert_array_equal(crop_and_zoom(key, IMAGES[:1], crop_px=3), whole[:1])
    changed = np.concatenate([255 - IMAGES[:7], IMAGES[7:]])
    np.testing.assert_array_equal(crop_and_zoom(key, changed, crop_px=3)[7:], whole[7:])
    monkeypatch.setattr(train.augmentation, "CROPS_AT_ONCE", 16)
    eager = crop_and_zoom.__wrapped__(key, IMAGES, crop_px=3)
    np.testing.assert_array_equal(eager, whole)
    other = crop_and_zoom(jax.random.key(7), IMAGES, crop_px=3)
    assert (np.asarray(other) != whole).any()


@pytest.mark.parametrize("crop_px", [0, -1, 6])
def test_a_square_that_does_not_fit_is_refused(crop_px):
    with pytest.raises(ValueError, match=rf"crop_px must be in \[1, 5\].* 5 x 6 .*got {crop_px}"):
        crop_and_zoom(jax.random.key(0), IMAGES, crop_px=crop_px)
