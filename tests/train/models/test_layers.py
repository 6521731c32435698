"""Pooling, and the parts in which large batches are convolved, against Flax and lax.conv.

The convolutions' other laws stand in `test_transposed.py`.
"""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from train.models import winograd
from train.models.layers import convolve, max_pool_2x2


def arrays(*shapes):
    random = np.random.default_rng(3)
    return [jnp.asarray(random.normal(size=shape), np.float32) for shape in shapes]


def plain(images, kernel):
    return jax.lax.conv_general_dilated(
        images, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )


@pytest.mark.parametrize("shape", [(2, 6, 8, 3), (1, 2, 4, 5)])
def test_pooling_is_flaxs(shape):
    (images,) = arrays(shape)

    def flax(values):
        return nn.max_pool(values, (2, 2), (2, 2))

    np.testing.assert_array_equal(max_pool_2x2(images), flax(images))
    cotangent = flax(images) + 1
    found, expected = (
        jax.jit(lambda x, pool=pool: jax.vjp(pool, x)[1](cotangent)[0])(images)
        for pool in (max_pool_2x2, flax)
    )
    np.testing.assert_array_equal(found, expected)


def test_tied_pixels_share_the_gradient():
    found = jax.grad(lambda values: max_pool_2x2(values).sum())(jnp.ones((1, 2, 2, 1)))
    np.testing.assert_allclose(found, jnp.full((1, 2, 2, 1), 0.25))


@pytest.mark.parametrize(
    ("differentiated", "loops"),
    [
        ((), 1),
        ((0,), 2),  # the value, and the images' gradient
        ((1,), 1),  # the sum over the images is as large as all their tiles
        ((0, 1), 2),
    ],
)
def test_a_large_batch_is_taken_in_parts(monkeypatch, differentiated, loops):
    monkeypatch.setattr(winograd, "PART_NUMBERS", 1)
    images, kernel, cotangent = arrays((3, 4, 6, 96), (3, 3, 96, 100), (3, 4, 6, 100))

    def total(function, *given):
        return (function(*given) * cotangent).sum()

    def wanted(function):
        run = functools.partial(total, function)
        return jax.value_and_grad(run, differentiated) if differentiated else run

    program = jax.jit(wanted(convolve)).lower(images, kernel / 30)
    assert program.as_text().count("stablehlo.while") == loops
    found, expected = (
        jax.tree.leaves(jax.jit(wanted(function))(images, kernel / 30))
        for function in (convolve, plain)
    )
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-3, atol=2e-5 * float(other.std()))


@pytest.mark.parametrize(
    ("shape", "features"), [((2, 8, 6, 3), 5), ((3, 2, 2, 8), 8), ((2, 9, 8, 12), 12)]
)
def test_gradients_of_gradients_are_those_of_lax_conv(shape, features):
    images, kernel = arrays(shape, (3, 3, shape[-1], features))

    def twice(convolution):
        def value(images, kernel):
            return (convolution(images, kernel / 9) ** 3).sum()

        def square(images, kernel):
            return sum((each**2).sum() for each in jax.grad(value, (0, 1))(images, kernel))

        return jax.jit(jax.grad(square, (0, 1)))(images, kernel)

    for found, expected in zip(twice(convolve), twice(plain), strict=True):
        scale = float(jnp.abs(expected).max())
        np.testing.assert_allclose(found / scale, expected / scale, atol=2e-5)
