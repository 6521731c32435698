"""Architectures: their size, worked out by hand, and what they refuse."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from train.models.networks import NETWORKS, Architecture, build_network, check_image_shape

# Weights of 3×3 convolutions without bias, then scale and shift of batch norm, then a dense layer.
VGG16 = (
    9 * (3 * 64 + 64 * 64 + 64 * 128 + 128 * 128)
    + 9 * (128 * 256 + 2 * 256 * 256 + 256 * 512 + 5 * 512 * 512)
    + 2 * (2 * 64 + 2 * 128 + 3 * 256 + 6 * 512)
    + 512 * 10
    + 10
)
VGG_SMALL = (
    9 * (3 * 32 + 32 * 64 + 64 * 128 + 128 * 128 + 128 * 256 + 256 * 256)
    + 2 * (32 + 64 + 2 * 128 + 2 * 256)
    + 2 * 2 * 256 * 10
    + 10
)
# With biases and no batch norm; 8×8×128 into 1,024, into 10.
KONO_CNN = (
    9 * (3 * 64 + 64 * 64 + 64 * 128 + 128 * 128)
    + 2 * 64
    + 2 * 128
    + (8 * 8 * 128 + 1) * 1024
    + (1024 + 1) * 10
)

every_network = pytest.mark.parametrize("name", NETWORKS)


def shapes(name, *, image_shape=(32, 32, 3), **options):
    network = build_network(name, num_classes=10, **options)
    return jax.eval_shape(
        lambda: network.init(jax.random.key(0), jnp.zeros((2, *image_shape)), train=False)
    )


def count(variables):
    return sum(leaf.size for leaf in jax.tree.leaves(variables["params"]))


@pytest.mark.parametrize(
    ("name", "expected"), [("vgg16", VGG16), ("vgg-small", VGG_SMALL), ("kono-cnn", KONO_CNN)]
)
def test_number_of_parameters(name, expected):
    variables = shapes(name)
    assert count(variables) == expected
    assert ("batch_stats" in variables) == (name != "kono-cnn")
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {np.dtype(np.float32)}


def test_number_of_parameters_known_elsewhere():
    # pytorch-cifar's VGG16 has 14,728,266, of which 4,224 are biases in front of batch norm.
    assert VGG16 == 14_728_266 - 4224


def test_width_scales_all_but_the_logits():
    params = shapes("kono-cnn", width=0.25)["params"]
    kernels = [leaf["kernel"].shape for leaf in params.values()]
    convolutions = [(3, 3, 3, 16), (3, 3, 16, 16), (3, 3, 16, 32), (3, 3, 32, 32)]
    assert sorted(kernels) == sorted([*convolutions, (2048, 256), (256, 10)])
    tiny = shapes("vgg-small", width=1e-6)["params"]
    assert {leaf["kernel"].shape[-1] for name, leaf in tiny.items() if name.startswith("Conv")} == {
        1
    }


@every_network
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_logits_and_features_are_float32_and_of_every_image(name, dtype):
    network = build_network(name, num_classes=7, width=0.05, dtype=dtype)
    factor = network.module.size_multiple
    images = jnp.zeros((3, factor, 2 * factor, 3))

    def run():
        variables = network.init(jax.random.key(0), images, train=False)
        return [network.apply(variables, images, train=False, features=f) for f in (False, True)]

    logits, features = jax.eval_shape(run)
    assert logits.dtype == features.dtype == jnp.float32
    assert logits.shape == (3, 7)
    sizes = {"vgg16": 52, "vgg-small": 26, "kono-cnn": 51, "resnet9": 26, "wrn-16-4": 13}
    assert features.shape == (3, sizes[name])


@pytest.mark.usefixtures("tiny_networks")
@pytest.mark.parametrize(("name", "size"), [("tiny", 2 * 3 * 6), ("plain", 5)])
def test_features_are_what_the_last_dense_layer_takes(name, size):
    images = jnp.asarray(np.random.default_rng(1).normal(size=(2, 4, 6, 3)), jnp.float32)
    network = build_network(name, num_classes=3)

    @jax.jit
    def run():
        variables = network.init(jax.random.key(0), images, train=False)
        features = network.apply(variables, images, train=False, features=True)
        return variables["params"], features, network.apply(variables, images, train=False)

    params, features, logits = run()
    assert features.shape == (2, size)
    last = params["Dense_1" if name == "plain" else "Dense_0"]
    np.testing.assert_allclose(features @ last["kernel"] + last["bias"][None], logits, atol=1e-5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"name": "vgg19"},
            "network 'vgg19'; expected one of vgg16, .*wrn-16-4, .*or package.module",
        ),
        ({"num_classes": 1}, "at least 2 classes, got 1"),
        ({"width": 0}, "width must be above 0.*, got 0"),
        ({"width": float("nan")}, "width must be above 0.*, got nan"),
    ],
)
def test_unknown_networks_and_sizes_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        build_network(**{"name": "vgg16", "num_classes": 10, **options})


@pytest.mark.parametrize(
    ("name", "good", "bad"),
    [
        ("vgg16", (64, 32, 3), (32, 48, 3)),
        ("vgg-small", (16, 48, 1), (24, 16, 3)),
        ("kono-cnn", (4, 12, 3), (4, 6, 3)),
        ("resnet9", (8, 24, 3), (8, 12, 3)),
    ],
)
def test_sizes_that_pooling_cannot_halve_are_refused(name, good, bad):
    check_image_shape(name, good)
    with pytest.raises(ValueError, match=f"multiples of .*; got {bad[0]}×{bad[1]}"):
        check_image_shape(name, bad)


def test_the_images_gradient_is_finite_also_where_pooling_sees_its_input_computed_twice(
    monkeypatch,
):
    """A program that XLA does not optimise rounds the two differently.

    The normalisation's numbers are not those of a network just made, for something to round.
    """
    monkeypatch.setitem(NETWORKS, "tiny", Architecture((6, "M", "M", 8, "M", "M")))
    network, random = build_network("tiny", num_classes=3), np.random.default_rng(1)
    images = jnp.asarray(random.uniform(size=(20, 32, 32, 3)), jnp.float32)
    variables = network.init(jax.random.key(0), images, train=False)
    variables = jax.tree.map(
        lambda leaf: random.uniform(0.5, 1.5, leaf.shape) * (leaf if leaf.ndim > 1 else 1),
        variables,
    )
    gradient = jax.grad(lambda images: network.apply(variables, images, train=False).sum())
    assert jnp.isfinite(jax.jit(gradient)(images)).all()
