"""Laws of every discriminator with spectral norm, against NumPy's SVD."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict

from gans.dcgan import DcganConfig, Discriminator
from gans.stacked import LevelDiscriminator, StackConfig, stack_levels

DCGAN = DcganConfig(image_size=16, channels=2, width=3, num_classes=3)
_, MAPS, VECTORS = stack_levels(
    StackConfig((16, 20, 2), num_classes=3, cut_points=("pool1", "fc3"), encoder_width=2)
)

# Network, shape of an example, and what else the network takes.
MEMBERS = {
    "DCGAN": (
        Discriminator(DCGAN, spectral_norm=True),
        (16, 16, 2),
        (jnp.array([2, 0, 1, 2, 0]),),
    ),
    "level of maps": (
        LevelDiscriminator(MAPS, width=4, spectral_norm=True),
        MAPS.target_shape,
        (),
    ),
    "level of vectors": (
        LevelDiscriminator(VECTORS, width=4, spectral_norm=True),
        VECTORS.target_shape,
        (),
    ),
}

every_member = pytest.mark.parametrize("name", MEMBERS)


def examples(name, seed=0):
    """Five of them, real or made."""
    shape = MEMBERS[name][1]
    return jnp.asarray(np.random.default_rng(seed).uniform(-1, 1, (5, *shape)), jnp.float32)


@functools.cache
def started(name, **changes):
    """Shapes of a network's variables."""
    network, _, rest = MEMBERS[name]
    network = network.clone(**changes)
    return jax.eval_shape(
        lambda key: network.init(key, examples(name), *rest, train=True), jax.random.key(0)
    )


def drawn(name, seed=0):
    """Variables of any value, without compiling an initialisation."""
    random = np.random.default_rng(seed)
    return jax.tree.map(lambda leaf: random.normal(size=leaf.shape).astype("f"), started(name))


def one_pass(name, variables, given, *, train=True):
    """The output, and the statistics after the pass."""
    network, _, rest = MEMBERS[name]
    output, state = network.apply(variables, given, *rest, train=train, mutable=["batch_stats"])
    return output, state["batch_stats"]


@functools.cache
def compiled(name):
    return jax.jit(functools.partial(one_pass, name))


def total(output):
    """A number to take the gradient of."""
    return sum(jnp.square(1 + leaf).sum() for leaf in jax.tree.leaves(output))


def weights(params):
    """Kernels and embeddings, by the names of their modules and their own."""
    return {path: leaf for path, leaf in flatten_dict(params).items() if leaf.ndim > 1}


def norms(stats):
    """The norms as the iteration knows them, by the same names."""
    found = {}
    for (*modules, _, name), value in flatten_dict(stats).items():
        *weight, variable = name.split("/")
        if variable == "sigma":
            found[(*modules, *weight)] = value
    return found


def assert_close(found, expected):
    for leaf, other in zip(*map(jax.tree.leaves, (found, expected)), strict=True):
        np.testing.assert_allclose(leaf, other, rtol=1e-3, atol=1e-4 * np.abs(other).max())


@every_member
def test_after_some_passes_no_weight_has_a_norm_above_one(name):
    variables, given = drawn(name), examples(name)
    for _ in range(150):
        _, stats = compiled(name)(variables, given)
        variables = {**variables, "batch_stats": stats}
    matrices, found = weights(variables["params"]), norms(stats)
    assert found.keys() == matrices.keys()
    for path, matrix in matrices.items():
        effective = matrix.reshape(-1, matrix.shape[-1]) / found[path]
        np.testing.assert_allclose(np.linalg.svd(effective)[1][0], 1, rtol=1e-3)
    kept = jax.jit(lambda variables: one_pass(name, variables, given, train=False)[1])(variables)
    assert jax.tree.all(jax.tree.map(np.array_equal, kept, stats))


@every_member
def test_the_scale_of_weights_does_not_matter(name):
    variables, given = drawn(name), examples(name)
    scaled = jax.tree.map(lambda leaf: 7 * leaf if leaf.ndim > 1 else leaf, variables["params"])
    found, _ = compiled(name)({**variables, "params": scaled}, given)
    assert_close(found, compiled(name)(variables, given)[0])


@every_member
def test_real_pass_then_made_pass_in_one_step(name):
    """The second goes on from the first's statistics; a generator's step keeps none."""
    variables, (real, made) = drawn(name), (examples(name, seed) for seed in range(2))

    def discriminator_loss(params):
        real_output, stats = one_pass(name, {**variables, "params": params}, real)
        output, stats = one_pass(name, {"params": params, "batch_stats": stats}, made)
        return total(real_output) - 2 * total(output), stats

    def generator_loss(made):
        return total(one_pass(name, variables, made)[0])

    @jax.jit
    def step(params, made):
        gradient, stats = jax.grad(discriminator_loss, has_aux=True)(params)
        return gradient, stats, jax.grad(generator_loss)(made)

    params = variables["params"]
    gradient, stats, gradient_of_made = step(params, made)
    for leaf in jax.tree.leaves((gradient, gradient_of_made)):
        assert np.isfinite(leaf).all()
        assert np.abs(leaf).max() > 0
    for path, matrix in weights(params).items():
        # It knows of the norm: along the weights the loss does not change.
        largest = np.linalg.norm(weights(gradient)[path]) * np.linalg.norm(matrix)
        assert abs(np.vdot(weights(gradient)[path], matrix)) < 1e-3 * largest
    _, first = compiled(name)(variables, real)
    _, second = compiled(name)({**variables, "batch_stats": first}, made)
    assert_close(stats, second)
    assert any(abs(norm - norms(first)[path]) > 0.01 for path, norm in norms(second).items())


@every_member
def test_many_at_once_equal_each_alone(name):
    """One discriminator a class: parameters and the iteration's vectors mapped over."""
    pairs = [(drawn(name, seed), examples(name, seed)) for seed in range(3)]
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *pairs)
    mapped = jax.jit(jax.vmap(functools.partial(one_pass, name)))(*stacked)
    for index, pair in enumerate(pairs):
        found = jax.tree.map(lambda leaf, index=index: leaf[index], mapped)
        assert_close(found, compiled(name)(*pair))


@every_member
def test_it_stands_in_batch_norms_place_and_only_where_asked(name):
    limited, plain = started(name), started(name, spectral_norm=False)
    assert "BatchNorm" not in str(limited)
    assert "SpectralNorm" not in str(plain)
    # These maps have only one convolution, and the first has no batch norm.
    assert ("BatchNorm" in str(plain)) == (name != "level of maps")
    shapes, plain_shapes = (
        jax.tree.map(jnp.shape, weights(each["params"])) for each in (limited, plain)
    )
    assert shapes == plain_shapes
