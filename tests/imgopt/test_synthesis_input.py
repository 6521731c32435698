"""Wrong input of `synthesize`: refused with a clear message before anything is compiled."""

import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from imgopt import InputError, check_targets, iterate, low_pass, synthesize, synthesize_in_batches

SHAPE = (6, 5, 7, 3)
NUM_CLASSES = 4
RANDOM = np.random.default_rng(7)
IMAGES = RANDOM.uniform(size=SHAPE).astype(np.float32)
IMAGES[0, 0, 0] = [0, 1, 0]
KERNEL = RANDOM.normal(size=(5 * 7 * 3, NUM_CLASSES)).astype(np.float32)
TARGETS = np.eye(NUM_CLASSES, dtype=np.float32)[np.arange(6) % 4]


def linear(images):
    return images.reshape(len(images), -1) @ jnp.asarray(KERNEL)


def flat(images):
    return images.mean((1, 2, 3))


def one_more_row(images):
    return jnp.zeros((len(images) + 1, NUM_CLASSES))


def of_another_size(images):
    return images.reshape(len(images), -1) @ jnp.zeros((99, NUM_CLASSES))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"images": IMAGES[0]}, r"shape \(n, h, w, c\), none of them 0; got \(5, 7, 3\)"),
        ({"images": IMAGES[:0], "targets": TARGETS[:0]}, r"none of them 0; got \(0, 5, 7, 3\)"),
        ({"images": np.zeros(SHAPE, np.uint8)}, "floating point .* got uint8; divide .* by 255"),
        ({"images": IMAGES * 255}, r"in \[0, 1\], got values from 0 to 255; divide grey levels"),
        ({"images": IMAGES + 0.02}, r"in \[0, 1\], got values from 0.02 to 1.02"),
        ({"images": IMAGES - 0.02}, r"in \[0, 1\], got values from -0.02 to 0.98"),
        ({"images": np.full(SHAPE, np.nan)}, r"in \[0, 1\], got NaN"),
        ({"classify": of_another_size}, r"cannot take images of shape \(1, 5, 7, 3\)"),
        ({"classify": flat}, r"logits of shape \(1, number of classes\).* returned \(1,\)"),
        (
            {"classify": one_more_row},
            r"logits of shape \(1, number of classes\).* returned \(2, 4\)",
        ),
        ({"classify": lambda x: (linear(x),)}, "must return logits .* returned tuple"),
        ({"targets": TARGETS[:5]}, r"targets must have shape \(6, 4\), got \(5, 4\)"),
        ({"targets": TARGETS * 2}, "must sum to 1; row 0"),
        ({"steps": -1}, "steps must be at least 0, got -1"),
        ({"tolerance": -0.1}, "tolerance must be None or at least 0, got -0.1"),
        ({"tolerance": float("nan")}, "tolerance must be None or at least 0, got nan"),
        ({"tolerance": float("inf")}, "tolerance must be None or at least 0, got inf"),
        ({"criterion": "l2"}, '"kl" or "max_error", got \'l2\''),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_wrong_input_is_refused_before_anything_is_compiled(compilations, changes, message):
    arguments = {"classify": linear, "images": IMAGES, "targets": TARGETS, **changes}
    with compilations() as names, pytest.raises(InputError, match=message):
        synthesize(**arguments)
    assert not {"_begin", "_update", "_finish"} & set(names)


def as_probabilities(images):
    return jax.nn.softmax(linear(images))


@pytest.mark.parametrize("batches", [False, True])
def test_probabilities_in_place_of_logits_are_warned_about(batches):
    levels = np.round(IMAGES * 255).astype(np.uint8)

    def run():
        if batches:
            options = {"batch_size": 4, "steps": 1}
            return list(synthesize_in_batches(as_probabilities, levels, TARGETS, **options))
        return synthesize(as_probabilities, IMAGES, TARGETS, steps=1)

    with pytest.warns(UserWarning, match="look like probabilities"):
        run()


def test_one_warning_serves_all_batches():
    levels = np.round(IMAGES * 255).astype(np.uint8)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        list(synthesize_in_batches(as_probabilities, levels, TARGETS, batch_size=2, steps=0))
        list(iterate(as_probabilities, IMAGES, TARGETS, steps=2))
    assert ["look like probabilities" in str(each.message) for each in caught] == [True, True]


def test_iterating_needs_concrete_values():
    with pytest.raises(ValueError, match=r"concrete values.*take imgopt\.transform"):
        jax.jit(lambda x: list(iterate(linear, x, TARGETS, steps=1)))(IMAGES)


def test_what_measures_is_traced_once_a_call():
    calls = []

    def measure(images):
        calls.append(images.shape)
        return linear(images)

    synthesize(linear, IMAGES, TARGETS, steps=1, measure=measure)
    assert len(calls) == 1


FLAT = {
    "arg max": lambda x: jax.nn.one_hot(linear(x).argmax(1), NUM_CLASSES, dtype=jnp.float32) * 2,
    "rounding": lambda x: jnp.round(linear(x)),
    "integers": lambda x: linear((x * 255).astype(jnp.uint8).astype(jnp.float32)),
    "stopped gradient": lambda x: linear(jax.lax.stop_gradient(x)),
    "constant": lambda x: jnp.ones((len(x), NUM_CLASSES)),
}


@pytest.mark.parametrize("kind", FLAT)
def test_a_gradient_of_zero_is_named(kind):
    with pytest.warns(UserWarning, match="gradient is zero everywhere, so no pixel will move"):
        result = synthesize(FLAT[kind], IMAGES, TARGETS, steps=2)
    still = synthesize(linear, IMAGES, TARGETS, steps=0)
    np.testing.assert_array_equal(result.images, still.images)


def test_one_logit_is_refused():
    with pytest.raises(InputError, match=r"at least 2 classes.* returned \(1, 1\)"):
        synthesize(lambda x: linear(x)[:, :1], IMAGES, np.ones((6, 1), np.float32))


@pytest.mark.parametrize("dtype", [jnp.bfloat16, np.float16])
def test_targets_of_half_precision_are_taken_and_sum_to_1(dtype):
    exact = np.random.default_rng(0).dirichlet(np.ones(NUM_CLASSES), 6).astype(np.float32)
    found = synthesize(linear, IMAGES, jnp.asarray(exact, dtype), steps=4)
    expected = synthesize(linear, IMAGES, exact, steps=4)
    np.testing.assert_allclose(found.kl, expected.kl, atol=0.03)
    checked = check_targets(jnp.asarray(exact, dtype), count=6)
    np.testing.assert_allclose(checked.sum(1), 1, atol=1e-6)


def test_shapes_are_checked_under_jit_too():
    def run(images, targets):
        return synthesize(linear, images, targets, steps=1).kl

    with pytest.raises(InputError, match=r"targets must have shape \(6, 4\), got \(6, 3\)"):
        jax.jit(run)(IMAGES, TARGETS[:, :3])
    with pytest.raises(InputError, match="floating point"):
        jax.jit(run)(np.zeros(SHAPE, np.uint8), TARGETS)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"indices": [0, 1]}, r"indices must be 6 integers.*shape \(2,\)"),
        ({"indices": np.arange(6.0)}, "indices must be 6 integers.*float64"),
        ({"indices": np.full(6, 2**40)}, r"indices must be in \[0, 2\*\*31\)"),
        ({"tolerance": "abc"}, "tolerance must be None or at least 0, got 'abc'"),
        ({"tolerance": np.ones(6)}, "tolerance must be None or at least 0"),
        ({"pixel_map": "tanh"}, r"pixel_map must be one such as imgopt.arctan_map\(\), got 'tanh'"),
        ({"image_filter": 3}, "image_filter must be a function of images, got 3"),
        ({"image_filter": low_pass}, "pixel_map or image_filter cannot make images"),
        ({"image_filter": lambda x: x[..., :1]}, r"keep the images' shape \(5, 7, 3\), got .*1\)"),
        ({"devices": "2"}, "devices must be at least 1.*got 2"),
        ({"steps": True}, "steps must be an integer, got True"),
        ({"optimizer": ()}, "optimizer must be an optax transformation.*got tuple"),
        ({"measure": of_another_size}, r"measure cannot take images of shape \(1, 5, 7, 3\)"),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_an_option_of_another_type_is_refused(options, message):
    with pytest.raises(InputError, match=message):
        synthesize(linear, IMAGES, TARGETS, **options)
