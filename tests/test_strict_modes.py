"""Synthesis and both trainings in JAX's debugging modes.

That all tests run under strict promotion of types and ranks, tests/conftest.py sees to.
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import imgopt
from gans.dcgan import DcganConfig
from gans.game import GanLearner
from gans.options.training import GameConfig
from gans.pairs import DcganPair, GanData
from train.classifier_training import ClassifierLearner
from train.classifiers import ClassifierSpec
from train.loop import FitOptions, fit
from train.recipes.train_options import Budget, TrainConfig
from train.training_sets import TrainData

MODES = {"debug_nans": jax.debug_nans, "disable_jit": jax.disable_jit}
RANDOM = np.random.default_rng(0)
IMAGES = RANDOM.integers(0, 256, (4, 32, 32, 3), np.uint8)
LABELS = np.array([0, 1, 1, 0])


@pytest.fixture(params=MODES, autouse=True)
def mode(request):
    with MODES[request.param](True):
        yield request.param


def test_promotion_is_strict():
    with pytest.raises(ValueError, match="rank_promotion"):
        jnp.ones((2, 3)) + jnp.ones(3)
    with pytest.raises(jax.dtypes.TypePromotionError):
        jnp.ones(2, jnp.float32) + jnp.ones(2, jnp.int32)


@pytest.mark.parametrize("optimizer", [imgopt.momentum_sgd(), optax.adam(0.1)], ids=["own", "adam"])
def test_synthesis(optimizer):
    kernel = RANDOM.normal(size=(32 * 32 * 3, 2)).astype(np.float32) / 20
    result = imgopt.synthesize(
        lambda images: images.reshape(len(images), -1) @ kernel,
        imgopt.to_float(IMAGES),
        imgopt.two_class_targets(jax.random.key(0), LABELS, num_classes=2),
        optimizer=optimizer,
        image_filter=imgopt.low_pass(10),
        steps=3,
        tolerance=0.01,
    )
    assert np.isfinite(result.kl).all()


@pytest.mark.slow
def test_classifier_training(tiny_networks):
    spec = ClassifierSpec(tiny_networks[0], 1.0, ("a", "b"), (16, 16, 3), (0.5,) * 3, (0.25,) * 3)
    config = TrainConfig(batch_size=2, epochs=1, warmup_fraction=0.0)
    data = TrainData(
        images=IMAGES[:, :16, :16],
        labels=LABELS.astype(np.int32),
        teacher_outputs=np.full((4, 2), 0.5, np.float32),
        is_generated=np.zeros(4, bool),
    )
    learner = ClassifierLearner(spec, config.step_config)
    options = FitOptions(constants=jnp.int32(2), steps_per_call=2)
    (result,) = fit(jax.random.key(0), learner, data, config.budget, options)
    assert np.isfinite(result.means["loss"])


@pytest.mark.slow  # without compilation, half a minute
def test_gan_training():
    pair = DcganPair(DcganConfig(image_size=16, num_classes=2, width=2), augmentations=("cut-out",))
    learner = GanLearner((pair,), GameConfig(averaging=0.9), 2e-4)
    data = GanData(jnp.asarray(IMAGES[:, :16, :16]), jnp.asarray(LABELS, jnp.int32))
    budget, options = Budget(batch_size=4, epochs=1), FitOptions(steps_per_call=1)
    (result,) = fit(jax.random.key(0), learner, data, budget, options)
    assert np.isfinite(result.means["generator_loss"])
