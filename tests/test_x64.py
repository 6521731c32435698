"""The same key draws the same bits with and without jax_enable_x64, and runs load in both modes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gans import (
    DcganConfig,
    DcganPair,
    EncoderLearner,
    Gan,
    GanData,
    GanLearner,
    GanSpec,
    LevelPair,
    StackConfig,
    image_keys,
    load_gan,
    sample,
    save_gan,
    stack_levels,
    trained_generators,
)
from gans.augmentation import AUGMENTATIONS, augment
from gans.options.training import EncoderConfig, GameConfig, LossWeights
from train import (
    Classifier,
    ClassifierLearner,
    ClassifierSpec,
    ImageData,
    evaluate,
    fit,
    load_classifier,
    original_data,
    predict,
    save_classifier,
)
from train.augmentation import crop_and_zoom, flip_and_crop
from train.batches import epoch_order
from train.classifiers import classify_function
from train.loop import initial_state
from train.recipes.train_options import TrainConfig

KEY, NAMES = jax.random.key(3), ("a", "b")
IMAGES = np.random.default_rng(0).integers(0, 256, (8, 16, 16, 3), np.uint8)
LABELS = np.arange(8) % 2
SPEC = ClassifierSpec("tiny", 1.0, NAMES, (16, 16, 3), (0.5,) * 3, (0.25,) * 3)
CONFIG = TrainConfig(batch_size=4, epochs=2)
DATA = original_data(ImageData(IMAGES, LABELS.astype(np.int32), tuple("abcdefgh"), NAMES))
SIZES = DcganConfig(image_size=16, num_classes=2, noise_dim=5, width=2)
PAIR = DcganPair(SIZES, spectral_norm=True)
STACK = StackConfig((16, 16, 3), 2, ("pool2", "fc3"), encoder_width=2, width=2)

LEARNERS = {
    "classifier": ClassifierLearner(SPEC, CONFIG),
    "DCGAN": GanLearner((PAIR,), GameConfig("adaptive", averaging=0.9), 1e-3),
    "encoder": EncoderLearner(STACK, EncoderConfig()),
    **{
        f"level of {level.target}": GanLearner(
            (LevelPair(STACK, level, LossWeights()),), GameConfig(), 1e-3
        )
        for level in stack_levels(STACK)
    },
}

DRAWS = {
    "flip and crop": lambda: flip_and_crop(KEY, jnp.asarray(IMAGES), flip=True, pad_px=3),
    "crop and zoom": lambda: crop_and_zoom(KEY, IMAGES, crop_px=9),
    "order of an epoch": lambda: epoch_order(KEY, 1, [np.arange(9)], count=8),
    "orders of groups": lambda: epoch_order(
        jax.random.split(KEY), 1, [np.arange(9), np.arange(4)], count=3
    ),
    "augmentations": lambda: augment(
        KEY, jnp.asarray(IMAGES, jnp.float32) / 255, tuple(AUGMENTATIONS)
    ),
    "noise of a DCGAN": lambda: PAIR.draw_noise(KEY, 3),
    "DCGAN": lambda: initial_state(KEY, LEARNERS["DCGAN"]),
    "classifier": lambda: initial_state(KEY, LEARNERS["classifier"]),
}


def in_both_modes(function):
    found = {}
    for mode in (False, True):
        with jax.enable_x64(mode):
            found[mode] = jax.device_get(function())
    return found[False], found[True]


def assert_same_bits(found, expected):
    for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        assert one.dtype == other.dtype
        np.testing.assert_array_equal(one, other)


@pytest.mark.usefixtures("tiny_networks")
@pytest.mark.parametrize("name", DRAWS)
def test_a_key_draws_the_same_bits(name):
    assert_same_bits(*in_both_modes(DRAWS[name]))


@pytest.mark.slow
@pytest.mark.usefixtures("tiny_networks")
@pytest.mark.parametrize("name", LEARNERS)
def test_a_step_keeps_the_types_of_float32(name):
    learner = LEARNERS[name]
    encoder = jax.eval_shape(LEARNERS["encoder"].initial, KEY).variables
    given = {"classifier": jnp.int32(8), "DCGAN": None, "encoder": None}
    constants = given.get(name, encoder)
    batch = DATA if name == "classifier" else GanData(IMAGES, LABELS.astype(np.int32))

    def states():
        before = jax.eval_shape(learner.initial, KEY)
        return before, *jax.eval_shape(learner.update, KEY, before, batch, constants)

    (before, _, scalars), (with_x64, after_x64, scalars_x64) = in_both_modes(states)
    assert before == with_x64 == after_x64
    assert scalars == scalars_x64


def trained_classifier():
    *_, last = fit(KEY, LEARNERS["classifier"], DATA, CONFIG.budget)
    return Classifier(SPEC, jax.device_get(last.state.variables))


@pytest.mark.slow
@pytest.mark.usefixtures("tiny_networks")
@pytest.mark.parametrize("saved_in", [False, True], ids=["float32", "x64"])
def test_a_classifier_loads_in_the_other_mode(saved_in, tmp_path):
    with jax.enable_x64(saved_in):
        classifier = trained_classifier()
        save_classifier(tmp_path / "run", classifier)
        log_p = predict(classify_function(classifier), IMAGES)
    with jax.enable_x64(not saved_in):
        loaded = load_classifier(tmp_path / "run")
        np.testing.assert_array_equal(predict(classify_function(loaded), IMAGES), log_p)
        assert evaluate(classify_function(loaded), IMAGES, LABELS).confusion.sum() == 8
        assert_same_bits(trained_classifier().variables, classifier.variables)


@pytest.mark.slow
@pytest.mark.parametrize("saved_in", [False, True], ids=["float32", "x64"])
def test_a_gan_loads_in_the_other_mode_and_draws_the_same_images(saved_in, tmp_path):
    keys, labels = image_keys(KEY, 0, np.arange(4)), np.arange(4) % 2
    with jax.enable_x64(saved_in):
        drawn = initial_state(KEY, LEARNERS["DCGAN"]).variables
        vivid = jax.tree.map(lambda leaf: 5 * leaf, jax.device_get(trained_generators(drawn)))
        gan = Gan(GanSpec("dcgan", NAMES, SIZES), vivid)
        save_gan(tmp_path / "run", gan)
        images = sample(gan, keys, labels, batch_size=4)
    assert images.std() > 5
    with jax.enable_x64(not saved_in):
        loaded = load_gan(tmp_path / "run")
        np.testing.assert_array_equal(sample(loaded, keys, labels, batch_size=4), images)
