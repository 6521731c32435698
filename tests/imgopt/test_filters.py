"""Filters, against NumPy's full complex transform and SciPy's Gaussian; random views."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy.ndimage
import scipy.special
import scipy.stats

import imgopt
from imgopt import InputError, gaussian_low_pass, low_pass, to_float
from imgopt.filters import MEASURED_VIEWS_STREAM
from train.augmentation import flip_and_crop

FILTERS = {"low_pass": low_pass(2.5), "gaussian": gaussian_low_pass(0.8)}
SHAPES = [(1, 32, 32, 3), (2, 7, 10, 3), (1, 10, 7, 2), (3, 9, 5, 4), (2, 1, 6, 1), (1, 6, 1, 2)]

every_filter = pytest.mark.parametrize("name", FILTERS)


def noise(shape):
    return jnp.asarray(np.random.default_rng(0).uniform(size=shape), jnp.float32)


def paper_low_pass(images, radius):
    """A, 2.2.3 in float64: all h·w complex coefficients, DC in the middle."""
    height, width = images.shape[1:3]
    rows = (np.arange(height) - height // 2)[:, None]
    columns = (np.arange(width) - width // 2)[None]
    keep = (rows**2 + columns**2 < radius**2)[None, :, :, None]
    spectrum = np.fft.fftshift(
        np.fft.fft2(np.asarray(images, np.float64), axes=(1, 2)), axes=(1, 2)
    )
    back = np.fft.ifft2(np.fft.ifftshift(spectrum * keep, axes=(1, 2)), axes=(1, 2))
    return back.real.clip(0, 1)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("radius", [0.5, 3, 3.7, 10])
def test_low_pass_is_the_papers(shape, radius):
    images = noise(shape)
    np.testing.assert_allclose(low_pass(radius)(images), paper_low_pass(images, radius), atol=2e-6)


def test_radius_10_keeps_305_of_1024_coefficients():
    dot = np.full((1, 32, 32, 1), 0.5, np.float32)
    dot[0, 3, 4, 0] += 0.25  # its spectrum has equal magnitude everywhere, so the share stays
    kept = (np.asarray(low_pass(10)(jnp.asarray(dot)))[0, 3, 4, 0] - 0.5) / 0.25 * 1024
    assert kept == pytest.approx(305, abs=0.01)


@pytest.mark.parametrize("sigma", [1, 1.5, 3])
def test_gaussian_agrees_with_scipys(sigma):
    images = noise((1, 32, 24, 2))
    expected = scipy.ndimage.gaussian_filter(
        np.asarray(images, np.float64), (0, sigma, sigma, 0), mode="wrap", truncate=8
    )
    # SciPy samples the Gaussian, which differs from a Gaussian spectrum by a little.
    np.testing.assert_allclose(gaussian_low_pass(sigma)(images), expected, atol=2e-3)


def test_gaussian_rings_less_than_the_disc():
    edge = np.zeros((1, 32, 32, 1), np.float32)
    edge[:, :, 8:24] = 0.5
    edge += 0.25
    overshoot = {
        name: float(image_filter(jnp.asarray(edge)).max()) - 0.75
        for name, image_filter in (("disc", low_pass(5)), ("gaussian", gaussian_low_pass(2)))
    }
    assert overshoot["disc"] > 0.03
    assert overshoot["gaussian"] < 1e-6


@every_filter
@pytest.mark.parametrize("level", [0, 0.3, 1])
def test_constant_images_stay(name, level):
    images = jnp.full((2, 5, 8, 3), float(level))
    np.testing.assert_allclose(FILTERS[name](images), images, atol=1e-6)


@every_filter
def test_results_stay_in_range(name):
    images = jnp.round(noise((2, 9, 8, 3)))
    filtered = np.asarray(FILTERS[name](images))
    assert filtered.min() >= 0
    assert filtered.max() <= 1
    assert filtered.shape == images.shape
    assert filtered.dtype == np.float32


@every_filter
def test_channels_do_not_mix(name):
    images = noise((2, 9, 8, 3))
    each = [FILTERS[name](images[..., channel : channel + 1]) for channel in range(3)]
    np.testing.assert_allclose(FILTERS[name](images), np.concatenate(each, -1), atol=1e-6)


@pytest.mark.parametrize("value", [0, -1, float("nan"), "a", None])
@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("factory", [low_pass, gaussian_low_pass])
def test_sizes_not_above_0_are_refused(factory, value):
    with pytest.raises(ValueError, match=f"must be above 0.*got {value!r}"):
        factory(value)


@pytest.mark.parametrize("factory", [low_pass, gaussian_low_pass])
def test_equal_options_give_the_identical_filter(factory):
    assert factory(3.5) is factory(3.5)


# ---- random views

COUNT, STEPS = 7, 3
ORIGINALS = np.random.default_rng(2).integers(0, 256, (COUNT, 6, 5, 3), np.uint8)
TARGETS = np.random.default_rng(3).dirichlet(np.ones(4), COUNT).astype(np.float32)
KERNEL = np.random.default_rng(4).normal(size=(90, 4)).astype(np.float32)
RULE = imgopt.sgd(0.5)
VIEWS = imgopt.Views((imgopt.flip, imgopt.crop(2)), count=3, seed=5)


def classify(images):
    return (2 * images - 1).reshape(len(images), -1) @ jnp.asarray(KERNEL)


def log_p_of(images):
    return scipy.special.log_softmax((2 * np.float64(images) - 1).reshape(-1, 90) @ KERNEL, axis=1)


def kl_of(images, target):
    return (target * (np.log(target) - log_p_of(images))).sum(1)


def windows(image, pad_px):
    """Every window of an image padded with black, the places counted row by row."""
    padded = np.pad(image, ((pad_px, pad_px), (pad_px, pad_px), (0, 0)))
    places = range(2 * pad_px + 1)
    return [padded[y : y + len(image), x : x + image.shape[1]] for y in places for x in places]


def which(outcome, outcomes):
    (found,) = (i for i, each in enumerate(outcomes) if np.array_equal(outcome, each))
    return found


def assert_equally_often(counts):
    assert scipy.stats.chisquare(counts).pvalue > 1e-3


def test_crops_are_all_windows_of_the_padded_image_equally_often():
    image = to_float(ORIGINALS[0])
    keys = jax.random.split(jax.random.key(0), 500)
    found = jax.vmap(imgopt.crop(1), (0, None))(keys, image)
    outcomes = windows(np.asarray(image), 1)
    assert_equally_often(np.bincount([which(each, outcomes) for each in np.asarray(found)]))


def test_half_of_the_flips_mirror_left_to_right():
    image = to_float(ORIGINALS[0])
    keys = jax.random.split(jax.random.key(0), 200)
    found = jax.vmap(imgopt.flip, (0, None))(keys, image)
    outcomes = [np.asarray(image), np.asarray(image)[:, ::-1]]
    assert_equally_often(np.bincount([which(each, outcomes) for each in np.asarray(found)]))


def test_views_are_among_those_of_a_training():
    image = ORIGINALS[0]
    plain, mirrored = windows(image, 2), windows(image[:, ::-1], 2)
    views = VIEWS.draw(jax.random.key(1), to_float(image))
    images = jnp.asarray(ORIGINALS[[0] * 9])
    trained = flip_and_crop(jax.random.key(1), images, flip=True, pad_px=2)
    for each in [*np.asarray(imgopt.to_uint8(views)), *np.asarray(trained)]:
        assert which(each, plain + mirrored) in range(50)
    assert len(np.unique(views, axis=0)) > 1


def test_an_update_descends_the_mean_over_the_views_of_its_own_step():
    identity = imgopt.PixelMap(lambda x: x, lambda w: w)
    options = {"pixel_map": identity, "optimizer": optax.sgd(0.01), "views": VIEWS}
    indices = np.array([4, 0])
    images, targets = to_float(ORIGINALS[indices]), TARGETS[indices]
    found = imgopt.synthesize(classify, images, targets, steps=STEPS, indices=indices, **options)

    @jax.jit
    @jax.grad
    def gradient(image, key, target):
        views = [*VIEWS.draw(key, image)]
        entropies = [optax.softmax_cross_entropy(classify(v[None])[0], target) for v in views]
        return sum(entropies) / len(views)

    for index, image, target, made in zip(indices, images, targets, found.images, strict=True):
        key = jax.random.fold_in(jax.random.key(5), index)
        for step in range(STEPS):
            image = image - 0.01 * gradient(image, jax.random.fold_in(key, step), target)
        np.testing.assert_allclose(made, np.clip(image, 0, 1), atol=1e-5)


def test_the_finished_image_is_measured_on_other_views():
    images = to_float(ORIGINALS)
    found = imgopt.synthesize(classify, images, TARGETS, steps=2, views=VIEWS, optimizer=RULE)
    for i, image in enumerate(to_float(imgopt.to_uint8(found.images))):
        key = jax.random.fold_in(jax.random.key(5), i)
        views = VIEWS.draw(jax.random.fold_in(key, np.uint32(MEASURED_VIEWS_STREAM)), image)
        outputs = np.exp(log_p_of(views))
        np.testing.assert_allclose(found.view_kl[i], kl_of(views, TARGETS[i]).mean(), rtol=1e-4)
        ranks = [(p.argsort() == TARGETS[i].argsort()).all() for p in outputs]
        np.testing.assert_allclose(found.view_ranking[i], np.mean(ranks), rtol=1e-6)


def test_a_view_that_changes_nothing_is_no_view():
    same = imgopt.Views((lambda _, image: image,), count=2)
    images = to_float(ORIGINALS)
    options = {"steps": 9, "tolerance": 0.05, "optimizer": RULE}
    plain = imgopt.synthesize(classify, images, TARGETS, **options)
    found = imgopt.synthesize(classify, images, TARGETS, views=same, **options)
    assert plain.view_kl is None
    assert plain.view_ranking is None
    np.testing.assert_allclose(found.images, plain.images, atol=1e-4)
    np.testing.assert_array_equal(found.steps, plain.steps)
    np.testing.assert_allclose(found.view_kl, found.kl, atol=1e-5)
    ranks = imgopt.ranking_as_asked(found.outputs, TARGETS)
    np.testing.assert_array_equal(found.view_ranking, ranks.astype(np.float32))


def test_images_made_with_views_survive_more_of_them():
    options = {"views": imgopt.Views((imgopt.flip,)), "optimizer": RULE}
    images = to_float(ORIGINALS)
    alone = imgopt.synthesize(classify, images, TARGETS, steps=30, optimizer=RULE).images
    alone = imgopt.synthesize(classify, alone, TARGETS, steps=0, **options)
    robust = imgopt.synthesize(classify, images, TARGETS, steps=30, **options)
    assert robust.view_kl.mean() < 0.3 * alone.view_kl.mean()
    assert robust.view_ranking.mean() > alone.view_ranking.mean()


@pytest.mark.parametrize("chosen", [np.arange(3), np.array([6, 2, 0, 4, 1, 5, 3])])
def test_views_do_not_depend_on_the_batch(chosen):
    def job(chosen):
        parts = imgopt.synthesize_in_batches(
            classify, ORIGINALS[chosen], TARGETS[chosen], batch_size=4, steps=4, views=VIEWS,
            optimizer=RULE, indices=chosen,
        )  # fmt: skip
        return jax.tree.map(lambda *columns: np.concatenate(columns), *parts)

    whole = jax.tree.map(lambda column: column[chosen], job(np.arange(COUNT)))
    jax.tree.map(np.testing.assert_array_equal, job(chosen), whole)


def test_equal_views_compile_nothing_again(compilations):
    def run(seed):
        views = imgopt.Views([imgopt.flip, imgopt.crop(2)], count=2, seed=seed)
        return imgopt.synthesize(
            classify, to_float(ORIGINALS), TARGETS, steps=2, views=views, optimizer=RULE
        )

    first = run(0)
    with compilations() as names:
        again = run(0)
    assert "_update" not in names
    jax.tree.map(np.testing.assert_array_equal, again, first)
    with compilations() as names:
        other = run(1)
    assert "_update" not in names
    assert (other.images != first.images).any()


def smaller(_, image):
    return image[1:]


def halved(_, image):
    return image.astype(np.float16)


def failing(*_):
    raise RuntimeError("no licence")


REFUSED = {
    "no augmentation": (lambda: imgopt.Views(()), r"at least one function .*; got \(\)"),
    "a function alone": (lambda: imgopt.Views(imgopt.flip), "list of at least one function .*flip"),
    "no function": (lambda: imgopt.Views((3,)), r"at least one function .*; got \(3,\)"),
    "no view": (lambda: imgopt.Views((imgopt.flip,), count=0), "count of views .* 1, got 0"),
    "part of a view": (lambda: imgopt.Views((imgopt.flip,), count=1.5), "got 1.5"),
    "negative seed": (lambda: imgopt.Views((imgopt.flip,), seed=-1), "seed of views .* got -1"),
    "crop of nothing": (lambda: imgopt.crop(0), "pad_px must be .*at least 1, got 0"),
    "crop beyond": (
        lambda: imgopt.Views((imgopt.crop(5),)), r"pad_px must be below .*\(6, 5\), got 5"
    ),
    "other size": (lambda: imgopt.Views((smaller,)), r"smaller .*\[6, 5, 3\]; got .*\[5, 5, 3\]"),
    "other type": (lambda: imgopt.Views((halved,)), r"halved .*float32.*; got float16"),
    "failing": (lambda: imgopt.Views((failing,)), "failing cannot take .*: no licence"),
    "no views": (lambda: imgopt.flip, "views must be imgopt.Views or None, got function"),
}  # fmt: skip


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("case", REFUSED)
def test_wrong_views_are_refused(case, compilations):
    make, message = REFUSED[case]
    with compilations() as names, pytest.raises(InputError, match=message):
        imgopt.synthesize(classify, to_float(ORIGINALS), TARGETS, steps=1, views=make())
    assert not {*names} & {"_begin", "_update", "_finish"}
