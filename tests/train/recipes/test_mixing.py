"""Mixing of a batch: targets go with the pixels, and the shares have the distribution asked for."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from imgopt.errors import InputError
from train.recipes.mixing import cutmix, cutout, mix_batch, mixup

KEY = jax.random.key(3)
COUNT, SHAPE, CLASSES = 6, (5, 8), 3
FILL = (0.25, 0.5, 0.75)
RANDOM = np.random.default_rng(0)
TARGETS = RANDOM.dirichlet(np.ones(CLASSES), COUNT).astype(np.float32)
PLAIN = np.broadcast_to(TARGETS[:, None, None], (COUNT, *SHAPE, CLASSES)).copy()
"""Images of one colour, whose channels are the target."""

MIXERS = {
    "mixup": functools.partial(mixup, alpha=0.4),
    "cutmix": functools.partial(cutmix, alpha=1.0),
    "one of both": functools.partial(mix_batch, mixup_alpha=0.4, cutmix_alpha=1.0),
}


@pytest.fixture(scope="module", params=MIXERS)
def mixed(request):
    """A mixer, and what it makes of the images for 20 keys."""
    mix = MIXERS[request.param]
    keys = jax.random.split(KEY, 20)
    return mix, keys, jax.jit(jax.vmap(mix, (0, None, None)))(keys, PLAIN, TARGETS)


def test_targets_are_mixed_as_the_pixels_are(mixed):
    _, _, (images, targets) = mixed
    np.testing.assert_allclose(images.mean((2, 3)), targets, atol=1e-6)
    assert (abs(np.asarray(targets) - TARGETS).max((1, 2)) > 1e-3).sum() > 10


def test_targets_stay_distributions_and_images_in_range(mixed):
    _, _, (images, targets) = mixed
    np.testing.assert_allclose(targets.sum(-1), 1, atol=1e-6)
    assert targets.min() >= 0
    assert 0 <= images.min() <= images.max() <= 1


def test_compiled_and_eager_agree_and_the_key_decides(mixed):
    mix, keys, (images, targets) = mixed
    eager = mix(keys[0], jnp.asarray(PLAIN), jnp.asarray(TARGETS))
    np.testing.assert_allclose(eager.images, images[0], atol=1e-6)
    np.testing.assert_allclose(eager.targets, targets[0], atol=1e-6)
    assert len({np.asarray(each).tobytes() for each in targets}) > 10


@pytest.mark.parametrize("name", ["mixup", "cutmix"])
def test_of_one_alone_mix_batch_is_that_one(name):
    alphas = {"mixup_alpha": 0.0, "cutmix_alpha": 0.0, f"{name}_alpha": 1.0}
    found = mix_batch(KEY, jnp.asarray(PLAIN), jnp.asarray(TARGETS), **alphas)
    key = jax.random.split(KEY)[1]
    alone = {"mixup": mixup, "cutmix": cutmix}[name]
    expected = alone(key, jnp.asarray(PLAIN), jnp.asarray(TARGETS), alpha=1.0)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one, other)


def test_no_mixing_changes_nothing():
    found = mix_batch(
        KEY, jnp.asarray(PLAIN), jnp.asarray(TARGETS), mixup_alpha=0.0, cutmix_alpha=0.0
    )
    np.testing.assert_array_equal(found.images, PLAIN)
    np.testing.assert_array_equal(found.targets, TARGETS)


@pytest.mark.parametrize("alpha", [0.3, 1.0])
def test_the_share_of_mixup_is_from_the_beta_distribution(alpha):
    """Two images, 0 and 1, so that an image's value is its share, if the partner is the other."""
    images = jnp.array([0.0, 1.0])[:, None, None, None]
    targets = jnp.eye(2)
    mix = functools.partial(mixup, alpha=alpha)
    keys = jax.random.split(KEY, 4000)
    found = np.asarray(jax.jit(jax.vmap(lambda key: mix(key, images, targets).images))(keys))
    first = found[:, 0].ravel()
    swapped = np.abs(found[:, 0] + found[:, 1] - 1).ravel() < 1e-6
    shares = first[swapped & (first > 0)]
    assert 1700 < len(shares) < 2300
    assert shares.mean() == pytest.approx(0.5, abs=0.03)
    assert shares.var() == pytest.approx(1 / (4 * (2 * alpha + 1)), rel=0.1)


def test_cutmix_pastes_one_rectangle_for_the_whole_batch():
    values = np.arange(COUNT, dtype=np.float32)
    images = np.broadcast_to(values[:, None, None, None], (COUNT, *SHAPE, 1)) / COUNT
    found = np.asarray(jax.jit(MIXERS["cutmix"])(jax.random.key(1), images, TARGETS).images)
    changed = (found != images).any(0)[..., 0]
    rows, columns = np.flatnonzero(changed.any(1)), np.flatnonzero(changed.any(0))
    assert 0 < changed.sum() < changed.size
    assert changed.sum() == len(rows) * len(columns)
    assert rows[-1] - rows[0] + 1 == len(rows)


def test_cutout_covers_a_square_that_the_border_may_cut():
    images = np.zeros((200, *SHAPE, 3), np.float32) - 1
    cover = functools.partial(cutout, side_px=3, fill=FILL)
    found = np.asarray(jax.jit(cover)(KEY, images))
    np.testing.assert_array_equal(found, cover(KEY, jnp.asarray(images)))
    covered = (found == np.array(FILL, np.float32)).all(-1)
    np.testing.assert_array_equal(found[~covered], -1)
    places = set()
    for each in covered:
        rows, columns = np.flatnonzero(each.any(1)), np.flatnonzero(each.any(0))
        assert each.sum() == len(rows) * len(columns)
        assert 2 <= len(rows) <= 3
        assert 2 <= len(columns) <= 3
        places.add((rows[0] + len(rows), columns[0] + len(columns)))
    assert len(places) > SHAPE[0] * SHAPE[1] / 2


@pytest.mark.parametrize("mix", [mixup, cutmix])
@pytest.mark.parametrize("alpha", [0.0, -1.0, float("nan")])
def test_an_alpha_that_is_not_above_0_is_refused(mix, alpha):
    with pytest.raises(InputError, match=f"alpha must be above 0, got {alpha}"):
        mix(KEY, jnp.asarray(PLAIN), jnp.asarray(TARGETS), alpha=alpha)
