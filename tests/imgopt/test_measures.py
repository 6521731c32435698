"""Measures, against NumPy and by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from imgopt import (
    InputError,
    high_frequency_energy,
    low_pass,
    mean_absolute_change,
    ranking_as_asked,
    saturation,
    to_float,
    to_uint8,
)

SHAPES = [
    (2, 8, 8, 3), (1, 7, 10, 2), (3, 10, 7, 1), (1, 9, 5, 4), (2, 1, 6, 3), (1, 6, 1, 3),
    (1, 224, 160, 3),  # of more values than an int32 can count the squares of
]  # fmt: skip


def noise(shape, *, low=0.0, high=1.0):
    return np.random.default_rng(2).uniform(low, high, shape).astype(np.float32)


def test_mean_absolute_change_is_in_grey_levels():
    images, originals = noise((3, 5, 7, 2)), noise((3, 5, 7, 2), high=0.5)
    expected = 255 * np.abs(images - originals).mean((1, 2, 3))
    np.testing.assert_allclose(mean_absolute_change(images, originals), expected, rtol=1e-5)
    black, white = np.zeros((1, 2, 3, 1), np.float32), np.ones((1, 2, 3, 1), np.float32)
    assert mean_absolute_change(black, white).tolist() == [255]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("radius", [1, 2.5, 4])
def test_high_frequency_energy_is_that_of_the_full_transform(shape, radius):
    images = noise(shape)
    height, width = shape[1:3]
    distance = np.hypot(
        np.fft.fftfreq(height, 1 / height)[:, None], np.fft.fftfreq(width, 1 / width)[None]
    )
    spectrum = np.fft.fft2(255 * images.astype(np.float64), axes=(1, 2)) / (height * width)
    beyond = (np.abs(spectrum) ** 2) * (distance >= radius)[None, :, :, None]
    expected = beyond.sum((1, 2)).mean(-1)
    found = high_frequency_energy(images, radius=radius)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("shape", SHAPES)
def test_high_frequency_energy_is_what_the_low_pass_removes(shape):
    images = noise(shape, low=0.4, high=0.6)  # so flat that the filter need not clip
    removed = 255 * (images - np.asarray(low_pass(2)(jnp.asarray(images))))
    found = high_frequency_energy(images, radius=2)
    np.testing.assert_allclose(found, (removed**2).mean((1, 2, 3)), rtol=1e-3, atol=1e-3)


def test_the_default_radius_is_the_papers_10():
    images = noise((1, 32, 32, 3))
    found = high_frequency_energy(images)
    np.testing.assert_array_equal(found, high_frequency_energy(images, radius=10))


@pytest.mark.parametrize(
    ("output", "target", "asked"),
    [
        ([0.6, 0.3, 0.1], [0.9, 0.1, 0.0], True),
        ([0.6, 0.1, 0.3], [0.9, 0.1, 0.0], False),
        ([0.3, 0.6, 0.1], [0.9, 0.1, 0.0], False),
        ([0.2, 0.1, 0.7], [0.0, 0.0, 1.0], True),  # ties of the target stand in any order
        ([0.1, 0.2, 0.7], [0.0, 0.0, 1.0], True),
        ([0.5, 0.5, 0.0], [0.6, 0.4, 0.0], False),  # a tie is not above
        ([0.1, 0.2, 0.7], [1 / 3, 1 / 3, 1 / 3], True),
    ],
)
def test_ranking_is_as_asked_wherever_the_target_asks(output, target, asked):
    found = ranking_as_asked(np.array([output, output]), np.array([target, output]))
    assert found.tolist() == [asked, True]


def test_saturation_is_the_spread_of_the_channels():
    grey, red = np.full((1, 2, 3, 3), 0.3, np.float32), np.zeros((1, 2, 3, 3), np.float32)
    red[..., 0] = 1
    half = red.copy()
    half[:, :1] = 0
    np.testing.assert_allclose(saturation(np.concatenate([grey, red, half])), [0, 1, 0.5])


def ranked_pairwise(outputs, targets):
    """The definition: every pair of classes that the target orders, the output orders too."""
    known = ~np.isnan(outputs).any(1)
    asked = targets[:, :, None] > targets[:, None, :]
    given = outputs[:, :, None] > outputs[:, None, :]
    return known & np.all(~asked | given, axis=(1, 2))


@pytest.mark.parametrize("k", [2, 3, 7])
def test_ranking_is_its_definition_with_ties_and_nan(k):
    random = np.random.default_rng(k)
    targets = random.integers(0, 3, (400, k)).astype(np.float32)
    outputs = np.where(
        random.uniform(size=(400, 1)) < 0.5, targets + random.integers(0, 2, (400, k)), targets
    ).astype(np.float32)
    outputs[::50, 0] = np.nan
    targets[:4] = 1 / k  # any order will do
    found = np.asarray(ranking_as_asked(outputs, targets))
    np.testing.assert_array_equal(found, ranked_pairwise(outputs, targets))
    assert 0.1 < found.mean() < 0.97


def test_ranking_of_a_thousand_classes_takes_little_memory():
    shape = jax.ShapeDtypeStruct((100, 1000), np.float32)
    program = jax.jit(ranking_as_asked).lower(shape, shape).compile()
    assert program.memory_analysis().temp_size_in_bytes < 100 * 1000 * 4 * 40


LEVELS = np.full((2, 8, 6, 3), 7, np.uint8)
ONE = np.full((8, 6, 3), 0.5, np.float32)
ONE_IMAGE = r"shape \(n, h, w, c\), got \(8, 6, 3\); of one image give images\[None\]"


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: mean_absolute_change(LEVELS, LEVELS), "floating point .* got uint8; divide"),
        (lambda: mean_absolute_change(LEVELS / 255, LEVELS), "floating point .* got uint8"),
        (lambda: mean_absolute_change(LEVELS / 255, LEVELS[:1] / 255), "one shape"),
        (lambda: saturation(LEVELS), "floating point"),
        (lambda: saturation(LEVELS.astype(np.float32)), r"from 7 to 7; divide grey levels by 255"),
        (lambda: high_frequency_energy(LEVELS), "floating point"),
        (lambda: mean_absolute_change(ONE, ONE), ONE_IMAGE),
        (lambda: saturation(ONE), ONE_IMAGE),
        (lambda: high_frequency_energy(ONE), ONE_IMAGE),
        (lambda: high_frequency_energy(ONE[None], radius="a"), "at least 0 cycles.*got 'a'"),
        (lambda: saturation(ONE.tolist()), "must be an array.*got list; make one"),
        (lambda: to_uint8(ONE.tolist()), "must be an array.*got list; make one"),
        (lambda: to_float(LEVELS.tolist()), "must be uint8 grey levels, got list"),
        (lambda: to_uint8(LEVELS), "floating point"),
        (lambda: to_uint8(LEVELS / 6), r"in \[0, 1\], got values from 1.16666"),
        (lambda: to_float(LEVELS / 255), "must be uint8 grey levels, got float64"),
        (lambda: ranking_as_asked(np.ones((2, 3)), np.ones((2, 4))), r"\(2, 3\) and \(2, 4\)"),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_images_of_another_kind_are_refused(call, message):
    with pytest.raises(InputError, match=message):
        call()
