"""Networks of a Stacked GAN: for each level a generator and a discriminator with a head Q.

After Huang et al. 2017, "Stacked generative adversarial networks". The encoder is cut at named
features. Level i generates the features h_i from the features above, h_{i+1}, and noise z_i:
h_i = G_i(h_{i+1}, z_i). h_0 is the image; the top h is the one-hot label. Sizes follow the official
code for CIFAR-10; the discriminators' convolutions follow its code for MNIST. As in that code,
batch norm comes before the activation. The official discriminators' Gaussian noise and dropout are
left out.
"""

import itertools
from dataclasses import dataclass
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from gans.blocks import (
    ConvTrunk,
    DiscriminatorOutput,
    apply_layer,
    convolution,
    dense,
    leaky_relu,
    transposed_convolution,
)
from gans.encoder import MAPS, WIDTH, FeatureName, feature_shapes
from gans.options.training import CUT_POINTS, PRESETS, CutPoint
from imgopt.errors import InputError
from train.models.layers import DTypeLike, batch_norm

LAYERS = 4
"""Number of convolutions of a generator of maps (B, 3.2.3)."""

LAST_MAP_SIDE_PX = 4
"""Longest side of a discriminator's last map, to which it halves its input."""


@dataclass(frozen=True)
class StackConfig:
    """Sizes of a Stacked GAN and of its encoder."""

    image_shape: tuple[int, int, int] = (32, 32, 3)
    """Height, width, channels; height and width are multiples of 4, at least 16."""
    num_classes: int = 10
    """Number of classes."""
    cut_points: tuple[CutPoint, ...] = PRESETS["paper"]
    """Features between the levels, the image's side first; one fewer than levels."""
    encoder_width: int = WIDTH
    """Channels of the encoder's first convolution."""
    width: int = 128
    """Channels of a map generator's middle layers; a discriminator's dense layer has 2·width."""
    bottom_noise_dim: int = 16
    """Length of the noise vector of the image's level."""
    top_noise_dim: int = 50
    """Length of the noise vector of every other level."""

    def __post_init__(self) -> None:
        """Checks the sizes and cut points.

        Raises:
            InputError: unknown, repeated, unordered or no cut points, or a size out of its range.
        """
        _check_cut_points(self.cut_points)
        for name in ("width", "bottom_noise_dim", "top_noise_dim"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} must be at least 1, got {getattr(self, name)}")
        feature_shapes(self.image_shape, num_classes=self.num_classes, width=self.encoder_width)


def _check_cut_points(cut_points: tuple[str, ...]) -> None:
    known = ", ".join(CUT_POINTS)
    unknown = [name for name in cut_points if name not in CUT_POINTS]
    if unknown:
        raise InputError(f"unknown cut points {', '.join(unknown)}; expected some of {known}")
    ordered = tuple(name for name in CUT_POINTS if name in cut_points)
    if not cut_points or cut_points != ordered:
        raise InputError(
            f"cut points must be one or more of {known}, each once and in this order; got "
            f"{cut_points}"
        )


class Level(NamedTuple):
    """Inputs and output of one level of a stack.

    Attributes:
        target: name of the features that it generates, h_i.
        condition: name of the features that it takes, h_{i+1}.
        target_shape: shape of the target for one example.
        condition_shape: shape of the condition for one example.
        start_size: height and width of a generator's first map; unused for vectors.
        noise_dim: length of the noise vector z_i.
    """

    target: FeatureName
    condition: FeatureName
    target_shape: tuple[int, ...]
    condition_shape: tuple[int, ...]
    start_size: tuple[int, int]
    noise_dim: int


def stack_levels(config: StackConfig) -> tuple[Level, ...]:
    """Levels of a stack, the image's first.

    Example:
        >>> levels = stack_levels(StackConfig(cut_points=("pool2", "fc3")))
        >>> [(level.condition, level.target) for level in levels]
        [('pool2', 'image'), ('fc3', 'pool2'), ('label', 'fc3')]
    """
    shapes = feature_shapes(
        config.image_shape, num_classes=config.num_classes, width=config.encoder_width
    )
    names: tuple[FeatureName, ...] = ("image", *config.cut_points, "label")
    levels = []
    for target, condition in itertools.pairwise(names):
        height, width, _ = shapes[condition if condition in MAPS else MAPS[-1]]
        levels.append(
            Level(
                target,
                condition,
                target_shape=shapes[target],
                condition_shape=shapes[condition],
                start_size=(height, width),
                noise_dim=config.top_noise_dim if levels else config.bottom_noise_dim,
            )
        )
    return tuple(levels)


def draw_stack_noise(key: Key[Array, ""], count: int, *, noise_dim: int) -> Float[Array, "n z"]:
    """Draws uniform noise on [0, 1), as the official code does.

    Args:
        key: PRNG key.
        count: number of noise vectors, n.
        noise_dim: their length, z.

    Example:
        >>> draw_stack_noise(jax.random.key(0), 4, noise_dim=16).shape
        (4, 16)
    """
    return jax.random.uniform(key, (count, noise_dim), jnp.float32)


def build_generator(
    level: Level, *, width: int, dtype: DTypeLike = jnp.float32
) -> "MapGenerator | VectorGenerator":
    """Builds a level's generator: dense layers for vectors, transposed convolutions for maps.

    Example:
        >>> level = stack_levels(StackConfig())[0]
        >>> type(build_generator(level, width=8)).__name__
        'MapGenerator'
    """
    kind = MapGenerator if level.target in MAPS else VectorGenerator
    return kind(level, width=width, dtype=dtype)


class VectorGenerator(nn.Module):
    """Generator of vectors by dense layers, as in the official code's top level.

    Separate layers embed the noise, in 2·width numbers, and the condition, in 4·width numbers. Two
    layers of 4·width and one of the target's size follow. Batch norm and ReLU follow each layer;
    ReLU alone follows the last, since features are not negative.

    Attributes:
        level: inputs and output.
        width: a quarter of the hidden layers' size.
        dtype: precision of the computation; parameters, statistics and features are float32.
    """

    level: Level
    width: int
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self, condition: Float[Array, "n k"], noise: Float[Array, "n z"], *, train: bool
    ) -> Float[Array, "n d"]:
        """Generates features, which are at least 0.

        Args:
            condition: features of the level above, or one-hot labels.
            noise: see `draw_stack_noise`.
            train: batch norm uses the batch's statistics and updates the running ones; otherwise
                it uses the running ones.

        Raises:
            InputError: the shapes are not the level's.
        """
        _check_inputs(self.level, condition, noise)
        embedded = self._hidden(noise, 2 * self.width, train)
        wanted = self._hidden(condition, 4 * self.width, train)
        x = jnp.concatenate([embedded, wanted], axis=-1)
        for _ in range(2):
            x = self._hidden(x, 4 * self.width, train)
        x = dense(self.level.target_shape[0], dtype=self.dtype)(x)
        return nn.relu(x).astype(jnp.float32)

    def _hidden(self, x: Array, features: int, train: bool) -> Array:
        x = dense(features, use_bias=False, dtype=self.dtype)(x)
        return nn.relu(batch_norm(x, train=train, dtype=self.dtype))


class MapGenerator(nn.Module):
    """Generator of maps: a dense layer and four 5×5 convolutions.

    From the first map to the target, transposed convolutions undo the encoder's poolings (stride 2
    doubles the size) and its convolutions (stride 1 without padding adds 4 pixels). If fewer than
    four are needed, convolutions that keep the size come first. The four have 2·width, width, width
    and the target's channels. Batch norm and ReLU follow each but the last; tanh follows the last
    for images, ReLU for features.

    Two dense layers of `width` embed the noise. A vector condition is appended to the embedding
    before the dense layer that makes the first map. A map condition is appended to the first map.

    Attributes:
        level: inputs and output.
        width: channels of the middle layers.
        dtype: precision of the computation; parameters, statistics and results are float32.
    """

    level: Level
    width: int
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self, condition: Float[Array, "n ..."], noise: Float[Array, "n z"], *, train: bool
    ) -> Float[Array, "n h w c"]:
        """Generates images in [-1, 1], or features, which are at least 0.

        Args:
            condition: features of the level above, or one-hot labels.
            noise: see `draw_stack_noise`.
            train: batch norm uses the batch's statistics and updates the running ones; otherwise
                it uses the running ones.

        Raises:
            InputError: the shapes are not the level's.
        """
        _check_inputs(self.level, condition, noise)
        x = self._first_map(condition, noise, train)
        widths = (2 * self.width, self.width, self.width)
        *resizings, last = _resizings(self.level)
        for features, resizing in zip(widths, resizings, strict=True):
            x = self._layer(x, features, resizing, use_bias=False)
            x = nn.relu(batch_norm(x, train=train, dtype=self.dtype))
        x = self._layer(x, self.level.target_shape[-1], last, use_bias=True)
        activation = nn.tanh if self.level.target == "image" else nn.relu
        return activation(x).astype(jnp.float32)

    def _first_map(self, condition: Array, noise: Array, train: bool) -> Array:
        x = noise
        for _ in range(2):
            x = dense(self.width, use_bias=False, dtype=self.dtype)(x)
            x = nn.relu(batch_norm(x, train=train, dtype=self.dtype))
        is_map = condition.ndim == 4
        if not is_map:
            x = jnp.concatenate([condition.astype(x.dtype), x], axis=-1)
        height, width = self.level.start_size
        x = dense(height * width * 2 * self.width, use_bias=False, dtype=self.dtype)(x)
        x = x.reshape(x.shape[0], height, width, -1)
        x = nn.relu(batch_norm(x, train=train, dtype=self.dtype))
        return jnp.concatenate([condition.astype(x.dtype), x], axis=-1) if is_map else x

    def _layer(self, x: Array, features: int, resizing: int, *, use_bias: bool) -> Array:
        if resizing == KEEP:
            # A transposed convolution that keeps the size is a convolution, its kernel turned.
            return convolution(features, stride=1, use_bias=use_bias, dtype=self.dtype)(x)
        layer = transposed_convolution(
            features, stride=2 if resizing == DOUBLE else 1, use_bias=use_bias, dtype=self.dtype
        )
        return layer(x)


KEEP, GROW, DOUBLE = range(3)
"""Effects of a layer on the size of a map: the same, 4 pixels more, doubled."""


def _resizings(level: Level) -> tuple[int, ...]:
    start = level.condition if level.condition in MAPS else MAPS[-1]
    undone = MAPS.index(start) - MAPS.index(level.target)
    undoing = (DOUBLE, GROW) * undone
    return (KEEP,) * (LAYERS - len(undoing)) + undoing


class LevelDiscriminator(nn.Module):
    """Tells real features from generated ones; its head Q estimates the generator's noise.

    For maps: 5×5 convolutions of stride 2 with width/2, width, 2·width… channels until no side is
    longer than 4, then a dense layer of 2·width, after the official code for MNIST. For vectors:
    two dense layers of 4·width, the second with batch norm, after the top level for CIFAR-10. Leaky
    ReLU follows each layer; one dense layer follows for each head.

    Attributes:
        level: inputs and output of the generator.
        width: twice the first convolution's channels.
        dtype: precision of the computation; parameters, statistics and results are float32.
        spectral_norm: whether to use spectral norm instead of batch norm (see
            `gans.blocks.apply_layer`).
    """

    level: Level
    width: int
    dtype: DTypeLike = jnp.float32
    spectral_norm: bool = False

    @nn.compact
    def __call__(self, features: Float[Array, "n ..."], *, train: bool) -> DiscriminatorOutput:
        """Computes logits and noise estimates.

        Args:
            features: the level's target (images in [-1, 1]), all real or all generated, since
                batch norm uses their statistics.
            train: batch norm uses the batch's statistics and updates the running ones; otherwise
                it uses the running ones.

        Raises:
            InputError: the shape is not the level's.
        """
        _check_shape(self.level.target, features, self.level.target_shape)
        x = self._shared(features, train)
        logits = self._dense(x, 1, train)[:, 0]
        guess = self._dense(x, self.level.noise_dim, train)
        return DiscriminatorOutput(logits.astype(jnp.float32), guess.astype(jnp.float32))

    def _shared(self, x: Array, train: bool) -> Array:
        if x.ndim == 4:
            widths = _trunk(x.shape[1:3], self.width)
            x = ConvTrunk(widths, self.dtype, self.spectral_norm)(x, train=train)
            return leaky_relu(self._dense(x, 2 * self.width, train))
        x = leaky_relu(self._dense(x, 4 * self.width, train))
        has_batch_norm = not self.spectral_norm
        x = self._dense(x, 4 * self.width, train, use_bias=not has_batch_norm)
        return leaky_relu(batch_norm(x, train=train, dtype=self.dtype) if has_batch_norm else x)

    def _dense(self, x: Array, features: int, train: bool, *, use_bias: bool = True) -> Array:
        layer = dense(features, use_bias=use_bias, dtype=self.dtype)
        return apply_layer(layer, x, spectral_norm=self.spectral_norm, train=train)


def _trunk(size: tuple[int, ...], width: int) -> tuple[int, ...]:
    """Channels of the convolutions that halve a map down to `LAST_MAP_SIDE_PX`."""
    features: list[int] = []
    side = max(size)
    while side > LAST_MAP_SIDE_PX:
        features.append(max(1, width * 2 ** len(features) // 2))
        side = (side + 1) // 2
    return tuple(features)


def _check_inputs(level: Level, condition: Array, noise: Array) -> None:
    _check_shape(level.condition, condition, level.condition_shape)
    _check_shape("noise", noise, (level.noise_dim,))
    if condition.shape[0] != noise.shape[0]:
        raise InputError(
            f"each of {len(condition)} conditions needs its own noise vector, got {len(noise)}"
        )


def _check_shape(name: str, array: Array, shape: tuple[int, ...]) -> None:
    if array.shape[1:] != shape:
        expected = ", ".join(map(str, ("n", *shape)))
        raise InputError(f"{name} must have shape ({expected}), got {array.shape}")
