"""`synthesize`: what it promises of every single image."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy.special

from imgopt import (
    arctan_map,
    gaussian_low_pass,
    low_pass,
    momentum_sgd,
    polyak,
    polyak_lbfgs,
    sgd,
    sigmoid_map,
    synthesize,
    tanh_map,
    to_float,
    to_uint8,
    two_class_targets,
)

pytestmark = pytest.mark.usefixtures("compiled_as_users_do")

SHAPE = (6, 5, 7, 3)
NUM_CLASSES = 4
RANDOM = np.random.default_rng(7)
IMAGES = RANDOM.integers(0, 256, SHAPE).astype(np.float32) / 255
IMAGES[0, 0, :2] = [[0, 0, 1], [1, 0, 0]]
KERNEL = RANDOM.normal(size=(5 * 7 * 3, NUM_CLASSES))
TARGETS = np.asarray(
    two_class_targets(jax.random.key(0), np.arange(6) % NUM_CLASSES, num_classes=NUM_CLASSES)
)
FAST = {"optimizer": sgd(learning_rate=0.5)}


def linear(images):
    return images.reshape(len(images), -1) @ jnp.asarray(KERNEL, jnp.float32)


def linear_with(kernel, images):
    return images.reshape(len(images), -1) @ kernel


def curved(images):
    """Smooth and not linear."""
    return linear(jnp.tanh(3 * images - 1) + images**2)


def mixing(images):
    """What batch norm in training mode would do: an image's logits hang on its neighbours."""
    return linear(images - 0.5 * images.mean(0, keepdims=True))


def outputs_of(images):
    return scipy.special.softmax(np.float64(images).reshape(len(images), -1) @ KERNEL, axis=1)


def kl_of(images, targets):
    return scipy.special.rel_entr(targets, outputs_of(images)).sum(1)


def assert_same_bits(found, expected):
    jax.tree.map(np.testing.assert_array_equal, found, expected)


def rows(result, chosen):
    return jax.tree.map(lambda leaf: leaf[np.asarray(chosen)], result)


def test_polyaks_step_is_the_default():
    options = {"optimizer": polyak_lbfgs(), "pixel_map": arctan_map(), "tolerance": None}
    found = synthesize(linear, IMAGES, TARGETS, steps=3)
    assert_same_bits(found, synthesize(linear, IMAGES, TARGETS, steps=3, **options))


def test_measures_are_those_of_the_rounded_image():
    found = synthesize(linear, IMAGES, TARGETS, steps=30)
    rounded = np.round(np.asarray(found.images, np.float64) * 255) / 255
    outputs = outputs_of(rounded)
    np.testing.assert_allclose(found.outputs, outputs, atol=1e-5)
    np.testing.assert_allclose(found.kl, kl_of(rounded, TARGETS), atol=1e-5)
    np.testing.assert_allclose(found.max_error, np.abs(outputs - TARGETS).max(1), atol=1e-5)


@pytest.mark.parametrize(
    ("pixel_map", "image_filter"),
    [
        (tanh_map(), None),
        (sigmoid_map(), low_pass(2)),
        (arctan_map(margin=1e-4), gaussian_low_pass(0.5)),
    ],
)
def test_every_map_and_filter_comes_closer_to_the_target(pixel_map, image_filter):
    options = {"pixel_map": pixel_map, "image_filter": image_filter, "optimizer": sgd()}
    before = synthesize(linear, IMAGES, TARGETS, steps=0, **options)
    after = synthesize(linear, IMAGES, TARGETS, steps=40, **options)
    assert (after.kl < before.kl).all()
    filtered = image_filter or (lambda images: images)
    weights = pixel_map.to_weights(jnp.asarray(IMAGES))
    np.testing.assert_allclose(before.images, filtered(pixel_map.to_image(weights)), atol=1e-6)


@pytest.mark.parametrize("classify", [linear, curved, mixing])
def test_an_images_bits_do_not_depend_on_order_and_neighbours(classify):
    options = {"steps": 12, **FAST}
    result = synthesize(classify, IMAGES, TARGETS, **options)
    order = np.array([4, 2, 5, 0, 3, 1])
    permuted = synthesize(classify, IMAGES[order], TARGETS[order], **options)
    assert_same_bits(permuted, rows(result, order))
    others, other_targets = IMAGES[::-1].copy(), TARGETS[::-1].copy()
    others[3], other_targets[3] = IMAGES[3], TARGETS[3]
    beside_others = synthesize(classify, others, other_targets, **options)
    assert_same_bits(rows(beside_others, [3]), rows(result, [3]))


def test_with_a_tolerance_every_image_stops_by_itself():
    images, targets = IMAGES.copy(), TARGETS.copy()
    targets[2] = outputs_of(images[2:3])[0]  # asks for what is there
    tolerance = 0.05
    result = synthesize(linear, images, targets, steps=500, tolerance=tolerance, **FAST)
    assert result.steps[2] == 0
    assert len(set(result.steps.tolist())) > 3
    assert 0 < result.steps.max() < 500
    assert (kl_of(result.images, targets) <= tolerance + 1e-5).all()
    for i, steps in enumerate(result.steps.tolist()):
        exact = synthesize(linear, images, targets, steps=steps, **FAST)
        assert_same_bits(rows(exact, [i]), rows(result, [i]))
        if steps:
            before = synthesize(linear, images, targets, steps=steps - 1, **FAST)
            assert kl_of(before.images, targets)[i] > tolerance - 1e-5


@pytest.mark.parametrize(
    "options",
    [{"steps": 0}, {"steps": 9}, {"steps": 60, "tolerance": 0.05}, {"steps": 9, "tolerance": 0.0}],
)
def test_looping_on_the_device_is_looping_from_the_host(monkeypatch, options):
    """On CPUs the host calls every update, elsewhere the device loops; here it does both."""
    options = {**options, **FAST}
    from_host = synthesize(linear, IMAGES, TARGETS, **options)
    monkeypatch.setattr("imgopt.job.loops_on_host", lambda *_: False)
    on_device = synthesize(linear, IMAGES, TARGETS, **options)
    close = functools.partial(np.testing.assert_allclose, atol=1e-5)
    jax.tree.map(close, on_device, from_host)


def test_max_error_is_a_criterion_too():
    options = {"steps": 500, "tolerance": 0.02, **FAST}
    result = synthesize(linear, IMAGES, TARGETS, criterion="max_error", **options)
    worst = np.abs(outputs_of(result.images) - TARGETS).max(1)
    assert (worst <= 0.02 + 1e-5).all()
    assert (worst > 0.01).all()  # it did not go on for long
    by_kl = synthesize(linear, IMAGES, TARGETS, **options)
    assert (by_kl.steps != result.steps).any()


def test_out_of_reach_an_image_takes_all_steps():
    result = synthesize(linear, IMAGES, TARGETS, steps=4, tolerance=0.0)
    assert result.steps.tolist() == [4] * 6


def test_no_steps_give_the_original_back():
    result = synthesize(linear, IMAGES, TARGETS, steps=0)
    np.testing.assert_allclose(result.images, IMAGES.clip(1e-3, 1 - 1e-3), atol=1e-6)
    np.testing.assert_array_equal(to_uint8(result.images), np.round(255 * IMAGES))
    np.testing.assert_allclose(result.outputs, outputs_of(IMAGES), atol=1e-5)
    assert result.steps.tolist() == [0] * 6


@pytest.mark.parametrize(
    ("pixel_map", "expected"),
    [
        # sin²(π/255)/π = 4.8e-5 moves, sin²(π/1000)/π = 3e-6 does not.
        (arctan_map(), [(8 + 3) / 120, 1 / 3]),
        (sigmoid_map(), [0, 0]),  # its slope at the margin is 1e-3
    ],
)
def test_frozen_counts_the_originals_pixels_at_the_ends(pixel_map, expected):
    levels = np.zeros((2, 5, 8, 3), np.uint8)
    levels[0] = 128
    levels[0, 0, :, 0] = 255
    levels[0, 1, :3, 1] = 0
    levels[1, :, :, :2] = 1
    targets = np.full((2, 3), 1 / 3, np.float32)
    result = synthesize(
        lambda images: images.mean((1, 2)), to_float(levels), targets, steps=1, pixel_map=pixel_map
    )
    np.testing.assert_allclose(result.frozen, expected, atol=1e-6)


def test_equal_options_compile_once(compilations):
    classify = jax.tree_util.Partial(linear_with, jnp.asarray(KERNEL, jnp.float32))
    retrained = jax.tree_util.Partial(linear_with, jnp.asarray(KERNEL[::-1].copy(), jnp.float32))

    def run(function, images, **changes):
        options = {
            "optimizer": momentum_sgd(learning_rate=0.125),
            "pixel_map": arctan_map(margin=5e-4),
            "image_filter": low_pass(3),
            **changes,
        }
        return synthesize(function, images, TARGETS, **options)

    with compilations() as names:
        first = run(classify, IMAGES, steps=2)
    assert names.count("_update") == 1
    with compilations() as names:
        run(classify, IMAGES[::-1], steps=3)
        run(classify, IMAGES, steps=3, tolerance=0.5)
        other = run(retrained, IMAGES, steps=2)
    assert not {"_begin", "_update", "_finish"} & set(names)
    assert (first.outputs != other.outputs).any()


@pytest.mark.parametrize(
    "optimizer",
    [optax.adam(0.1), optax.chain(optax.clip_by_global_norm(0.1), optax.sgd(0.5))],
    ids=["adam", "clip by global norm"],
)
def test_rules_that_look_at_all_weights_see_one_image(optimizer):
    result = synthesize(linear, IMAGES, TARGETS, optimizer=optimizer, steps=10)
    alone = synthesize(linear, IMAGES[2:3], TARGETS[2:3], optimizer=optimizer, steps=10)
    np.testing.assert_allclose(alone.images[0], result.images[2], atol=1e-5)
    assert (result.kl < synthesize(linear, IMAGES, TARGETS, steps=0).kl).all()


def test_another_classifier_can_measure():
    def other(images):
        return linear(images[:, ::-1])

    result = synthesize(linear, IMAGES, TARGETS, steps=5, measure=other)
    plain = synthesize(linear, IMAGES, TARGETS, steps=5)
    np.testing.assert_array_equal(result.images, plain.images)
    as_read = np.asarray(to_float(to_uint8(result.images)))
    np.testing.assert_allclose(result.outputs, outputs_of(as_read[:, ::-1]), atol=1e-5)


@pytest.mark.parametrize("tolerance", [None, 0.05])
def test_nan_logits_of_one_image_do_not_disturb_its_neighbours(tolerance):
    def nan_for_white(images):
        return linear(images) + jnp.where(images.mean((1, 2, 3)) > 0.9, jnp.nan, 0.0)[:, None]

    images = IMAGES.copy()
    images[1] = 1
    options = {"steps": 15, "tolerance": tolerance, **FAST}
    result = synthesize(nan_for_white, images, TARGETS, **options)
    healthy = synthesize(nan_for_white, IMAGES, TARGETS, **options)
    others = [0, 2, 3, 4, 5]
    assert_same_bits(rows(result, others), rows(healthy, others))
    assert np.isnan(result.images[1]).all()
    assert np.isfinite(healthy.images).all()


def nan_gradient_for_bright(images):
    """Logits are finite at first; the gradient of bright images is not."""
    logits = linear(images)
    brightness = images.mean((1, 2, 3))
    root = jnp.sqrt(jnp.where(brightness > 0.75, 0 * brightness, 1.0))
    return logits + root[:, None]


def litter():
    """Fills memory with a number and frees it, so that what is read by mistake shows."""
    for size in (4, 16, 64, 256, 1024, 4096):
        junk = [jnp.full(size, 12345.0) + 0 for _ in range(50)]
        jax.block_until_ready(junk)
        del junk


@pytest.mark.parametrize("tolerance", [None, 0.01])
def test_measures_of_an_image_that_is_not_finite_are_nan(tolerance):
    images = 0.2 + 0.5 * IMAGES
    images[1] = 0.9
    for _ in range(5):
        litter()
        result = synthesize(
            nan_gradient_for_bright, images, TARGETS, steps=3, tolerance=tolerance,
            optimizer=sgd(0.5),
        )  # fmt: skip
        assert np.isnan(result.images[1]).any()
        for measured in (result.outputs, result.kl, result.max_error):
            assert np.isnan(measured[1]).all()
            assert np.isfinite(np.delete(measured, 1, axis=0)).all()
            assert (np.abs(np.delete(measured, 1, axis=0)) < 100).all()


def with_minus_infinity(images):
    return jnp.where(jnp.arange(4)[None] == 2, -jnp.inf, linear(images))


def test_a_class_without_probability_counts_nothing_where_none_is_asked_for():
    targets = np.tile(np.float32([0.5, 0.3, 0.0, 0.2]), (6, 1))
    result = synthesize(with_minus_infinity, IMAGES, targets, steps=20)
    before = synthesize(with_minus_infinity, IMAGES, targets, steps=0)
    assert np.isfinite(result.images).all()
    assert (result.kl < before.kl).all()
    assert (result.outputs[:, 2] == 0).all()
    asked = synthesize(with_minus_infinity, IMAGES, np.full_like(targets, 0.25), steps=0)
    assert np.isinf(asked.kl).all()


def test_measures_of_logits_that_are_nan_are_nan():
    def nan_where_bright(images):
        bright = (images.mean((1, 2, 3)) >= 0.5)[:, None]
        return jnp.where(bright, jnp.nan, linear(images))

    images = 0.8 * IMAGES
    images[1] = images[4] = 0.9
    for _ in range(3):
        litter()
        result = synthesize(nan_where_bright, images, TARGETS, steps=0)
        for measured in (result.outputs, result.kl, result.max_error):
            assert np.isnan(np.asarray(measured)[[1, 4]]).all()
            assert np.isfinite(np.delete(measured, [1, 4], axis=0)).all()
    assert np.isfinite(result.images).all()


@pytest.mark.parametrize("optimizer", [polyak(), polyak_lbfgs(), sgd()])
def test_black_and_white_images_are_not_turned_over(optimizer):
    """Their pixels can hardly move, and their gradient nearly vanishes."""
    drawings = (np.random.default_rng(0).uniform(size=IMAGES.shape) < 0.5).astype(np.float32)
    result = synthesize(linear, drawings, TARGETS, steps=10, optimizer=optimizer)
    before = synthesize(linear, drawings, TARGETS, steps=0)
    assert (np.abs(result.images - drawings).mean((1, 2, 3)) < 0.02).all()
    assert (result.kl < before.kl + 1e-3).all()


@pytest.mark.slow
def test_a_line_search_works_with_64_bit_types():
    with jax.enable_x64(True):
        result = synthesize(linear, IMAGES, TARGETS, steps=5, optimizer=optax.lbfgs())
        before = synthesize(linear, IMAGES, TARGETS, steps=0)
    assert (result.kl < before.kl).all()
