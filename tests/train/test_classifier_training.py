"""Training: it learns, resumes to the same bits, and stops at a non-finite loss."""

import dataclasses

import jax
import numpy as np
import pytest

from train import batches, loop
from train.classifier_training import ClassifierLearner, make_optimizer
from train.classifiers import ClassifierSpec
from train.loop import FitOptions, fit
from train.recipes.train_options import TrainConfig
from train.training_sets import TrainData

SPEC = ClassifierSpec(
    network="tiny",  # see conftest
    width=1.0,
    class_names=("dark", "bright"),
    image_shape=(4, 8, 3),
    mean=(0.5, 0.5, 0.5),
    std=(0.25, 0.25, 0.25),
)
CONFIG = TrainConfig(epochs=4, batch_size=8, learning_rate=0.05, pad_px=1)
MIXED = dataclasses.replace(CONFIG, loss="mixed")

pytestmark = pytest.mark.usefixtures("compiled_as_users_do", "tiny_networks")
KEY = jax.random.key(8)


def separable(count=28):
    """Dark and bright noise; 28 images are 3 batches of 8, with 4 images left."""
    random = np.random.default_rng(0)
    labels = np.arange(count, dtype=np.int32) % 2
    levels = random.integers(0, 100, (count, *SPEC.image_shape)) + 150 * labels[:, None, None, None]
    return TrainData(
        images=levels.astype(np.uint8),
        labels=labels,
        teacher_outputs=np.zeros((count, 2), np.float32),
        is_generated=np.zeros(count, bool),
    )


def train(key=KEY, config=CONFIG, *, data=None, steps_per_call=20, **options):
    """Results of all epochs, each fetched before the next epoch overwrites its memory."""
    data = separable() if data is None else data
    learner, total = ClassifierLearner(SPEC, config.step_config), config.budget.total_steps
    fixed = FitOptions(constants=np.int32(total(len(data.labels))), steps_per_call=steps_per_call)
    return [jax.device_get(r) for r in fit(key, learner, data, config.budget, fixed, **options)]


def after(result):
    return loop.Snapshot(result.step, result.state)


def assert_same_bits(found, expected):
    for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.fixture(scope="module")
def undisturbed(tiny_networks):
    assert SPEC.network in tiny_networks
    return train()


def test_loss_falls_and_everything_is_counted(undisturbed):
    assert [result.epoch for result in undisturbed] == [1, 2, 3, 4]
    assert [result.step for result in undisturbed] == [3, 6, 9, 12]
    assert undisturbed[-1].means["loss"] < 0.5 * undisturbed[0].means["loss"]
    assert undisturbed[-1].means["accuracy"] == 1
    statistics = jax.tree.leaves(undisturbed[-1].state.variables["batch_stats"])
    assert any(np.abs(leaf).max() > 0.01 for leaf in statistics)


@pytest.mark.parametrize("network", ["tiny", "plain"])
def test_first_variables_are_those_that_xla_draws_by_its_own_options(network):
    learner = ClassifierLearner(SPEC._replace(network=network), CONFIG.step_config)
    plainly = jax.jit(lambda key: learner.initial(key))(batches.fold_in(KEY, 0))
    assert_same_bits(loop.initial_state(KEY, learner), plainly)


def test_resumed_after_an_epoch_it_ends_with_the_same_bits(undisturbed):
    resumed = train(resume=after(undisturbed[0]))
    assert [result.epoch for result in resumed] == [2, 3, 4]
    assert_same_bits(resumed, undisturbed[1:])


def test_trainings_of_all_lengths_and_keys_share_the_compiled_steps(compilations):
    config = dataclasses.replace(CONFIG, learning_rate=0.0321)
    with compilations() as names:
        for count, changes in ((28, {}), (20, {"epochs": 1}), (12, {"steps": 2})):
            config = dataclasses.replace(config, **changes)
            train(jax.random.key(count), config, data=separable(count))
    assert (names.count("run_steps"), names.count("initial")) == (1, 1)


def test_same_key_same_bits_however_many_steps_a_call(undisturbed):
    assert_same_bits(train(steps_per_call=2), undisturbed)


def test_another_key_gives_other_parameters(undisturbed):
    (other, *_) = train(jax.random.key(1), dataclasses.replace(CONFIG, epochs=1))
    kernels = [r.state.variables["params"] for r in (other, undisturbed[0])]
    assert not np.array_equal(*(jax.tree.leaves(params)[-1] for params in kernels))


def test_mixed_loss_without_generated_images_is_cross_entropy(undisturbed):
    mixed = train(config=MIXED)
    for found, expected in zip(mixed, undisturbed, strict=True):
        assert found.means["loss"] == pytest.approx(expected.means["loss"], rel=1e-3)
        assert found.means["accuracy"] == expected.means["accuracy"]


def test_mixed_loss_reads_the_teacher_where_the_image_is_generated(undisturbed):
    data = separable()._replace(
        teacher_outputs=np.full((28, 2), 0.5, np.float32), is_generated=np.ones(28, bool)
    )
    softened = train(config=MIXED, data=data)[-1].means["loss"]
    # (KL(half and half ‖ p) + CE) / 2 is nowhere below 0.2157; cross entropy alone falls to 0.
    assert softened > 0.2157 > undisturbed[-1].means["loss"]


def test_a_loss_that_is_not_finite_stops_the_run_naming_the_step():
    config = dataclasses.replace(CONFIG, learning_rate=1e38, warmup_fraction=0.0)
    # The first update goes out of range; the loss of the second step is the first to show it.
    with pytest.raises(FloatingPointError, match=r"not finite at step 1 \(epoch 1\)"):
        train(config=config)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"epochs": 0}, "epochs must be at least 1, got 0"),
        ({"batch_size": 0}, "batch_size must be at least 1, got 0"),
        ({"learning_rate": 0}, "learning_rate must be above 0.*, got 0"),
        ({"learning_rate": float("nan")}, "learning_rate must be above 0.*, got nan"),
        ({"warmup_fraction": 1}, r"warmup_fraction must be in \[0, 1\), got 1"),
        ({"momentum": -0.1}, r"momentum must be in \[0, 1\), got -0.1"),
        ({"weight_decay": -1e-4}, "weight_decay must be at least 0.*, got -0.0001"),
        ({"pad_px": -1}, "pad_px must be at least 0.*, got -1"),
    ],
)
def test_numbers_outside_their_range_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        TrainConfig(**changes)


@pytest.mark.parametrize(("total", "moves"), [(4, False), (1, True)])
def test_the_learning_rate_goes_by_the_number_of_updates_in_all(total, moves):
    """The first two of four updates are the rise, which begins at 0; a single one has no rise."""
    learner = ClassifierLearner(SPEC, dataclasses.replace(CONFIG, warmup_fraction=0.5))
    before = learner.initial(KEY)
    after, _ = jax.jit(learner.update)(KEY, before, separable(8), np.int32(total))
    pairs = zip(*(jax.tree.leaves(s.variables["params"]) for s in (before, after)), strict=True)
    assert any((one != other).any() for one, other in pairs) == moves


def test_update_is_nesterovs_with_a_rise_and_half_a_cosine():
    config = TrainConfig(
        learning_rate=0.1, warmup_fraction=0.25, momentum=0.5, weight_decay=0.01, epochs=1
    )
    optimizer = make_optimizer(config, total_steps=8)
    rates = [0, 0.05] + [0.1 * (1 + np.cos(np.pi * i / 6)) / 2 for i in range(6)]
    w, v = 2.0, 0.0
    params, state = {"w": np.float32(w)}, optimizer.init({"w": np.float32(w)})
    for step, rate in enumerate(rates):
        gradient = np.sin(step + 1.0)
        change, state = optimizer.update({"w": np.float32(gradient)}, state, params)
        params = {"w": params["w"] + change["w"]}
        decayed = gradient + 0.01 * w
        v = 0.5 * v + decayed
        w -= rate * (decayed + 0.5 * v)
        assert float(params["w"]) == pytest.approx(w, abs=1e-5)
