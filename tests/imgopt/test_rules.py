"""Update rules, against loops written from the paper's equations in NumPy."""

import functools

import jax
import numpy as np
import optax
import pytest

from imgopt import momentum_sgd, rule_by_name, sgd
from imgopt.promotion import standard_promotion

SHAPE = (3, 5, 2)


def paper_sgd(w, gradients, *, learning_rate=0.05, weight_decay=5e-4):
    """A, eq. 6."""
    for gradient in gradients:
        w = w - learning_rate * (gradient + weight_decay * w)
    return w


def paper_momentum(w, gradients, *, learning_rate=0.05, weight_decay=5e-4, momentum=0.9):
    """A, eqs. 7 and 8 to the letter: γ stands in both lines."""
    v = np.zeros_like(w)
    for gradient in gradients:
        v = momentum * v + learning_rate * gradient + learning_rate * weight_decay * w
        w = w - learning_rate * v
    return w


def pytorch_momentum(w, gradients, *, learning_rate=0.05, weight_decay=5e-4, momentum=0.9):
    """The algorithm in the documentation of torch.optim.SGD."""
    v = np.zeros_like(w)
    for gradient in gradients:
        v = momentum * v + gradient + weight_decay * w
        w = w - learning_rate * v
    return w


SGD = {"learning_rate": 0.3, "weight_decay": 0.2}
MOMENTUM = {**SGD, "momentum": 0.5}
CASES = {
    "sgd by default": (sgd(), paper_sgd, {}),
    "sgd": (sgd(**SGD), paper_sgd, SGD),
    "momentum by default": (momentum_sgd(), pytorch_momentum, {}),
    "momentum": (momentum_sgd(**MOMENTUM), pytorch_momentum, MOMENTUM),
    "printed by default": (momentum_sgd(form="printed"), paper_momentum, {}),
    "printed": (momentum_sgd(**MOMENTUM, form="printed"), paper_momentum, MOMENTUM),
}

every_rule = pytest.mark.parametrize("name", CASES)


def start(*batch):
    random = np.random.default_rng(0)
    return random.normal(size=(*batch, *SHAPE)), random.normal(size=(6, *batch, *SHAPE))


def run(rule, weights, gradients):
    """The rule as synthesis uses it, in float32."""
    weights = jax.numpy.asarray(weights, np.float32)
    state = rule.init(weights)
    for gradient in gradients.astype(np.float32):
        with standard_promotion():
            change, state = rule.update(gradient, state, weights)
        weights = optax.apply_updates(weights, change)
    return weights


@every_rule
def test_six_updates_are_the_equations(name):
    rule, reference, options = CASES[name]
    weights, gradients = start()
    expected = reference(weights, gradients, **options)
    np.testing.assert_allclose(run(rule, weights, gradients), expected, atol=2e-6)


@every_rule
def test_mapped_equals_looped_and_compiled_equals_eager(name):
    rule = CASES[name][0]
    weights, gradients = start(2)
    looped = np.stack([run(rule, weights[i], gradients[:, i]) for i in range(2)])
    mapped = jax.jit(jax.vmap(functools.partial(run, rule), (0, 1)))(weights, gradients)
    np.testing.assert_allclose(mapped, looped, atol=1e-6)


@pytest.mark.usefixtures("unchecked")
def test_unknown_forms_are_refused():
    with pytest.raises(ValueError, match=r'"pytorch" or "printed", got \'nesterov\''):
        momentum_sgd(form="nesterov")  # pyright: ignore[reportArgumentType] - what is refused


def test_rules_of_optax_come_by_name():
    weights, gradients = start()
    found = run(rule_by_name("adam", learning_rate=0.1), weights, gradients)
    np.testing.assert_array_equal(found, run(optax.adam(0.1), weights, gradients))


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("adamm", {}, r"unknown update rule 'adamm'.*sgd, momentum, polyak, polyak-lbfgs, or an"),
        ("adam", {}, r"rule 'adam': .*learning_rate"),
        ("adam", {"learning_rate": 0.1, "gamma": 2}, r"rule 'adam': .*gamma.*it takes learning_"),
        ("sgd", {"momentum": 0.9}, r"rule 'sgd': .*momentum.*it takes learning_rate, weight_decay"),
        ("constant_schedule", {"value": 1.0}, "must be an optax transformation .* got function"),
        ("__doc__", {}, "unknown update rule"),
    ],
)
def test_what_is_no_rule_is_refused(name, options, message):
    with pytest.raises(ValueError, match=message):
        rule_by_name(name, **options)
