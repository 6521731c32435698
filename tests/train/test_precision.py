"""bfloat16 is for the computation only: parameters, statistics, losses, outputs are float32."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import imgopt
from gans.dcgan import DcganConfig
from gans.encoder_training import EncoderLearner
from gans.game import GanLearner
from gans.options.training import PRESETS, EncoderConfig, GameConfig, LossWeights
from gans.pairs import DcganPair, GanData, LevelPair
from gans.stacked import StackConfig, stack_levels
from train.classifier_training import ClassifierLearner
from train.classifiers import Classifier, ClassifierSpec, check_precision, classify_function
from train.recipes.train_options import TrainConfig
from train.training_sets import TrainData

RANDOM = np.random.default_rng(3)
IMAGES = RANDOM.integers(0, 256, (12, 8, 6, 3), np.uint8)
LABELS = np.arange(12, dtype=np.int32) % 3
DATA = TrainData(IMAGES, LABELS, RANDOM.dirichlet(np.ones(3), 12).astype(np.float32), LABELS == 0)
SPEC = ClassifierSpec("tiny", 1.0, ("a", "b", "c"), (8, 6, 3), (0.5,) * 3, (0.25,) * 3)


def learner(precision):
    config = TrainConfig(precision=precision, loss="mixed", flip=False, pad_px=0, warmup_fraction=0)
    return ClassifierLearner(SPEC, config)


def dtypes(tree):
    return jax.tree.map(lambda leaf: leaf.dtype, tree)


@pytest.fixture(scope="module")
def updates(tiny_networks):
    """States before and after one update, and the means, in both precisions."""
    assert SPEC.network in tiny_networks
    found = {}
    for precision in ("float32", "bfloat16"):
        state = learner(precision).initial(jax.random.key(0))
        update = jax.jit(learner(precision).update)
        found[precision] = (state, *update(jax.random.key(1), state, DATA, np.int32(10)))
    return found


def test_parameters_and_statistics_stay_float32(updates):
    before, after, means = updates["bfloat16"]
    assert {leaf.dtype for leaf in jax.tree.leaves(after.variables)} == {jnp.dtype("float32")}
    assert dtypes(after) == dtypes(before)
    assert {leaf.dtype for leaf in jax.tree.leaves(means)} == {jnp.dtype("float32")}


def test_gradients_are_finite_and_nearly_float32_s(updates):
    before, after, _ = updates["bfloat16"]
    _, expected, _ = updates["float32"]
    moved, wanted = (
        jax.tree.map(np.subtract, state.variables["params"], before.variables["params"])
        for state in (after, expected)
    )
    for path, leaf in jax.tree.leaves_with_path(moved):
        assert np.isfinite(leaf).all(), path
    ours, theirs = (
        np.concatenate([x.ravel() for x in jax.tree.leaves(t)]) for t in (moved, wanted)
    )
    assert np.linalg.norm(ours - theirs) < 0.03 * np.linalg.norm(theirs)
    assert np.abs(ours).max() > 0


def test_the_loss_is_nearly_float32_s_and_yet_another_number(updates):
    losses = [float(updates[name][2]["loss"]) for name in ("float32", "bfloat16")]
    assert losses[1] == pytest.approx(losses[0], rel=0.01)
    assert losses[1] != losses[0]


STACK = StackConfig(image_shape=(32, 32, 3), num_classes=3, cut_points=PRESETS["official"], width=2)


def gan_learners():
    dcgan = DcganPair(DcganConfig(image_size=16, num_classes=3, width=2), precision="bfloat16")
    yield "dcgan", (16, 16, 3), GanLearner((dcgan,), GameConfig(averaging=0.5), 2e-4), None
    encoder = EncoderLearner(STACK, EncoderConfig(), "bfloat16")
    yield "encoder", (32, 32, 3), encoder, None
    variables = jax.eval_shape(encoder.initial, jax.random.key(0)).variables
    for level in stack_levels(STACK):
        pair = LevelPair(STACK, level, LossWeights(), precision="bfloat16")
        game = GanLearner((pair,), GameConfig(), 1e-4)
        yield f"level {pair.target}", (32, 32, 3), game, variables


@pytest.mark.parametrize(
    ("shape", "learner", "constants"), [pytest.param(*rest, id=n) for n, *rest in gan_learners()]
)
def test_a_gan_s_state_and_losses_stay_float32(shape, learner, constants):
    batch = GanData(jnp.zeros((4, *shape), jnp.uint8), jnp.zeros(4, jnp.int32))
    state = jax.eval_shape(learner.initial, jax.random.key(0))
    after, means = jax.eval_shape(learner.update, jax.random.key(0), state, batch, constants)
    assert {leaf.dtype for leaf in jax.tree.leaves(after.variables)} == {jnp.dtype("float32")}
    assert dtypes(after) == dtypes(state)
    wanted = {"generator_steps": jnp.dtype("int32")}
    assert all(leaf.dtype == wanted.get(name, jnp.float32) for name, leaf in means.items())


@pytest.mark.slow
def test_synthesis_in_bfloat16_gets_as_near_to_the_target(updates):
    """What the README promises, on a small scale: the mean KL within 10% of float32's.

    Half-way, that is: at the end, the KL is no more than bfloat16's own rounding, which is larger.
    """
    _, state, _ = updates["float32"]
    classifier = Classifier(SPEC, state.variables)
    targets = RANDOM.dirichlet(np.ones(3), len(IMAGES)).astype(np.float32)
    kl = {}
    for precision in ("float32", "bfloat16"):
        result = imgopt.synthesize(
            classify_function(classifier, precision=precision), imgopt.to_float(IMAGES), targets,
            measure=classify_function(classifier), optimizer=optax.sgd(1.0), steps=12,
        )  # fmt: skip
        assert result.outputs.dtype == result.images.dtype == jnp.float32
        kl[precision] = float(result.kl.mean())
    start = imgopt.synthesize(
        classify_function(classifier), imgopt.to_float(IMAGES), targets, steps=0
    )
    assert 0.01 < kl["float32"] < 0.5 * float(start.kl.mean())
    assert kl["bfloat16"] == pytest.approx(kl["float32"], rel=0.1)


class Device:
    def __init__(self, kind, **attributes):
        self.device_kind = kind
        vars(self).update(attributes)


@pytest.mark.parametrize(
    ("device", "is_refused"),
    [
        (Device("cpu"), False),
        (Device("TPU v4"), False),
        (Device("NVIDIA H200", compute_capability="9.0"), False),
        (Device("NVIDIA B200", compute_capability="10.0"), False),
        (Device("NVIDIA A100", compute_capability="8.0"), False),
        (Device("Tesla T4", compute_capability="7.5"), True),
        (Device("AMD Instinct MI250X", compute_capability="gfx90a"), False),
    ],
)
def test_what_only_imitates_bfloat16_is_refused(device, is_refused, monkeypatch):
    monkeypatch.setattr(jax, "local_devices", lambda: [device])
    check_precision("float32")
    if not is_refused:
        check_precision("bfloat16")
        return
    with pytest.raises(ValueError, match=r"got Tesla T4 with 7.5; take --precision float32"):
        check_precision("bfloat16")
