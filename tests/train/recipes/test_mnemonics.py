"""Mnemonics exemplars: their gradient against finite differences and NumPy, and what they gain."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy.special
from jax.test_util import check_grads
from sklearn.datasets import load_digits

from imgopt import InputError, to_float
from train.recipes.mnemonics import (
    Labelled,
    begin_exemplars,
    mean_cross_entropy,
    retrain,
    update_exemplars,
)
from train.recipes.options import Mnemonics

SHAPE, CLASSES = (2, 3, 1), 3
OPTIONS = Mnemonics(retrain_steps=3, retrain_rate=0.7, steps=4, originals_per_step=50)


def apply(params, images):
    return jnp.tanh(images.reshape(len(images), -1)) @ params["kernel"] + params["bias"][None]


def problem(dtype=np.float32, count=9):
    random = np.random.default_rng(2)
    params = {
        "kernel": jnp.asarray(random.normal(size=(6, CLASSES)), dtype),
        "bias": jnp.asarray(random.normal(size=CLASSES), dtype),
    }
    exemplars = Labelled(jnp.asarray(random.uniform(0.2, 0.8, (3, *SHAPE)), dtype), jnp.arange(3))
    images = jnp.asarray(random.uniform(size=(count, *SHAPE)), dtype)
    return params, exemplars, Labelled(images, jnp.asarray(np.arange(count) % CLASSES))


def after_retraining(params, labels, originals, images):
    retrained = retrain(apply, params, Labelled(images, labels), options=OPTIONS)
    return mean_cross_entropy(apply, retrained, originals)


def test_the_gradient_through_retraining_is_the_finite_difference():
    with jax.enable_x64(True):
        params, exemplars, originals = problem(np.float64)
        loss = functools.partial(after_retraining, params, exemplars.labels, originals)
        check_grads(jax.jit(loss), (exemplars.images,), order=1, modes=["rev"])


def test_retraining_is_gradient_descent_in_numpy():
    params, exemplars, _ = problem()
    x = np.tanh(np.asarray(exemplars.images, np.float64).reshape(3, -1))
    kernel, bias = (np.asarray(params[name], np.float64) for name in ("kernel", "bias"))
    for _ in range(OPTIONS.retrain_steps):
        error = (scipy.special.softmax(x @ kernel + bias, axis=1) - np.eye(3)) / 3
        kernel, bias = kernel - 0.7 * x.T @ error, bias - 0.7 * error.sum(0)
    found = retrain(apply, params, exemplars, options=OPTIONS)
    np.testing.assert_allclose(found["kernel"], kernel, rtol=1e-5)
    np.testing.assert_allclose(found["bias"], bias, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("rate", [0.05, 50.0])
def test_an_update_with_sgd_is_equation_13_clipped(rate):
    params, exemplars, originals = problem()
    options = Mnemonics(retrain_steps=3, retrain_rate=0.7, rule="sgd", learning_rate=rate)
    state = begin_exemplars(exemplars, options=options)
    updated, loss = update_exemplars(
        jax.random.key(0), apply, params, state, originals, options=options
    )
    value, gradient = jax.value_and_grad(after_retraining, argnums=3)(
        params, exemplars.labels, originals, exemplars.images
    )
    expected = np.clip(exemplars.images - rate * gradient, 0, 1)
    np.testing.assert_allclose(updated.exemplars.images, expected, atol=1e-5)
    np.testing.assert_allclose(loss, value, rtol=1e-6)
    assert int(updated.step) == 1


def test_originals_are_drawn_by_key_and_step():
    params, exemplars, originals = problem(count=60)
    options = Mnemonics(retrain_steps=1, originals_per_step=7)
    state = begin_exemplars(exemplars, options=options)

    update = jax.jit(functools.partial(update_exemplars, options=options), static_argnums=1)

    def loss(key, step=0):
        at_step = state._replace(step=jnp.int32(step))
        return float(update(jax.random.key(key), apply, params, at_step, originals)[1])

    assert loss(0) == loss(0)
    assert len({loss(0), loss(1), loss(0, step=1)}) == 3


@pytest.mark.slow
def test_exemplars_of_digits_keep_more_than_the_digits_they_start_from():
    """A softmax regression, trained on scikit-learn's digits, then retrained on two a class."""
    images, labels = load_digits(return_X_y=True)
    images = np.round(images * 255 / 16).astype(np.uint8).reshape(-1, 8, 8, 1)
    originals = Labelled(jnp.asarray(images), jnp.asarray(labels, jnp.int32))
    params = {"kernel": jnp.zeros((64, 10)), "bias": jnp.zeros(10)}
    floats = Labelled(to_float(originals.images), originals.labels)
    step = functools.partial(retrain, options=Mnemonics(retrain_steps=1, retrain_rate=2.0))
    params = jax.lax.fori_loop(0, 60, lambda _, params: step(apply, params, floats), params)
    rows = np.concatenate([np.flatnonzero(labels == label)[:2] for label in range(10)])
    first = Labelled(floats.images[rows], originals.labels[rows])
    options = Mnemonics(retrain_steps=4, retrain_rate=2.0, learning_rate=0.03)
    state = begin_exemplars(first, options=options)
    update = jax.jit(functools.partial(update_exemplars, options=options), static_argnums=1)
    for _ in range(40):
        state, _ = update(jax.random.key(0), apply, params, state, originals)

    @jax.jit
    def loss(exemplars):
        retrained = retrain(apply, params, exemplars, options=options)
        return mean_cross_entropy(apply, retrained, originals)

    before, after = float(loss(first)), float(loss(state.exemplars))
    assert after < 0.8 * before
    assert 0 <= float(state.exemplars.images.min()) <= float(state.exemplars.images.max()) <= 1


def test_any_rule_of_optax_moves_exemplars():
    params, exemplars, originals = problem()
    options = Mnemonics(retrain_steps=1, rule="lion", learning_rate=0.125)
    state = begin_exemplars(exemplars, options=options)
    key = jax.random.key(0)
    updated, _ = update_exemplars(key, apply, params, state, originals, options=options)
    moves = np.abs(updated.exemplars.images - exemplars.images)
    np.testing.assert_allclose(moves, 0.125, rtol=1e-3)
    assert isinstance(options.make_rule(), optax.GradientTransformation)


REFUSED = {
    "retrain_steps": ({"retrain_steps": 0}, "retrain_steps must be at least 1, got 0"),
    "steps": ({"steps": -1}, "steps must be at least 0, got -1"),
    "originals": ({"originals_per_step": 0}, "originals_per_step must be at least 1, got 0"),
    "retrain_rate": ({"retrain_rate": 0.0}, "retrain_rate must be above 0 and finite, got 0.0"),
    "learning_rate": ({"learning_rate": float("nan")}, "learning_rate must be above 0.*got nan"),
    "no rate": ({"rule": "polyak"}, "rule 'polyak'.*learning_rate.*it takes scale"),
    "rule": ({"rule": "adan2"}, "unknown update rule 'adan2'"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_wrong_options_are_refused(case):
    options, message = REFUSED[case]
    with pytest.raises(InputError, match=message):
        Mnemonics(**options)
