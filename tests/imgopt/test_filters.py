"""Filters, against NumPy's full complex transform and SciPy's Gaussian."""

import jax.numpy as jnp
import numpy as np
import pytest
import scipy.ndimage

from imgopt import gaussian_low_pass, low_pass

FILTERS = {"low_pass": low_pass(2.5), "gaussian": gaussian_low_pass(0.8)}
SHAPES = [(1, 32, 32, 3), (2, 7, 10, 3), (1, 10, 7, 2), (3, 9, 5, 4), (2, 1, 6, 1), (1, 6, 1, 2)]

every_filter = pytest.mark.parametrize("name", FILTERS)


def noise(shape):
    return jnp.asarray(np.random.default_rng(0).uniform(size=shape), jnp.float32)


def paper_low_pass(images, radius):
    """A, 2.2.3 in float64: all h·w complex coefficients, DC in the middle."""
    height, width = images.shape[1:3]
    rows = (np.arange(height) - height // 2)[:, None]
    columns = (np.arange(width) - width // 2)[None]
    keep = (rows**2 + columns**2 < radius**2)[None, :, :, None]
    spectrum = np.fft.fftshift(
        np.fft.fft2(np.asarray(images, np.float64), axes=(1, 2)), axes=(1, 2)
    )
    back = np.fft.ifft2(np.fft.ifftshift(spectrum * keep, axes=(1, 2)), axes=(1, 2))
    return back.real.clip(0, 1)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("radius", [0.5, 3, 3.7, 10])
def test_low_pass_is_the_papers(shape, radius):
    images = noise(shape)
    np.testing.assert_allclose(low_pass(radius)(images), paper_low_pass(images, radius), atol=2e-6)


def test_radius_10_keeps_305_of_1024_coefficients():
    dot = np.full((1, 32, 32, 1), 0.5, np.float32)
    dot[0, 3, 4, 0] += 0.25  # its spectrum has equal magnitude everywhere, so the share stays
    kept = (np.asarray(low_pass(10)(jnp.asarray(dot)))[0, 3, 4, 0] - 0.5) / 0.25 * 1024
    assert kept == pytest.approx(305, abs=0.01)


@pytest.mark.parametrize("sigma", [1, 1.5, 3])
def test_gaussian_agrees_with_scipys(sigma):
    images = noise((1, 32, 24, 2))
    expected = scipy.ndimage.gaussian_filter(
        np.asarray(images, np.float64), (0, sigma, sigma, 0), mode="wrap", truncate=8
    )
    # SciPy samples the Gaussian, which differs from a Gaussian spectrum by a little.
    np.testing.assert_allclose(gaussian_low_pass(sigma)(images), expected, atol=2e-3)


def test_gaussian_rings_less_than_the_disc():
    edge = np.zeros((1, 32, 32, 1), np.float32)
    edge[:, :, 8:24] = 0.5
    edge += 0.25
    overshoot = {
        name: float(image_filter(jnp.asarray(edge)).max()) - 0.75
        for name, image_filter in (("disc", low_pass(5)), ("gaussian", gaussian_low_pass(2)))
    }
    assert overshoot["disc"] > 0.03
    assert overshoot["gaussian"] < 1e-6


@every_filter
@pytest.mark.parametrize("level", [0, 0.3, 1])
def test_constant_images_stay(name, level):
    images = jnp.full((2, 5, 8, 3), float(level))
    np.testing.assert_allclose(FILTERS[name](images), images, atol=1e-6)


@every_filter
def test_results_stay_in_range(name):
    images = jnp.round(noise((2, 9, 8, 3)))
    filtered = np.asarray(FILTERS[name](images))
    assert filtered.min() >= 0
    assert filtered.max() <= 1
    assert filtered.shape == images.shape
    assert filtered.dtype == np.float32


@every_filter
def test_channels_do_not_mix(name):
    images = noise((2, 9, 8, 3))
    each = [FILTERS[name](images[..., channel : channel + 1]) for channel in range(3)]
    np.testing.assert_allclose(FILTERS[name](images), np.concatenate(each, -1), atol=1e-6)


@pytest.mark.parametrize("value", [0, -1, float("nan")])
@pytest.mark.parametrize("factory", [low_pass, gaussian_low_pass])
def test_sizes_not_above_0_are_refused(factory, value):
    with pytest.raises(ValueError, match=f"must be above 0.*got {value}"):
        factory(value)


@pytest.mark.parametrize("factory", [low_pass, gaussian_low_pass])
def test_equal_options_give_the_identical_filter(factory):
    assert factory(3.5) is factory(3.5)
