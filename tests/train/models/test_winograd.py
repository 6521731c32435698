"""Tiles of inputs against XLA's own convolution, and what tiles are chosen."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from train.models import winograd
from train.models.cpu_convolution import convolve
from train.models.winograd import (
    POINTS,
    cheapest_size,
    transforms,
    winograd_convolve,
    winograd_kernel_gradient,
)

pytestmark = pytest.mark.usefixtures("compiled_as_users_do")

# size of a tile, taps, rows and columns of zeros, height and width
CASES = {
    "3×3, odd": (6, 3, (1, 1), (9, 7)),
    "3×3, one tile": (6, 3, (1, 1), (4, 4)),
    "3×3 on 2×2": (4, 3, (1, 1), (2, 2)),
    "3×3 on one pixel": (4, 3, (1, 1), (1, 1)),
    "3×3, valid": (4, 3, (0, 0), (5, 8)),
    "5×5, same": (6, 5, (2, 2), (7, 9)),
    "5×5, full": (6, 5, (4, 4), (6, 5)),
    "5×5, uneven zeros": (6, 5, (1, 3), (10, 5)),
    "5×5, valid": (6, 5, (0, 0), (5, 10)),
}

_tiled = jax.jit(winograd_convolve, static_argnames=("border", "size", "turned"))
_tiled_kernel_gradient = jax.jit(
    winograd_kernel_gradient, static_argnames=("taps", "border", "size")
)


@functools.partial(jax.jit, static_argnames="border")
def _convolve(images, kernel, border):
    """XLA's own, the independent source."""
    return jax.lax.conv_general_dilated(
        images,
        kernel,
        (1, 1),
        [(zeros, zeros) for zeros in border],
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )


def _inputs(taps, shape):
    images = jax.random.normal(jax.random.key(0), (2, *shape, 5))
    return images, jax.random.normal(jax.random.key(1), (taps, taps, 5, 4)) / (taps * 5**0.5)


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("case", CASES)
def test_value_is_the_convolution(case, turned):
    size, taps, border, shape = CASES[case]
    images, kernel = _inputs(taps, shape)
    expected = _convolve(images, kernel, border)
    if turned:
        kernel = jnp.flip(kernel, (0, 1)).swapaxes(2, 3)
    value = _tiled(images, kernel, border, size=size, turned=turned)
    np.testing.assert_allclose(value, expected, atol=2e-5)


@pytest.mark.parametrize("case", CASES)
def test_kernel_gradient_is_that_of_the_convolution(case):
    size, taps, border, shape = CASES[case]
    images, kernel = _inputs(taps, shape)
    value, pull_back = jax.vjp(lambda kernel: _convolve(images, kernel, border), kernel)
    gradient = jax.random.normal(jax.random.key(2), value.shape)
    found = _tiled_kernel_gradient(images, gradient, taps, border, size=size)
    np.testing.assert_allclose(found, pull_back(gradient)[0], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("count", "least", "sizes"), [(6, 2, 2), (5, 2, 3), (7, 3, 4), (3, 2, 3)])
@pytest.mark.parametrize("turned", [False, True])
def test_in_parts_it_is_the_same(monkeypatch, count, least, sizes, turned):
    """Whether or not the parts divide the batch."""
    images = jax.random.normal(jax.random.key(0), (count, 9, 7, 5))
    kernel = jax.random.normal(jax.random.key(1), (3, 3, 5, 5)) / 7
    convolve = functools.partial(winograd_convolve, border=(1, 1), size=6, turned=turned)
    whole = jax.jit(lambda *given: convolve(*given))(images, kernel)  # keeps its own trace
    tiles = 3 * 2
    monkeypatch.setattr(winograd, "PART_NUMBERS", least * tiles * 36 * (5 + 5))
    parts = jax.jit(convolve)(images, kernel)
    np.testing.assert_allclose(parts, whole, atol=1e-5)
    program = str(jax.make_jaxpr(convolve)(images, kernel))
    assert f"f32[36,{tiles * sizes},5]" in program
    assert f"f32[36,{tiles * count},5]" not in program or sizes == count


@pytest.mark.parametrize(("count", "least", "sizes"), [(6, 2, 2), (5, 2, 3), (3, 2, 3)])
def test_kernel_gradient_is_summed_over_parts(monkeypatch, count, least, sizes):
    images = jax.random.normal(jax.random.key(0), (count, 9, 7, 5))
    gradient = jax.random.normal(jax.random.key(1), (count, 9, 7, 6))
    run = functools.partial(winograd_kernel_gradient, taps=3, border=(1, 1), size=6)
    whole = jax.jit(lambda *given: run(*given))(images, gradient)  # keeps its own trace
    tiles = 3 * 2
    monkeypatch.setattr(winograd, "PART_NUMBERS", least * tiles * 36 * (5 + 6))
    parts = jax.jit(run)(images, gradient)
    np.testing.assert_allclose(parts, whole, rtol=1e-4, atol=1e-4)
    program = str(jax.make_jaxpr(run)(images, gradient))
    assert f"f32[36,{tiles * sizes},5]" in program
    assert f"f32[36,{tiles * count},5]" not in program or sizes == count


def test_a_sum_that_exceeds_the_cache_is_not_split(monkeypatch):
    """Each part would read and write the whole sum."""
    monkeypatch.setattr(winograd, "PART_NUMBERS", 1)
    images, gradient = jnp.ones((3, 4, 4, 40)), jnp.ones((3, 4, 4, 40))
    run = functools.partial(winograd_kernel_gradient, taps=3, border=(1, 1), size=6)
    assert "scan" not in str(jax.make_jaxpr(run)(images, gradient))


@pytest.mark.parametrize(("size", "taps"), [(4, 3), (6, 3), (6, 5)])
def test_transforms_multiply_polynomials_exactly_in_rational_numbers(size, taps):
    """One dimension: the results are the sliding sums that the definition of a convolution has."""
    tile, kernel, results = transforms(size, taps)
    inputs, weights = np.arange(1.0, size + 1), np.array([2.0, -1.0, 0.5, 3.0, 1.0])[:taps]
    found = results @ ((kernel @ weights) * (tile @ inputs))
    np.testing.assert_allclose(found, np.correlate(inputs, weights, "valid"), atol=1e-12)


@pytest.mark.parametrize("taps", [3, 5])
def test_rounding_error_stays_near_that_of_the_plain_sum(taps):
    images = jax.random.normal(jax.random.key(0), (4, 16, 16, 64))
    kernel = jax.random.normal(jax.random.key(1), (taps, taps, 64, 32)) / (8 * taps)
    border = (taps // 2, taps // 2)
    plain = np.asarray(_convolve(images, kernel, border))
    tiled = np.asarray(_tiled(images, kernel, border, size=6))
    assert np.sqrt(((tiled - plain) ** 2).mean()) < 2e-6 * plain.std()


@pytest.mark.parametrize(
    ("positions", "kernel_shape", "expected"),
    [
        ((32, 32), (3, 3, 3, 64), None),  # the transforms of the results cost too much
        ((32, 32), (3, 3, 64, 64), 6),
        ((2, 2), (3, 3, 512, 512), 4),
        ((4, 4), (3, 3, 512, 512), 6),
        ((10, 10), (5, 5, 128, 256), 6),
        ((2, 2), (5, 5, 256, 256), 6),
        ((8, 8), (3, 5, 512, 512), None),  # only square kernels have tiles
        ((8, 8), (9, 9, 512, 512), None),  # no tile is larger
        ((8, 8), (1, 1, 512, 512), None),  # nothing to save
        ((1, 1), (1, 1, 512, 512), None),
    ],
)
def test_cheapest_size(positions, kernel_shape, expected):
    size = cheapest_size(
        positions, kernel_shape, plain_positions=math.prod(positions), transform_cost=72
    )
    assert size == expected
    assert expected is None or expected in POINTS


def test_results_of_16_bits_are_rounded_once():
    """Tiles of 16 bits would have seven times the error of 2⁻⁹, the half of a unit."""
    keys = jax.random.split(jax.random.key(0), 3)
    images, gradient = (
        jax.random.normal(key, (4, 8, 8, 128)).astype(jnp.bfloat16) for key in keys[:2]
    )
    kernel = (jax.random.normal(keys[2], (3, 3, 128, 128)) / 34).astype(jnp.bfloat16)
    found, pull_back = jax.vjp(lambda *given: convolve(*given, (1, 1)), images, kernel)
    wide = [array.astype(jnp.float32) for array in (images, kernel, gradient)]
    exact, pull_back_exact = jax.vjp(lambda *given: _convolve(*given, (1, 1)), *wide[:2])
    results = (found, *pull_back(gradient))
    for result, expected in zip(results, (exact, *pull_back_exact(wide[2])), strict=True):
        assert result.dtype == jnp.bfloat16
        scale = jnp.sqrt(jnp.mean(expected**2))
        atol = 1e-5 * scale  # of the sums in float32
        np.testing.assert_allclose(result.astype(jnp.float32), expected, rtol=2**-8, atol=atol)
