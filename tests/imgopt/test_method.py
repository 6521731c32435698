"""The method as a transform: pure functions that can be jitted, mapped, scanned, differentiated."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy.special

from imgopt import (
    InputError,
    arctan_map,
    iterate,
    low_pass,
    mean_classifier,
    polyak,
    sgd,
    synthesize,
    transform,
)

RANDOM = np.random.default_rng(5)
IMAGES = RANDOM.uniform(size=(4, 5, 6, 3)).astype(np.float32)
IMAGES[0, 0, :2] = [[0, 0, 1], [1, 0, 0]]
KERNEL = RANDOM.normal(size=(90, 4)).astype(np.float32)
TARGETS = RANDOM.dirichlet(np.ones(4), 4).astype(np.float32)
OPTIONS = {"optimizer": sgd(0.5), "image_filter": low_pass(2.5)}
TOLERANT = {"optimizer": polyak(), "tolerance": 0.3, "criterion": "max_error"}
STEPS = 6


def classify(images):
    return jnp.tanh(2 * images - 1).reshape(len(images), -1) @ jnp.asarray(KERNEL)


def looped(images, targets, **options):
    init, update, finish = transform(classify, targets, **options)
    state = init(images)
    for _ in range(STEPS):
        state = update(state)
    return finish(state)


def scanned(images, targets, **options):
    init, update, finish = transform(classify, targets, **options)
    return finish(jax.lax.scan(lambda s, _: (update(s), None), init(images), length=STEPS)[0])


def compiled(images, targets, **options):
    return jax.jit(functools.partial(looped, **options))(images, targets)


def mapped(images, targets, **options):
    one = functools.partial(looped, **options)
    mapped = jax.jit(jax.vmap(lambda image, target: one(image[None], target[None])))
    result = mapped(images, targets)
    return jax.tree.map(lambda leaf: leaf[:, 0], result)


def jitted_synthesize(images, targets, **options):
    def run(images, targets, steps):
        return synthesize(classify, images, targets, steps=steps, **options)

    return jax.jit(run)(images, targets, STEPS)


def mapped_synthesize(images, targets, **options):
    def run(image, target):
        return synthesize(classify, image[None], target[None], steps=STEPS, **options)

    return jax.tree.map(lambda leaf: leaf[:, 0], jax.vmap(run)(images, targets))


def last_of_iterate(images, targets, **options):
    return list(iterate(classify, images, targets, steps=STEPS, **options))[-1]


WAYS = (scanned, compiled, mapped, jitted_synthesize, mapped_synthesize, last_of_iterate)


@pytest.mark.parametrize(
    ("way", "options"),
    [
        *[(way, {"optimizer": polyak()}) for way in WAYS],
        (looped, {"optimizer": sgd(0.5)}),
        (compiled, {}),
        (scanned, OPTIONS),
        (mapped_synthesize, OPTIONS),
        *[(way, TOLERANT) for way in (compiled, jitted_synthesize, last_of_iterate)],
    ],
)
def test_every_way_to_run_it_is_synthesize(way, options):
    found = way(jnp.asarray(IMAGES), jnp.asarray(TARGETS), **options)
    expected = synthesize(classify, IMAGES, TARGETS, steps=STEPS, **options)
    close = functools.partial(np.testing.assert_allclose, atol=2e-3)
    jax.tree.map(close, found, expected)


def paper_loop(images, target, *, rate, steps):
    """Paper A's equations 2 to 6 for one image in plain NumPy, with a numerical gradient."""

    def loss(w):
        x = np.arctan(w) / np.pi + 0.5
        logits = np.tanh(2 * x - 1).ravel() @ KERNEL.astype(float)
        return -(target * (logits - np.log(np.exp(logits).sum()))).sum()

    w = np.tan((np.clip(images, 1e-3, 1 - 1e-3).astype(float) - 0.5) * np.pi)
    for _ in range(steps):
        gradient, h = np.zeros_like(w), 1e-5
        for at in np.ndindex(w.shape):
            shift = np.zeros_like(w)
            shift[at] = h * max(1.0, abs(w[at]))
            gradient[at] = (loss(w + shift) - loss(w - shift)) / (2 * shift[at])
        w = w - rate * (gradient + 5e-4 * w)
    return np.arctan(w) / np.pi + 0.5


def test_three_updates_are_the_papers_equations():
    init, update, finish = transform(classify, TARGETS[:1], optimizer=sgd(0.5))
    state = init(jnp.asarray(IMAGES[:1]))
    for _ in range(3):
        state = update(state)
    expected = paper_loop(IMAGES[0], TARGETS[0].astype(float), rate=0.5, steps=3)
    np.testing.assert_allclose(finish(state).images[0], expected, atol=2e-5)


@pytest.mark.parametrize("argument", ["images", "targets", "rate", "kernel"])
def test_the_gradient_through_synthesize_is_the_finite_difference(argument):
    given = {
        "images": jnp.asarray(IMAGES[1:2]),
        "targets": jnp.asarray(TARGETS[1:2]),
        "rate": jnp.float32(0.5),
        "kernel": jnp.asarray(KERNEL),
    }

    def brightness(value):
        values = {**given, argument: value}

        def own(images):
            return jnp.tanh(2 * images - 1).reshape(len(images), -1) @ values["kernel"]

        optimizer = sgd(values["rate"])
        result = synthesize(own, values["images"], values["targets"], steps=3, optimizer=optimizer)
        return (result.images @ jnp.linspace(0, 1, 3)).sum()

    compiled = jax.jit(brightness)
    at = given[argument]
    gradient = jax.jit(jax.grad(brightness))(at)
    direction = jnp.asarray(RANDOM.normal(size=at.shape), jnp.float32)
    if argument == "targets":
        direction = direction - direction.mean()
    h = 1e-2
    numerical = (compiled(at + h * direction) - compiled(at - h * direction)) / (2 * h)
    np.testing.assert_allclose((gradient * direction).sum(), numerical, rtol=0.03, atol=1e-3)


def test_a_hyperparameter_can_be_differentiated_and_mapped():
    """Without jit around it: nothing but the rule, the filter or the classifier is traced."""

    def brightness(rate, gain=1.0):
        optimizer = optax.sgd(rate)
        options = {"steps": 2, "image_filter": lambda images: gain * images}
        return synthesize(classify, IMAGES, TARGETS, optimizer=optimizer, **options).images.sum()

    numerical = (brightness(0.52) - brightness(0.48)) / 0.04
    np.testing.assert_allclose(jax.grad(brightness)(0.5), numerical, rtol=0.05)
    by_gain = jax.grad(brightness, argnums=1)(0.5, 1.0)
    np.testing.assert_allclose(by_gain, brightness(0.5, 1.0), rtol=0.2)
    mapped = jax.vmap(brightness)(jnp.array([0.1, 0.5]))
    np.testing.assert_allclose(mapped, [brightness(0.1), brightness(0.5)], rtol=1e-5)


def test_the_gradient_through_polyaks_step_is_finite_at_the_target():
    """An image that has what is asked for has no gradient and no step."""

    def brightness(images):
        targets = jnp.full((1, 4), 0.25)
        constant = lambda x: jnp.zeros((len(x), 4)) + 0 * x.sum()  # noqa: E731 - a flat classifier
        return synthesize(constant, images, targets, steps=2, optimizer=polyak()).images.sum()

    gradient = jax.grad(brightness)(jnp.asarray(IMAGES[1:2]))
    np.testing.assert_allclose(gradient, 1, atol=1e-3)


def test_init_refuses_what_is_no_float():
    init, _, _ = transform(classify, TARGETS)
    with pytest.raises(InputError, match=r"floating point in .*got uint8"):
        init(np.zeros(IMAGES.shape, np.uint8))


def test_images_may_be_a_tree():
    """Two views of an image, each with weights of its own; a mask that its rule leaves alone."""
    tree = {"left": jnp.asarray(IMAGES), "mask": jnp.asarray(IMAGES[..., 0].round())}

    def of_tree(images):
        return classify(images["left"] * images["mask"][..., None])

    optimizer = optax.multi_transform(
        {"moves": optax.sgd(2.0), "stays": optax.set_to_zero()}, {"left": "moves", "mask": "stays"}
    )
    result = synthesize(of_tree, tree, TARGETS, steps=20, optimizer=optimizer)
    before = synthesize(of_tree, tree, TARGETS, steps=0, optimizer=optimizer)
    assert (result.kl < before.kl).all()
    np.testing.assert_array_equal(result.images["mask"], before.images["mask"])
    assert np.abs(result.images["left"] - before.images["left"]).max() > 0.01
    alone = synthesize(
        of_tree,
        jax.tree.map(lambda leaf: leaf[2:3], tree),
        TARGETS[2:3],
        steps=20,
        optimizer=optimizer,
    )
    np.testing.assert_allclose(alone.images["left"][0], result.images["left"][2], atol=1e-5)


@pytest.mark.parametrize(
    ("images", "message"),
    [
        ({}, "at least one array"),
        ({"a": IMAGES, "b": IMAGES[:2]}, r"one row an image, got \[2, 4\] rows"),
        ({"a": IMAGES, "b": IMAGES * 255}, r"in \[0, 1\]"),
        ({"a": IMAGES, "b": np.zeros((4, 2), np.uint8)}, "floating point"),
    ],
)
def test_trees_that_do_not_fit_are_refused(images, message):
    with pytest.raises(InputError, match=message):
        synthesize(lambda tree: classify(tree["a"]), images, TARGETS)


def test_iterate_gives_every_update_and_stops_with_the_images():
    every = list(iterate(classify, IMAGES, TARGETS, steps=50, tolerance=0.02))
    steps = np.stack([result.steps for result in every])
    np.testing.assert_array_equal(steps.max(1), np.arange(len(every)))
    assert 1 < len(every) < 50
    whole = synthesize(classify, IMAGES, TARGETS, steps=50, tolerance=0.02)
    np.testing.assert_array_equal(every[-1].images, whole.images)
    assert (whole.kl < 0.03).all()


def test_the_state_is_one_tree_with_a_row_an_image():
    init, update, _ = transform(classify, TARGETS)
    before, after = init(jnp.asarray(IMAGES)), update(init(jnp.asarray(IMAGES)))
    assert jax.tree.structure(before) == jax.tree.structure(after)
    assert {leaf.shape[0] for leaf in jax.tree.leaves(after)} == {4}
    np.testing.assert_allclose(before.weights, arctan_map().to_weights(jnp.asarray(IMAGES)))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"optimiser": sgd()}, "unknown option 'optimiser'; expected optimizer, pixel_map"),
        ({"criterion": "l2"}, '"kl" or "max_error"'),
        ({"tolerance": -1.0}, "tolerance must be None or at least 0"),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_wrong_options_are_refused(options, message):
    with pytest.raises(InputError, match=message):
        transform(classify, TARGETS, **options)


# ---- several classifiers at once


def scaled(factor):
    return lambda images: factor * classify(images)


def numpy_mean(*logits):
    shares = [scipy.special.softmax(np.float64(each), axis=1) for each in logits]
    return np.mean(shares, axis=0)


@pytest.mark.parametrize("factors", [(1.0,), (0.0, 1.0), (1.0, -2.0, 40.0)])
def test_the_mean_classifier_has_the_mean_probabilities(factors):
    logits = mean_classifier([scaled(factor) for factor in factors])(jnp.asarray(IMAGES))
    expected = numpy_mean(*(scaled(factor)(jnp.asarray(IMAGES)) for factor in factors))
    np.testing.assert_allclose(logits, np.log(expected), rtol=1e-4, atol=1e-5)


def test_the_mean_classifier_is_elicited_in_the_mean():
    classifiers = scaled(1.0), scaled(0.5)
    result = synthesize(mean_classifier(classifiers), IMAGES, TARGETS, steps=100, tolerance=1e-3)
    assert result.kl.max() < 0.01
    seen = jnp.round(result.images * 255) / 255
    outputs = numpy_mean(*(each(seen) for each in classifiers))
    np.testing.assert_allclose(outputs, TARGETS, atol=0.05)


def test_a_class_that_no_classifier_gives_leaves_the_gradient_finite():
    closed = [lambda images: classify(images).at[:, 3].set(-jnp.inf)] * 2
    target = jnp.array([[0.5, 0.5, 0.0, 0.0]])
    found = synthesize(mean_classifier(closed), IMAGES[:1], target, steps=50)
    assert found.kl[0] < 0.01


def test_weights_of_a_mean_classifier_are_arguments(compilations):
    def run(seed):
        kernels = np.random.default_rng(seed).normal(size=(2, 90, 4)).astype(np.float32)
        own = [lambda x, kernel=each: (x - 0.5).reshape(len(x), -1) @ kernel for each in kernels]
        return synthesize(mean_classifier(own), IMAGES, TARGETS, steps=2)

    first = run(0)
    with compilations() as names:
        second = run(1)
    assert not {"_update", "_finish"} & set(names)
    assert (first.outputs != second.outputs).any()


def test_classifiers_that_do_not_fit_together_are_refused(compilations):
    others = mean_classifier([classify, lambda images: classify(images)[:, :3]])
    with compilations() as names, pytest.raises(InputError, match=r"\(1, 4\), \(1, 3\)"):
        synthesize(others, IMAGES, TARGETS)
    assert not {*names} & {"_begin", "_update", "_finish"}
    with pytest.raises(InputError, match="at least one classifier, got none"):
        mean_classifier([])
