"""R1 and R2 penalties of every kind of discriminator, against PyTorch and finite differences."""

import functools
import itertools
from dataclasses import replace

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict, unflatten_dict
from jax.test_util import check_grads

from gans.blocks import DiscriminatorOutput, input_gradients
from gans.dcgan import DcganConfig
from gans.losses import discriminator_loss, generator_loss, gradient_penalty
from gans.options.training import GameConfig, LossWeights
from gans.pairs import DcganPair, LevelPair
from gans.stacked import StackConfig, stack_levels
from train.models.layers import Conv, batch_norm
from train.storage.runs import as_json

KEY = jax.random.key(0)
LABELS = jnp.array([0, 2, 1, 2, 0])
COUNT = len(LABELS)

CONDITIONAL = DcganPair(DcganConfig(image_size=16, channels=2, num_classes=3, width=2))
STACK = StackConfig(
    (16, 20, 2), num_classes=3, cut_points=("pool1", "fc3"), encoder_width=2, width=4
)
IMAGES, MAPS, VECTORS = (LevelPair(STACK, level, LossWeights()) for level in stack_levels(STACK))

PAIRS = {
    "DCGAN with classes": CONDITIONAL,
    "DCGAN of one class": DcganPair(replace(CONDITIONAL.config, num_classes=None)),
    "level of images": IMAGES,
    "level of maps": MAPS,
    "level of vectors": VECTORS,
    "DCGAN with spectral norm": replace(CONDITIONAL, spectral_norm=True),
    "level of vectors with spectral norm": replace(VECTORS, spectral_norm=True),
    "DCGAN with augmentation": replace(CONDITIONAL, augmentations=("contrast", "translation")),
}
HAVE_BATCH_NORM = {name for name in PAIRS if "spectral" not in name} - {"level of maps"}

every_pair = pytest.mark.parametrize("name", PAIRS)


def examples(name, seed=0):
    pair = PAIRS[name]
    is_dcgan = isinstance(pair, DcganPair)
    shape = (16, 16, 2) if is_dcgan else pair.level.target_shape
    return jnp.asarray(np.random.default_rng(seed).uniform(-1, 1, (COUNT, *shape)), jnp.float32)


def drawn(name, seed=0):
    """Variables of any value, without compiling an initialisation."""
    random = np.random.default_rng(seed)

    def draw(path, leaf):
        low = 0.5 if path[-1].key in ("var", "scale") else -0.4
        return jnp.asarray(random.uniform(low, low + 1, leaf.shape), leaf.dtype)

    return jax.tree_util.tree_map_with_path(draw, jax.eval_shape(PAIRS[name].initial, KEY)[1])


def discriminate(name, variables, x, train=True):
    condition = LABELS if "with" in name and "DCGAN" in name else None
    return PAIRS[name].discriminate(KEY, variables, x, condition, train=train)


@functools.cache
def gradients_of(name):
    return jax.jit(functools.partial(input_gradients, functools.partial(discriminate, name)))


@functools.cache
def settled(name, seed=0):
    """Variables whose statistics no longer change from one pass on the batch to the next."""
    step = jax.jit(lambda v, x: discriminate(name, v, x)[1])
    variables, x = drawn(name, seed), examples(name, seed)
    for _ in range(200):
        variables = step(variables, x)
    return variables


# ---- each example's own gradient


@every_pair
def test_a_row_is_the_gradient_of_the_examples_own_logit(name):
    variables, x = settled(name), examples(name)

    def own_logit(one, index):
        return discriminate(name, variables, x.at[index].set(one), train=False)[0].logits[index]

    rows = jax.jit(jax.vmap(jax.grad(own_logit)))(x, jnp.arange(COUNT))
    found = gradients_of(name)(variables, x)
    assert found.shape == x.shape
    scale = np.abs(rows).max()
    assert scale > 1e-3
    np.testing.assert_allclose(found, rows, rtol=1e-3, atol=1e-4 * scale)


@every_pair
def test_running_averages_do_not_count(name):
    """Only those of spectral norm do, which hold the power iteration."""
    one, other = drawn(name), drawn(name, seed=1)
    mixed = {**one, "batch_stats": other.get("batch_stats", {})}
    x = examples(name)
    found, again = (gradients_of(name)(variables, x) for variables in (one, mixed))
    assert np.allclose(found, again, rtol=1e-3, atol=1e-6) == ("spectral" not in name)


@pytest.mark.parametrize("name", sorted(HAVE_BATCH_NORM))
def test_the_sum_of_logits_would_hide_a_part_of_the_gradient(name):
    variables, x = drawn(name), examples(name)
    of_sum = jax.jit(jax.grad(lambda x: discriminate(name, variables, x)[0].logits.sum()))(x)
    found = gradients_of(name)(variables, x)
    assert np.square(of_sum).sum() < 0.9 * np.square(found).sum()


@pytest.mark.parametrize("name", ["DCGAN of one class", "level of maps", "level of vectors"])
def test_many_at_once_equal_each_alone(name):
    """One discriminator a class: the variables are mapped over."""
    given = [(drawn(name, seed), examples(name, seed)) for seed in range(2)]
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *given)
    run = functools.partial(input_gradients, functools.partial(discriminate, name))
    mapped = jax.jit(jax.vmap(run))(*stacked)
    for index, (variables, x) in enumerate(given):
        alone = gradients_of(name)(variables, x)
        scale = np.abs(alone).max()
        np.testing.assert_allclose(mapped[index], alone, rtol=1e-3, atol=1e-4 * scale)


def test_a_constant_discriminator_is_not_penalised():
    name = "level of vectors"
    zeros = jax.tree.map(jnp.zeros_like, drawn(name))

    def penalty(params):
        found = gradients_of(name)({**zeros, "params": params}, examples(name))
        return gradient_penalty(found).mean()

    value, gradient = jax.jit(jax.value_and_grad(penalty))(zeros["params"])
    assert value == 0
    assert all((leaf == 0).all() for leaf in jax.tree.leaves(gradient))


# ---- the penalty's gradient by the parameters


class Smooth(nn.Module):
    """Convolution, batch norm and a smooth activation, in float64 for finite differences."""

    @nn.compact
    def __call__(self, x, *, train):
        x = Conv(3, stride=2, kernel_size=5, dtype=jnp.float64)(x)
        x = batch_norm(x, train=train, dtype=jnp.float64)
        return nn.Dense(1, dtype=jnp.float64)(jnp.tanh(x).reshape(len(x), -1))[:, 0]


def test_it_is_the_finite_difference():
    with jax.enable_x64(True):
        random, network = np.random.default_rng(3), Smooth()
        x = jnp.asarray(random.normal(size=(4, 6, 5, 2)))
        shapes = jax.eval_shape(functools.partial(network.init, train=True), KEY, x)
        variables = jax.tree.map(lambda leaf: jnp.asarray(random.normal(size=leaf.shape)), shapes)

        def run(variables, x, train):
            logits, updated = network.apply(variables, x, train=train, mutable=["batch_stats"])
            return DiscriminatorOutput(logits), {**variables, **updated}

        @jax.jit
        def penalty(params):
            return gradient_penalty(input_gradients(run, {**variables, "params": params}, x)).sum()

        check_grads(penalty, (variables["params"],), order=1, modes=["rev"])


# PyTorch 2.13.0, float64: the output of tests/references/make_gan_vectors.py.
R1, R2 = 0.7, 0.3
ADVERSARIAL, GENERATOR = 0.77760800, 0.71232112
SQUARED_NORMS = 3.52389794, 1.77139389
GRADIENTS = {  # norm and sum of the gradient by each parameter
    "kernel0": (7.1045029, 2.8318864),
    "kernel1": (5.6389914, -3.5729586),
    "kernel2": (5.743161, -1.7593413),
    "kernel3": (5.0979024, -2.3003944),
    "bias0": (0.64642331, -0.89795389),
    "scale1": (6.182052, -3.0054718),
    "shift1": (3.1928253, -4.5206144),
    "scale2": (2.0528696, -2.274022),
    "shift2": (3.8461467, -3.1985453),
    "scale3": (3.3659914, 0.57938594),
    "shift3": (0.17838161, 0.11301974),
    "dense": (2.0430799, 2.2091928),
    "dense_bias": (0, 0),
    "embedding": (1.8724903, 2.2091928),
}


def path_of(name):
    """Place of one of PyTorch's parameters in the variables."""
    kind, index = name.rstrip("0123"), name[-1]
    if kind == "scale":
        return ("ConvTrunk_0", f"BatchNorm_{int(index) - 1}", "scale")
    if kind == "shift":
        return ("ConvTrunk_0", f"BatchNorm_{int(index) - 1}", "bias")
    if kind in ("kernel", "bias"):
        return ("ConvTrunk_0", f"Conv_{index}", kind)
    places = {"dense": ("Dense_0", "kernel"), "dense_bias": ("Dense_0", "bias")}
    return places.get(name, ("Embed_0", "embedding"))


def test_loss_penalties_and_gradients_are_pytorchs():
    name = "DCGAN with classes"
    random, shapes = np.random.RandomState(7), jax.eval_shape(PAIRS[name].initial, KEY)[1]
    sizes = flatten_dict(shapes["params"])
    params = {
        path_of(p): random.uniform(-0.4, 0.6, sizes[path_of(p)].shape).astype(np.float32)
        for p in GRADIENTS
    }
    real, fake = jnp.asarray(random.uniform(-1, 1, (2, COUNT, 16, 16, 2)), jnp.float32)

    def loss(params):
        variables = {**drawn(name), "params": params}
        on_real, on_fake = (discriminate(name, variables, x)[0].logits for x in (real, fake))
        r1, r2 = (gradient_penalty(gradients_of(name)(variables, x)).mean() for x in (real, fake))
        adversarial = discriminator_loss(on_real, on_fake, form="relativistic").mean()
        generator = generator_loss(on_fake, on_real, form="relativistic").mean()
        return adversarial + R1 / 2 * r1 + R2 / 2 * r2, (adversarial, generator, r1, r2)

    gradients, found = jax.jit(jax.grad(loss, has_aux=True))(unflatten_dict(params))
    np.testing.assert_allclose(found, (ADVERSARIAL, GENERATOR, *SQUARED_NORMS), rtol=1e-5)
    gradients = flatten_dict(gradients)
    assert gradients.keys() == {path_of(p) for p in GRADIENTS}
    for parameter, (norm, total) in GRADIENTS.items():
        gradient = np.asarray(gradients[path_of(parameter)], np.float64)
        np.testing.assert_allclose(np.linalg.norm(gradient), norm, rtol=1e-3, atol=1e-6)
        np.testing.assert_allclose(gradient.sum(), total, rtol=1e-3, atol=1e-3)


# ---- convolutions, whose form on CPUs is our own


@pytest.mark.parametrize(
    ("stride", "size", "channels", "features"),
    [*itertools.product((1, 2), ((6, 5), (2, 2)), (2,), (3,)), (1, (9, 8), 24, 24)],
)
def test_a_convolution_can_be_differentiated_twice(stride, size, channels, features):
    """By both inputs and in any order, as XLA's own convolution; mapped over kernels too."""
    random = np.random.default_rng(5)
    images = jnp.asarray(random.normal(size=(2, *size, channels)), jnp.float32)
    kernels = jnp.asarray(random.normal(size=(2, 3, 3, channels, features)), jnp.float32)

    def xlas(images, kernel):
        return jax.lax.conv_general_dilated(
            images,
            kernel,
            (stride, stride),
            [(1, 1)] * 2,
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
        )

    def ours(images, kernel):
        layer = Conv(features, stride=stride, use_bias=False)
        return layer.apply({"params": {"kernel": kernel}}, images)

    def second(convolve):
        def norms(images, kernel):
            by_both = jax.grad(lambda *given: jnp.sin(convolve(*given)).sum(), (0, 1))
            return sum(jnp.square(gradient).sum() for gradient in by_both(images, kernel))

        return jax.jit(jax.vmap(jax.grad(norms, (0, 1)), (None, 0)))(images, kernels)

    for found, wanted in zip(second(ours), second(xlas), strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-3, atol=1e-3 * np.abs(wanted).max())


# ---- options


@pytest.mark.parametrize("options", [{"r1": -1.0}, {"r2": float("inf")}, {"r2": float("nan")}])
def test_a_gamma_outside_its_range_is_refused(options):
    with pytest.raises(ValueError, match=r"r[12] must be at least 0 and finite, got"):
        GameConfig(**options)


def test_without_penalties_a_run_is_described_as_before_there_were_any():
    assert as_json(GameConfig()).keys() == {"generator_steps", "form", "averaging"}
    assert as_json(GameConfig(r1=0.5))["r1"] == 0.5
