"""The convolution of ours and its gradients, against lax.conv, PyTorch and flax."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from train.models import winograd
from train.models.layers import Conv, convolve, max_pool_2x2

# (n, h, w, c), (kernel height, kernel width, c, d): tiny maps and few channels go another way.
CASES = [
    ((2, 9, 7, 5), (3, 3, 5, 6)),
    ((1, 5, 8, 3), (3, 3, 3, 4)),  # few channels in
    ((3, 6, 5, 7), (3, 3, 7, 2)),  # few channels out, so in the images' gradient
    ((2, 2, 2, 6), (3, 3, 6, 5)),
    ((2, 1, 1, 6), (3, 3, 6, 5)),
    ((1, 4, 1, 5), (3, 3, 5, 5)),
    ((2, 6, 7, 5), (5, 1, 5, 3)),
    ((2, 6, 7, 5), (1, 1, 5, 3)),
]

every_case = pytest.mark.parametrize(("shape", "kernel_shape"), CASES)


def arrays(shape, kernel_shape, dtype=np.float32):
    random = np.random.default_rng(3)
    cotangent = (*shape[:3], kernel_shape[-1])
    return [jnp.asarray(random.normal(size=s), dtype) for s in (shape, kernel_shape, cotangent)]


def plain(images, kernel):
    return jax.lax.conv_general_dilated(
        images, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )


def value_and_gradients(function, images, kernel, cotangent):
    value, pull_back = jax.vjp(function, images, kernel)
    return value, *pull_back(cotangent)


def assert_agree(found, expected):
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-4)


@every_case
def test_value_and_gradients_are_lax_convs(shape, kernel_shape):
    given = arrays(shape, kernel_shape)
    expected = jax.jit(lambda *a: value_and_gradients(plain, *a))(*given)
    assert_agree(jax.jit(lambda *a: value_and_gradients(convolve, *a))(*given), expected)


def test_value_agrees_with_pytorch(vectors):
    images, kernel, expected = (
        vectors[f"conv_k3_s1_same_{name}"].astype(np.float32)
        for name in ("input", "kernel", "output")
    )
    np.testing.assert_allclose(
        convolve(jnp.asarray(images), jnp.asarray(kernel)), expected, atol=1e-5
    )


@pytest.mark.parametrize(("shape", "kernel_shape"), CASES[:1] + CASES[3:4])
def test_mapped_over_images_and_kernels_equals_looped(shape, kernel_shape):
    images, kernel, cotangent = (
        jnp.stack([array, 2 * array[::-1]]) for array in arrays(shape, kernel_shape)
    )

    def run(*given):
        return value_and_gradients(convolve, *given)

    looped = jax.jit(run)
    expected = [looped(*given) for given in zip(images, kernel, cotangent, strict=True)]
    found = jax.jit(jax.vmap(run))(images, kernel, cotangent)
    assert_agree(found, [jnp.stack(each) for each in zip(*expected, strict=True)])


def test_inside_a_compiled_loop_it_is_the_same():
    images, kernel, cotangent = arrays((2, 9, 7, 5), (3, 3, 5, 5))

    def descend(function):
        def body(_, kernel):
            return kernel - 0.01 * value_and_gradients(function, images, kernel, cotangent)[2]

        return jax.jit(lambda: jax.lax.fori_loop(0, 3, body, kernel))()

    np.testing.assert_allclose(descend(convolve), descend(plain), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("shape", "kernel_shape"), CASES[1:2] + CASES[3:4])
def test_bfloat16_stays_bfloat16_and_near(shape, kernel_shape):
    given = arrays(shape, kernel_shape, jnp.bfloat16)
    found = jax.jit(lambda *a: value_and_gradients(convolve, *a))(*given)
    exact = [array.astype(jnp.float32) for array in given]
    expected = jax.jit(lambda *a: value_and_gradients(plain, *a))(*exact)
    for one, other in zip(found, expected, strict=True):
        assert one.dtype == jnp.bfloat16
        # 8 bits of mantissa, over sums of up to 126 products.
        np.testing.assert_allclose(one.astype(jnp.float32), other, rtol=0.05, atol=0.3)


def test_the_module_adds_a_bias_unless_told_otherwise():
    images, _, _ = arrays((2, 5, 6, 3), (3, 3, 3, 4))
    with_bias = jax.jit(Conv(4).init)(jax.random.key(0), images)["params"]
    assert jax.tree.map(jnp.shape, with_bias) == {"bias": (4,), "kernel": (3, 3, 3, 4)}
    shifted = {**with_bias, "bias": with_bias["bias"] + 0.5}
    found = jax.jit(Conv(4).apply)({"params": shifted}, images)
    np.testing.assert_allclose(found, plain(images, with_bias["kernel"]) + 0.5, atol=1e-5)
    layer = Conv(4, kernel_size=1, use_bias=False)
    without = jax.eval_shape(layer.init, jax.random.key(0), images)["params"]
    assert jax.tree.map(jnp.shape, without) == {"kernel": (1, 1, 3, 4)}


@pytest.mark.parametrize("shape", [(2, 6, 8, 3), (1, 2, 4, 5)])
def test_pooling_is_flaxs(shape):
    images, _, _ = arrays(shape, (1, 1, 1, 1))

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


@pytest.mark.parametrize("shape", [(1, 4, 5, 96), (1, 2, 2, 256)])
def test_many_channels_go_through_tiles_there_and_back(shape):
    images, kernel, cotangent = arrays(shape, (3, 3, shape[-1], 100))
    inputs = images, kernel / 30, cotangent
    found, expected = (
        jax.jit(functools.partial(value_and_gradients, function))(*inputs)
        for function in (convolve, plain)
    )
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=2e-5 * float(other.std()))


@pytest.mark.parametrize(
    ("differentiated", "loops"),
    [
        ((), 1),
        ((0,), 2),  # the value, and the images' gradient
        ((1,), 0),  # the kernel's gradient shares the value's tiles
        ((0, 1), 1),
    ],
)
def test_a_large_batch_is_taken_in_parts_where_nothing_is_shared(
    monkeypatch, differentiated, loops
):
    monkeypatch.setattr(winograd, "PART_NUMBERS", 1)
    images, kernel, cotangent = arrays((3, 4, 6, 96), (3, 3, 96, 100))

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
