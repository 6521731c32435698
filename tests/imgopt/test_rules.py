"""Update rules: against loops written from the paper's equations in NumPy, and in a synthesis.

Line searches, noise, averages and schedules of optax work there too.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import optax.contrib
import pytest

import imgopt
from imgopt import InputError, momentum_sgd, rule_by_name, sgd, synthesize
from imgopt.programs import standard_promotion

SHAPE = (3, 5, 2)


def paper_sgd(w, gradients, *, learning_rate=0.05, weight_decay=5e-4):
    """A, eq. 6."""
    for gradient in gradients:
        w = w - learning_rate * (gradient + weight_decay * w)
    return w


def paper_momentum(w, gradients, *, learning_rate=0.05, weight_decay=5e-4, momentum=0.9):
    """A, eqs. 7 and 8 to the letter: γ stands in both lines."""
    v = np.zeros_like(w)
    for gradient in gradients:
        v = momentum * v + learning_rate * gradient + learning_rate * weight_decay * w
        w = w - learning_rate * v
    return w


def pytorch_momentum(w, gradients, *, learning_rate=0.05, weight_decay=5e-4, momentum=0.9):
    """The algorithm in the documentation of torch.optim.SGD."""
    v = np.zeros_like(w)
    for gradient in gradients:
        v = momentum * v + gradient + weight_decay * w
        w = w - learning_rate * v
    return w


SGD = {"learning_rate": 0.3, "weight_decay": 0.2}
MOMENTUM = {**SGD, "momentum": 0.5}
CASES = {
    "sgd by default": (sgd(), paper_sgd, {}),
    "sgd": (sgd(**SGD), paper_sgd, SGD),
    "momentum by default": (momentum_sgd(), pytorch_momentum, {}),
    "momentum": (momentum_sgd(**MOMENTUM), pytorch_momentum, MOMENTUM),
    "printed by default": (momentum_sgd(form="printed"), paper_momentum, {}),
    "printed": (momentum_sgd(**MOMENTUM, form="printed"), paper_momentum, MOMENTUM),
}

every_rule = pytest.mark.parametrize("name", CASES)


def start(*batch):
    random = np.random.default_rng(0)
    return random.normal(size=(*batch, *SHAPE)), random.normal(size=(6, *batch, *SHAPE))


def run(rule, weights, gradients):
    """The rule as synthesis uses it, in float32."""
    weights = jax.numpy.asarray(weights, np.float32)
    state = rule.init(weights)
    for gradient in gradients.astype(np.float32):
        with standard_promotion():
            change, state = rule.update(gradient, state, weights)
        weights = optax.apply_updates(weights, change)
    return weights


@every_rule
def test_six_updates_are_the_equations(name):
    rule, reference, options = CASES[name]
    weights, gradients = start()
    expected = reference(weights, gradients, **options)
    np.testing.assert_allclose(run(rule, weights, gradients), expected, atol=2e-6)


@every_rule
def test_mapped_equals_looped_and_compiled_equals_eager(name):
    rule = CASES[name][0]
    weights, gradients = start(2)
    looped = np.stack([run(rule, weights[i], gradients[:, i]) for i in range(2)])
    mapped = jax.jit(jax.vmap(functools.partial(run, rule), (0, 1)))(weights, gradients)
    np.testing.assert_allclose(mapped, looped, atol=1e-6)


@pytest.mark.usefixtures("unchecked")
def test_unknown_forms_are_refused():
    with pytest.raises(ValueError, match=r'"pytorch" or "printed", got \'nesterov\''):
        momentum_sgd(form="nesterov")  # pyright: ignore[reportArgumentType] - what is refused


def test_rules_of_optax_come_by_name():
    weights, gradients = start()
    found = run(rule_by_name("adam", learning_rate=0.1), weights, gradients)
    np.testing.assert_array_equal(found, run(optax.adam(0.1), weights, gradients))


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("adamm", {}, r"unknown update rule 'adamm'.*sgd, momentum, polyak, polyak-lbfgs, or an"),
        ("adam", {}, r"rule 'adam': .*learning_rate"),
        ("adam", {"learning_rate": 0.1, "gamma": 2}, r"rule 'adam': .*gamma.*it takes learning_"),
        ("sgd", {"momentum": 0.9}, r"rule 'sgd': .*momentum.*it takes learning_rate, weight_decay"),
        ("constant_schedule", {"value": 1.0}, "must be an optax transformation .* got function"),
        ("__doc__", {}, "unknown update rule"),
    ],
)
def test_what_is_no_rule_is_refused(name, options, message):
    with pytest.raises(ValueError, match=message):
        rule_by_name(name, **options)


RANDOM = np.random.default_rng(8)
IMAGES = RANDOM.uniform(0.2, 0.8, (4, 5, 4, 3)).astype(np.float32)
KERNEL = jnp.asarray(RANDOM.normal(size=(60, 4)), jnp.float32)
TARGETS = RANDOM.dirichlet(np.ones(4), 4).astype(np.float32)


def classify(images):
    return jnp.tanh(2 * images - 1).reshape(len(images), -1) @ KERNEL


def backtracking():
    return optax.chain(optax.sgd(5.0), optax.scale_by_backtracking_linesearch(10))


RULES = {
    "polyak": imgopt.polyak,
    "polyak with decay": lambda: imgopt.polyak(weight_decay=1e-3),
    "polyak_lbfgs": imgopt.polyak_lbfgs,
    "optax's polyak_sgd": lambda: optax.polyak_sgd(max_learning_rate=1e6, scaling=2.0),
    "lbfgs": optax.lbfgs,
    "backtracking": backtracking,
    "reduce_on_plateau": lambda: optax.chain(
        optax.sgd(1.0), optax.contrib.reduce_on_plateau(patience=2)
    ),
    "lookahead": lambda: optax.lookahead(optax.sgd(1.0), sync_period=3, slow_step_size=0.5),
    "inject_hyperparams": lambda: optax.inject_hyperparams(optax.adam)(learning_rate=0.1),
    "MultiSteps": lambda: optax.MultiSteps(optax.adam(0.1), every_k_schedule=2),
    "schedule": lambda: imgopt.sgd(optax.cosine_decay_schedule(1.0, 12)),
    "momentum's schedule": lambda: imgopt.momentum_sgd(optax.linear_schedule(0.3, 0.0, 12)),
    "schedule_free_sgd": lambda: rule_by_name("schedule_free_sgd", learning_rate=1.0),
    "ademamix": lambda: rule_by_name("ademamix", learning_rate=0.1),
    "noisy_sgd": lambda: rule_by_name("noisy_sgd", learning_rate=0.5, eta=1e-4, key=0),
    "momo": lambda: rule_by_name("momo", learning_rate=1e4),
}


@pytest.mark.parametrize("name", RULES)
def test_every_rule_comes_closer_and_sees_one_image(name):
    before = synthesize(classify, IMAGES, TARGETS, steps=0)
    result = synthesize(classify, IMAGES, TARGETS, steps=12, optimizer=RULES[name]())
    assert (result.kl < before.kl).all()
    alone = synthesize(
        classify, IMAGES[2:3], TARGETS[2:3], steps=12, optimizer=RULES[name](), indices=[2]
    )
    np.testing.assert_allclose(alone.images[0], result.images[2], atol=1e-3)


def test_polyaks_step_is_its_formula():
    """v ← μv + s·KL/|g|² g, w ← (1 - λ)w - v, from the losses and gradients of a plain loop."""
    pixel_map, target = imgopt.arctan_map(), jnp.asarray(TARGETS[0])

    def loss(weights):
        log_p = jax.nn.log_softmax(classify(pixel_map.to_image(weights)[None])[0])
        return (target * (jnp.log(target) - log_p)).sum()

    weights = pixel_map.to_weights(jnp.asarray(IMAGES[0]))
    velocity = jnp.zeros_like(weights)
    for _ in range(4):
        value, gradient = jax.value_and_grad(loss)(weights)
        velocity = 0.25 * velocity + 0.4 * value / (gradient**2).sum() * gradient
        weights = (1 - 0.01) * weights - velocity
    rule = imgopt.polyak(0.4, momentum=0.25, weight_decay=0.01)
    found = synthesize(classify, IMAGES[:1], TARGETS[:1], steps=4, optimizer=rule)
    np.testing.assert_allclose(found.images[0], pixel_map.to_image(weights), atol=1e-4)


def test_polyaks_first_step_halves_a_linear_loss():
    """On a loss that is linear in the weights, s = 0.5 goes half of the way to 0 in one step."""
    rule = imgopt.polyak(0.5, momentum=0.0)
    gradient, weights = jnp.array([3.0, 4.0]), jnp.array([1.0, 1.0])
    value = gradient @ weights
    change, _ = rule.update(gradient, rule.init(weights), weights, value=value, grad=gradient)
    np.testing.assert_allclose(gradient @ (weights + change), 0.5 * value, rtol=1e-6)


@pytest.mark.parametrize("rule", [imgopt.polyak, imgopt.polyak_lbfgs])
@pytest.mark.parametrize("gradient", [[0.0, 0.0], [1e-30, 0.0]])
def test_without_a_gradient_the_weights_stay_finite(rule, gradient):
    made = rule(max_learning_rate=1e3)
    weights, gradient = jnp.array([1.0, -1.0]), jnp.array(gradient)
    change, _ = made.update(
        gradient, made.init(weights), weights, value=jnp.float32(1), grad=gradient
    )
    np.testing.assert_allclose(change, 0, atol=1e-20)


def test_noise_is_every_images_own_whatever_its_batch():
    """Equal images move apart by noise, and image 5 draws the same in any batch."""
    same, targets = np.repeat(IMAGES[:1], 6, axis=0), np.repeat(TARGETS[:1], 6, axis=0)
    rule = optax.noisy_sgd(0.5, eta=0.01, key=3)

    def run(indices):
        rows = slice(0, len(indices))
        options = {"steps": 3, "optimizer": rule, "indices": indices}
        return np.asarray(synthesize(classify, same[rows], targets[rows], **options).images)

    whole = run([0, 1, 2, 3, 4, 5])
    distances = np.abs(whole[:, None] - whole[None]).max((2, 3, 4))
    assert (distances[~np.eye(6, dtype=bool)] > 1e-3).all()
    np.testing.assert_allclose(run([5, 1])[::-1], whole[[1, 5]], atol=1e-6)
    levels = np.asarray(imgopt.to_uint8(same))
    batches = imgopt.synthesize_in_batches(
        classify, levels, targets, batch_size=4, steps=3, optimizer=rule
    )
    in_batches = np.concatenate([batch.images for batch in batches])
    np.testing.assert_allclose(in_batches, whole, atol=0.02)
    assert np.abs(in_batches[0] - in_batches[4]).max() > 1e-3


def test_schedule_free_rules_give_the_images_of_their_averages():
    base = optax.contrib.schedule_free(optax.sgd(2.0), learning_rate=2.0)
    init, update, finish = imgopt.transform(classify, TARGETS, optimizer=base)
    state = init(jnp.asarray(IMAGES))
    for _ in range(5):
        state = jax.jit(update)(state)
    averages = jax.vmap(optax.contrib.schedule_free_eval_params)(state.opt_state, state.weights)
    expected = imgopt.arctan_map().to_image(averages)
    np.testing.assert_allclose(finish(state).images, expected, atol=1e-5)
    assert np.abs(finish(state).images - imgopt.arctan_map().to_image(state.weights)).max() > 1e-3


def test_lookahead_gives_the_images_of_its_slow_weights():
    options = {"fast_optimizer": optax.sgd(1.0), "sync_period": 2, "slow_step_size": 0.5}
    found = synthesize(classify, IMAGES, TARGETS, steps=2, optimizer=optax.lookahead(**options))
    fast = synthesize(classify, IMAGES, TARGETS, steps=2, optimizer=optax.sgd(1.0))
    to_weights = imgopt.arctan_map().to_weights
    halfway = (to_weights(jnp.asarray(IMAGES)) + to_weights(fast.images)) / 2
    np.testing.assert_allclose(found.images, imgopt.arctan_map().to_image(halfway), atol=1e-4)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: imgopt.sgd("fast"), "rule 'sgd' needs a finite number as learning_rate.*'fast'"),
        (lambda: imgopt.sgd(float("nan")), "finite number as learning_rate, got nan"),
        (lambda: imgopt.momentum_sgd(0.1, momentum=1.0), r"momentum must be in \[0, 1\), got 1.0"),
        (lambda: imgopt.polyak(0.0), "above 0, got 0.0"),
        (lambda: imgopt.polyak(weight_decay=1.0), r"weight_decay must be in \[0, 1\)"),
        (lambda: imgopt.polyak_lbfgs(memory=0), "memory must be an integer of at least 1"),
        (lambda: imgopt.polyak_lbfgs(min_cosine=1.0), r"min_cosine must be in \[0, 1\)"),
        (lambda: rule_by_name("adam", learning_rate=0.1, b1="abc"), "rule 'adam' with .*b1"),
        (lambda: rule_by_name("lookahead"), "rule 'lookahead': .*it takes fast_optimizer"),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_a_wrong_option_is_one_clear_line(make, message):
    with pytest.raises(InputError, match=message) as caught:
        make()
    assert "\n" not in str(caught.value)


NOISY = optax.noisy_sgd(0.1, key=jax.random.PRNGKey(0))


@pytest.mark.parametrize("rule", [optax.adam("fast"), optax.sgd, "adam", 0.1, NOISY])
@pytest.mark.usefixtures("unchecked")
def test_what_cannot_update_is_refused_before_anything_is_compiled(rule, compilations):
    match = "its key must be one of jax.random.key" if rule is NOISY else "^optimizer "
    with compilations() as names, pytest.raises(InputError, match=match) as caught:
        synthesize(classify, IMAGES, TARGETS, optimizer=rule)
    assert "\n" not in str(caught.value)
    assert not {"_begin", "_update", "_finish"} & set(names)
