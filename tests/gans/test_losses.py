"""Losses of GANs against formulas in NumPy, and which side of the game they move."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from gans.losses import (
    conditional_loss,
    discriminator_loss,
    feature_loss,
    generator_loss,
    gradient_penalty,
    weighted_sum,
)
from gans.options.training import LossWeights

RANDOM = np.random.default_rng(2)
REAL, FAKE = RANDOM.normal(scale=3, size=(2, 5))
MADE, WANTED = RANDOM.normal(size=(2, 5, 3, 2, 4))
LOGITS = RANDOM.normal(size=(5, 3))
ONE_HOT = np.eye(3)[[0, 2, 1, 1, 0]]


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


# The function of what it is differentiated by, the rest, and the formula.
LOSSES = {
    "discriminator": (
        discriminator_loss,
        (REAL, FAKE),
        lambda real, fake: -(np.log(sigmoid(real)) + np.log(1 - sigmoid(fake))) / 2,
    ),
    "generator, non-saturating": (generator_loss, (FAKE,), lambda fake: -np.log(sigmoid(fake))),
    "generator, saturating": (
        lambda fake: generator_loss(fake, form="saturating"),
        (FAKE,),
        lambda fake: np.log(1 - sigmoid(fake)),
    ),
    "discriminator, relativistic": (
        lambda real, fake: discriminator_loss(real, fake, form="relativistic"),
        (REAL, FAKE),
        lambda real, fake: -np.log(sigmoid(real - fake)),
    ),
    "generator, relativistic": (
        lambda real, fake: generator_loss(fake, real, form="relativistic"),
        (REAL, FAKE),
        lambda real, fake: -np.log(sigmoid(fake - real)),
    ),
    "gradient penalty": (gradient_penalty, (MADE,), lambda found: (found**2).sum((1, 2, 3))),
    "features": (
        lambda found, wanted: conditional_loss(found, wanted, is_label=False),
        (MADE, WANTED),
        lambda found, wanted: ((found - wanted) ** 2).mean((1, 2, 3)),
    ),
    "label": (
        lambda found, wanted: conditional_loss(found, wanted, is_label=True),
        (LOGITS, ONE_HOT),
        lambda found, wanted: -np.log((wanted * np.exp(found)).sum(1) / np.exp(found).sum(1)),
    ),
    "entropy": (feature_loss, (LOGITS, ONE_HOT), lambda z, noise: ((z - noise) ** 2).mean(1)),
}

every_loss = pytest.mark.parametrize("name", LOSSES)


def as_float32(arrays):
    return [jnp.asarray(array, jnp.float32) for array in arrays]


@every_loss
def test_value_is_the_formula(name):
    loss, given, formula = LOSSES[name]
    found = loss(*as_float32(given))
    assert found.shape == (5,)
    np.testing.assert_allclose(found, formula(*given), rtol=1e-5, atol=1e-6)


@every_loss
def test_gradient_is_the_finite_difference(name):
    loss, given, _ = LOSSES[name]
    with jax.enable_x64(True):
        check_grads(jax.jit(loss), tuple(map(jnp.asarray, given)), order=1, modes=["rev"])


@every_loss
def test_examples_do_not_depend_on_each_other_nor_on_compiling(name):
    loss, given, _ = LOSSES[name]
    columns = as_float32(given)
    compiled = jax.jit(lambda *row: loss(*(value[None] for value in row))[0])
    looped = [compiled(*row) for row in zip(*columns, strict=True)]
    np.testing.assert_allclose(loss(*columns), looped, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(jax.vmap(compiled)(*columns), looped, rtol=1e-6, atol=1e-6)


def test_sure_and_wrong_stays_finite():
    sure = jnp.array([200.0, -200.0])
    for loss in (generator_loss, lambda fake: generator_loss(fake, form="saturating")):
        assert np.isfinite(loss(sure)).all()
        assert np.isfinite(jax.grad(lambda x, loss=loss: loss(x).sum())(sure)).all()
    np.testing.assert_allclose(discriminator_loss(-sure, sure), [200, 0], atol=1e-6)


def test_weights_are_the_papers():
    assert LossWeights() == LossWeights(adversarial=1, conditional=1, entropy=10)
    one, two, three = jnp.eye(3)
    found = weighted_sum(LossWeights(), adversarial=one, conditional=two, entropy=three)
    np.testing.assert_allclose(found, [1, 1, 10])
    found = weighted_sum(LossWeights(2.0, 3.0, 5.0), adversarial=one, entropy=three)
    np.testing.assert_allclose(found, [2, 0, 5])


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: discriminator_loss(jnp.zeros(3), jnp.zeros(2)), r"\(3,\) and \(2,\)"),
        (lambda: generator_loss(jnp.zeros(3), form="hinge"), "must be .* got 'hinge'"),
        (
            lambda: discriminator_loss(jnp.zeros(3), jnp.zeros(3), form="hinge"),
            "one of non-saturating, saturating, relativistic, got 'hinge'",
        ),
        (lambda: generator_loss(jnp.zeros(3), form="relativistic"), "'relativistic' without them"),
        (lambda: generator_loss(jnp.zeros(3), jnp.zeros(3)), "got form 'non-saturating' with them"),
        (
            lambda: generator_loss(jnp.zeros(3), jnp.zeros(1), form="relativistic"),
            r"\(1,\) and \(3,\)",
        ),
        (lambda: feature_loss(jnp.zeros((3, 2)), jnp.zeros((3, 1))), r"\(3, 2\) and \(3, 1\)"),
        (
            lambda: conditional_loss(jnp.zeros((3, 2)), jnp.zeros((1, 2)), is_label=True),
            r"one shape \(n, k\), got \(3, 2\) and \(1, 2\)",
        ),
        (lambda: LossWeights(entropy=-1.0), "the entropy weight must be .* got -1.0"),
        (lambda: LossWeights(adversarial=float("nan")), "the adversarial weight .* got nan"),
    ],
)
def test_what_does_not_fit_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
