"""The laws that every attack keeps, and its steps against the formulas in plain NumPy and optax."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy.special
from jax.test_util import check_grads

import imgopt

SHAPE, CLASSES, COUNT = (4, 5, 3), 4, 6
RANDOM = np.random.default_rng(0)
FIRST = RANDOM.normal(size=(60, 16)).astype(np.float32)
SECOND = RANDOM.normal(size=(16, CLASSES)).astype(np.float32)
IMAGES = (RANDOM.integers(0, 256, (COUNT, *SHAPE)) / 255).astype(np.float32)
IMAGES[0, 0, 0], IMAGES[1, 0, 0] = 0, 1
RADIUS = 12 / 255

ATTACKS = {
    "fgsm": (imgopt.fgsm(RADIUS), 1, "linf"),
    "fgsm l2": (imgopt.fgsm(0.2, norm="l2"), 1, "l2"),
    "pgd": (imgopt.pgd(RADIUS, seed=3), 9, "linf"),
    "pgd from the image": (imgopt.pgd(RADIUS, random_start=False), 9, "linf"),
    "pgd l2": (imgopt.pgd(0.2, norm="l2", step_size=0.1), 9, "l2"),
    "smallest": (imgopt.smallest_perturbation(searches=4, search_updates=6), 24, None),
}
RADII = {"linf": RADIUS, "l2": 0.2}
every_attack = pytest.mark.parametrize("name", ATTACKS)


def classify(images):
    hidden = jnp.tanh((images.reshape(len(images), -1) - 0.5) @ jnp.asarray(FIRST))
    return hidden @ jnp.asarray(SECOND)


LABELS = np.asarray(classify(IMAGES)).argmax(1)
OTHERS = ((1 - np.eye(CLASSES))[LABELS] / (CLASSES - 1)).astype(np.float32)
NEXT = np.eye(CLASSES, dtype=np.float32)[(LABELS + 1) % CLASSES]


@functools.cache
def attacked(name):
    """The images after an attack that leads half of them to another class, half to any."""
    return np.asarray(run(name, targets=np.concatenate([OTHERS[:3], NEXT[3:]])).images)


def run(name, *, targets=OTHERS, rows=slice(None), **options):
    rule, steps, norm = ATTACKS[name]
    loss = imgopt.margin if norm is None else imgopt.excluded_log_probability
    given = {"optimizer": rule, "pixel_map": imgopt.identity_map(), "loss": loss, **options}
    indices = np.arange(COUNT)[rows]
    return imgopt.synthesize(
        classify, IMAGES[rows], targets[rows], steps=steps, indices=indices, **given
    )


def cross_entropy(images, labels=LABELS):
    return optax.losses.softmax_cross_entropy_with_integer_labels(
        classify(jnp.asarray(images)), jnp.asarray(labels)
    )


@every_attack
def test_images_stay_in_the_ball_and_in_range(name):
    images, norm = attacked(name).astype(np.float64), ATTACKS[name][2]
    assert images.min() >= 0
    assert images.max() <= 1
    changes = (images - IMAGES).reshape(COUNT, -1)
    assert (np.abs(changes).max(1) > 1e-4).all()
    if norm is not None:
        lengths = np.linalg.norm(changes, ord={"linf": np.inf, "l2": 2}[norm], axis=1)
        assert lengths.max() < RADII[norm] + 1e-6
    if norm == "linf":  # a whole number of grey levels, so that rounding does not lead out
        assert np.abs(np.round(255 * images) - np.round(255 * IMAGES)).max() <= 12


@every_attack
def test_an_image_does_not_depend_on_its_batch(name):
    for i in range(2):
        alone = run(name, rows=[i]).images[0]
        np.testing.assert_allclose(alone, attacked(name)[i], atol=2e-6)


@every_attack
def test_traced_is_what_the_compiled_loop_gives(name):
    traced = jax.jit(functools.partial(run, name, rows=slice(3)))()
    np.testing.assert_allclose(traced.images, attacked(name)[:3], atol=2e-6)


@every_attack
def test_a_second_attack_compiles_nothing(name, compilations):
    attacked(name)
    with compilations() as names:
        run(name)
    assert not [each for each in names if "_update" in each]


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_fgsm_is_the_formula_and_one_step_of_pgd(norm):
    radius = RADII[norm]
    gradient = np.asarray(jax.grad(lambda x: cross_entropy(x).sum())(jnp.asarray(IMAGES)))
    lengths = np.linalg.norm(gradient.reshape(COUNT, -1), axis=1)[:, None, None, None]
    step = {"linf": np.sign(gradient), "l2": gradient / lengths}[norm]
    expected = np.clip(IMAGES + radius * step, 0, 1)
    name = {"linf": "fgsm", "l2": "fgsm l2"}[norm]
    np.testing.assert_allclose(run(name).images, expected, atol=2e-6)
    one_step = imgopt.pgd(radius, norm=norm, step_size=radius, random_start=False)
    np.testing.assert_array_equal(run(name, optimizer=one_step).images, run(name).images)


def test_targeted_fgsm_descends_the_cross_entropy_to_the_target():
    found = run("fgsm", targets=NEXT, loss=None)
    labels = NEXT.argmax(1)
    gradient = jax.grad(lambda x: cross_entropy(x, labels).sum())(jnp.asarray(IMAGES))
    expected = np.clip(IMAGES - RADIUS * np.sign(gradient), 0, 1)
    np.testing.assert_allclose(found.images, expected, atol=2e-6)


@pytest.mark.parametrize(("pgd", "fgsm"), [("pgd", "fgsm"), ("pgd l2", "fgsm l2")])
def test_pgd_raises_the_loss_at_least_as_much_as_fgsm(pgd, fgsm):
    losses = [float(cross_entropy(images).mean()) for images in (IMAGES, run(fgsm).images)]
    losses += [float(cross_entropy(run(pgd).images).mean())]
    assert losses[0] < losses[1] < losses[2]


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_random_starts_are_uniform_and_of_the_image_and_seed(norm):
    grey = np.full((400, 1, 2, 3), 0.5, np.float32)

    def starts(seed):
        found = imgopt.synthesize(
            lambda x: x.reshape(len(x), -1)[:, :CLASSES],
            grey,
            np.repeat(OTHERS[:1], 400, 0),
            steps=1,
            optimizer=imgopt.pgd(0.25, norm=norm, seed=seed),
            pixel_map=imgopt.identity_map(),
        )
        return (np.asarray(found.images) - grey).reshape(400, -1) / 0.25

    changes = starts(1)
    assert np.abs(starts(2) - changes).max() > 0.1
    assert np.abs(changes.mean(0)).max() < 0.15
    lengths = np.linalg.norm(changes, ord=np.inf if norm == "linf" else 2, axis=1)
    # The share of a ball's volume within a point's distance is uniform on [0, 1].
    shares = np.sort(lengths**6)
    assert np.abs(shares - np.linspace(0, 1, 400)).max() < 0.1


def numpy_losses(log_p, target):
    excluded = scipy.special.logsumexp(log_p[target == 0])
    asked = target == target.max()
    return excluded, log_p[~asked].max() - log_p[asked].max()


@pytest.mark.parametrize("target", [[0, 0.2, 0.8, 0], [1, 0, 0, 0], [0, 0.5, 0.25, 0.25]])
def test_losses_are_numpys_and_have_their_gradients(target):
    log_p = scipy.special.log_softmax(np.array([0.4, -0.9, 0.2, 1.3]))
    with jax.enable_x64(True):
        for loss, expected in zip(
            (imgopt.excluded_log_probability, imgopt.margin),
            numpy_losses(log_p, np.array(target)),
            strict=True,
        ):
            asked = jnp.asarray(target, np.float64)
            of_log_p = jax.jit(functools.partial(loss, target=asked))
            np.testing.assert_allclose(of_log_p(jnp.asarray(log_p)), expected, rtol=1e-12)
            check_grads(of_log_p, (jnp.asarray(log_p),), order=1, modes=["rev"])


@pytest.mark.parametrize("loss", [imgopt.excluded_log_probability, imgopt.margin])
def test_classes_that_a_classifier_rules_out_spoil_no_gradient(loss):
    def of(logits):
        return loss(jax.nn.log_softmax(logits), jnp.array([0.5, 0.5, 0.0]))

    logits = jnp.array([0.3, 0.1, -jnp.inf])
    assert np.isfinite(jax.grad(of)(logits)[:2]).all()
    assert not np.isnan(jax.grad(of)(logits)).any()


REFUSED = {
    "radius": (lambda: imgopt.pgd(0.0), "radius must be above 0 and finite, got 0.0"),
    "radius as text": (lambda: imgopt.fgsm("8"), "radius must be above 0 and finite, got '8'"),
    "endless": (lambda: imgopt.pgd(float("inf")), "radius must be above 0 and finite, got inf"),
    "step": (lambda: imgopt.pgd(step_size=-1.0), "step_size must be above 0"),
    "norm": (lambda: imgopt.pgd(norm="l1"), 'norm must be "linf" or "l2", got \'l1\''),
    "searches": (lambda: imgopt.smallest_perturbation(searches=0), "searches must be an integer"),
    "updates": (lambda: imgopt.smallest_perturbation(search_updates=1.5), "search_updates.*1.5"),
    "levels": (lambda: imgopt.smallest_perturbation(levels=0), "levels must be None or an integer"),
    "loss": (lambda: run("fgsm", loss="ce"), "loss must be a function.*got 'ce'"),
}


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("case", REFUSED)
def test_wrong_options_are_refused(case):
    make, message = REFUSED[case]
    with pytest.raises(imgopt.InputError, match=message):
        make()
