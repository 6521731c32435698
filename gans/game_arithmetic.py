"""The arithmetic of training GANs and of drawing from them, for one example.

It is counted as in `train.models.flop`. Of an update, G and D being forward passes of generator and
discriminator:

    the discriminator's: G without gradients, and D twice with them, 6 D;
    each of the generator's: G with them, 3 G, and D without those of its parameters, 2 D.

So it is 4 G + 8 D where the generator has one update for each of the discriminator's.
"""

import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from gans.dcgan import DcganConfig, Discriminator, Generator
from gans.encoder import FEATURES, FeatureName
from gans.pairs import build_encoder
from gans.stacked import Level, LevelDiscriminator, StackConfig, build_generator, stack_levels
from train.models.flop import IMAGE_UPDATE, TRAINING_UPDATE, forward_flop, total


def dcgan_update_flop(config: DcganConfig, *, generator_steps: int = 1) -> int:
    """FLOP of an update of a DCGAN, for one image of the batch.

    Args:
        config: its sizes.
        generator_steps: the generator's updates for one of the discriminator.
    """
    return _game_flop(*_dcgan_flop(config), generator_steps)


def stack_update_flop(
    config: StackConfig, levels: Sequence[Level], *, generator_steps: int = 1
) -> int:
    """FLOP of an update of levels of a Stacked GAN, for one image of the batch.

    The encoder passes once over the real images, as far as the topmost of the levels looks; and
    in every update of the generators over what each has made, up to its condition, for the images'
    gradient.

    Args:
        config: sizes of the stack.
        levels: those that are trained together, from the image up: one, or all.
        generator_steps: the generators' updates for one of the discriminators.
    """
    games = sum(_game_flop(*_level_flop(config, level), generator_steps) for level in levels)
    top = levels[-1]
    seen = top.target if top.condition == FEATURES[-1] else top.condition
    checked = sum(_encoder_flop(config, level.target, level.condition) for level in levels)
    real = _encoder_flop(config, FEATURES[0], seen)
    return games + real + generator_steps * IMAGE_UPDATE * checked


def encoder_update_flop(config: StackConfig) -> int:
    """FLOP of an update of a stack's encoder, for one image of the batch."""
    return TRAINING_UPDATE * _encoder_flop(config, FEATURES[0], FEATURES[-1])


def generation_flop(config: DcganConfig | StackConfig) -> int:
    """FLOP of making one image, by all levels of a stack."""
    if isinstance(config, DcganConfig):
        return _dcgan_flop(config)[0]
    return sum(_level_flop(config, level)[0] for level in stack_levels(config))


def _game_flop(generator: int, discriminator: int, generator_steps: int) -> int:
    of_discriminator = generator + 2 * TRAINING_UPDATE * discriminator
    of_generator = TRAINING_UPDATE * generator + IMAGE_UPDATE * discriminator
    return of_discriminator + generator_steps * of_generator


@functools.cache  # tracing a network takes longer than all else here
def _dcgan_flop(config: DcganConfig) -> tuple[int, int]:
    """Of a forward pass of the generator, and of the discriminator."""
    labels = None if config.num_classes is None else _one(dtype=jnp.int32)
    images = _one(config.image_size, config.image_size, config.channels)
    return (
        total(forward_flop(Generator(config), _one(config.noise_dim), labels, train=False)),
        total(forward_flop(Discriminator(config), images, labels, train=False)),
    )


@functools.cache
def _level_flop(config: StackConfig, level: Level) -> tuple[int, int]:
    """Likewise of a level."""
    generator = build_generator(level, width=config.width)
    condition, noise = _one(*level.condition_shape), _one(level.noise_dim)
    discriminator = LevelDiscriminator(level, config.width)
    return (
        total(forward_flop(generator, condition, noise, train=False)),
        total(forward_flop(discriminator, _one(*level.target_shape), train=False)),
    )


def _encoder_flop(config: StackConfig, start: FeatureName, stop: FeatureName) -> int:
    """Of the encoder's forward pass from one of its features to another."""
    layers = _encoder_layers(config)
    return sum(layers[FEATURES.index(start) : FEATURES.index(stop)])


@functools.cache
def _encoder_layers(config: StackConfig) -> tuple[int, ...]:
    """Of each layer of the encoder, each of which leads from one of the features to the next."""
    return tuple(forward_flop(build_encoder(config), _one(*config.image_shape)).values())


def _one(*shape: int, dtype: Any = jnp.float32) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct((1, *shape), dtype)
