"""What is not finite is NaN in every measure, never a number out of other arrays' memory."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import imgopt

RANDOM = np.random.default_rng(1)
IMAGES = RANDOM.uniform(0.2, 0.8, (4, 6, 5, 3)).astype(np.float32)
KERNEL = jnp.asarray(RANDOM.normal(size=(90, 4)), jnp.float32)
TARGETS = np.full((4, 4), 0.25, np.float32)


def nan_gradient_for_the_second(images):
    """Logits are finite at first; the gradient of bright images is not."""
    logits = images.reshape(len(images), -1) @ KERNEL
    brightness = images.mean((1, 2, 3))
    root = jnp.sqrt(jnp.where(brightness > 0.75, 0 * brightness, 1.0))
    return logits + root[:, None]


def litter():
    """Fills memory with a number and frees it, so that what is read by mistake shows."""
    for size in (4, 16, 64, 256, 1024, 4096):
        junk = [jnp.full(size, 12345.0) + 0 for _ in range(50)]
        jax.block_until_ready(junk)
        del junk


@pytest.mark.parametrize("tolerance", [None, 0.01])
def test_measures_of_an_image_that_is_not_finite_are_nan(tolerance):
    images = IMAGES.copy()
    images[1] = 0.9
    for _ in range(5):
        litter()
        result = imgopt.synthesize(
            nan_gradient_for_the_second, images, TARGETS, steps=3, tolerance=tolerance,
            optimizer=imgopt.sgd(0.5),
        )  # fmt: skip
        assert np.isnan(result.images[1]).any()
        for measured in (result.outputs, result.kl, result.max_error):
            assert np.isnan(measured[1]).all()
            assert np.isfinite(np.delete(measured, 1, axis=0)).all()
            assert (np.abs(np.delete(measured, 1, axis=0)) < 100).all()


def with_minus_infinity(images):
    logits = images.reshape(len(images), -1) @ KERNEL
    return jnp.where(jnp.arange(4)[None] == 2, -jnp.inf, logits)


def test_a_class_without_probability_counts_nothing_where_none_is_asked_for():
    targets = np.tile(np.float32([0.5, 0.3, 0.0, 0.2]), (4, 1))
    result = imgopt.synthesize(with_minus_infinity, IMAGES, targets, steps=20)
    before = imgopt.synthesize(with_minus_infinity, IMAGES, targets, steps=0)
    assert np.isfinite(result.images).all()
    assert (result.kl < before.kl).all()
    assert (result.outputs[:, 2] == 0).all()
    asked = imgopt.synthesize(with_minus_infinity, IMAGES, TARGETS, steps=0)
    assert np.isinf(asked.kl).all()
