"""What is equal is compiled once, however the objects that say it were made."""

import dataclasses
import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen

import imgopt
import imgopt.method
from imgopt import InputError, split_classifier, synthesize

RANDOM = np.random.default_rng(3)
IMAGES = RANDOM.uniform(size=(3, 4, 5, 3)).astype(np.float32)
TARGETS = RANDOM.dirichlet(np.ones(3), 3).astype(np.float32)


def kernel(seed):
    return jnp.asarray(np.random.default_rng(seed).normal(size=(60, 3)), jnp.float32)


def with_kernel(kernel, images):
    return images.reshape(len(images), -1) @ kernel


class Linear:
    """A plain object with weights as an attribute."""

    def __init__(self, seed):
        self.kernel = kernel(seed)

    def __call__(self, images):
        return with_kernel(self.kernel, images)

    def classify(self, images):
        return self(images)


def closure(seed):
    weights = kernel(seed)
    return lambda images: with_kernel(weights, images)


CLASSIFIERS = {
    "closure": closure,
    "bound method": lambda seed: Linear(seed).classify,
    "object": Linear,
    "functools.partial": lambda seed: functools.partial(with_kernel, kernel(seed)),
    "Partial": lambda seed: jax.tree_util.Partial(with_kernel, kernel(seed)),
}
PROGRAMS = {"_begin", "_update", "_finish"}

RULES = {
    "adam": lambda: optax.adam(0.1),
    "sgd": lambda: imgopt.sgd(0.1),
    "schedule": lambda: imgopt.sgd(optax.cosine_decay_schedule(0.1, 10)),
    "default": lambda: None,
}


def run(classify, *, optimizer=None, seed=0, **options):
    images = np.random.default_rng(seed).uniform(size=IMAGES.shape).astype(np.float32)
    return synthesize(classify, images, TARGETS, optimizer=optimizer, **options)


@pytest.mark.parametrize("kind", CLASSIFIERS)
def test_a_fresh_classifier_with_the_same_code_compiles_nothing(kind, compilations):
    first = run(CLASSIFIERS[kind](1), steps=3)
    with compilations() as names:
        again = run(CLASSIFIERS[kind](1), steps=3)
        other = run(CLASSIFIERS[kind](2), steps=3)
    assert not PROGRAMS & set(names)
    np.testing.assert_array_equal(again.images, first.images)
    assert (other.outputs != first.outputs).any()


@pytest.mark.parametrize("rule", RULES)
def test_a_fresh_rule_compiles_nothing(rule, compilations):
    classify = CLASSIFIERS["closure"](1)
    run(classify, optimizer=RULES[rule](), steps=2)
    with compilations() as names:
        run(classify, optimizer=RULES[rule](), steps=2)
    assert not names


@pytest.mark.parametrize(
    "change",
    [{"steps": 4}, {"tolerance": 0.1}, {"tolerance": 0.2}, {"seed": 1}, {"indices": [4, 5, 6]}],
)
def test_another_number_compiles_nothing(change, compilations):
    classify = CLASSIFIERS["object"](1)
    options = {"steps": 2, "tolerance": None}
    run(classify, **options)
    with compilations() as names:
        run(classify, **{**options, **change})
    assert not PROGRAMS & set(names)


@pytest.mark.parametrize(
    "change",
    [
        {"optimizer": optax.sgd(1.0)},
        {"image_filter": imgopt.low_pass(1.5)},
        {"pixel_map": imgopt.tanh_map()},
        {"criterion": "max_error"},
    ],
)
def test_another_method_is_compiled(change, compilations):
    """The count can rise at all."""
    classify = CLASSIFIERS["closure"](1)
    base = run(classify, steps=30, optimizer=optax.sgd(2.0), tolerance=0.1)
    with compilations() as names:
        options = {"optimizer": optax.sgd(2.0), "tolerance": 0.1, **change}
        other = run(classify, steps=30, **options)
    assert "_update" in names
    assert (other.images != base.images).any()


def test_batches_are_one_job(compilations):
    levels = RANDOM.integers(0, 256, (7, 4, 5, 3), np.uint8)
    targets = RANDOM.dirichlet(np.ones(3), 7).astype(np.float32)
    options = {"batch_size": 3, "steps": 2}
    list(imgopt.synthesize_in_batches(closure(1), levels, targets, **options))
    with compilations() as names:
        list(imgopt.synthesize_in_batches(closure(2), levels, targets, **options))
    assert not PROGRAMS & set(names)


def test_host_callbacks_are_never_taken_for_one_another():
    """Their programs read the same: which function is called stands elsewhere."""

    def classifier(factor):
        def on_host(images):
            return (np.asarray(images).reshape(-1, 60) @ np.asarray(kernel(1)) * factor)[..., :]

        @jax.custom_vjp
        def classify(images):
            shape = jax.ShapeDtypeStruct((1, 3), jnp.float32)
            return jax.pure_callback(on_host, shape, images, vmap_method="sequential")

        classify.defvjp(
            lambda images: (classify(images), None), lambda *_: (jnp.zeros((1, 4, 5, 3)),)
        )
        return classify

    with pytest.warns(UserWarning, match="gradient is zero everywhere"):
        one, two = (run(classifier(factor), steps=0) for factor in (1.0, 3.0))
    assert (np.argmax(one.outputs, 1) == np.argmax(two.outputs, 1)).all()
    assert (one.outputs != two.outputs).all()


def test_rules_whose_states_nest_differently_are_kept_apart():
    """Their programs read the same: the arrays come in the same order."""
    classify = closure(1)
    for make in (optax.sgd, imgopt.sgd, optax.adam, lambda rate: optax.chain(optax.adam(rate))):
        alone = run(classify, optimizer=make(0.1), steps=2)
        assert np.isfinite(alone.images).all()


def test_a_filter_that_changes_is_never_stale():
    share = {"kept": 1.0}

    def fade(images):
        return share["kept"] * images

    classify = CLASSIFIERS["Partial"](1)
    first = run(classify, image_filter=fade, steps=1)
    share["kept"] = 0.5
    second = run(classify, image_filter=fade, steps=1)
    assert second.images.max() <= 0.5 < first.images.max()


@dataclasses.dataclass
class Fade:
    """A filter that compares by value, can change, and so has no hash."""

    kept: float

    def __call__(self, images):
        return self.kept * images


def test_an_object_without_a_hash_may_be_a_filter():
    classify, fade = CLASSIFIERS["Partial"](1), Fade(0.5)
    found = run(classify, image_filter=fade, steps=1)
    expected = run(classify, image_filter=lambda images: 0.5 * images, steps=1)
    np.testing.assert_array_equal(found.images, expected.images)
    fade.kept = 0.25
    assert run(classify, image_filter=fade, steps=1).images.max() <= 0.25


inner_kernel = {}


@jax.jit
def inner(images):
    return with_kernel(inner_kernel["weights"], images)


@pytest.mark.parametrize(
    "classify",
    [
        lambda images: inner(images) * 1.0,
        jax.checkpoint(lambda images: with_kernel(inner_kernel["weights"], images)),
        functools.partial(inner),
        jax.tree_util.Partial(inner),
    ],
    ids=["jit inside", "checkpoint", "partial of jit", "Partial of jit"],
)
def test_weights_inside_a_cached_function_are_never_stale(classify):
    for seed in (1, 2):
        inner_kernel["weights"] = kernel(seed)
        found = run(classify, steps=0)
        expected = run(functools.partial(with_kernel, kernel(seed)), steps=0)
        np.testing.assert_allclose(found.outputs, expected.outputs, atol=1e-6)


def test_a_second_call_with_the_same_rule_lowers_no_update(monkeypatch):
    """The rule alone is traced again, with a classifier that costs nothing."""
    traced = []
    update = imgopt.method.update

    def noted(method, classify, state):
        traced.append(classify)
        return update(method, classify, state)

    monkeypatch.setattr(imgopt.method, "update", noted)
    classify, rule = CLASSIFIERS["Partial"](1), imgopt.sgd(0.123)
    counts = []
    for _ in range(3):
        run(classify, optimizer=rule, steps=2)
        counts.append(len(traced))
    assert counts[0] >= 2
    assert np.diff(counts).tolist() == [1, 1]


def doubled(kernel, images):
    return 2 * with_kernel(kernel, images)


def test_a_gradient_is_looked_at_once(monkeypatch):
    looked = []
    make = jax.make_jaxpr
    monkeypatch.setattr(jax, "make_jaxpr", lambda *a, **o: looked.append(a) or make(*a, **o))
    classify = jax.tree_util.Partial(doubled, kernel(1))
    run(classify, steps=1)
    first = len(looked)
    run(classify, steps=1)
    assert len(looked) - first < first


TRACES = []


class Scaled(tuple):
    """A linear classifier of one factor, equal to any other of that factor; it notes its traces."""

    __slots__ = ()

    def __call__(self, kernel, images):
        TRACES.append(self)
        return self[0] * with_kernel(kernel, images)


class Dense(linen.Module):
    """A linear classifier as a module of Flax, which notes its traces."""

    @linen.compact
    def __call__(self, images):
        TRACES.append(self)
        return linen.Dense(3, use_bias=False)(images.reshape(len(images), -1))


NET = Dense()
BY_ARRAYS = {
    "tuple": lambda kernel: jax.tree_util.Partial(Scaled((1.0,)), kernel),
    "module": lambda kernel: jax.tree_util.Partial(
        NET.apply, {"params": {"Dense_0": {"kernel": kernel}}}
    ),
}


def assert_answers(classify, weights):
    """Compares with a function that is traced for every call."""
    found, expected = (
        synthesize(each, IMAGES, TARGETS, steps=0).outputs
        for each in (classify, lambda images: with_kernel(weights, images))
    )
    np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize("kind", BY_ARRAYS)
def test_a_partial_of_an_object_hashed_by_its_fields_is_traced_once(kind, compilations):
    classify = BY_ARRAYS[kind]
    synthesize(classify(kernel(0)), IMAGES, TARGETS, steps=1)
    assert_answers(classify(kernel(0)), kernel(0))
    count = len(TRACES)
    with compilations() as names:
        synthesize(classify(kernel(1)), IMAGES, TARGETS, steps=1)
        assert_answers(classify(kernel(1)), kernel(1))
    assert len(TRACES) == count > 0
    assert not {"_begin", "_update", "_finish"} & set(names)


def test_an_object_of_other_fields_is_another_classifier():
    for factor in (1.0, 0.25):
        classify = jax.tree_util.Partial(Scaled((factor,)), kernel(0))
        assert_answers(classify, factor * kernel(0))


def test_numpy_weights_of_a_partial_are_those_of_the_call():
    own = np.array(kernel(0))
    split = split_classifier(BY_ARRAYS["tuple"](own), IMAGES)
    own[:] = 0
    logits = split.function(split.arrays, IMAGES)
    np.testing.assert_allclose(logits, with_kernel(kernel(0), IMAGES), rtol=1e-4)


def test_images_that_a_partial_of_an_object_cannot_take_are_named():
    with pytest.raises(InputError, match=r"cannot take images of shape \(1, 2, 2, 3\): dot_gen"):
        split_classifier(BY_ARRAYS["tuple"](kernel(0)), IMAGES[:1, :2, :2])


def test_weights_of_a_trace_that_is_over_are_named():
    kept = []
    jax.jit(kept.append)(kernel(0))
    with pytest.raises(InputError, match="keeps values of its last call"):
        split_classifier(BY_ARRAYS["tuple"](kept[0]), IMAGES[:1])


@pytest.mark.parametrize("kind", BY_ARRAYS)
def test_what_measures_is_traced_in_full_precision_though_it_was_traced_before(kind):
    classify = BY_ARRAYS[kind](kernel(0))
    synthesize(classify, IMAGES, TARGETS, steps=1)
    programs = imgopt.lower_synthesis(classify, IMAGES.shape, measure=classify)
    products = {
        name: re.findall(r"dot_general .*tensor<60x3xf32>.*", program.as_text())
        for name, program in programs._asdict().items()
    }
    assert products["finish"]
    assert products["updates"]
    assert all("HIGHEST" in line for line in products["finish"])
    assert not any("HIGHEST" in line for line in products["updates"])
