"""Residual networks: their size, worked out by hand, and their logits, as PyTorch computes them."""

from pathlib import Path

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from train.classifier_training import ClassifierLearner
from train.classifiers import ClassifierSpec
from train.models.linen import Network
from train.models.networks import build_network
from train.models.residual import WideResNet
from train.recipes.train_options import TrainConfig
from train.training_sets import TrainData

REFERENCE = Path(__file__).parents[2] / "references" / "networks.npz"
SHAPES = {"resnet9": (3, 16, 24, 3), "wrn-16-4": (3, 9, 14, 3)}

# 3×3 convolutions without bias, scale and shift of batch norm after each, and a dense layer
# without bias: 6.57 million.
RESNET9 = (
    9 * (3 * 64 + 64 * 128 + 2 * 128**2 + 128 * 256 + 256 * 512 + 2 * 512**2)
    + 2 * (64 + 3 * 128 + 256 + 3 * 512)
    + 512 * 10
)


def wide(depth, k):
    """Zagoruyko and Komodakis 2016, table 1, with 1×1 shortcuts; batch norm before convolutions."""
    total, before = 9 * 3 * 16, 16
    for after in (16 * k, 32 * k, 64 * k):
        more = (depth - 4) // 6 - 1
        total += 9 * before * after + 9 * after**2 + before * after + 2 * before + 2 * after
        total += more * (2 * 9 * after**2 + 4 * after)
        before = after
    return total + 2 * before + before * 10 + 10


def layers_of(network, shape):
    """Shapes of the variables, and the names of the layers in the order in which they are used."""
    names = []

    def note(call, args, kwargs, context):
        if context.module.name:
            names.append(context.module.name)
        return call(*args, **kwargs)

    with nn.intercept_methods(note):
        images = jax.ShapeDtypeStruct(shape, jnp.float32)
        variables = jax.eval_shape(network.init, jax.random.key(0), images)
    return variables, list(dict.fromkeys(names))


def count(network):
    variables, _ = layers_of(network, (1, 32, 32, 3))
    return sum(leaf.size for leaf in jax.tree.leaves(variables["params"]))


def test_number_of_parameters():
    assert count(build_network("resnet9", num_classes=10)) == RESNET9 == 6_573_120
    assert count(build_network("wrn-16-4", num_classes=10)) == wide(16, 4)


def test_number_of_parameters_is_the_papers():
    """Zagoruyko and Komodakis 2016, tables 4 and 5, in millions."""
    stated = {(16, 4): 2.7, (40, 4): 8.9, (16, 8): 11.0, (22, 8): 17.2, (28, 10): 36.5}
    assert {name: round(wide(*name) / 1e6, 1) for name in stated} == stated
    assert count(Network("wrn", WideResNet(10, depth=22, widening=2))) == wide(22, 2)


@pytest.mark.parametrize("depth", [4, 18])
def test_a_depth_that_is_no_network_s_is_refused(depth):
    with pytest.raises(ValueError, match=rf"6n \+ 4, got {depth}"):
        count(Network("wrn", WideResNet(10, depth=depth)))


def filled(network, shape, random):
    """Weights drawn as `make_network_vectors.py` draws them."""
    variables, names = layers_of(network, shape)
    found = {"params": {}, "batch_stats": {}}
    for name in names:
        leaves = variables["params"][name]
        if name.startswith("BatchNorm"):
            scale, bias, mean, var = (
                random.uniform(0.5, 1.5, leaves["bias"].shape) for _ in "abcd"
            )
            found["params"][name] = {"scale": scale, "bias": bias}
            found["batch_stats"][name] = {"mean": mean, "var": var}
            continue
        size = leaves["kernel"].shape
        drawn = {"kernel": random.normal(size=size) / np.sqrt(np.prod(size[:-1]))}
        if "bias" in leaves:
            drawn["bias"] = random.uniform(0.5, 1.5, leaves["bias"].shape)
        found["params"][name] = drawn
    return jax.tree.map(np.float32, found)


@pytest.fixture(scope="module", params=SHAPES)
def case(request):
    """A network of 1/16 of its width (1/4 for the wide one), its weights, and images."""
    name, random = request.param, np.random.default_rng(16)
    network = build_network(name, num_classes=5, width={"resnet9": 1 / 16, "wrn-16-4": 1 / 4}[name])
    variables = filled(network, SHAPES[name], random)
    return name, network, variables, np.float32(random.normal(size=SHAPES[name]))


def test_logits_are_pytorchs(case):
    name, network, variables, images = case

    @jax.jit
    def both_modes(variables, images):
        tested = network.apply(variables, images, train=False)
        return tested, network.apply(variables, images, train=True, mutable=["batch_stats"])

    tested, (trained, updated) = both_modes(variables, images)
    with np.load(REFERENCE) as wanted:
        np.testing.assert_allclose(tested, wanted[f"{name} eval"], rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(trained, wanted[f"{name} train"], rtol=1e-5, atol=1e-5)
    before = jax.tree.leaves(variables["batch_stats"])
    for old, new in zip(before, jax.tree.leaves(updated["batch_stats"]), strict=True):
        assert (old != new).any()


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_step_keeps_the_state_s_shapes_and_types(name, precision):
    """The mixed loss is used, and batch norm's statistics are a part of the state."""
    spec = ClassifierSpec(name, 1 / 16, ("a", "b", "c"), (8, 16, 3), (0.5,) * 3, (0.25,) * 3)
    learner = ClassifierLearner(spec, TrainConfig(loss="mixed", precision=precision))
    images, labels = jnp.zeros((4, 8, 16, 3), jnp.uint8), jnp.zeros(4, jnp.int32)
    batch = TrainData(images, labels, jnp.ones((4, 3)) / 3, labels == 0)
    before = jax.eval_shape(learner.initial, jax.random.key(0))
    after, means = jax.eval_shape(learner.update, jax.random.key(0), before, batch, np.int32(9))
    assert after == before
    assert {leaf.dtype for leaf in jax.tree.leaves(after.variables)} == {jnp.dtype("float32")}
    assert set(before.variables) == {"params", "batch_stats"}
    assert means["loss"].dtype == jnp.float32
