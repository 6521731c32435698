"""What tells one callable from another."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.classifier.source import PROBE_IMAGES, describe_outputs
from train.storage.runs import differences

SHAPE = (5, 7, 3)
WEIGHTS = np.random.default_rng(3).normal(size=(105, 40)).astype(np.float32)


def linear(weights):
    return lambda images: (images.reshape(len(images), -1) - 0.5) @ jnp.asarray(weights)


def described(classify):
    return {"approximate_outputs": describe_outputs(classify, SHAPE)}


def test_the_numbers_are_as_their_definition_says():
    random = np.random.RandomState(0)
    noise = random.random_sample((PROBE_IMAGES, *SHAPE)).astype(np.float32)
    factors = random.uniform(-1, 1, 40)
    logits = (noise.reshape(PROBE_IMAGES, -1).astype(np.float64) - 0.5) @ WEIGHTS
    expected = [sum(factors * (row - max(row))) / 40**0.5 for row in logits]
    np.testing.assert_allclose(
        describe_outputs(linear(WEIGHTS), SHAPE), expected, rtol=1e-4, atol=1e-4
    )


def test_the_same_weights_are_the_same_classifier():
    """Also where they are computed in another order."""
    alone = linear(WEIGHTS)
    reordered = jax.jit(lambda images: jax.lax.map(lambda image: alone(image[None])[0], images))
    assert differences(described(alone), described(reordered)) == []


@pytest.mark.parametrize("change", ["all weights", "a class", "two classes swapped"])
def test_other_weights_are_another_classifier(change):
    other = WEIGHTS.copy()
    if change == "all weights":
        other *= 1.01
    elif change == "a class":
        other[:, 5] *= 0.7
    else:
        other[:, [3, 4]] = other[:, [4, 3]]
    assert differences(described(linear(WEIGHTS)), described(linear(other))) != []


def test_infinite_logits_have_finite_numbers():
    for value in (np.inf, -np.inf, np.nan):
        numbers = describe_outputs(lambda x, v=value: linear(WEIGHTS)(x).at[:, 2].set(v), SHAPE)
        assert np.isfinite(numbers).all()
