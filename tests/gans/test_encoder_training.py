"""A stack's encoder in training: it learns, by the loss of its logits, and then changes no more."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gans.encoder import Encoder
from gans.encoder_training import EncoderLearner
from gans.options.training import EncoderConfig
from gans.pairs import GanData
from gans.stacked import StackConfig
from train.data.load import load_images
from train.loop import fit
from train.recipes.train_options import Budget

STACK = StackConfig(image_shape=(16, 20, 2), num_classes=3, encoder_width=2)
PLAIN = EncoderConfig(encoder_pad_px=0)


@pytest.fixture(scope="module")
def batch():
    random = np.random.default_rng(2)
    images = random.integers(0, 256, (7, 16, 20, 2), np.uint8)
    return GanData(jnp.asarray(images), jnp.asarray(random.integers(0, 3, 7), jnp.int32))


@pytest.fixture(scope="module")
def update():
    """One step of any learner, compiled once for equal ones."""
    return jax.jit(EncoderLearner.update, static_argnums=0)


@pytest.fixture(scope="module")
def state():
    return jax.jit(EncoderLearner(STACK, PLAIN).initial)(jax.random.key(0))


def test_it_learns_digits():
    digits = load_images("digits", "train")
    images = digits.images[:96, ::2, ::2, :1]
    data = GanData(jnp.asarray(images), jnp.asarray(digits.labels[:96]))
    stack = StackConfig(image_shape=(16, 16, 1), encoder_width=4)
    config = EncoderConfig(encoder_learning_rate=5e-3, encoder_pad_px=1)
    results = list(fit(jax.random.key(0), EncoderLearner(stack, config), data, Budget(24, 25)))
    losses = [float(result.means["loss"]) for result in results]
    assert losses[0] == pytest.approx(np.log(10), rel=0.2)
    assert losses[-1] < 0.5 * losses[0]
    assert float(results[-1].means["accuracy"]) > 0.6


def test_the_scalars_are_those_before_the_update(update, state, batch):
    """Cross entropy in nats and accuracy, in NumPy, of logits of signed images."""
    _, means = update(EncoderLearner(STACK, PLAIN), jax.random.key(1), state, batch, None)
    images = 2 * np.asarray(batch.images, np.float32) / 255 - 1
    found = jax.jit(Encoder(num_classes=3, width=2).apply)(state.variables, images)
    logits = np.asarray(found["label"], np.float64)
    labels = np.asarray(batch.labels)
    losses = np.log(np.exp(logits).sum(1)) - logits[np.arange(7), labels]
    assert means["loss"] == pytest.approx(losses.mean(), rel=1e-5)
    assert means["accuracy"] == pytest.approx((logits.argmax(1) == labels).mean())


def test_an_update_is_adams_first_step(update, state, batch):
    """Each parameter with a gradient moves by the rate, however large the gradient is."""
    after, _ = update(EncoderLearner(STACK, PLAIN), jax.random.key(1), state, batch, None)
    assert after.variables.keys() == {"params"}
    moved = jax.tree.map(jnp.subtract, after.variables, state.variables)
    sizes = np.abs(np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(moved)]))
    assert sizes.max() == pytest.approx(1e-3, rel=0.01)
    assert np.mean(sizes > 0.9e-3) > 0.5
    assert jax.tree.map(jnp.shape, after) == jax.tree.map(jnp.shape, state)


@pytest.mark.parametrize(
    ("options", "is_random"),
    [
        ({"encoder_pad_px": 0}, False),
        ({"encoder_pad_px": 3}, True),
        ({"encoder_pad_px": 0, "encoder_flip": True}, True),
    ],
)
def test_the_key_counts_where_images_are_moved_or_mirrored(
    options, is_random, update, state, batch
):
    learner = EncoderLearner(STACK, EncoderConfig(**options))
    first, again, other = (
        update(learner, jax.random.key(seed), state, batch, None)[1]["loss"] for seed in (1, 1, 2)
    )
    assert first == again
    assert (first != other) == is_random


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"encoder_epochs": 0}, "encoder_epochs must be at least 1, got 0"),
        ({"encoder_learning_rate": 0.0}, "encoder_learning_rate must be above 0 and finite.*0.0"),
        ({"encoder_learning_rate": float("inf")}, "above 0 and finite, got inf"),
        ({"encoder_learning_rate": float("nan")}, "above 0 and finite, got nan"),
        ({"encoder_pad_px": -1}, "encoder_pad_px must be at least 0, got -1"),
    ],
)
def test_numbers_outside_their_range_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        EncoderConfig(**options)
