"""The commands' programs, lowered for TPUs and GPUs, and compiled where their compilers are."""

import re
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gans
import imgopt
from gans.sampling import GanSpec, expected_variables, generate
from imgopt.errors import InputError
from train.classifier_training import ClassifierLearner
from train.classifiers import Classifier, classify_function
from train.evaluation import lower_predict
from train.loop import lower_training
from train.recipes.train_options import Budget, TrainConfig
from train.training_sets import TrainData

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks" / "aot"))

import chips
import compile as aot
import programs
import write_tables
from harness.untrained import describe_classifier
from measure import compile_lowered, convolutions, faults_in
from programs import Case

pytestmark = pytest.mark.usefixtures("compiled_as_users_do")

SPEC = describe_classifier("kono-cnn", width=0.1)
KEY = jax.random.key(0)
IMAGES = jax.ShapeDtypeStruct((4, 32, 32, 3), jnp.float32)
LEVELS = jax.ShapeDtypeStruct((4, 32, 32, 3), jnp.uint8)
LABELS = jax.ShapeDtypeStruct((4,), jnp.int32)
DCGAN = gans.DcganConfig(num_classes=10, width=4)


def classify(precision):
    network = SPEC.build()
    shapes = jax.eval_shape(lambda x: network.init(KEY, x, train=False), IMAGES)
    zeros = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)
    return classify_function(Classifier(SPEC, zeros), precision=precision)


def synthesis(part):
    def traced(precision):
        targets = np.full((4, 10), 0.1, np.float32)
        steps = imgopt.transform(classify(precision), targets)
        state = jax.eval_shape(steps.init, IMAGES)
        return jax.jit(getattr(steps, part)).trace(state)

    return traced


def learner(made):
    def traced(precision):
        learner, batch, constants = made(precision)
        state = jax.eval_shape(learner.initial, KEY)
        return jax.jit(learner.update).trace(KEY, state, batch, constants)

    return traced


def classifier_learner(precision):
    batch = TrainData(LEVELS, LABELS, jnp.zeros((4, 10)), jnp.zeros(4, bool))
    return ClassifierLearner(SPEC, TrainConfig(precision=precision)), batch, np.int32(9)


def dcgan_learner(precision):
    pair = gans.DcganPair(DCGAN, precision=precision)
    return gans.GanLearner((pair,), gans.GameConfig(), 1e-3), gans.GanData(LEVELS, LABELS), None


def sampling(_):
    spec = GanSpec("dcgan", tuple("0123456789"), DCGAN)
    keys = jax.random.split(KEY, 4)
    return generate.trace(DCGAN, expected_variables(spec), keys, LABELS)


PROGRAMS = {
    "update of images": synthesis("update"),
    "measuring": synthesis("finish"),
    "classifier": learner(classifier_learner),
    "DCGAN": learner(dcgan_learner),
    "sampling": sampling,
}

# kono-cnn and each half of a DCGAN have four. A layer's gradient is one convolution for its input
# and one for its kernel; images and frozen networks need only one of them. A DCGAN's update makes
# images twice, judges three times, and takes both gradients of both.
CONVOLUTIONS = {
    "update of images": 4 + 4,
    "measuring": 4,
    "classifier": 4 + 3 + 4,
    "DCGAN": (4 + 4 + 4) + 2 * (3 + 4) + (4 + 4) + 4 + (3 + 4) + 1,
    "sampling": 4,
}


@pytest.fixture(scope="module")
def text_of():
    """The text of a program for a platform; each is traced once."""
    traced = {}

    def lower(name, precision, platform):
        if (name, precision) not in traced:
            traced[name, precision] = PROGRAMS[name](precision)
        return traced[name, precision].lower(lowering_platforms=(platform,)).as_text()

    return lower


@pytest.mark.parametrize("platform", ["tpu", "cuda"])
@pytest.mark.parametrize("name", PROGRAMS)
def test_a_device_gets_convolutions_and_never_calls_the_host(name, platform, text_of):
    text = text_of(name, "float32", platform)
    assert len(convolutions(text)) == CONVOLUTIONS[name]  # none is the CPU's product of tiles
    assert not faults_in(text, "")


@pytest.mark.parametrize("name", ["update of images", "classifier", "DCGAN"])
def test_in_bfloat16_every_convolution_has_bfloat16_factors(name, text_of):
    factors = convolutions(text_of(name, "bfloat16", "tpu"))
    assert factors
    assert all(re.fullmatch(r"tensor<\S*xbf16>, tensor<\S*xbf16>", pair) for pair in factors)


def test_finished_images_are_measured_in_full_precision(text_of):
    text = text_of("measuring", "float32", "tpu")
    update = text_of("update of images", "float32", "tpu")
    assert len(re.findall(r"stablehlo\.convolution.*HIGHEST", text)) == 4
    assert not re.findall(r"stablehlo\.convolution.*HIGHEST", update)


def test_evaluation_is_in_full_precision():
    text = lower_predict(classify("float32"), (4, 32, 32, 3)).as_text()
    factors = [line for line in text.splitlines() if "stablehlo.dot_general" in line]
    assert factors
    assert all("HIGHEST" in line for line in factors)


def test_only_tpus_pool_by_a_window(text_of):
    """GPUs have no deterministic kernel for its gradient."""
    assert "select_and_scatter" in text_of("classifier", "float32", "tpu")
    assert "select_and_scatter" not in text_of("classifier", "float32", "cuda")


def test_a_training_set_is_stored_as_vectors():
    config = TrainConfig(batch_size=4).step_config
    data = TrainData(
        *map(jax.eval_shape, [lambda: jnp.zeros((9, 32, 32, 3), jnp.uint8)]), *[None] * 3
    )
    data = TrainData(
        jax.ShapeDtypeStruct((9, 32, 32, 3), jnp.uint8),
        jax.ShapeDtypeStruct((9,), jnp.int32),
        jax.ShapeDtypeStruct((9, 10), jnp.float32),
        jax.ShapeDtypeStruct((9,), jnp.bool_),
    )
    lowered = lower_training(ClassifierLearner(SPEC, config), data, Budget(4, 1))
    assert "tensor<9x3072xui8>" in lowered.batches.as_text()
    assert "tensor<9x32x32x3xui8>" not in lowered.batches.as_text()


# ---- compiled, where a compiler for the chip is installed


def devices_or_skip(name, count):
    try:
        return chips.find_devices(name, count)
    except InputError as error:
        pytest.skip(str(error))


@pytest.mark.slow
@pytest.mark.parametrize("count", [1, 4])
@pytest.mark.parametrize("chip", ["v5e", "h200"])
@pytest.mark.parametrize("job", programs.JOBS)
def test_every_program_compiles_for_a_chip(job, chip, count):
    devices = devices_or_skip(chip, count)
    model = "kono-cnn" if job in programs.NETWORK_JOBS else ""
    case = Case(job, model, "bfloat16", 8, chip, count, width=0.1)
    for name, lowered in programs.lower(case, devices).items():
        compiled = compile_lowered(lowered, chips.CHIPS[chip], quickly=True)
        text = compiled.as_text()
        assert not faults_in(lowered.as_text(), text)
        loops = name in ("updates", "steps")
        assert (" while(" in text) or not loops
        planned = compiled.memory_analysis()
        assert planned.alias_size_in_bytes > 0.5 * planned.output_size_in_bytes or not loops


# ---- the script


def test_what_cannot_be_compiled_for_is_named(monkeypatch):
    with pytest.raises(InputError, match="unknown chip 'v4'; expected v5e, "):
        chips.find_devices("v4", 1)
    monkeypatch.setattr(chips, "find_spec", lambda _: None)
    with pytest.raises(InputError, match=r"needs libtpu, which is not .*pip install '.\[aot\]'"):
        chips.find_devices("v5e", 1)
    monkeypatch.setattr(chips, "find_spec", lambda _: "found")
    monkeypatch.setattr(chips, "_group_of_four", lambda _: list("abcd"))
    with pytest.raises(InputError, match="expected 1 to 4 chips, got 5"):
        chips.find_devices("v5e", 5)


FIGURES = {
    "needed_mib": 300.0, "memory_share": 0.0183, "gflop": 510.3, "gigabytes": 6.4,
    "arithmetic_ms": 2.6, "memory_ms": 7.8, "bound": "memory", "milliseconds": None,
    "compile_seconds": 9.1,
}  # fmt: skip


def test_an_interrupted_run_goes_on_and_makes_the_tables(tmp_path, monkeypatch):
    done = []

    def compile_case(case, *, quickly):
        if len(done) == 3:
            raise KeyboardInterrupt
        done.append(case.name)
        return {**case._asdict(), "quickly": quickly, "programs": {"updates": FIGURES}}

    monkeypatch.setattr(aot, "compile_case", compile_case)
    monkeypatch.setattr(aot, "find_devices", lambda *_: None)
    config = aot.AotConfig(chip=("v5e",), only=("vgg16",), out=tmp_path / "aot.json")
    with pytest.raises(KeyboardInterrupt):
        aot.main(config)
    first, done[:] = list(done), []
    with pytest.raises(KeyboardInterrupt):
        aot.main(config)
    assert not set(first) & set(done)
    text = write_tables.tables(aot.read_json(config.out))
    assert text.count("| memory |") == 6
    assert "510" in text


def test_every_case_has_a_name_of_its_own():
    names = [case.name for case in aot.all_cases(tuple(chips.CHIPS))]
    assert len(set(names)) == len(names) > 100
    assert {case.job for case in aot.all_cases(("v5e",))} == set(programs.JOBS)
