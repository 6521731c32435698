"""Augmentation: every result is one of the few that it may be."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from train.augmentation import flip_and_crop

IMAGES = np.random.default_rng(9).integers(1, 256, (60, 5, 6, 3), np.uint8)


def possible(image, *, flip, pad_px):
    """All results by place: mirrored or not, then row and column of the cut."""
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
