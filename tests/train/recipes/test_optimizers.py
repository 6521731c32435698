"""Schedules, optimisers by name and the moving average against NumPy."""

import jax.numpy as jnp
import numpy as np
import pytest

from imgopt.programs import standard_promotion
from train.classifier_training import make_optimizer
from train.recipes.optimizers import make_schedule
from train.recipes.state import moving_average
from train.recipes.train_options import TrainConfig

RISE = [0, 0.05]
AFTER = {
    "cosine": [0.1 * (1 + np.cos(np.pi * i / 6)) / 2 for i in range(6)],
    "one-cycle": [0.1 * (1 - i / 6) for i in range(6)],
    "constant": [0.1] * 6,
}


@pytest.mark.parametrize("name", AFTER)
def test_the_rate_rises_and_goes_as_its_name_says(name):
    rate = make_schedule(name, jnp.int32(8), learning_rate=0.1, warmup_fraction=0.25)
    np.testing.assert_allclose([rate(i) for i in range(8)], RISE + AFTER[name], atol=1e-7)


def adam(g, w, decay, added):
    """The first two updates at rate 0.1."""
    m = v = 0.0
    for step in (1, 2):
        gradient = g + added * w
        m, v = 0.9 * m + 0.1 * gradient, 0.999 * v + 0.001 * gradient**2
        w -= 0.1 * (m / (1 - 0.9**step) / (np.sqrt(v / (1 - 0.999**step)) + 1e-8) + decay * w)
    return w


def lion(g, w, decay):
    for _ in range(2):
        w -= 0.1 * (np.sign(g) + decay * w)
    return w


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("adam", adam(0.5, 2.0, 0, 0.3)),
        ("adamw", adam(0.5, 2.0, 0.3, 0)),
        ("lion", lion(0.5, 2.0, 0.3)),
    ],
)
def test_optimisers_decay_as_documented(name, expected):
    config = TrainConfig(
        optimizer=name, learning_rate=0.1, schedule="constant", warmup_fraction=0, weight_decay=0.3
    )
    rule = make_optimizer(config, 9)
    params = {"w": jnp.float32(2.0)}
    state = rule.init(params)
    for _ in range(2):
        with standard_promotion():
            change, state = rule.update({"w": jnp.float32(0.5)}, state, params)
        params = {"w": params["w"] + change["w"]}
    assert float(params["w"]) == pytest.approx(expected, abs=1e-5)


def test_lamb_moves_every_array_by_its_own_norm():
    config = TrainConfig(
        optimizer="lamb", learning_rate=0.1, schedule="constant", warmup_fraction=0
    )
    rule, params = make_optimizer(config, 9), {"w": jnp.full(4, 2.0)}
    with standard_promotion():
        change, _ = rule.update({"w": jnp.full(4, 0.5)}, rule.init(params), params)
    assert float(jnp.linalg.norm(change["w"])) == pytest.approx(0.1 * 4, rel=1e-4)


def test_the_average_forgets_the_beginning_and_then_decays():
    values, average = np.random.default_rng(0).normal(size=(60, 3)).astype(np.float32), np.zeros(3)
    found = jnp.zeros(3)
    for step, value in enumerate(values):
        decay = min(0.8, (1 + step) / (10 + step))
        average = decay * average + (1 - decay) * value
        found = moving_average(found, jnp.asarray(value), decay=0.8, steps=jnp.int32(step))
    np.testing.assert_allclose(found, average, atol=1e-5)


def test_an_optimiser_without_a_rate_of_its_own_is_refused():
    with pytest.raises(ValueError, match=r"adamw needs a learning rate of its own.*such as 0.001"):
        TrainConfig(optimizer="adamw")
