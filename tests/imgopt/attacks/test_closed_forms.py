"""Attacks of linear classifiers, whose best perturbations are known in closed form or to SciPy."""

import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize

import imgopt

SHAPE = (2, 3, 3)
KERNEL = np.random.default_rng(4).normal(size=(18, 2)).astype(np.float32)
DIRECTION = KERNEL[:, 1] - KERNEL[:, 0]
"""w of the binary classifier f(x) = ⟨w, x⟩ + b, whose class is 1 where f > 0."""

BIAS = np.float32(-0.5 * DIRECTION.sum() - 0.4)


def classify(images):
    values = images.reshape(len(images), -1) @ jnp.asarray(DIRECTION) + BIAS
    return jnp.stack([jnp.zeros_like(values), values], axis=1)


def distances(images):
    return images.reshape(len(images), -1).astype(np.float64) @ DIRECTION + BIAS


def attack(rule, images, *, steps, targets=(0.0, 1.0), loss=None):
    """Moves images of class 0 to class 1."""
    return imgopt.synthesize(
        classify,
        jnp.asarray(images, jnp.float32),
        np.tile(np.float32([targets]), (len(images), 1)),
        steps=steps,
        optimizer=rule,
        pixel_map=imgopt.identity_map(),
        loss=loss,
    )


def mid_grey(count=3):
    """Images with f from -0.2 to -1, so near mid-grey that black and white do not matter."""
    images = np.random.default_rng(5).uniform(0.45, 0.55, (count, *SHAPE))
    missing = np.linspace(-0.2, -1, count) - distances(images)
    moves = missing[:, None] * DIRECTION / (DIRECTION @ DIRECTION)
    return (images + moves.reshape(images.shape)).astype(np.float32)


@pytest.mark.parametrize("goal", ["targeted", "untargeted"])
@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_fgsm_and_pgd_find_the_best_perturbation(norm, goal):
    """For ⟨w, r⟩ within ‖r‖ ≤ ε that is ε·sign(w) in l∞ and ε·w/‖w‖ in l2 (Hölder)."""
    radius, images = 0.3, mid_grey()
    best = np.sign(DIRECTION) if norm == "linf" else DIRECTION / np.linalg.norm(DIRECTION)
    loss = imgopt.excluded_log_probability if goal == "untargeted" else None
    for rule, steps in ((imgopt.fgsm(radius, norm=norm), 1), (imgopt.pgd(radius, norm=norm), 41)):
        found = attack(rule, images, steps=steps, loss=loss).images
        changes = (np.asarray(found) - images).reshape(len(images), -1)
        gain = changes @ DIRECTION / (radius * best @ DIRECTION)
        np.testing.assert_allclose(gain, 1, atol=0.01)
        if steps == 1 or norm == "linf":
            expected = np.broadcast_to(radius * best, changes.shape)
            np.testing.assert_allclose(changes, expected, atol=1e-5)


def test_the_smallest_perturbation_is_the_distance_to_the_plane():
    images = mid_grey()
    rule = imgopt.smallest_perturbation(levels=None)
    found = attack(rule, images, steps=200, loss=imgopt.margin)
    assert (np.asarray(found.outputs)[:, 1] > 0.45).all()
    lengths = np.linalg.norm((np.asarray(found.images) - images).reshape(3, -1), axis=1)
    expected = np.abs(distances(images)) / np.linalg.norm(DIRECTION)
    np.testing.assert_allclose(lengths, expected, rtol=0.01)
    assert (lengths > expected - 1e-6).all()


def test_the_smallest_perturbation_within_the_range_is_scipys():
    """Many pixels are black or white, and may move one way only."""
    random = np.random.default_rng(6)
    images = np.clip(random.normal(0.5, 0.5, (6, *SHAPE)), 0, 1).astype(np.float32)
    images = images[distances(images) < 0]
    assert len(images)
    rule = imgopt.smallest_perturbation(levels=None)
    found = np.asarray(attack(rule, images, steps=200, loss=imgopt.margin).images)
    for image, own in zip(images, found, strict=True):
        x = image.ravel().astype(np.float64)
        best = scipy.optimize.minimize(
            lambda r: r @ r,
            np.zeros(18),
            jac=lambda r: 2 * r,
            bounds=list(zip(-x, 1 - x, strict=True)),
            constraints={
                "type": "ineq",
                "fun": lambda r, x=x: (x + r) @ DIRECTION + BIAS,
                "jac": lambda _: DIRECTION,
            },
        )  # fmt: skip
        assert best.success
        assert np.linalg.norm(own - image) == pytest.approx(np.sqrt(best.fun), rel=0.01)


def test_the_8_bit_image_reaches_its_class():
    images = (np.round(255 * mid_grey(8)) / 255).astype(np.float32)
    rule = imgopt.smallest_perturbation()
    found = attack(rule, images, steps=200, loss=imgopt.margin)
    assert (np.asarray(found.outputs).argmax(1) == 1).all()
    shortest = np.abs(distances(images)) / np.linalg.norm(DIRECTION)
    lengths = np.linalg.norm((np.asarray(found.images) - images).reshape(8, -1), axis=1)
    assert (lengths < shortest + 0.5 / 255 * np.sqrt(18)).all()


def test_an_image_that_is_there_already_or_never_gets_there_stays_as_it_is():
    images = mid_grey()
    rule = imgopt.smallest_perturbation(searches=3, search_updates=4)
    there = attack(rule, images, steps=12, targets=(1.0, 0.0), loss=imgopt.margin)
    np.testing.assert_allclose(there.images, np.round(255 * images) / 255, atol=1e-6)

    def biased(images):
        return classify(images) + jnp.array([[99.0, 0.0]])

    never = imgopt.synthesize(
        biased,
        images,
        np.tile(np.float32([[0, 1]]), (3, 1)),
        steps=12,
        optimizer=rule,
        pixel_map=imgopt.identity_map(),
        loss=imgopt.margin,
    )
    np.testing.assert_allclose(never.images, images, atol=1e-6)
