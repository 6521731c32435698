"""Trainings by a recipe: what each option changes in a step, and that they resume exactly."""

import dataclasses
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from imgopt import synthesize
from train.classifier_training import ClassifierLearner
from train.classifiers import Classifier, ClassifierSpec, Teacher, classify_function
from train.data.load import load_images
from train.loop import Snapshot, fit
from train.recipes.options import Recipe, TrainingSynthesis
from train.recipes.synthesis import make_images
from train.recipes.train_options import TrainConfig
from train.training_sets import SecondViews, TrainData, original_data

SPEC = ClassifierSpec(
    network="tiny",  # see conftest
    width=1.0,
    class_names=("dark", "bright"),
    image_shape=(4, 8, 3),
    mean=(0.5, 0.5, 0.5),
    std=(0.25, 0.25, 0.25),
)
CONFIG = TrainConfig(steps=5, batch_size=8, pad_px=1, warmup_fraction=0)
KEY = jax.random.key(8)
COUNT = 24

pytestmark = pytest.mark.usefixtures("tiny_networks")


def separable() -> TrainData:
    """Dark and bright noise."""
    random = np.random.default_rng(0)
    labels = np.arange(COUNT, dtype=np.int32) % 2
    levels = random.integers(0, 100, (COUNT, *SPEC.image_shape)) + 150 * labels[:, None, None, None]
    outputs = random.dirichlet(np.ones(2), COUNT).astype(np.float32)
    return TrainData(levels.astype(np.uint8), labels, outputs, labels == 1)


PLAIN = separable()
PAIRED = PLAIN._replace(second_views=SecondViews(255 - PLAIN.images, PLAIN.teacher_outputs))
SYNTHESIS = TrainingSynthesis(synthesize_every=2, synthesize_rule="sgd", synthesize_updates=2)

RECIPES = {
    "mixing": (Recipe(mixup=0.4, cutmix=1.0, cutout=3, label_smoothing=0.1), PLAIN),
    "average and teacher": (Recipe(average=0.9, labels="teacher"), PLAIN),
    "second views": (Recipe(labels="set", separate_statistics=True), PAIRED),
    "synthesis": (
        Recipe(average=0.9, synthesis=dataclasses.replace(SYNTHESIS, synthesize_from="average")),
        PLAIN,
    ),
}


def configured(recipe: Recipe, **changes) -> TrainConfig:
    return dataclasses.replace(CONFIG, recipe=recipe, **changes)


@pytest.fixture(scope="module")
def teacher(tiny_networks):
    assert SPEC.network in tiny_networks
    return Teacher(SPEC, ClassifierLearner(SPEC, CONFIG).initial(jax.random.key(1)).variables)


def train(config, data=PLAIN, *, teachers=(), resume=None):
    """Results of all epochs, fetched before the next epoch overwrites their memory."""
    learner = ClassifierLearner(SPEC, config.step_config, teachers)
    return [jax.device_get(r) for r in fit(KEY, learner, data, config.budget, resume=resume)]


def one_step(config, data=PLAIN, *, teachers=(), state=None):
    """State and scalars after one update, on the first 8 examples."""
    learner = ClassifierLearner(SPEC, config.step_config, teachers)
    state = learner.initial(KEY) if state is None else state
    batch = jax.tree.map(lambda column: column[:8], data)
    learner.check(batch)
    return jax.jit(learner.update)(KEY, state, batch, learner.constants(5))


def assert_equal(found, expected, **tolerance):
    for one, other in zip(*map(jax.tree.leaves, (found, expected)), strict=True):
        np.testing.assert_allclose(one, other, **{"rtol": 0, **tolerance})


@pytest.fixture(scope="module")
def plain():
    return one_step(CONFIG)


@pytest.mark.slow
@pytest.mark.parametrize("name", RECIPES)
def test_a_training_resumes_to_the_same_bits(name, teacher):
    recipe, data = RECIPES[name]
    teachers = (teacher,) if recipe.needs_teacher else ()
    whole = train(configured(recipe), data, teachers=teachers)
    assert [result.step for result in whole] == [3, 5]
    assert all(np.isfinite(result.means["loss"]) for result in whole)
    first = Snapshot(whole[0].step, whole[0].state)
    assert_equal(train(configured(recipe), data, teachers=teachers, resume=first), whole[1:])


def test_the_average_is_of_the_parameters_that_are_trained(plain):
    """The first decay is (1 + 0) / (10 + 0)."""
    state, _ = one_step(configured(Recipe(average=0.99)))
    trained = state.opt_state.trained
    assert_equal(trained, plain[0].variables, atol=1e-6)
    before = ClassifierLearner(SPEC, CONFIG).initial(KEY).variables
    expected = jax.tree.map(lambda old, new: old + 0.9 * (new - old), before, trained)
    assert_equal(state.variables, expected, atol=1e-6)
    assert state.variables.keys() == {"params", "batch_stats"}


def test_with_all_weight_on_the_teacher_the_labels_do_not_matter(teacher, plain):
    config = configured(Recipe(teacher_weight=1.0))
    flipped = PLAIN._replace(labels=1 - PLAIN.labels)
    (state, means), (other, _) = (
        one_step(config, d, teachers=(teacher,)) for d in (PLAIN, flipped)
    )
    assert_equal(state, other)
    assert abs(means["loss"] - plain[1]["loss"]) > 1e-3


@pytest.mark.slow
def test_two_teachers_of_which_one_is_given_twice_are_that_one(teacher):
    config = configured(Recipe())
    once, twice = (one_step(config, teachers=(teacher,) * count) for count in (1, 2))
    assert_equal(once, twice, atol=1e-6)


def test_the_variables_of_a_teacher_are_no_part_of_the_program(teacher, compilations):
    other = dataclasses.replace(teacher, variables=jax.tree.map(lambda v: v + 1, teacher.variables))
    config = configured(Recipe(teacher_weight=0.75))
    with compilations() as names:
        losses = [train(config, teachers=(each,))[-1].means["loss"] for each in (teacher, other)]
    assert names.count("run_steps") == 1
    assert losses[0] != losses[1]


@pytest.mark.parametrize(
    ("labels", "matters"), [("class", False), ("set", True), ("teacher", False)]
)
def test_outputs_of_the_set_matter_where_they_are_the_labels(labels, matters, teacher):
    config = configured(Recipe(labels=labels, teacher_weight=0.25))
    views = PAIRED.second_views
    others = PAIRED._replace(second_views=views._replace(outputs=1 - views.outputs))
    (_, one), (_, other) = (one_step(config, d, teachers=(teacher,)) for d in (PAIRED, others))
    assert (abs(one["loss"] - other["loss"]) > 1e-4) == matters


@pytest.mark.slow
def test_statistics_of_second_views_are_apart_on_request():
    still = configured(Recipe(separate_statistics=True), flip=False, pad_px=0)
    apart, _ = one_step(still, PAIRED)
    alone = dataclasses.replace(still, recipe=Recipe())
    for found, images in (
        (apart.variables["batch_stats"], PLAIN.images),
        (apart.opt_state.auxiliary["batch_stats"], PAIRED.second_views.images),
    ):
        expected, _ = one_step(alone, PLAIN._replace(images=images))
        assert_equal(found, expected.variables["batch_stats"], atol=1e-5)
    together, _ = one_step(alone, PAIRED)
    statistics = [state.variables["batch_stats"] for state in (together, apart)]
    pairs = zip(*map(jax.tree.leaves, statistics), strict=True)
    assert all(np.abs(one - other).max() > 1e-4 for one, other in pairs)


def test_a_second_view_equal_to_the_first_without_augmentation_changes_no_loss():
    still = dataclasses.replace(CONFIG, flip=False, pad_px=0)
    same = PLAIN._replace(second_views=SecondViews(PLAIN.images, PLAIN.teacher_outputs))
    assert_equal(one_step(still, same), one_step(still), atol=1e-5)


@pytest.mark.slow
def test_images_are_made_from_the_teacher_in_every_second_step(teacher):
    options = dataclasses.replace(SYNTHESIS, synthesize_from="teacher")
    recipe = Recipe(separate_statistics=True, labels="set", teacher_weight=0.0, synthesis=options)
    learner = ClassifierLearner(SPEC, configured(recipe), (teacher,))
    update, state = jax.jit(learner.update), learner.initial(KEY)
    auxiliary = [state.opt_state.auxiliary]
    for _ in range(4):
        state, means = update(
            KEY, state, jax.tree.map(lambda c: c[:8], PLAIN), learner.constants(5)
        )
        assert np.isfinite(means["loss"])
        auxiliary.append(state.opt_state.auxiliary)
    changed = [
        any((a != b).any() for a, b in zip(*map(jax.tree.leaves, pair), strict=True))
        for pair in itertools.pairwise(auxiliary)
    ]
    assert changed == [False, True, False, True]


def test_made_images_are_those_of_the_transform_and_come_nearer_to_their_targets():
    variables = ClassifierLearner(SPEC, CONFIG).initial(KEY).variables
    images, labels = jnp.asarray(PLAIN.images[:8] / 255, jnp.float32), jnp.asarray(PLAIN.labels[:8])
    options = TrainingSynthesis(1, synthesize_updates=5)

    def make(variables):
        classify = classify_function(Classifier(SPEC, variables))
        return make_images(KEY, classify, images, labels, num_classes=2, options=options)

    made = jax.jit(make)(variables)
    assert 0 <= made.images.min() <= made.images.max() <= 1
    targets = np.where(np.asarray(labels)[:, None] == np.arange(2), 0.9, 0.1).astype(np.float32)
    classify = classify_function(Classifier(SPEC, variables))
    expected = synthesize(classify, images, targets, steps=5, tolerance=None)
    np.testing.assert_allclose(made.images, expected.images, atol=1e-4)
    before = np.asarray(jax.nn.softmax(classify(images)))
    divergences = [
        (targets * np.log(targets / each)).sum(1).mean() for each in (before, made.outputs)
    ]
    assert divergences[1] < 0.2 * divergences[0]


@pytest.mark.slow
def test_synthesis_in_training_on_digits():
    digits = load_images("digits")
    spec = SPEC._replace(
        class_names=digits.class_names, image_shape=digits.images.shape[1:], mean=(0.3,), std=(0.4,)
    )
    data = jax.tree.map(lambda column: column[:256], original_data(digits))
    config = configured(Recipe(labels="set", synthesis=SYNTHESIS), steps=None, epochs=3)
    config = dataclasses.replace(config, batch_size=64, flip=False)
    learner = ClassifierLearner(spec, config.step_config)
    means = [jax.device_get(r.means) for r in fit(KEY, learner, data, config.budget)]
    assert means[-1]["loss"] < means[0]["loss"]
    assert means[-1]["accuracy"] > 0.25 > means[0]["accuracy"]


OTHER_SIZE = SPEC._replace(image_shape=(8, 8, 3))
OTHER_CLASSES = SPEC._replace(class_names=("dark", "pale"))


@pytest.mark.parametrize(
    ("config", "data", "teachers", "message"),
    [
        (Recipe(labels="teacher"), PLAIN, (), "an option asks a teacher, got none"),
        (Recipe(), PLAIN, (OTHER_SIZE,), r"image_shape \(4, 8, 3\) .*got \(8, 8, 3\)"),
        (Recipe(), PLAIN, (OTHER_CLASSES,), "class_names .*'bright'.*got .*'pale'"),
        (Recipe(cutout=17), PLAIN, (), "cutout must be at most 16 .* 4 x 8 pixels, got 17"),
        (Recipe(separate_statistics=True), PLAIN, (), "separate-statistics needs made images"),
        (
            Recipe(labels="set"),
            PLAIN._replace(teacher_outputs=2 * PLAIN.teacher_outputs),
            (),
            "teacher_outputs .* must be probabilities",
        ),
        (
            Recipe(),
            PAIRED._replace(second_views=SecondViews(PLAIN.images[:, :2], PLAIN.teacher_outputs)),
            (),
            r"images must have .*\(4, 8, 3\), got \(2, 8, 3\)",
        ),
    ],
)
def test_what_does_not_fit_is_refused_before_compilation(
    config, data, teachers, message, unchecked
):
    del unchecked
    learner = ClassifierLearner(SPEC, configured(config), tuple(Teacher(t, {}) for t in teachers))
    with pytest.raises(ValueError, match=message):
        next(fit(KEY, learner, data, CONFIG.budget))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mixup": -1}, "mixup must be at least 0, finite, got -1"),
        ({"cutmix": float("nan")}, "cutmix must be at least 0.*got nan"),
        ({"label_smoothing": 1}, r"label_smoothing must be in \[0, 1\), got 1"),
        ({"average": 1}, r"average must be in \[0, 1\), got 1"),
        ({"teacher_weight": 1.5}, r"teacher_weight must be in \[0, 1\], got 1.5"),
        ({"synthesize_every": -1}, "synthesize_every must be at least 0, got -1"),
        ({"synthesize_every": 1, "synthesize_updates": 0}, "synthesize_updates must be at least 1"),
        ({"synthesize_every": 1, "synthesize_rule": "adan2"}, "unknown update rule 'adan2'"),
        ({"synthesize_every": 1, "synthesize_own": 1.5}, "synthesize_own must be in .*got 1.5"),
        ({"synthesize_every": 1, "synthesize_from": "average"}, "needs --average"),
    ],
)
def test_numbers_outside_their_range_are_refused(options, message):
    own = {name: value for name, value in options.items() if not name.startswith("synthesize")}
    others = {name: value for name, value in options.items() if name not in own}
    with pytest.raises(ValueError, match=message):
        Recipe(**own, synthesis=TrainingSynthesis(**others))


def test_soft_targets_and_the_printed_divergence_are_refused():
    config = configured(Recipe(mixup=1.0), loss="mixed", kl="model||target")
    with pytest.raises(ValueError, match=r"soft targets need kl target\|\|model, got model"):
        next(fit(KEY, ClassifierLearner(SPEC, config), PLAIN, CONFIG.budget))
