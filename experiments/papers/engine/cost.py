"""What an experiment will cost: FLOP as XLA counts them (see `train.flop`), and estimated time.

A classifier refuses an unknown number of a GAN's images, so only those wanted are counted. A
generator with adaptive steps counts as one that has one update for each of the discriminator's.
"""

import functools
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments.gan.networks import gan_sizes, network_pairs
from experiments.options.classifier import ClassifierTrainConfig
from experiments.options.data import AugmentConfig, SubsetConfig
from experiments.options.gan import GanSampleConfig, GanTrainConfig
from experiments.options.synthesis import SynthesizeConfig
from experiments.papers.engine.make_pieces import is_done
from experiments.papers.engine.plan import Arm, Piece, PieceConfig, Plan, needed
from experiments.papers.engine.set_sizes import SetSize, SetSizes
from gans.dcgan import DcganConfig
from gans.encoder_training import EncoderLearner
from gans.game import GanLearner
from gans.pairs import DcganPair, GanData, LevelPair
from gans.sampling import generate, generator_shapes
from gans.stacked import StackConfig
from train.classifier_training import ClassifierLearner
from train.classifiers import ClassifierSpec, Teacher
from train.data.image_data import ImageData
from train.flop import count_flop, count_update_flop
from train.loop import STEPS_PER_CALL, FitOptions, fit
from train.recipes.options import Recipe, TrainingSynthesis
from train.recipes.state import StepConstants
from train.recipes.train_options import Budget, TrainConfig
from train.training_sets import SecondViews, TrainData, original_data

CPU_STEPS = 3
"""Training steps of a timed call on a CPU; elsewhere a call has as many as in training."""

MEASURED_SECONDS = 2.0
"""Timing ends with the first call after this time."""

ENDLESS = 1_000_000
"""Length of the timed training, of which a few steps run; its learning rate stays near 0."""

UNITS = {"days": 86_400, "h": 3_600, "min": 60, "s": 1}
"""Seconds of each unit of time that is printed."""


def print_costs(plan: Plan, pieces: Mapping[str, Piece], chosen: Sequence[Arm]) -> None:
    """Prints the chosen arms, the pieces that are missing, and the cost and time of making them.

    The times assume the speed of the plan's most expensive training of a classifier. A few of its
    steps are timed on random images.

    Args:
        plan: the experiment.
        pieces: the plan's pieces, by name.
        chosen: the arms asked for.

    Raises:
        InputError: a training set is smaller than a batch.
    """
    sizes = SetSizes(pieces)
    costs = {name: piece_flop(piece.config, sizes) for name, piece in pieces.items()}
    wanted = needed(pieces, [arm.piece for arm in chosen])
    missing = {piece.name: costs[piece.name] for piece in wanted if not is_done(piece)}
    print(f"{len(chosen)} of {len(plan.arms)} measurements (row, seed, budget):")
    for arm in chosen:
        words = ", ".join(filter(None, [arm.row, str(arm.seed), arm.budget]))
        print(f"  {words}{'' if arm.piece in missing else ': done already'}")
    if not any(missing.values()):
        to_make = ", ".join(missing) or "nothing"
        print(f"\nto be made: {to_make}; there is nothing to train, synthesise or draw")
        return
    trainings = {
        name: piece.config
        for name, piece in pieces.items()
        if isinstance(piece.config, ClassifierTrainConfig)
    }
    timed = max(trainings, key=lambda name: costs[name])
    print(f"\ntiming a few steps of {timed} …", flush=True)
    speed = measure_speed(trainings[timed], sizes.source(trainings[timed]))
    _print_missing(missing, speed, timed)


def _print_missing(missing: Mapping[str, int], speed: float, timed: str) -> None:
    width = max(map(len, missing))
    print(f"\n{'to be made':{width}}  {'FLOP':>8}  about")
    for name, flop in {**missing, "in all": sum(missing.values())}.items():
        cost = f"{flop:8.2e}  {duration(flop / speed)}" if flop else f"{'–':>8}"
        print(f"{name:{width}}  {cost}")
    print(
        f"\nTimes are estimates, at the {speed:.2e} FLOP/s of {timed} on this device "
        f"({jax.devices()[0].device_kind}).\nThey leave out compiling, reading, writing, reports, "
        "and images of a GAN that are drawn and refused.\nWhat was interrupted counts whole."
    )


def duration(seconds: float) -> str:
    """Writes a time in its largest unit with two digits or more, such as "3.4 h"."""
    unit = next((unit for unit, length in UNITS.items() if seconds >= length), "s")
    value = seconds / UNITS[unit]
    return f"{value:.0f} {unit}" if value >= 10 else f"{value:.1f} {unit}"


def piece_flop(config: PieceConfig, sizes: SetSizes) -> int:
    """FLOP of making a piece from the beginning.

    Args:
        config: command that makes the piece.
        sizes: the plan's image sets.

    Raises:
        InputError: a training set is smaller than a batch; or data are missing or damaged.
    """
    match config:
        case ClassifierTrainConfig():
            return _classifier_flop(config, sizes)
        case GanTrainConfig():
            return gan_flop(config, sizes.source(config))
        case SynthesizeConfig():
            views = config.view.views if config.view.augmentations else 0
            image = 0
            for name in config.classifiers:
                classifier = _classifier_at(name, sizes)
                image += config.rule.steps * max(views, 1) * gradient_flop(classifier)
                image += (1 + views) * forward_flop(classifier)
            return image * sizes.of(config.out).images
        case GanSampleConfig():
            gan = sizes.config_at(config.gan, GanTrainConfig)
            image = generation_flop(_sizes_of(gan, sizes.source(gan)))
            if config.classifier is not None:
                image += forward_flop(_classifier_at(config.classifier, sizes))
            return image * sizes.of(config.out).images
        case AugmentConfig() | SubsetConfig():
            return 0  # copied, with a few operations a pixel


def _classifier_flop(config: ClassifierTrainConfig, sizes: SetSizes) -> int:
    """FLOP of all updates, and of the tests."""
    real, budget = sizes.source(config), config.train.budget
    images = real.images + sum(sizes.of(extra).images for extra in config.added_examples)
    steps = budget.total_steps(images)
    flop = round(steps * training_flop(config, sizes))
    if config.test_split:
        test_set = config.test_data or config.data
        test = sizes.of(test_set, config.test_split, data_dir=config.data_dir)
        epochs = -(-steps // budget.steps_per_epoch(images))
        tests = -(-epochs // config.test_every)
        tested = tests * test.images
        if config.test_also:
            tested += sizes.of(config.test_also, config.test_split, data_dir=config.data_dir).images
        flop += tested * forward_flop(_spec_of(config, real))
    return flop


def _classifier_at(run: str, sizes: SetSizes) -> ClassifierSpec:
    """A classifier that the plan trains."""
    config = sizes.config_at(run, ClassifierTrainConfig)
    return _spec_of(config, sizes.source(config))


def _spec_of(config: ClassifierTrainConfig, data: SetSize) -> ClassifierSpec:
    """Description of a classifier that is not trained yet; mean and std are placeholders."""
    channels = data.image_shape[-1]
    return ClassifierSpec(
        config.model, config.width, data.class_names, data.image_shape,
        mean=(0.5,) * channels, std=(0.25,) * channels,
    )  # fmt: skip


def training_flop(config: ClassifierTrainConfig, sizes: SetSizes) -> float:
    """FLOP of one update of a classifier, on average over the updates.

    Teachers, second views and images that are made in training are counted; the making of image
    sets before the training is not.

    Args:
        config: its training.
        sizes: the plan's image sets and trainings.
    """
    spec = _spec_of(config, sizes.source(config))
    teachers = tuple(_classifier_at(str(run), sizes) for run in config.teacher)
    recipe, batch_size = config.train.recipe, config.train.budget.batch_size
    plain = replace(config.train.step_config, recipe=replace(recipe, synthesis=TrainingSynthesis()))
    one, two = (
        functools.partial(
            _training_flop, spec, plain, teachers, batch_size, has_second_views=second
        )
        for second in (False, True)
    )
    synthesis = recipe.synthesis
    if not synthesis.synthesize_every:
        return two() if config.add and config.add_as == "second-view" else one()
    sources = teachers if synthesis.synthesize_from == "teacher" else (spec,)
    update = sum(map(gradient_flop, sources))
    making = two() + batch_size * synthesis.synthesize_updates * update
    return one() + (making - one()) / synthesis.synthesize_every


@functools.cache  # many trainings are of one network
def _training_flop(
    spec: ClassifierSpec,
    config: TrainConfig,
    teachers: tuple[ClassifierSpec, ...],
    batch_size: int,
    *,
    has_second_views: bool,
) -> int:
    images = _shapes(batch_size, *spec.image_shape, dtype=jnp.uint8)
    outputs = _shapes(batch_size, len(spec.class_names))
    batch = TrainData(
        images,
        _shapes(batch_size, dtype=jnp.int32),
        outputs,
        _shapes(batch_size, dtype=jnp.bool_),
        SecondViews(images, outputs) if has_second_views else None,
    )
    constants: Any = _shapes(dtype=jnp.int32)
    given = tuple(Teacher(teacher, _one_image(teacher)[0]) for teacher in teachers)
    if given:
        constants = StepConstants(constants, tuple(teacher.variables for teacher in given))
    return count_update_flop(ClassifierLearner(spec, config, given), batch, constants)


@functools.cache
def forward_flop(spec: ClassifierSpec) -> int:
    """FLOP of a classifier's output for one image."""
    return count_flop(_output_of(spec), *_one_image(spec))


@functools.cache
def gradient_flop(spec: ClassifierSpec) -> int:
    """FLOP of a classifier's output for one image and its gradient: an update in synthesis."""

    def total(variables: Any, image: jax.Array) -> jax.Array:
        return _output_of(spec)(variables, image).sum()

    return count_flop(jax.grad(total, argnums=1), *_one_image(spec))


def _output_of(spec: ClassifierSpec) -> Any:
    return functools.partial(spec.build().apply, train=False)


def _one_image(spec: ClassifierSpec) -> tuple[Any, jax.ShapeDtypeStruct]:
    """Shapes of a classifier's variables and of an image."""
    image = _shapes(1, *spec.image_shape)
    init = functools.partial(spec.build().init, train=False)
    return jax.eval_shape(init, jax.random.key(0), image), image


def gan_flop(config: GanTrainConfig, data: SetSize) -> int:
    """FLOP of training a GAN, in all its stages.

    Args:
        config: its training.
        data: its training set; with a GAN for each class, of as many images in each.
    """
    sizes = _sizes_of(config, data)
    if isinstance(sizes, StackConfig):
        return _stack_flop(config, sizes, data.images)
    gans = data.num_classes if config.one_per_class else 1
    update = _game_flop(config, network_pairs(config, sizes), data.image_shape)
    return gans * config.budget.total_steps(data.images // gans) * update


def _stack_flop(config: GanTrainConfig, sizes: StackConfig, images: int) -> int:
    """FLOP of training a stack: its encoder, each level apart, perhaps all levels together."""
    pairs = network_pairs(config, sizes)
    encoder = EncoderLearner(sizes, config.encoder, config.precision)
    batch_size, shape = config.budget.batch_size, sizes.image_shape

    def steps(epochs: int) -> int:
        return Budget(batch_size, epochs).total_steps(images)

    flop = steps(config.encoder.encoder_epochs) * _update_flop(encoder, batch_size, shape)
    for pair in pairs:
        flop += config.budget.total_steps(images) * _game_flop(config, (pair,), shape, encoder)
    if config.joint_epochs:
        flop += steps(config.joint_epochs) * _game_flop(config, pairs, shape, encoder)
    return flop


def _game_flop(
    config: GanTrainConfig,
    pairs: tuple[DcganPair | LevelPair, ...],
    image_shape: tuple[int, int, int],
    encoder: EncoderLearner | None = None,
) -> int:
    """FLOP of one update of the discriminators and the updates of the generators that follow."""

    def count(generator_steps: Any) -> int:
        game = replace(config.game, generator_steps=generator_steps)
        learner = GanLearner(pairs, game, config.rate)
        return _update_flop(learner, config.budget.batch_size, image_shape, encoder)

    once, steps = count("1"), config.game.generator_steps
    if steps in {"1", "adaptive"}:
        return once
    # Further steps are a loop, whose body is counted once.
    return once + (int(steps) - 1) * (count(steps) - once)


@functools.cache
def _update_flop(
    learner: GanLearner | EncoderLearner,
    batch_size: int,
    image_shape: tuple[int, int, int],
    encoder: EncoderLearner | None = None,
) -> int:
    images = _shapes(batch_size, *image_shape, dtype=jnp.uint8)
    batch = GanData(images, _shapes(batch_size, dtype=jnp.int32))
    constants = encoder and jax.eval_shape(encoder.initial, jax.random.key(0)).variables
    return count_update_flop(learner, batch, constants)


@functools.cache
def generation_flop(sizes: DcganConfig | StackConfig) -> int:
    """FLOP of drawing one image from a GAN."""
    key = jax.eval_shape(lambda: jax.random.split(jax.random.key(0), 1))
    label = _shapes(1, dtype=jnp.int32)
    drawing = functools.partial(generate, sizes)
    return count_flop(drawing, generator_shapes(sizes), key, label)


def _sizes_of(config: GanTrainConfig, data: SetSize) -> DcganConfig | StackConfig:
    return gan_sizes(config, data.image_shape, num_classes=data.num_classes)


def _shapes(*shape: int, dtype: Any = jnp.float32) -> Any:
    return jax.ShapeDtypeStruct(shape, dtype)


def measure_speed(config: ClassifierTrainConfig, data: SetSize) -> float:
    """FLOP/s of a classifier's plain training on this device, without compiling.

    Args:
        config: the training.
        data: its training set; the measurement uses random images of that shape.
    """
    spec = _spec_of(config, data)
    plain = replace(config.train.step_config, recipe=Recipe(), loss="cross-entropy")
    steps = CPU_STEPS if jax.default_backend() == "cpu" else STEPS_PER_CALL
    count = steps * config.train.budget.batch_size
    images = np.random.default_rng(0).integers(0, 256, (count, *data.image_shape), np.uint8)
    labels = np.arange(count, dtype=np.int32) % data.num_classes
    calls = fit(
        jax.random.key(0),
        ClassifierLearner(spec, plain),
        original_data(ImageData(images, labels, (), data.class_names)),
        Budget(config.train.budget.batch_size, ENDLESS),
        FitOptions(constants=np.int32(ENDLESS * steps), steps_per_call=steps),
    )
    jax.block_until_ready(next(calls).state)  # compiles
    batch_size = config.train.budget.batch_size
    flop = steps * _training_flop(spec, plain, (), batch_size, has_second_views=False)
    began, seconds, done = time.perf_counter(), 0.0, 0
    while not done or seconds < MEASURED_SECONDS:
        jax.block_until_ready(next(calls).state)
        seconds, done = time.perf_counter() - began, done + 1
    return done * flop / seconds
