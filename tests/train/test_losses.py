"""Losses against PyTorch, against formulas in NumPy, and by their gradient."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from imgopt.errors import InputError
from train.losses import cross_entropy, mixed_soft_label_loss

RANDOM = np.random.default_rng(5)
LOGITS = RANDOM.normal(scale=3, size=(5, 3)).astype(np.float32)
LABELS = np.array([0, 2, 1, 1, 0], np.int32)
TEACHER = RANDOM.dirichlet(np.ones(3), 5).astype(np.float32)
IS_GENERATED = np.array([True, False, True, True, False])
COLUMNS = tuple(map(jnp.asarray, (LOGITS, LABELS, TEACHER, IS_GENERATED)))

LOSSES = {
    "cross entropy": lambda logits, labels, _teacher, _generated: cross_entropy(logits, labels),
    "target||model": mixed_soft_label_loss,
    "model||target": lambda *columns: mixed_soft_label_loss(*columns, kl="model||target"),
}

every_loss = pytest.mark.parametrize("name", LOSSES)


def in_numpy(name, logits, labels, teacher, is_generated, *, smoothing=0.01):
    """Paper A, eqs. 9 to 12, example by example in float64."""
    losses = []
    for row, label, q, generated in zip(logits, labels, teacher, is_generated, strict=True):
        p = np.exp(row.astype(np.float64)) / np.exp(row.astype(np.float64)).sum()
        t = np.eye(len(p))[label]
        u = q.astype(np.float64) if generated else t
        if name == "cross entropy":
            losses.append(-np.log(p[label]))
        elif name == "target||model":
            kl = sum(a * np.log(a / b) for a, b in zip(u, p, strict=True) if a > 0)
            losses.append(0.5 * kl - 0.5 * np.log(p[label]))
        else:
            kl = (p * np.log(p / ((1 - smoothing) * u + smoothing / len(p)))).sum()
            losses.append(0.5 * kl - 0.5 * np.log(p[label]))
    return np.array(losses)


def gradient(loss, columns):
    return jax.jit(jax.grad(lambda logits: loss(logits, *columns[1:]).sum()))(columns[0])


@every_loss
def test_value_is_the_formula(name):
    found = LOSSES[name](*COLUMNS)
    assert found.shape == (5,)
    np.testing.assert_allclose(
        found, in_numpy(name, LOGITS, LABELS, TEACHER, IS_GENERATED), rtol=1e-5, atol=1e-6
    )


def test_smoothing_is_an_option():
    found = mixed_soft_label_loss(*COLUMNS, kl="model||target", smoothing=0.3)
    expected = in_numpy("model||target", LOGITS, LABELS, TEACHER, IS_GENERATED, smoothing=0.3)
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_value_and_gradient_agree_with_pytorch(vectors):
    types = {"logits": jnp.float32, "labels": None, "teacher": jnp.float32, "is_generated": None}
    columns = tuple(jnp.asarray(vectors[f"mixed_{name}"], dtype) for name, dtype in types.items())
    loss = mixed_soft_label_loss(*columns)
    np.testing.assert_allclose(loss, vectors["mixed_loss"], atol=1e-5)
    found = gradient(mixed_soft_label_loss, columns)
    np.testing.assert_allclose(found, vectors["mixed_grad"], atol=1e-5)


def test_gradient_is_that_of_the_cross_entropy_to_half_teacher_half_label():
    one_hot = np.eye(3)[LABELS]
    dense = (np.where(IS_GENERATED[:, None], TEACHER, one_hot) + one_hot) / 2
    found = gradient(mixed_soft_label_loss, COLUMNS)
    np.testing.assert_allclose(found, jax.nn.softmax(LOGITS) - dense, atol=1e-6)


def test_originals_alone_have_their_cross_entropy():
    columns = (*COLUMNS[:2], jnp.full((5, 3), jnp.nan), jnp.zeros(5, bool))
    np.testing.assert_allclose(
        mixed_soft_label_loss(*columns), cross_entropy(*COLUMNS[:2]), rtol=1e-6
    )
    assert np.isfinite(gradient(mixed_soft_label_loss, columns)).all()


@every_loss
def test_gradient_is_the_finite_difference(name):
    with jax.enable_x64(True):
        columns = (jnp.asarray(LOGITS, jnp.float64), *COLUMNS[1:])
        loss = jax.jit(lambda logits: LOSSES[name](logits, *columns[1:]))
        check_grads(loss, columns[:1], order=1, modes=["rev"])


@every_loss
def test_examples_do_not_depend_on_each_other(name):
    def alone(*row):
        return LOSSES[name](*(value[None] for value in row))[0]

    compiled = jax.jit(alone)
    looped = [compiled(*row) for row in zip(*COLUMNS, strict=True)]
    np.testing.assert_allclose(LOSSES[name](*COLUMNS), looped, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(jax.vmap(compiled)(*COLUMNS), looped, rtol=1e-6, atol=1e-6)


@every_loss
def test_sure_and_wrong_stays_finite(name):
    logits = jnp.array([[0.0, 200.0, -200.0]])
    columns = (logits, jnp.array([2]), jnp.array([[1.0, 0.0, 0.0]]), jnp.array([True]))
    assert np.isfinite(LOSSES[name](*columns)).all()
    assert np.isfinite(gradient(LOSSES[name], columns)).all()


@every_loss
@pytest.mark.parametrize("label", [-1, -3, -4, 3])
def test_a_label_outside_is_refused_and_never_another_class_s_loss(name, label):
    labels = COLUMNS[1].at[2].set(label)
    columns = (COLUMNS[0], labels, *COLUMNS[2:])
    with pytest.raises(InputError, match=rf"labels must be in \[0, 3\), got {label} at position 2"):
        LOSSES[name](*columns)
    found = np.asarray(jax.jit(LOSSES[name])(*columns))
    assert np.isnan(found[2])
    expected = np.asarray(jax.jit(LOSSES[name])(*COLUMNS))
    np.testing.assert_allclose(np.delete(found, 2), np.delete(expected, 2), rtol=1e-6)


@every_loss
def test_a_class_without_any_probability_counts_nothing(name):
    """The loss is as if that class were not there, except for the share of it in a smoothed q."""
    logits, labels = COLUMNS[0].at[:, 1].set(-jnp.inf), COLUMNS[1] // 2 * 2
    labels = jnp.where(labels == 1, 0, labels)
    teacher = COLUMNS[2].at[:, 1].set(0.0)
    columns = (logits, labels, teacher / teacher.sum(1, keepdims=True), COLUMNS[3])
    low = (columns[0].at[:, 1].set(-90.0), *columns[1:])
    np.testing.assert_allclose(LOSSES[name](*columns), LOSSES[name](*low), rtol=1e-6)
    assert np.isfinite(LOSSES[name](*columns)).all()
    np.testing.assert_allclose(
        gradient(LOSSES[name], columns), gradient(LOSSES[name], low), atol=1e-6
    )


def test_a_teacher_s_logits_are_refused():
    wrong = COLUMNS[2].at[3].set(jnp.array([4.0, -1.0, 2.0]))
    with pytest.raises(InputError, match=r"probabilities.*got \[ 4. -1.  2.\] in row 2"):
        mixed_soft_label_loss(*COLUMNS[:2], wrong, COLUMNS[3])


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("index", "value", "message"),
    [
        (0, jnp.zeros(5), r"logits must have shape \(n, k\), got \(5,\)"),
        (1, COLUMNS[1][:, None], r"labels must have shape \(5,\) .* got \(5, 1\)"),
        (1, COLUMNS[1][:4], r"labels must have shape \(5,\) .* got \(4,\)"),
        (2, COLUMNS[2][:, :2], r"teacher_outputs must have the logits' shape .* got \(5, 2\)"),
        (3, COLUMNS[3][:, None], r"is_generated must have shape \(5,\) .* got \(5, 1\)"),
    ],
)
def test_shapes_that_would_broadcast_are_refused(index, value, message):
    columns = [*COLUMNS]
    columns[index] = value
    with pytest.raises(ValueError, match=message):
        mixed_soft_label_loss(*columns)
    if index < 2:
        with pytest.raises(ValueError, match=message):
            cross_entropy(*columns[:2])


@pytest.mark.usefixtures("unchecked")
def test_unknown_directions_are_refused():
    with pytest.raises(ValueError, match=r"must be .* got 'forward'"):
        mixed_soft_label_loss(*COLUMNS, kl="forward")
    with pytest.raises(InputError, match="smoothing must be above 0 and at most 1, got 0"):
        mixed_soft_label_loss(*COLUMNS, kl="model||target", smoothing=0)
