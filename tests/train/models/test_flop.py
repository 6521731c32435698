"""Arithmetic of networks, beside counts by hand."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import pytest

from train.models.flop import forward_flop, synthesis_flop, total
from train.models.layers import Conv
from train.models.networks import build_network
from train.models.transposed import TransposedConv


def images(*shape):
    return jax.ShapeDtypeStruct(shape, jnp.float32)


# Off the origin: height, width and channels all differ. (kernel × in × out) × positions × 2.
LAYERS = {
    "same": (Conv(7), images(2, 6, 8, 3), 2 * (2 * 6 * 8) * (3 * 3 * 3 * 7)),
    "valid": (Conv(7, 5, padding="valid"), images(2, 6, 8, 3), 2 * (2 * 2 * 4) * (5 * 5 * 3 * 7)),
    "strided": (Conv(7, 5, stride=2), images(2, 5, 8, 3), 2 * (2 * 3 * 4) * (5 * 5 * 3 * 7)),
    "grown": (TransposedConv(7, 1), images(2, 5, 8, 3), 2 * (2 * 5 * 8) * (5 * 5 * 3 * 7)),
    "doubled": (TransposedConv(7, 2), images(2, 5, 8, 3), 2 * (2 * 5 * 8) * (5 * 5 * 3 * 7)),
    "dense": (nn.Dense(7), images(4, 9), 2 * 4 * (9 * 7)),
}


@pytest.mark.parametrize("name", LAYERS)
def test_a_layer_s_arithmetic_is_that_counted_by_hand(name):
    layer, example, expected = LAYERS[name]
    assert total(forward_flop(layer, example)) == expected


def test_a_classifier_s_arithmetic_is_that_counted_by_hand():
    network = build_network("kono-cnn", num_classes=10)
    found = forward_flop(network, images(2, 32, 32, 3), train=False)
    expected = {
        "Conv_0": 1024 * 9 * 3 * 64,
        "Conv_1": 1024 * 9 * 64 * 64,
        "Conv_2": 256 * 9 * 64 * 128,
        "Conv_3": 256 * 9 * 128 * 128,
        "Dense_0": 8192 * 1024,
        "Dense_1": 1024 * 10,
    }
    assert found == {name: 2 * 2 * products for name, products in expected.items()}


def test_synthesis_passes_there_and_back_in_every_update_and_once_at_the_end():
    assert synthesis_flop(7, steps=0) == 7
    assert synthesis_flop(7, steps=3) == 7 + 3 * (7 + 7)
