"""Pairs of generator and discriminator: what they imitate, what of, and whose statistics count."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gans.dcgan import DcganConfig
from gans.encoder import Encoder
from gans.options.training import LossWeights
from gans.pairs import DcganPair, GanData, GeneratedBatch, LevelPair, build_encoder
from gans.stacked import StackConfig, stack_levels

COUNT = 5
STACK = {"image_shape": (16, 20, 2), "num_classes": 3, "encoder_width": 2, "width": 4}
FOUR_LEVELS = ("pool1", "pool2", "fc3")

# By hand: 5×5 without padding loses 4 a side, pooling halves; fc3 has 4·encoder_width.
FEATURES = {"image": (16, 20, 2), "pool1": (6, 8, 2), "pool2": (1, 2, 4), "fc3": (8,)}
CONDITIONS = {**FEATURES, "label": (3,)}


def level_pairs(cut_points, **options):
    config = StackConfig(**STACK, cut_points=cut_points)
    levels = stack_levels(config)
    return tuple(LevelPair(config, level, LossWeights(), **options) for level in levels)


def dcgan_pair(**options):
    sizes = {"image_size": 16, "channels": 2, "noise_dim": 6, "label_dim": 3, "width": 2}
    return DcganPair(DcganConfig(**sizes, **options))


def batch(shape=(16, 20, 2), seed=0):
    random = np.random.default_rng(seed)
    images = random.integers(0, 256, (COUNT, *shape), np.uint8)
    images[0, 0, 0], images[0, 0, 1] = 0, 255
    return GanData(jnp.asarray(images), jnp.asarray(random.integers(0, 3, COUNT), jnp.int32))


def drawn(shapes, seed=0):
    """Variables of the given shapes: statistics around those of a fresh network, and noise."""
    random = np.random.default_rng(seed)

    def draw(path, leaf):
        low = 0.5 if path[-1].key in ("var", "scale") else -0.3
        return jnp.asarray(random.uniform(low, low + 0.8, leaf.shape), leaf.dtype)

    return jax.tree_util.tree_map_with_path(draw, shapes)


def networks(pair, seed=0):
    return drawn(jax.eval_shape(pair.initial, jax.random.key(0)), seed)


@pytest.fixture(scope="module")
def encoder():
    """Variables of the encoder, the same for all stacks here, whatever their cut points."""
    network = build_encoder(StackConfig(**STACK))
    images = jnp.zeros((1, 16, 20, 2))
    return drawn(jax.eval_shape(network.init, jax.random.key(0), images), seed=3)


@pytest.fixture(scope="module")
def features(encoder):
    """Those of the batch's images, by a module of the sizes worked out by hand."""
    images = 2 * np.asarray(batch().images, np.float32) / 255 - 1
    return jax.jit(Encoder(num_classes=3, width=2).apply)(encoder, images)


# ---- what is imitated, and of what


def test_a_dcgan_imitates_the_images():
    data = batch((16, 16, 2))
    real = dcgan_pair(num_classes=3).real(data, None)
    wanted = 2 * np.asarray(data.images, np.float64) / 255 - 1
    np.testing.assert_allclose(real, wanted, atol=1e-6)
    assert (real.min(), real.max()) == (-1, 1)
    np.testing.assert_array_equal(dcgan_pair(num_classes=3).condition(data, None), data.labels)
    assert dcgan_pair().condition(data, None) is None


@pytest.mark.parametrize("pair", level_pairs(FOUR_LEVELS), ids=lambda pair: pair.target)
def test_a_level_imitates_the_features_of_the_encoder(pair, encoder, features):
    data = batch()
    np.testing.assert_allclose(jax.jit(pair.real)(data, encoder), features[pair.target], atol=1e-5)
    condition = jax.jit(pair.condition)(data, encoder)
    if pair.level.condition == "label":
        np.testing.assert_array_equal(condition, np.eye(3)[data.labels])
    else:
        np.testing.assert_allclose(condition, features[pair.level.condition], atol=1e-5)


# ---- the conditional loss


def numpy_conditional_loss(found, condition, *, is_label):
    found, condition = np.asarray(found, np.float64), np.asarray(condition, np.float64)
    if not is_label:
        return np.square(found - condition).mean()
    log_sums = np.log(np.exp(found).sum(1))
    return (log_sums - (found * condition).sum(1)).mean()


def made_of(pair, seed=7):
    random = np.random.default_rng(seed)
    shape = (COUNT, *CONDITIONS[pair.level.condition])
    condition = random.uniform(0, 1, shape)
    if pair.level.condition == "label":
        condition = np.eye(3)[random.integers(0, 3, COUNT)]
    features = random.uniform(0, 1, (COUNT, *FEATURES[pair.target]))
    arrays = (features, condition, np.zeros((COUNT, pair.level.noise_dim)))
    return GeneratedBatch(*(jnp.asarray(array, jnp.float32) for array in arrays))


@pytest.mark.parametrize("pair", level_pairs(FOUR_LEVELS), ids=lambda pair: pair.target)
def test_the_conditional_loss_is_that_of_what_the_encoder_finds(pair, encoder):
    """Mean squared error of features; cross entropy, in nats, of the label."""
    made = made_of(pair)
    network = Encoder(num_classes=3, width=2)
    encode = jax.jit(lambda x: network.apply(encoder, x, start=pair.target))
    is_label = pair.level.condition == "label"
    wanted = numpy_conditional_loss(
        encode(made.features)[pair.level.condition], made.condition, is_label=is_label
    )
    loss, gradient = jax.jit(
        jax.value_and_grad(lambda x: pair.conditional_loss(made._replace(features=x), encoder))
    )(made.features)
    assert loss == pytest.approx(wanted, rel=1e-5)
    assert (np.abs(gradient).reshape(COUNT, -1).max(1) > 0).all()


# ---- augmentation


@pytest.mark.parametrize("pair", level_pairs(("pool2",), augmentations=("brightness",)))
def test_only_images_are_augmented(pair):
    _, discriminator = networks(pair)
    discriminate = jax.jit(pair.discriminate)
    made = made_of(pair)
    first, again, other = (
        discriminate(jax.random.key(seed), discriminator, made.features, made.condition)[0].logits
        for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(first, again)
    assert np.array_equal(first, other) == (pair.target != "image")


def test_a_dcgan_shows_its_discriminator_augmented_images_alone():
    plain = dcgan_pair()
    pair = DcganPair(plain.config, ("brightness",))
    _, discriminator = networks(pair)
    images = pair.real(batch((16, 16, 2)), None)
    by_key = [
        discriminate(jax.random.key(seed), discriminator, images, None)[0].logits
        for discriminate in (jax.jit(plain.discriminate), jax.jit(pair.discriminate))
        for seed in (0, 1)
    ]
    np.testing.assert_array_equal(by_key[0], by_key[1])
    assert not np.allclose(by_key[0], by_key[2])
    assert not np.allclose(by_key[2], by_key[3])


# ---- batch norm's statistics


@pytest.mark.parametrize("pair", [dcgan_pair(num_classes=3), *level_pairs(FOUR_LEVELS)])
def test_a_pass_moves_the_statistics_and_no_parameter(pair):
    is_dcgan = isinstance(pair, DcganPair)
    shape = (16, 16, 2) if is_dcgan else FEATURES[pair.target]
    labels = jnp.zeros(COUNT, jnp.int32) if is_dcgan else None
    _, before = networks(pair)
    made = jnp.ones((COUNT, *shape))
    _, after = jax.jit(pair.discriminate)(jax.random.key(0), before, made, labels)
    assert jax.tree.all(jax.tree.map(jnp.array_equal, before["params"], after["params"]))
    statistics = [jax.tree.leaves(each.get("batch_stats")) for each in (before, after)]
    assert all((one != other).any() for one, other in zip(*statistics, strict=True))
