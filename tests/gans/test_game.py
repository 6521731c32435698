"""The game of generators and discriminators: who moves, how often, and with what weight."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gans.blocks import DiscriminatorOutput
from gans.encoder_training import EncoderLearner
from gans.game import ADAPTIVE_STEPS, GanLearner, _scale_gradient
from gans.options.training import EncoderConfig, GameConfig, LossWeights
from gans.pairs import GanData, LevelPair
from gans.stacked import StackConfig, stack_levels
from train.data.load import load_images
from train.learner import TrainState
from train.loop import FitOptions, fit
from train.recipes.train_options import Budget

KEY = jax.random.key(6)
RANDOM = np.random.default_rng(4)
DATA = GanData(
    jnp.asarray(RANDOM.integers(0, 256, (26, 3, 2, 1), np.uint8)),
    jnp.asarray(np.arange(26) % 2),
)
BATCH = GanData(DATA.images[:6], DATA.labels[:6])
CONSTANTS = jnp.asarray(RANDOM.normal(size=(6, 2)).astype(np.float32))
NOISE_DIM = 3


@dataclass(frozen=True)
class ToyPair:
    """One dense layer on either side, over six features; quick to compile.

    The running statistics count passes and hold the last batch's mean, so that they tell who has
    passed when.
    """

    target: str = "image"
    weights: LossWeights = LossWeights()  # noqa: RUF009 - frozen
    has_encoder: bool = False
    num_classes: int = 2

    def initial(self, key):
        keys = jax.random.split(key, 4)
        stats = {"passes": jnp.zeros(()), "mean": jnp.zeros(6)}
        draw = jax.random.normal
        generator = {"noise": draw(keys[0], (NOISE_DIM, 6)), "given": draw(keys[1], (2, 6))}
        discriminator = {"logit": draw(keys[2], (6,)), "guess": draw(keys[3], (6, NOISE_DIM))}
        return (
            {"params": generator, "batch_stats": stats},
            {"params": discriminator, "batch_stats": stats},
        )

    def real(self, batch, constants):
        del constants
        return batch.images.reshape(len(batch.labels), -1).astype(jnp.float32) / 127.5 - 1

    def condition(self, batch, constants):
        del constants
        return jax.nn.one_hot(batch.labels, 2)

    def draw_noise(self, key, count):
        return jax.random.uniform(key, (count, NOISE_DIM))

    def generate(self, variables, condition, noise):
        params = variables["params"]
        features = jnp.tanh(noise @ params["noise"] + condition[:, :2] @ params["given"])
        return features, passed(variables, features)

    def discriminate(self, key, variables, features, condition, *, train=True):
        del key, condition, train
        params = variables["params"]
        guess = features @ params["guess"] if self.has_encoder else None
        return DiscriminatorOutput(features @ params["logit"], guess), passed(variables, features)

    def conditional_loss(self, made, constants):
        if not self.has_encoder:
            return None
        return jnp.square(made.features @ constants - made.condition[:, :2]).mean()


def passed(variables, features):
    passes = variables["batch_stats"]["passes"] + 1
    return {**variables, "batch_stats": {"passes": passes, "mean": features.mean(0)}}


PAIR = ToyPair()
LEVELS = (ToyPair("image", has_encoder=True), ToyPair("fc3", has_encoder=True))


def make(pairs=(PAIR,), learning_rate=1e-2, **options):
    return GanLearner(pairs, GameConfig(**options), learning_rate)


def step(learner, *, count=1):
    """The states and scalars of the first steps."""
    states, found = [jax.jit(learner.initial)(KEY)], []
    update = jax.jit(learner.update)
    for index in range(count):
        state, scalars = update(jax.random.key(index), states[-1], BATCH, CONSTANTS)
        states.append(state)
        found.append(scalars)
    return states, found


def moved(before, after):
    """The largest change of each side's parameters."""
    return {
        side: max(
            float(jnp.abs(one - other).max())
            for name in before.variables[side]
            for one, other in zip(
                jax.tree.leaves(before.variables[side][name]["params"]),
                jax.tree.leaves(after.variables[side][name]["params"]),
                strict=True,
            )
        )
        for side in ("generators", "discriminators")
    }


# ---- each side moves in its own turn


RELATIVISTIC = {"form": "relativistic", "r1": 0.3, "r2": 0.2}

every_loss = pytest.mark.parametrize("loss", [{}, RELATIVISTIC], ids=["plain", "relativistic"])


@every_loss
@pytest.mark.parametrize("pairs", [(PAIR,), LEVELS[:1], LEVELS], ids=["plain", "level", "joint"])
def test_each_side_moves_in_its_own_turn_alone(pairs, loss):
    learner = make(pairs, **loss)
    condition = pairs[-1].condition(BATCH, None)
    real = {pair.target: pair.real(BATCH, None) for pair in pairs}
    state = learner.initial(KEY)
    after_first, _ = learner._update_discriminators(KEY, state, real, condition)
    after_second, _ = learner._update_generators(
        KEY, state, real, condition, jnp.int32(1), CONSTANTS
    )
    first, second = moved(state, after_first), moved(state, after_second)
    assert first["discriminators"] > 1e-3 > first["generators"] == 0
    assert second["generators"] > 1e-3 > second["discriminators"] == 0


def test_real_and_made_go_by_the_discriminator_in_passes_of_their_own():
    learner, batch_means = make(), []

    @dataclass(frozen=True)
    class Recorded(ToyPair):
        def discriminate(self, key, variables, features, condition, *, train=True):
            batch_means.append(features)
            return super().discriminate(key, variables, features, condition, train=train)

    learner = make((Recorded(),))
    state = learner.initial(KEY)
    real = PAIR.real(BATCH, None)
    with jax.disable_jit():
        after, _ = learner._update_discriminators(
            KEY, state, {"image": real}, PAIR.condition(BATCH, None)
        )
    assert [len(features) for features in batch_means] == [6, 6]
    np.testing.assert_array_equal(batch_means[0], real)
    statistics = after.variables["discriminators"]["image"]["batch_stats"]
    assert int(statistics["passes"]) == 2  # the second pass goes on from the first one's averages
    # The generator's step leaves the discriminator's averages, and moves its own once.
    after, _ = learner._update_generators(
        KEY, state, {"image": real}, PAIR.condition(BATCH, None), jnp.int32(1), None
    )
    assert int(after.variables["discriminators"]["image"]["batch_stats"]["passes"]) == 0
    assert int(after.variables["generators"]["image"]["batch_stats"]["passes"]) == 1


# ---- the relativistic loss, and penalties


def softplus(x):
    return np.log1p(np.exp(x))


def test_the_relativistic_loss_compares_each_real_example_with_a_generated_one():
    """Metrics of both sides' first update, from the networks as drawn and as they are then."""
    learner = make(**RELATIVISTIC)
    (before, after), (found,) = step(learner)
    key, key_discriminators = jax.random.split(jax.random.key(0))
    condition, real = PAIR.condition(BATCH, None), PAIR.real(BATCH, None)

    def logits(key, state):
        generated, _ = learner._generate(key, before.variables["generators"], condition, 6)
        made = np.stack([real, generated["image"].features]).astype(np.float64)
        return made @ state.variables["discriminators"]["image"]["params"]["logit"]

    on_real, on_fake = logits(jax.random.split(key_discriminators)[1], before)
    assert found["discriminator_loss"] == pytest.approx(
        softplus(on_fake - on_real).mean(), rel=1e-5
    )
    assert found["discriminator_accuracy"] == pytest.approx((on_real > on_fake).mean())
    key_noise, _ = jax.random.split(jax.random.fold_in(key, 0))
    on_real, on_fake = logits(key_noise, after)
    assert found["generator_loss"] == pytest.approx(softplus(on_real - on_fake).mean(), rel=1e-5)


@pytest.mark.parametrize(
    ("gammas", "reported"),
    [
        ({"r1": 0.3}, {"r1"}),
        ({"r2": 0.2}, {"r2"}),
        ({"r1": 0.3, "r2": 0.2}, {"r1", "r2"}),
        ({}, set()),
    ],
)
def test_a_penalty_is_half_of_gamma_times_the_squared_gradient(gammas, reported):
    """The toy's logit is linear, so the gradient is its weights, for real and generated alike."""
    (before, _), (found,) = step(make(**gammas))
    weights = before.variables["discriminators"]["image"]["params"]["logit"]
    squared = float(np.square(weights).sum())
    assert {name for name in ("r1", "r2") if f"{name}_penalty" in found} == reported
    for name in reported:
        assert found[f"{name}_penalty"] == pytest.approx(gammas[name] / 2 * squared, rel=1e-5)


def test_a_penalty_pulls_the_gradient_towards_zero():
    def size(**gammas):
        states, _ = step(make(learning_rate=0.1, **gammas), count=24)
        weights = states[-1].variables["discriminators"]["image"]["params"]["logit"]
        return float(np.square(weights).sum())

    assert size(r1=100.0) < 0.5 * size()
    assert size(r2=100.0) < 0.5 * size()


# ---- how often the generator moves


@pytest.mark.parametrize(
    ("loss", "count"),
    [(0.7, 1), (0.651, 1), (0.65, 3), (0.6, 3), (0.5, 5), (0.31, 5), (0.3, 7), (0.0, 7)],
)
def test_adaptive_steps_by_the_discriminators_loss(loss, count):
    learner = make(generator_steps="adaptive")
    assert int(learner._count_generator_steps(jnp.float32(loss))) == count


def counts(state):
    """Updates that each side's Adam has counted."""
    return {side: int(opt[0].count) for side, opt in state.opt_state.items()}


@pytest.mark.parametrize("steps", ["1", "3"])
def test_a_fixed_number_of_generator_steps(steps):
    (*_, state), found = step(make(generator_steps=steps), count=2)
    assert counts(state) == {"generators": 2 * int(steps), "discriminators": 2}
    assert [int(scalars["generator_steps"]) for scalars in found] == [int(steps)] * 2


def test_adaptive_steps_are_taken_and_counted():
    (*_, state), found = step(make(generator_steps="adaptive"), count=3)
    taken = [int(scalars["generator_steps"]) for scalars in found]
    assert taken == [
        next(n for bound, n in ADAPTIVE_STEPS if scalars["discriminator_loss"] > bound)
        for scalars in found
    ]
    assert counts(state) == {"generators": sum(taken), "discriminators": 3}


# ---- many GANs at once


@pytest.mark.parametrize(("steps", "loss"), [("1", {}), ("adaptive", {}), ("1", RELATIVISTIC)])
def test_gans_of_all_classes_at_once_are_each_as_alone(steps, loss):
    """The networks' own mapping is in the tests of DCGANs and of spectral norm."""
    learner, data = make(generator_steps=steps, **loss), DATA
    groups = {"a": np.arange(0, 26, 2), "b": np.arange(1, 26, 2)}
    budget = Budget(batch_size=6, epochs=2)
    *_, together = fit(KEY, learner, data, budget, FitOptions(groups=groups))
    for number, rows in enumerate(groups.values()):
        own = jax.tree.map(lambda column, rows=rows: column[rows], data)
        *_, alone = fit(jax.random.fold_in(KEY, number), learner, own, budget)
        for name, mean in alone.means.items():
            assert together.means[name][number] == pytest.approx(mean, rel=1e-4, abs=1e-5)
        mine = jax.tree.map(lambda leaf, n=number: leaf[n], together.state.variables)
        for one, other in zip(
            jax.tree.leaves(mine), jax.tree.leaves(alone.state.variables), strict=True
        ):
            np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-4)


# ---- averaging


def test_the_average_is_exponential_and_unbiased():
    states, _ = step(make(averaging=0.7), count=3)
    generators = [np.asarray(jax.tree.leaves(s.variables["generators"])[0]) for s in states]
    weights = 0.3 * 0.7 ** np.arange(2, -1, -1)
    expected = np.tensordot(weights, generators[1:], 1) / weights.sum()
    found = jax.tree.leaves(states[-1].variables["average"])[0]
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-7)


def test_averaging_has_no_influence_on_the_game():
    (*_, plain), _ = step(make(), count=2)
    (*_, averaged), _ = step(make(averaging=0.9), count=2)
    assert "average" not in plain.variables
    for side in plain.variables:
        jax.tree.map(
            lambda one, other: np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-7),
            plain.variables[side],
            averaged.variables[side],
        )


# ---- the whole stack


def test_the_lower_levels_loss_reaches_the_upper_generator_with_its_weight():
    """The upper generator's gradient is its own level's, and 0.01 of the lower level's."""
    joint = make(LEVELS)
    sides = joint.initial(KEY).variables
    condition = LEVELS[-1].condition(BATCH, None)
    below, above = LEVELS

    def losses_of(top, levels, scale):
        generators = {**sides["generators"], "fc3": {**sides["generators"]["fc3"], "params": top}}
        made, _ = joint._generate(KEY, generators, condition, 6)
        given = _scale_gradient(made["fc3"].features, scale)
        features, _ = below.generate(generators["image"], given, made["image"].noise)
        made["image"] = made["image"]._replace(features=features, condition=given)
        kept = GanLearner(levels, joint.config, joint.learning_rate)
        return kept._generator_losses(KEY, {}, made, sides["discriminators"], CONSTANTS)[0]

    def joint_loss(top):
        generators = {**sides["generators"], "fc3": {**sides["generators"]["fc3"], "params": top}}
        made, _ = joint._generate(KEY, generators, condition, 6)
        return joint._generator_losses(KEY, {}, made, sides["discriminators"], CONSTANTS)[0]

    top = sides["generators"]["fc3"]["params"]
    own = jax.grad(losses_of)(top, (above,), 1.0)
    lower = jax.grad(losses_of)(top, (below,), 1.0)
    assert min(float(jnp.abs(leaf).max()) for leaf in jax.tree.leaves(lower)) > 1e-3
    jax.tree.map(
        lambda found, one, other: np.testing.assert_allclose(
            found, one + 0.01 * other, rtol=1e-4, atol=1e-6
        ),
        jax.grad(joint_loss)(top),
        own,
        lower,
    )


def test_several_pairs_are_reported_by_name():
    _, (found,) = step(make(LEVELS))
    kinds = ("discriminator_loss", "discriminator_accuracy", "generator_loss", "entropy_error",
             "feature_error")  # fmt: skip
    assert set(found) == {
        *(f"{kind}_{level}" for kind in kinds for level in ("image", "fc3")),
        "generator_steps",
    }


def test_joint_training_begins_with_the_levels_trained_apart():
    learner = make(LEVELS, averaging=0.9)
    drawn = jax.jit(learner.initial)(KEY).variables
    state = learner.state_of(drawn["generators"], drawn["discriminators"])
    assert isinstance(state, TrainState)
    assert state.variables["generators"] is drawn["generators"]
    assert (
        jax.tree.leaves(state.variables["average"])[0]
        is not jax.tree.leaves(drawn["generators"])[0]
    )


@pytest.mark.parametrize("averaging", [-0.1, 1.0, float("nan")])
def test_a_decay_outside_its_range_is_refused(averaging):
    with pytest.raises(ValueError, match=r"averaging must be in \[0, 1\), got"):
        GameConfig(averaging=averaging)


@pytest.mark.slow
def test_entropy_and_conditional_losses_fall_on_digits():
    """With an encoder as drawn: the generator can learn to please any."""
    digits = load_images("digits", "train")
    images = digits.images[:256, ::2, ::2, :1]
    data = GanData(jnp.asarray(images), jnp.asarray(digits.labels[:256]))
    config = StackConfig(
        image_shape=(16, 16, 1), cut_points=("fc3",), encoder_width=4, width=16, top_noise_dim=4
    )
    encoder = jax.jit(EncoderLearner(config, EncoderConfig()).initial)(KEY).variables
    top = stack_levels(config)[-1]
    learner = GanLearner((LevelPair(config, top, LossWeights()),), GameConfig(), 4e-3)
    options = FitOptions(constants=encoder)
    results = list(fit(KEY, learner, data, Budget(64, 20), options))
    first, last = results[0].means, results[-1].means
    assert last["entropy_error"] < 1 / 12 < first["entropy_error"]
    assert last["feature_error"] < 0.5 * first["feature_error"]
