"""Soft targets: distributions, equal to their formulas as NumPy computes them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from train.losses import mixed_soft_label_loss, soft_cross_entropy
from train.recipes.options import Recipe
from train.recipes.targets import draw_two_class_targets, mean_log_output
from train.recipes.views import View, view_targets

RANDOM = np.random.default_rng(2)
COUNT, CLASSES = 8, 4
LABELS = np.arange(COUNT) % CLASSES
ONE_HOT = np.eye(CLASSES, dtype=np.float32)[LABELS]
OUTPUTS = RANDOM.dirichlet(np.ones(CLASSES), COUNT).astype(np.float32)
IS_MADE = LABELS > 1
IMAGES = RANDOM.random((COUNT, 2, 2, CLASSES), np.float32)
LOGITS = RANDOM.normal(size=(COUNT, CLASSES)).astype(np.float32)


def softmax(logits):
    powers = np.exp(np.float64(logits))
    return powers / powers.sum(1, keepdims=True)


TEACHERS = [lambda images: 9 * images[:, 0, 0], lambda images: -5 * images[:, 1, 1]]
ASKED = (softmax(9 * IMAGES[:, 0, 0]) + softmax(-5 * IMAGES[:, 1, 1])) / 2
SMOOTHED = 0.8 * ONE_HOT + 0.2 / CLASSES
MADE = IS_MADE[:, None]


@pytest.mark.parametrize(
    ("options", "is_mixed", "teachers", "expected"),
    [
        ({}, False, (), ONE_HOT),
        ({}, True, (), np.where(MADE, (OUTPUTS + ONE_HOT) / 2, ONE_HOT)),
        ({"labels": "class"}, False, (), ONE_HOT),
        ({"labels": "set"}, False, (), np.where(MADE, OUTPUTS, ONE_HOT)),
        ({"label_smoothing": 0.2}, False, (), SMOOTHED),
        ({"label_smoothing": 0.2}, True, (), np.where(MADE, (OUTPUTS + SMOOTHED) / 2, SMOOTHED)),
        ({"teacher_weight": 0.3}, False, TEACHERS, 0.7 * ONE_HOT + 0.3 * ASKED),
        ({"teacher_weight": 1}, False, TEACHERS, ASKED),
        (
            {"teacher_weight": 0, "labels": "teacher"},
            False,
            TEACHERS,
            np.where(MADE, ASKED, ONE_HOT),
        ),
        (
            {"teacher_weight": 0, "labels": "teacher"},
            True,
            TEACHERS,
            np.where(MADE, (ASKED + ONE_HOT) / 2, ONE_HOT),
        ),
    ],
)
def test_targets_are_what_the_options_say(options, is_mixed, teachers, expected):
    def targets(images):
        view = View(images, jnp.asarray(OUTPUTS), jnp.asarray(IS_MADE))
        recipe = Recipe(**options)
        return view_targets(view, jnp.asarray(ONE_HOT), teachers, recipe=recipe, is_mixed=is_mixed)

    eager, compiled = targets(jnp.asarray(IMAGES)), jax.jit(targets)(IMAGES)
    np.testing.assert_allclose(eager, expected, atol=1e-6)
    np.testing.assert_allclose(compiled, eager, atol=1e-6)
    np.testing.assert_allclose(eager.sum(1), 1, atol=1e-6)


def test_the_mean_is_of_probabilities_where_a_logit_is_far_off_too():
    far = [lambda images: 500 * images[:, 0, 0], TEACHERS[1]]
    expected = np.log(
        (softmax(500 * np.float64(IMAGES[:, 0, 0])) + softmax(TEACHERS[1](IMAGES))) / 2
    )
    np.testing.assert_allclose(mean_log_output(far, jnp.asarray(IMAGES)), expected, atol=1e-4)


def test_two_class_targets_have_one_other_class_drawn_evenly():
    labels = jnp.arange(3000, dtype=jnp.int32) % CLASSES
    draw = lambda key: draw_two_class_targets(key, labels, num_classes=CLASSES, own=0.75)  # noqa: E731
    found = np.asarray(jax.jit(draw)(jax.random.key(0)))
    np.testing.assert_array_equal(found[np.arange(3000), labels], 0.75)
    np.testing.assert_array_equal(np.sort(found, 1), [[0, 0, 0.25, 0.75]] * 3000)
    counts = [(found[labels == 0] == 0.25).sum(0)]
    np.testing.assert_allclose(counts, [[0, 250, 250, 250]], atol=50)
    assert (found != np.asarray(draw(jax.random.key(1)))).any()


def test_soft_cross_entropy_and_its_gradient_are_numpys():
    outputs = jnp.asarray(OUTPUTS)
    value, gradient = jax.value_and_grad(lambda x: soft_cross_entropy(x, outputs).sum())(LOGITS)
    p = softmax(LOGITS)
    assert float(value) == pytest.approx(-(OUTPUTS * np.log(p)).sum(), rel=1e-6)
    np.testing.assert_allclose(gradient, p - OUTPUTS, atol=1e-6)


def test_the_mixed_loss_is_cross_entropy_to_the_mean_less_half_the_entropy():
    target = np.where(MADE, OUTPUTS, ONE_HOT)
    entropy = -np.where(target > 0, target * np.log(np.maximum(target, 1e-30)), 0).sum(1)

    def mixed(logits):
        return mixed_soft_label_loss(logits, *map(jnp.asarray, (LABELS, OUTPUTS, IS_MADE)))

    def soft(logits):
        return soft_cross_entropy(logits, jnp.asarray(target + ONE_HOT) / 2)

    logits = jnp.asarray(LOGITS)
    np.testing.assert_allclose(mixed(logits), soft(logits) - entropy / 2, atol=1e-6)
    gradients = [jax.grad(lambda x, loss=loss: loss(x).sum())(LOGITS) for loss in (mixed, soft)]
    np.testing.assert_allclose(*gradients, atol=1e-6)


@pytest.mark.usefixtures("unchecked")
def test_targets_of_another_shape_are_refused():
    with pytest.raises(ValueError, match=r"targets must have the shape .*\(8, 4\), got \(8, 3\)"):
        soft_cross_entropy(jnp.asarray(LOGITS), jnp.asarray(OUTPUTS[:, :3]))
