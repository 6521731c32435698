"""What an experiment will cost: FLOP counted from the networks' layers, and an estimate of time.

As in `train.models.flop`, only convolutions and dense layers count. Nobody knows how many of a
GAN's images a classifier will refuse, so one is counted for each that is wanted; nor how often a
generator has several updates in a row, so an adaptive one has one.
"""

import functools
import time
from collections.abc import Mapping, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from experiments.classifier.train import ClassifierTrainConfig
from experiments.data.augment import AugmentConfig
from experiments.data.subset import SubsetConfig
from experiments.gan.sample import GanSampleConfig
from experiments.gan.train import GanTrainConfig, gan_sizes
from experiments.papers.engine.make_pieces import is_done
from experiments.papers.engine.plan import Arm, Piece, PieceConfig, Plan, needed
from experiments.papers.engine.set_sizes import SetSize, SetSizes
from experiments.synthesis.command import SynthesizeConfig
from gans.dcgan import DcganConfig
from gans.game_arithmetic import (
    dcgan_update_flop,
    encoder_update_flop,
    generation_flop,
    stack_update_flop,
)
from gans.stacked import StackConfig, stack_levels
from train.classifier_training import ClassifierLearner
from train.classifiers import ClassifierSpec
from train.data.load import ImageData
from train.loop import STEPS_PER_CALL, Budget, FitOptions, fit
from train.models.flop import TRAINING_UPDATE, forward_flop, synthesis_flop, total
from train.models.networks import build_network
from train.training_sets import original_data

CPU_STEPS = 3
"""Of a call of the measurement on a CPU, where they are slow; elsewhere as many as of training."""

MEASURED_SECONDS = 2.0
"""Once the measured calls have taken so long, no other one begins."""

ENDLESS = 1_000_000
"""Epochs of a training of which the first few are timed; its learning rate hardly leaves 0."""

UNITS = {"days": 86_400, "h": 3_600, "min": 60, "s": 1}
"""Seconds, by the units in which times are told."""


def print_costs(plan: Plan, pieces: Mapping[str, Piece], chosen: Sequence[Arm]) -> None:
    """Prints arms, what they need that is not there yet, what it costs and about how long it takes.

    The time is that of the arithmetic at the speed of the plan's most expensive training of a
    classifier, of which a few steps are run on made-up images.

    Args:
        plan: of the experiment.
        pieces: by name, those of the plan.
        chosen: the arms asked for.

    Raises:
        InputError: a training set is smaller than a batch.
    """
    sizes = SetSizes(pieces)
    costs = {name: count_flop(piece.config, sizes) for name, piece in pieces.items()}
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
    """A time in its largest unit, such as "3.4 h"; two digits or more."""
    unit = next((unit for unit, length in UNITS.items() if seconds >= length), "s")
    value = seconds / UNITS[unit]
    return f"{value:.0f} {unit}" if value >= 10 else f"{value:.1f} {unit}"


def count_flop(config: PieceConfig, sizes: SetSizes) -> int:
    """FLOP of making a piece from the beginning.

    Args:
        config: of the piece.
        sizes: of the plan's image sets.

    Raises:
        InputError: a training set is smaller than a batch; or data are missing or damaged.
    """
    match config:
        case ClassifierTrainConfig():
            return _classifier_flop(config, sizes)
        case GanTrainConfig():
            return gan_flop(config, sizes.source(config))
        case SynthesizeConfig():
            forward = _classification_flop(config.classifier, sizes)
            return synthesis_flop(forward, steps=config.rule.steps) * sizes.of(config.out).images
        case GanSampleConfig():
            gan = sizes.config_at(config.gan, GanTrainConfig)
            one = generation_flop(_sizes_of(gan, sizes.source(gan)))
            if config.classifier is not None:
                one += _classification_flop(config.classifier, sizes)
            return one * sizes.of(config.out).images
        case AugmentConfig() | SubsetConfig():
            return 0  # copied, with a few operations a pixel


def _classifier_flop(config: ClassifierTrainConfig, sizes: SetSizes) -> int:
    """Of all updates, and of a pass over the test set after each epoch."""
    real, budget = sizes.source(config), config.train.budget
    images = real.images + sum(sizes.of(extra).images for extra in config.extra)
    steps = budget.total_steps(images)
    passes = TRAINING_UPDATE * steps * budget.batch_size
    if config.test_split:
        test_set = config.test_dataset or config.dataset
        test = sizes.of(test_set, config.test_split, data_dir=config.data_dir)
        passes += -(-steps // budget.steps_per_epoch(images)) * test.images
    return passes * forward_flop_of(config, real)


def _classification_flop(run: str, sizes: SetSizes) -> int:
    """Of one image, by a classifier that the plan trains."""
    config = sizes.config_at(run, ClassifierTrainConfig)
    return forward_flop_of(config, sizes.source(config))


def forward_flop_of(config: ClassifierTrainConfig, data: SetSize) -> int:
    """FLOP of a classifier's forward pass of one image.

    Args:
        config: of its training.
        data: what it is trained on.
    """
    return _network_flop(config.model, data.num_classes, config.width, data.image_shape)


@functools.cache  # many trainings are of one network
def _network_flop(
    model: str, num_classes: int, width: float, image_shape: tuple[int, int, int]
) -> int:
    network = build_network(model, num_classes=num_classes, width=width)
    image = jax.ShapeDtypeStruct((1, *image_shape), jnp.float32)
    return total(forward_flop(network, image, train=False))


def gan_flop(config: GanTrainConfig, data: SetSize) -> int:
    """FLOP of training a GAN, in all its stages; with adaptive generator's steps, at least.

    Args:
        config: of the training.
        data: its training set; with a GAN for each class, of as many images in each.
    """
    budget, sizes = config.budget, _sizes_of(config, data)
    adaptive = config.game.generator_steps == "adaptive"
    generator_steps = 1 if adaptive else int(config.game.generator_steps)
    if isinstance(sizes, DcganConfig):
        gans = data.num_classes if config.per_class else 1
        update = dcgan_update_flop(sizes, generator_steps=generator_steps)
        return gans * _images_seen(budget, data.images // gans) * update
    levels = stack_levels(sizes)
    encoder = Budget(budget.batch_size, config.encoder.encoder_epochs)
    flop = _images_seen(encoder, data.images) * encoder_update_flop(sizes)
    for level in levels:
        update = stack_update_flop(sizes, [level], generator_steps=generator_steps)
        flop += _images_seen(budget, data.images) * update
    if config.joint_epochs:
        joint = Budget(budget.batch_size, config.joint_epochs)
        update = stack_update_flop(sizes, levels, generator_steps=generator_steps)
        flop += _images_seen(joint, data.images) * update
    return flop


def _images_seen(budget: Budget, images: int) -> int:
    """In all updates."""
    return budget.total_steps(images) * budget.batch_size


def _sizes_of(config: GanTrainConfig, data: SetSize) -> DcganConfig | StackConfig:
    return gan_sizes(config, data.image_shape, num_classes=data.num_classes)


def measure_speed(config: ClassifierTrainConfig, data: SetSize) -> float:
    """FLOP/s of a classifier's training on this device, without compiling.

    Args:
        config: of the training.
        data: what it is trained on; the measurement uses made-up images of that shape.
    """
    channels = data.image_shape[-1]
    spec = ClassifierSpec(
        config.model, config.width, data.class_names, data.image_shape,
        mean=(0.5,) * channels, std=(0.25,) * channels,
    )  # fmt: skip
    steps = CPU_STEPS if jax.default_backend() == "cpu" else STEPS_PER_CALL
    count = steps * config.train.batch_size
    images = np.random.default_rng(0).integers(0, 256, (count, *data.image_shape), np.uint8)
    labels = np.arange(count, dtype=np.int32) % data.num_classes
    calls = fit(
        jax.random.key(0),
        ClassifierLearner(spec, config.train.step_config),
        original_data(ImageData(images, labels, (), data.class_names)),
        Budget(config.train.batch_size, ENDLESS),
        FitOptions(constants=np.int32(ENDLESS * steps), steps_per_call=steps),
    )
    jax.block_until_ready(next(calls).state)  # compiles
    flop = count * TRAINING_UPDATE * forward_flop_of(config, data)
    began, seconds, done = time.perf_counter(), 0.0, 0
    while not done or seconds < MEASURED_SECONDS:
        jax.block_until_ready(next(calls).state)
        seconds, done = time.perf_counter() - began, done + 1
    return done * flop / seconds
