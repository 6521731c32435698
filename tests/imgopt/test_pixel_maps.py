"""Pixel maps: nothing wraps, all grey levels survive, and the slope is the formula's."""

import jax.numpy as jnp
import numpy as np
import pytest

from imgopt import arctan_map, sigmoid_map, tanh_map, to_float, to_uint8
from imgopt.pixel_maps import MIN_MARGIN, slope

MAPS = {"arctan": arctan_map, "tanh": tanh_map, "sigmoid": sigmoid_map}
SLOPES = {  # dx/dw as a function of x, worked out by hand
    "arctan": lambda x: np.sin(np.pi * x) ** 2 / np.pi,
    "tanh": lambda x: 2 * x * (1 - x),
    "sigmoid": lambda x: x * (1 - x),
}
MARGINS = [MIN_MARGIN, 1e-5, 1e-3, 0.5 / 255 - 1e-6]

every_map = pytest.mark.parametrize("name", MAPS)


@every_map
@pytest.mark.parametrize("margin", MARGINS)
def test_all_256_levels_survive_the_way_there_and_back(name, margin):
    levels = np.arange(256, dtype=np.uint8).reshape(2, 8, 16)
    pixel_map = MAPS[name](margin=margin)
    weights = pixel_map.to_weights(to_float(levels))
    assert np.isfinite(weights).all()
    np.testing.assert_array_equal(to_uint8(pixel_map.to_image(weights)), levels)


@every_map
@pytest.mark.parametrize("margin", MARGINS)
def test_values_outside_are_clipped_never_wrapped(name, margin):
    pixel_map = MAPS[name](margin=margin)
    values = jnp.array([-1e9, -0.02, 0, 1, 1.02, 1e9])
    back = np.asarray(pixel_map.to_image(pixel_map.to_weights(values)))
    np.testing.assert_allclose(back, [margin] * 3 + [1 - margin] * 3, atol=3e-7)


@every_map
def test_the_image_is_the_inverse_and_grows_with_the_weights(name):
    pixel_map = MAPS[name]()
    values = jnp.linspace(1e-3, 1 - 1e-3, 999)
    weights = pixel_map.to_weights(values)
    np.testing.assert_allclose(pixel_map.to_image(weights), values, atol=1e-6)
    assert (np.diff(weights) > 0).all()
    assert weights[499] == pytest.approx(0, abs=1e-6)  # mid-grey


@every_map
def test_any_weight_gives_an_image_in_range(name):
    image = np.asarray(MAPS[name]().to_image(jnp.array([-jnp.inf, -1e30, -40, 40, 1e30, jnp.inf])))
    np.testing.assert_allclose(image, [0, 0, 0, 1, 1, 1], atol=0.01)
    assert image.min() >= 0
    assert image.max() <= 1


@every_map
def test_slope_is_the_formula(name):
    pixel_map = MAPS[name]()
    values = np.array([[1e-3, 0.01, 0.3], [0.5, 0.77, 0.99]], np.float32)
    found = slope(pixel_map, pixel_map.to_weights(jnp.asarray(values)))
    np.testing.assert_allclose(found, SLOPES[name](values.astype(np.float64)), rtol=2e-3)


@every_map
@pytest.mark.parametrize("margin", [0, -1e-3, 1e-8, 0.5 / 255, 0.1, float("nan"), "a"])
@pytest.mark.usefixtures("unchecked")
def test_margins_that_lose_black_and_white_are_refused(name, margin):
    with pytest.raises(ValueError, match=f"margin must be.*got {margin!r}"):
        MAPS[name](margin=margin)


@every_map
def test_equal_options_give_the_identical_map(name):
    assert MAPS[name](margin=1e-4) is MAPS[name](margin=1e-4)
    assert MAPS[name]() is not MAPS[name](margin=1e-4)


def test_grey_levels_round_to_the_nearest():
    values = jnp.array([0, 0.49 / 255, 0.51 / 255, 254.49 / 255, 254.51 / 255, 1])
    np.testing.assert_array_equal(to_uint8(values), [0, 0, 1, 254, 255, 255])
    assert to_uint8(values).dtype == jnp.uint8
    assert to_float(jnp.uint8([51])).tolist() == [np.float32(0.2)]
