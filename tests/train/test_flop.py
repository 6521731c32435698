"""XLA's count of arithmetic, beside counts by hand."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from train.flop import count_flop
from train.models.layers import Conv
from train.models.transposed import TransposedConv


def shapes(*shape):
    return jax.ShapeDtypeStruct(shape, jnp.float32)


def taps(size, kernel, *, zeros, stride=1):
    """Taps of a kernel that lie on one of `size` pixels, over all its positions."""
    starts = np.arange(-zeros, size + zeros - kernel + 1, stride)
    return sum(0 <= start + tap < size for start in starts for tap in range(kernel))


# Off the origin: height, width and channels all differ. Products are taps × in × out × images.
CHANNELS = 2 * 3 * 7
LAYERS = {
    "same": (Conv(7, use_bias=False), (2, 6, 8, 3), taps(6, 3, zeros=1) * taps(8, 3, zeros=1)),
    "valid": (Conv(7, 5, padding="valid", use_bias=False), (2, 6, 8, 3), (2 * 5) * (4 * 5)),
    "strided": (
        Conv(7, 5, stride=2, use_bias=False),
        (2, 5, 8, 3),
        taps(5, 5, zeros=2, stride=2) * taps(8, 5, zeros=2, stride=2),
    ),
    # Every pixel meets every tap.
    "grown": (TransposedConv(7, stride=1, use_bias=False), (2, 5, 8, 3), 5 * 8 * 25),
    # At stride 2 a tap at the border falls outside: of the first pixel two, of the last one one.
    "doubled": (
        TransposedConv(7, stride=2, use_bias=False),
        (2, 5, 8, 3),
        (5 * 5 - 3) * (8 * 5 - 3),
    ),
}


@pytest.mark.parametrize("name", LAYERS)
def test_a_convolution_counts_what_is_not_padding(name):
    layer, shape, products = LAYERS[name]
    variables = jax.eval_shape(layer.init, jax.random.key(0), shapes(*shape))
    found = count_flop(layer.apply, variables, shapes(*shape))
    assert found == 2 * products * CHANNELS


def test_a_dense_layer_counts_its_products_and_its_bias():
    layer = nn.Dense(7)
    variables = jax.eval_shape(layer.init, jax.random.key(0), shapes(4, 9))
    assert count_flop(layer.apply, variables, shapes(4, 9)) == 2 * 4 * 9 * 7 + 4 * 7


def test_a_gradient_counts_its_passes():
    """No bias, no padding: forward, and the gradients of images and kernel, are alike."""
    layer = Conv(7, 5, padding="valid", use_bias=False)
    variables = jax.eval_shape(layer.init, jax.random.key(0), shapes(2, 6, 8, 3))

    def outputs(variables, images):
        return layer.apply(variables, images)

    def gradients(variables, images, change):
        return jax.vjp(outputs, variables, images)[1](change)

    forward = count_flop(outputs, variables, shapes(2, 6, 8, 3))
    both = count_flop(gradients, variables, shapes(2, 6, 8, 3), shapes(2, 2, 4, 7))
    assert both == pytest.approx(2 * forward, rel=0.02)  # the kernel is turned besides


def test_the_body_of_a_loop_counts_once():
    def repeat(times, matrix):
        return jax.lax.fori_loop(0, times, lambda _, x: matrix @ x, matrix)

    times = jax.ShapeDtypeStruct((), jnp.int32)
    found = count_flop(repeat, times, shapes(30, 30))
    assert found == pytest.approx(2 * 30**3, rel=0.01)


def test_without_the_cpu_backend_it_says_what_to_do(monkeypatch):
    def missing(**_):
        raise RuntimeError("Unknown backend cpu")

    monkeypatch.setattr(jax, "local_devices", missing)
    with pytest.raises(ValueError, match='JAX_PLATFORMS="cuda,cpu"'):
        count_flop(jnp.sin, 1.0)
