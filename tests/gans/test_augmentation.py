"""The laws that every differentiable augmentation keeps, and what each does to an image.

References are NumPy's and SciPy's; magnitudes stand here as in Zhao et al. 2020 and its code.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from gans.augmentation import AUGMENTATIONS, augment
from gans.options.training import check_augmentations

ALL = tuple(AUGMENTATIONS)
COMPILED = {name: jax.jit(member) for name, member in AUGMENTATIONS.items()}
MAPPED = {
    name: jax.jit(jax.vmap(member, in_axes=(0, None))) for name, member in AUGMENTATIONS.items()
}
SHAPE = (9, 17, 3)  # small, but large enough to move both ways
IMAGES = jnp.asarray(np.random.default_rng(3).uniform(-1, 1, (3, *SHAPE)), jnp.float32)

compiled_augment = jax.jit(augment, static_argnums=2)
every_member = pytest.mark.parametrize("name", ALL)


def image_of(*shape):
    return np.random.default_rng(3).uniform(-1, 1, shape).astype(np.float32)


def keys(count, seed=0):
    return jax.random.split(jax.random.key(seed), count)


def many_of(name, image, count=500):
    """One image, augmented by many keys."""
    return np.asarray(MAPPED[name](keys(count), image))


# ---- laws


@every_member
def test_mapped_equals_looped_and_compiled_eager(name):
    mapped = MAPPED[name](keys(500), IMAGES[0])
    assert mapped.shape == (500, *SHAPE)
    assert mapped.dtype == jnp.float32
    looped = [COMPILED[name](key, IMAGES[0]) for key in keys(500)[:5]]
    np.testing.assert_allclose(mapped[:5], np.stack(looped), rtol=1e-6, atol=1e-6)
    eager = AUGMENTATIONS[name](keys(500)[0], IMAGES[0])
    np.testing.assert_allclose(eager, looped[0], rtol=1e-6, atol=1e-6)


@every_member
def test_the_key_decides(name):
    first, again, other = (
        np.asarray(COMPILED[name](jax.random.key(seed), IMAGES[0])) for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


@every_member
def test_gradient_is_the_finite_difference(name):
    """However large the difference is: each is linear in the image, but for a constant."""
    weights = image_of(*SHAPE)[::-1]
    gradient_of = jax.jit(
        jax.grad(lambda image, key: (AUGMENTATIONS[name](key, image) * weights).sum())
    )
    change = np.asarray(IMAGES[2] - IMAGES[1])
    for key in keys(3):
        ends = [np.float64(COMPILED[name](key, image)) for image in IMAGES[1:]]
        gradient = np.float64(gradient_of(IMAGES[0], key))
        np.testing.assert_allclose(
            (gradient * change).sum(), (weights * (ends[1] - ends[0])).sum(), rtol=1e-4, atol=1e-4
        )
        assert np.abs(gradient).max() > 0.1


# ---- all together


def test_an_image_is_changed_by_its_own_key_alone():
    key = jax.random.key(4)
    whole = np.asarray(compiled_augment(key, IMAGES, ALL))
    np.testing.assert_allclose(compiled_augment(key, IMAGES[:1], ALL), whole[:1], atol=1e-6)
    changed = compiled_augment(key, IMAGES.at[:2].multiply(-1), ALL)
    np.testing.assert_array_equal(changed[2], whole[2])
    same = compiled_augment(key, jnp.stack([IMAGES[0]] * 3), ALL)
    assert len(np.unique(np.asarray(same), axis=0)) == 3


def test_order_is_the_tables_and_each_draws_as_if_alone():
    key = jax.random.key(5)
    found, turned, bright = (
        compiled_augment(key, IMAGES, names)
        for names in (("translation", "brightness"), ("brightness", "translation"), ("brightness",))
    )
    np.testing.assert_array_equal(found, turned)
    expected = compiled_augment(key, bright, ("translation",))
    np.testing.assert_allclose(found, expected, atol=1e-6)
    assert ALL == ("brightness", "saturation", "contrast", "translation", "cut-out")


def test_none_asked_none_done():
    assert augment(jax.random.key(0), IMAGES, ()) is IMAGES


def test_second_call_compiles_nothing(compilations):
    compiled = jax.jit(lambda key, images: augment(key, images, ("contrast", "cut-out")))
    for seed, expected in ((1, 1), (2, 0)):
        call = jax.random.key(seed), IMAGES / seed
        with compilations() as names:
            compiled(*call).block_until_ready()
        assert len(names) == expected


# ---- each


def assert_uniform(numbers, low, high):
    """Kolmogorov and Smirnov's test; 500 numbers off by a fifth of the range would fail it."""
    assert low <= numbers.min()
    assert numbers.max() <= high
    assert stats.kstest(numbers, stats.uniform(low, high - low).cdf).pvalue > 0.01


def test_brightness_adds_one_number():
    difference = many_of("brightness", IMAGES[0]) - IMAGES[:1]
    np.testing.assert_allclose(np.ptp(difference, axis=(1, 2, 3)), 0, atol=1e-6)
    assert_uniform(difference[:, 0, 0, 0], -0.5, 0.5)


def assert_scaled(found, middle, low, high):
    """Every result is `middle` plus the image's difference from it, times one uniform number."""
    difference = np.asarray(IMAGES[0]) - middle
    factors = ((found - middle) * difference).sum((1, 2, 3)) / (difference**2).sum()
    expected = middle + factors[:, None, None, None] * difference
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert_uniform(factors, low, high)


def test_saturation_scales_what_is_not_grey():
    grey = np.asarray(IMAGES[0]).mean(-1, keepdims=True)
    assert_scaled(many_of("saturation", IMAGES[0]), grey, 0, 2)


def test_contrast_scales_what_is_not_the_mean():
    assert_scaled(many_of("contrast", IMAGES[0]), np.asarray(IMAGES[0]).mean(), 0.5, 1.5)


def moved(image, down, right):
    """By `numpy.roll` with what comes round again put out."""
    result = np.roll(image, (down, right), (0, 1))
    result[: max(down, 0)] = result[len(image) + min(down, 0) :] = 0
    result[:, : max(right, 0)] = result[:, image.shape[1] + min(right, 0) :] = 0
    return result


@pytest.mark.parametrize(("size", "most"), [((17, 24), (2, 3)), ((6, 32), (0, 4))])
def test_translation_moves_by_up_to_an_eighth(size, most):
    image = image_of(*size, 1)
    places = {
        moved(image, down, right).tobytes(): (down, right)
        for down in range(-most[0], most[0] + 1)
        for right in range(-most[1], most[1] + 1)
    }
    found = [places[result.tobytes()] for result in many_of("translation", jnp.asarray(image))]
    assert set(found) == set(places.values())


@pytest.mark.parametrize("size", [(6, 8), (5, 9), (2, 3)])
def test_cutting_out_zeroes_one_rectangle_of_half_the_size(size):
    """Every middle in the image comes up: an odd side's is a pixel, an even one's a border."""
    image = 2 + image_of(*size, 2)
    expected = set()
    for middle in np.ndindex(*(length + (length // 2 + 1) % 2 for length in size)):
        stretches = []
        for place, length in zip(middle, size, strict=True):
            start = place - length // 2 // 2
            stretches.append(slice(max(start, 0), start + length // 2))
        cut = image.copy()
        cut[tuple(stretches)] = 0
        expected.add(cut.tobytes())
    found = {result.tobytes() for result in many_of("cut-out", jnp.asarray(image), 1000)}
    assert found == expected


# ---- bad input


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("names", "message"),
    [
        (("hue", "contrast", "cutout"), "unknown augmentations hue, cutout; .* of brightness, .*"),
        (("contrast", "contrast"), r"each once; got \('contrast', 'contrast'\)"),
    ],
)
def test_names_that_cannot_be_are_refused(names, message):
    for call in (lambda: check_augmentations(names), lambda: augment(keys(1)[0], IMAGES, names)):
        with pytest.raises(ValueError, match=message):
            call()
