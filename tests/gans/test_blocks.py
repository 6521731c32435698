"""Ranges of images, activation, batch norm as in PyTorch, and the trunk of a discriminator."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gans.blocks import ConvTrunk, from_signed, leaky_relu, to_signed
from train.models.layers import batch_norm


class Norm(nn.Module):
    @nn.compact
    def __call__(self, x, *, train):
        return batch_norm(x, train=train, dtype=jnp.float32)


def test_images_go_to_signed_and_back():
    images = jnp.array([0.0, 0.25, 1.0])
    np.testing.assert_array_equal(to_signed(images), [-1, -0.5, 1])
    np.testing.assert_array_equal(from_signed(to_signed(images)), images)


def test_leaky_relu_leaks_a_fifth():
    np.testing.assert_allclose(leaky_relu(jnp.array([-2.0, 0.0, 3.0])), [-0.4, 0, 3], rtol=1e-6)


def test_batch_norm_agrees_with_pytorch(vectors):
    arrays = {name: jnp.asarray(array, jnp.float32) for name, array in vectors.items()}
    images = arrays["batch_norm_input"]
    params = {"scale": arrays["batch_norm_scale"], "bias": arrays["batch_norm_bias"]}
    fresh = Norm().init(jax.random.key(0), images, train=True)["batch_stats"]
    variables = {"params": {"BatchNorm_0": params}, "batch_stats": fresh}
    found, updated = Norm().apply(variables, images, train=True, mutable=["batch_stats"])
    np.testing.assert_allclose(found, arrays["batch_norm_train_output"], atol=1e-5)

    stats = updated["batch_stats"]["BatchNorm_0"]
    np.testing.assert_allclose(stats["mean"], arrays["batch_norm_running_mean"], atol=1e-5)
    # Ours averages the biased variance, PyTorch's the unbiased one; both start from 1.
    count = images[..., 0].size
    unbiased = 0.9 + (stats["var"] - 0.9) * count / (count - 1)
    np.testing.assert_allclose(unbiased, arrays["batch_norm_running_var"], atol=1e-5)

    running = {"mean": stats["mean"], "var": arrays["batch_norm_running_var"]}
    variables = {
        "params": {"BatchNorm_0": params},
        "batch_stats": {"BatchNorm_0": running},
    }
    found = Norm().apply(variables, images, train=False)
    np.testing.assert_allclose(found, arrays["batch_norm_eval_output"], atol=1e-5)


@pytest.mark.parametrize(("size", "expected"), [((8, 5), 2 * 2 * 4), ((3, 1), 1 * 1 * 4)])
def test_a_trunk_halves_upwards_and_normalises_from_the_second_on(size, expected):
    trunk = ConvTrunk((6, 4))
    result, variables = jax.eval_shape(
        lambda: trunk.init_with_output(jax.random.key(0), jnp.ones((2, *size, 3)), train=True)
    )
    assert result.shape == (2, expected)
    shapes = jax.tree.map(jnp.shape, variables["params"])
    assert shapes == {
        "Conv_0": {"kernel": (5, 5, 3, 6), "bias": (6,)},
        "Conv_1": {"kernel": (5, 5, 6, 4)},
        "BatchNorm_0": {"scale": (4,), "bias": (4,)},
    }
