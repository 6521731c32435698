"""DCGAN's networks: sizes worked out by hand, ranges, and many at once."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gans.dcgan import DcganConfig, Discriminator, Generator, draw_dcgan_noise

# Dense 100 → 2×2×512; 5×5 convolutions 512 → 256 → 128 → 64 → 3; scale and shift of batch norm for
# all maps but the image; the image's bias.
GENERATOR = (
    100 * 2 * 2 * 512
    + 25 * (512 * 256 + 256 * 128 + 128 * 64 + 64 * 3)
    + 2 * (512 + 256 + 128 + 64)
    + 3
)
# 5×5 convolutions 3 → 64 → 128 → 256 → 512; the first one's bias; batch norm for the others; dense.
DISCRIMINATOR = (
    25 * (3 * 64 + 64 * 128 + 128 * 256 + 256 * 512) + 64 + 2 * (128 + 256 + 512) + 2 * 2 * 512 + 1
)
# Ten classes: 50 numbers for each, and the dense layer takes them; one number a feature for each.
LABELS_IN_GENERATOR = 10 * 50 + 50 * 2 * 2 * 512
LABELS_IN_DISCRIMINATOR = 10 * 2 * 2 * 512

TINY = DcganConfig(image_size=16, channels=2, noise_dim=7, width=3)
CONDITIONAL = DcganConfig(image_size=16, channels=2, noise_dim=7, width=3, num_classes=3)
LABELS = jnp.array([0, 2, 1, 2, 0])


def count(variables):
    return sum(leaf.size for leaf in jax.tree.leaves(variables["params"]))


def start(config, kind):
    """A jitted initialisation from a key, with five examples."""
    labels = None if config.num_classes is None else LABELS
    shape = (config.noise_dim,) if kind is Generator else (config.image_size,) * 2
    given = jnp.zeros((5, *shape, *(() if kind is Generator else (config.channels,))))
    return jax.jit(lambda key: kind(config).init(key, given, labels, train=True))


def drawn(config, kind, seed=0):
    """Variables of any value, without compiling an initialisation."""
    random = np.random.default_rng(seed)
    shapes = jax.eval_shape(start(config, kind), jax.random.key(0))
    drawn = jax.tree.map(lambda leaf: random.normal(size=leaf.shape).astype(np.float32) / 5, shapes)
    return {**drawn, "batch_stats": jax.tree.map(np.square, drawn["batch_stats"])}


@pytest.fixture(scope="module")
def networks():
    """Variables of a generator and discriminator with classes, and noise."""
    noise = draw_dcgan_noise(jax.random.key(0), 5, noise_dim=7)
    return drawn(CONDITIONAL, Generator), drawn(CONDITIONAL, Discriminator), noise


@pytest.mark.parametrize(
    ("num_classes", "generator", "discriminator"),
    [
        (None, GENERATOR, DISCRIMINATOR),
        (10, GENERATOR + LABELS_IN_GENERATOR, DISCRIMINATOR + LABELS_IN_DISCRIMINATOR),
    ],
)
def test_number_of_parameters(num_classes, generator, discriminator):
    config = DcganConfig(num_classes=num_classes)
    for kind, expected in ((Generator, generator), (Discriminator, discriminator)):
        variables = jax.eval_shape(start(config, kind), jax.random.key(0))
        assert count(variables) == expected
        assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {np.dtype(np.float32)}


@pytest.mark.parametrize("image_size", [16, 48, 64])
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_shapes(image_size, dtype):
    config = DcganConfig(image_size=image_size, channels=1, width=4)

    def run(key):
        noise = draw_dcgan_noise(key, 3, noise_dim=100)
        images, _ = Generator(config, dtype).init_with_output(key, noise, train=True)
        logits, _ = Discriminator(config, dtype).init_with_output(key, images, train=True)
        return images, logits

    images, logits = jax.eval_shape(run, jax.random.key(0))
    assert images.shape == (3, image_size, image_size, 1)
    assert logits.shape == (3,)
    assert images.dtype == logits.dtype == jnp.float32


def test_noise_is_uniform_between_minus_one_and_one():
    noise = draw_dcgan_noise(jax.random.key(0), 500, noise_dim=100)
    assert noise.shape == (500, 100)
    assert -1 <= noise.min() < -0.999
    assert 0.999 < noise.max() < 1
    np.testing.assert_allclose([noise.mean(), noise.std()], [0, 3**-0.5], atol=0.01)


@pytest.mark.parametrize("kind", [Generator, Discriminator])
def test_weights_start_with_standard_deviation_0_02(kind):
    # This generator of random bits compiles in no time.
    variables = start(DcganConfig(width=16), kind)(jax.random.key(0, impl="rbg"))
    paths = jax.tree_util.tree_leaves_with_path(variables["params"])
    kernels = [leaf for path, leaf in paths if path[-1].key == "kernel" and leaf.size > 1000]
    assert len(kernels) == (5 if kind is Generator else 4)
    for kernel in kernels:
        np.testing.assert_allclose([kernel.mean(), kernel.std()], [0, 0.02], atol=2e-3)


def test_images_stay_between_minus_one_and_one_and_depend_on_noise_and_label(networks):
    variables, _, noise = networks
    run = jax.jit(
        lambda noise, labels: Generator(CONDITIONAL).apply(variables, noise, labels, train=False)
    )
    large = run(1e6 * noise, LABELS)
    assert np.abs(large).max() > 0.9
    assert np.abs(large).max() <= 1
    images = run(noise, LABELS)
    assert (np.asarray(run(noise[::-1], LABELS)) != np.asarray(images)).any((1, 2, 3))[[0, 1]].all()
    changed = (np.asarray(run(noise, LABELS.at[1].set(0))) != np.asarray(images)).any((1, 2, 3))
    np.testing.assert_array_equal(changed, [False, True, False, False, False])


def test_logits_depend_on_the_label(networks):
    _, variables, _ = networks
    images = jax.random.normal(jax.random.key(4), (5, 16, 16, 2))
    run = jax.jit(
        lambda labels: Discriminator(CONDITIONAL).apply(variables, images, labels, train=False)
    )
    changed = np.asarray(run(LABELS.at[1].set(0))) != np.asarray(run(LABELS))
    np.testing.assert_array_equal(changed, [False, True, False, False, False])


def test_many_gans_at_once_equal_each_alone():
    """One GAN a class: parameters, statistics and noise mapped over."""

    def run(variables, noise):
        return Generator(TINY).apply(variables, noise, train=True, mutable=["batch_stats"])

    many = [drawn(TINY, Generator, seed) for seed in range(3)]
    noise = jax.random.normal(jax.random.key(0), (3, 5, 7))
    one = jax.jit(run)
    looped = [one(*given) for given in zip(many, noise, strict=True)]

    def stack(*leaves):
        return jnp.stack(leaves)

    found = jax.jit(jax.vmap(run))(jax.tree.map(stack, *many), noise)
    for mapped, alone in zip(
        *map(jax.tree.leaves, (found, jax.tree.map(stack, *looped))), strict=True
    ):
        assert np.abs(alone).max() > 1e-3
        np.testing.assert_allclose(mapped, alone, rtol=1e-3, atol=1e-4 * np.abs(alone).max())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"image_size": 8}, "a multiple of 16, .* got 8"),
        ({"image_size": 40}, "a multiple of 16, .* got 40"),
        ({"image_size": 0}, "a multiple of 16, .* got 0"),
        ({"channels": 0}, "channels must be at least 1, got 0"),
        ({"noise_dim": 0}, "noise_dim must be at least 1, got 0"),
        ({"width": -1}, "width must be at least 1, got -1"),
        ({"num_classes": 1}, "at least 2 classes, got 1"),
    ],
)
def test_sizes_that_cannot_be_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        DcganConfig(**options)


def test_labels_belong_to_classes(networks):
    generator, discriminator, noise = networks
    with pytest.raises(ValueError, match="3 classes needs a label for every example"):
        Generator(CONDITIONAL).apply(generator, noise, train=False)
    with pytest.raises(ValueError, match="has no classes"):
        Generator(TINY).apply(generator, noise, LABELS, train=False)
    with pytest.raises(ValueError, match=r"\(n, 16, 16, 2\), got \(5, 16, 8, 2\)"):
        Discriminator(CONDITIONAL).apply(
            discriminator, jnp.zeros((5, 16, 8, 2)), LABELS, train=False
        )
