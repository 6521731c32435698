"""The jobs that are timed, done by Elicit's public functions as a user would call them.

Each job makes its inputs as NumPy arrays; PyTorch's side starts from the same arrays. XLA counts
the FLOP of an update (see `train.flop`).
"""

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
import numpy as np

import gans
import imgopt
from gans.pairs import build_encoder
from harness.timing import Call
from harness.untrained import (
    CLASS_NAMES,
    IMAGE_SHAPE,
    NUM_CLASSES,
    describe_classifier,
    random_images,
    untrained,
)
from train.classifier_training import ClassifierLearner
from train.classifiers import Classifier, ClassifierSpec, classify_function
from train.data.image_data import ImageData
from train.data.load import find_directory, load_images
from train.data.spec import ImageSetSpec
from train.data.write import write_shard
from train.flop import count_flop, count_update_flop
from train.learner import Learner
from train.loop import FitOptions, fit
from train.models import NetworkName
from train.recipes.train_options import Budget, Precision, TrainConfig
from train.training_sets import original_data

RULE = imgopt.sgd()
"""Paper A's rule, which the other libraries compute too."""

WHOLE_SYNTHESIS_STEPS = 100

FLOP_OF_A_CALL = {"cpu": 1e11, "gpu": 1e14}
"""FLOP aimed at in one call, by platform; the updates are limited by MIN_STEPS and MAX_STEPS."""

MIN_STEPS, MAX_STEPS = 3, 20

ENDLESS = 10_000
"""Epochs that a training is started with; only the first few are run and timed."""

FILES = 10_000
"""Images that `data_input` reads from disk by default."""


class Case(NamedTuple):
    """A job at one size.

    Attributes:
        job: name of the job.
        model: name of the classifier; None if the job has no classifier.
        batch_size: images a step; images a step and class if each class has its own GAN.
        precision: precision of the computation.
        images: images in a call, for jobs that take any number; None for the job's default.
        data_dir: TFDS's data directory with cifar10; without it, jobs that read it are skipped.
    """

    job: str
    model: NetworkName | None
    batch_size: int
    precision: Precision = "float32"
    images: int | None = None
    data_dir: Path | None = None


class Job(NamedTuple):
    """A case that is ready to be timed.

    Attributes:
        case: the job's name and size.
        compared: what a call does, on both sides, in words.
        inputs: arrays that both sides start from.
        start: prepares Elicit's side and returns the call to time.
        images: images that a call processes, counted once for each update.
        steps: updates in a call.
        flop: FLOP of a call; None for jobs that read or write files.
    """

    case: Case
    compared: str
    inputs: Any
    start: Callable[[], Call]
    images: int
    steps: int = 1
    flop: int | None = None


def steps_of_a_call(flop: int) -> int:
    """Updates in a call, given the FLOP of one update."""
    wanted = FLOP_OF_A_CALL.get(jax.default_backend(), FLOP_OF_A_CALL["gpu"]) / flop
    return max(MIN_STEPS, min(MAX_STEPS, round(wanted)))


# ---- synthesis


class SynthesisInputs(NamedTuple):
    """A classifier with its variables, 8-bit originals, targets, and the number of updates."""

    spec: ClassifierSpec
    variables: dict[str, Any]
    images: np.ndarray
    targets: np.ndarray
    steps: int


def synthesis_step(case: Case) -> Job:
    """A few updates of one batch of images on the device."""
    update, forward = _image_flop(case)
    steps = steps_of_a_call(update)
    inputs = _synthesis_inputs(case, case.batch_size, steps)

    def start() -> Call:
        images, targets = imgopt.to_float(inputs.images), jnp.asarray(inputs.targets)
        classify, measure = _classifiers(inputs, case.precision)

        def call() -> np.ndarray:
            result = imgopt.synthesize(
                classify, images, targets, steps=steps, measure=measure, optimizer=RULE
            )
            return np.asarray(jax.block_until_ready(result).outputs)

        return call

    return Job(
        case,
        f"{steps} SGD updates of a batch on the device, and a forward pass to measure the result",
        inputs,
        start,
        images=case.batch_size * steps,
        steps=steps,
        flop=steps * update + forward,
    )


def whole_synthesis(case: Case) -> Job:
    """The whole job: 8-bit images from host memory and back, 100 updates each."""
    count, steps = case.images or case.batch_size, WHOLE_SYNTHESIS_STEPS
    update, forward = _image_flop(case)
    inputs = _synthesis_inputs(case, count, steps)

    def start() -> Call:
        classify, measure = _classifiers(inputs, case.precision)

        def call() -> np.ndarray:
            parts = imgopt.synthesize_in_batches(
                classify, inputs.images, inputs.targets, batch_size=case.batch_size, steps=steps,
                measure=measure, optimizer=RULE,
            )  # fmt: skip
            return np.concatenate([part.outputs for part in parts])

        return call

    return Job(
        case,
        f"{count} 8-bit images, from host memory and back: {steps} SGD updates each, and a forward "
        "pass to measure the result; a step is all of it",
        inputs,
        start,
        images=count,
        flop=(steps * update + forward) * count // case.batch_size,
    )


def _synthesis_inputs(case: Case, count: int, steps: int) -> SynthesisInputs:
    labels = np.arange(count) % NUM_CLASSES
    targets = imgopt.two_class_targets(jax.random.key(2), labels, num_classes=NUM_CLASSES, own=0.9)
    spec, variables = untrained(describe_classifier(str(case.model)))
    images = random_images(count)
    return SynthesisInputs(spec, jax.device_get(variables), images, np.asarray(targets), steps)


def _image_flop(case: Case) -> tuple[int, int]:
    """FLOP of an update of a batch of images, and of a forward pass."""
    spec = describe_classifier(str(case.model))
    network = spec.build()
    images = jax.ShapeDtypeStruct((case.batch_size, *IMAGE_SHAPE), jnp.float32)
    variables = jax.eval_shape(lambda: untrained(spec).variables)

    def classify(variables: Any, images: jax.Array) -> Any:
        return network.apply(variables, images, train=False)

    gradient = jax.grad(lambda *inputs: classify(*inputs).sum(), argnums=1)
    return count_flop(gradient, variables, images), count_flop(classify, variables, images)


def _classifiers(inputs: SynthesisInputs, precision: Precision) -> tuple[Any, Any]:
    """The classifier in the case's precision, and the one in float32 that measures the result."""
    classifier = Classifier(inputs.spec, jax.tree.map(jnp.asarray, inputs.variables))
    return classify_function(classifier, precision=precision), classify_function(classifier)


# ---- training


class TrainingInputs(NamedTuple):
    """A learner and the data that it trains on.

    Attributes:
        learner: learner of a classifier or a GAN.
        variables: first variables of the networks; those of one GAN if each class has its own.
        images: 8-bit images of one epoch.
        labels: classes of the images.
        constants: constants of the learner.
        groups: rows of each class, if each class has its own GAN; else None.
    """

    learner: Learner
    variables: dict[str, Any]
    images: np.ndarray
    labels: np.ndarray
    constants: Any
    groups: dict[str, np.ndarray] | None


def training_step(case: Case) -> Job:
    """Updates of a classifier's parameters."""
    config = TrainConfig(batch_size=case.batch_size, precision=case.precision)
    learner = ClassifierLearner(describe_classifier(str(case.model)), config)
    return _training(case, learner, constants=np.int32(ENDLESS * MAX_STEPS))


def dcgan_step(case: Case) -> Job:
    """Updates of a class-conditional DCGAN."""
    config = gans.DcganConfig(num_classes=NUM_CLASSES)
    pair = gans.DcganPair(config, precision=case.precision)
    return _training(case, _learner(pair))


def dcgan_per_class_step(case: Case) -> Job:
    """Updates of ten DCGANs, one for each class."""
    config = gans.DcganConfig()
    pair = gans.DcganPair(config, precision=case.precision)
    return _training(case, _learner(pair), per_class=True)


def sgan_step(case: Case) -> Job:
    """Updates of the Stacked GAN's level that turns pool2's features into images."""
    config = gans.StackConfig()
    level = gans.stack_levels(config)[0]
    pair = gans.LevelPair(config, level, gans.LossWeights(), precision=case.precision)
    network = build_encoder(config)
    encoder = dict(network.init(jax.random.key(3), jnp.zeros((1, *IMAGE_SHAPE))))
    return _training(case, _learner(pair), constants=encoder)


def _learner(pair: gans.DcganPair | gans.LevelPair) -> gans.GanLearner:
    return gans.GanLearner((pair,), gans.GameConfig(), learning_rate=2e-4)


def _training_data(learner: Learner, images: np.ndarray, labels: np.ndarray) -> Any:
    if isinstance(learner, ClassifierLearner):
        return original_data(ImageData(images, labels, (), CLASS_NAMES))
    return gans.GanData(jnp.asarray(images), jnp.asarray(labels))


def _training(
    case: Case, learner: Learner, *, constants: Any = None, per_class: bool = False
) -> Job:
    """A job whose call is one epoch of a few updates."""
    size = case.batch_size
    batch = _training_data(learner, random_images(size), np.zeros(size, np.int32))
    trainings = NUM_CLASSES if per_class else 1
    flop = trainings * count_update_flop(learner, batch, constants)
    steps = steps_of_a_call(flop)
    count = size * steps * trainings
    labels = np.arange(count, dtype=np.int32) % NUM_CLASSES
    groups = {str(k): np.flatnonzero(labels == k) for k in range(NUM_CLASSES)}
    inputs = TrainingInputs(
        learner,
        jax.device_get(learner.initial(jax.random.key(0)).variables),
        random_images(count),
        labels,
        constants,
        groups if per_class else None,
    )
    return Job(
        case,
        f"an epoch of {steps} updates, from 8-bit images on the device in an order drawn there",
        inputs,
        lambda: _start_training(case, inputs, steps),
        images=count,
        steps=steps,
        flop=flop * steps,
    )


def _start_training(case: Case, inputs: TrainingInputs, steps: int) -> Call:
    data = _training_data(inputs.learner, inputs.images, inputs.labels)
    options = FitOptions(groups=inputs.groups, constants=inputs.constants, steps_per_call=steps)
    budget = Budget(case.batch_size, ENDLESS)
    epochs = fit(jax.random.key(0), inputs.learner, data, budget, options)

    def call() -> None:
        jax.block_until_ready(next(epochs).state)

    return call


# ---- files


class ReadingInputs(NamedTuple):
    """Directory of an image set, and a split in TFDS's notation."""

    directory: Path
    split: str


def data_input(case: Case) -> Job:
    """Reads encoded images from disk into 8-bit arrays on the device."""
    count = case.images or FILES
    inputs = ReadingInputs(find_directory("cifar10", data_dir=case.data_dir), f"train[:{count}]")

    def call() -> None:
        data = load_images(inputs.directory, inputs.split)
        jax.block_until_ready(jax.device_put((data.images, data.labels)))

    compared = (
        f"{count} encoded images of CIFAR-10, from the system's file cache, to 8-bit arrays on the "
        "device; ours reads one ArrayRecord file, the peer one file an image by a DataLoader whose "
        "processes already run"
    )
    return Job(case, compared, inputs, lambda: call, count)


def set_writing(case: Case) -> Job:
    """Writes 8-bit images in memory as a shard of an image set."""
    data = load_images("digits", "train")
    rows = np.arange(case.images or len(data.labels)) % len(data.labels)
    spec = ImageSetSpec("digits_copy", data.class_names, cast(Any, data.images.shape[1:]))
    columns = {
        "id": [f"image_{i:06d}" for i in range(len(rows))],
        "image": data.images[rows],
        "label": data.labels[rows],
    }

    def call() -> None:
        with tempfile.TemporaryDirectory() as directory:
            write_shard(Path(directory), spec, split="train", index=0, columns=columns)

    compared = (
        f"{len(rows)} digits to PNG on disk; ours writes one ArrayRecord file, flushed, with its "
        "sha256, the peer one file an image from a pool of threads, not flushed"
    )
    return Job(case, compared, columns, lambda: call, len(rows))
