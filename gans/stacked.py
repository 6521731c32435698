"""Networks of a Stacked GAN: for each level a generator and a discriminator with a head Q.

Huang et al. 2017, "Stacked generative adversarial networks". The encoder is cut at named features;
level i makes the features below a cut out of those above it and noise: h_i = G_i(h_{i+1}, z_i). h_0
is the image and the topmost h the label, one-hot. Sizes follow the official code for CIFAR-10, the
discriminators' trunks its code for MNIST; as there, batch norm stands in front of the activation.
What Gaussian noise and dropout it has in discriminators is left out.
"""

import itertools
from dataclasses import dataclass
from typing import Literal, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from gans.blocks import (
    ConvTrunk,
    Judgement,
    convolution,
    dense,
    leaky_relu,
    limited,
    normalise,
    transposed_convolution,
)
from gans.encoder import MAPS, WIDTH, FeatureName, feature_shapes
from imgopt.errors import InputError
from train.models.convolution import DTypeLike

CutPoint = Literal["pool1", "pool2", "fc3"]

CUT_POINTS: tuple[CutPoint, ...] = ("pool1", "pool2", "fc3")

PRESETS: dict[str, tuple[CutPoint, ...]] = {"paper": ("pool2",), "official": ("fc3",)}
"""Where the encoder is cut: in paper B, 3.2.3, and in the official code for CIFAR-10."""

LAYERS = 4
"""Transposed convolutions of a generator of maps (B, 3.2.3)."""

JUDGED_SIDE_PX = 4
"""A discriminator halves a map until neither side is longer."""


@dataclass(frozen=True)
class StackConfig:
    """Sizes of a Stacked GAN and its encoder."""

    image_shape: tuple[int, int, int] = (32, 32, 3)
    """Height, width, channels; each side a multiple of 4 from 16 on."""
    num_classes: int = 10
    """Labels, of which the topmost generator takes one."""
    cut_points: tuple[CutPoint, ...] = PRESETS["paper"]
    """Between the levels, from the image up; one fewer than levels."""
    encoder_width: int = WIDTH
    """Channels of the encoder's first convolution."""
    width: int = 128
    """Channels in the middle of a generator of maps; twice that in discriminators' dense layer."""
    bottom_noise_dim: int = 16
    """Numbers of noise for the image's level."""
    top_noise_dim: int = 50
    """Numbers of noise for every other level."""

    def __post_init__(self) -> None:
        """Refuses stacks that cannot be.

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
    """What one level of a stack makes of what.

    Attributes:
        target: name of the features it makes, h_i.
        condition: name of the features it makes them of, h_{i+1}.
        target_shape: of one example.
        condition_shape: of one example.
        start_size: height and width of a generator's first map; unused for vectors.
        noise_dim: numbers of noise, z_i.
    """

    target: FeatureName
    condition: FeatureName
    target_shape: tuple[int, ...]
    condition_shape: tuple[int, ...]
    start_size: tuple[int, int]
    noise_dim: int


def stack_levels(config: StackConfig) -> tuple[Level, ...]:
    """The levels of a stack, from the image up."""
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


def draw_noise(key: Key[Array, ""], count: int, *, noise_dim: int) -> Float[Array, "n z"]:
    """Uniform noise on [0, 1), as in the official code.

    Args:
        key: the randomness.
        count: n, the examples to make of it.
        noise_dim: z, the level's.
    """
    return jax.random.uniform(key, (count, noise_dim))


def build_generator(
    level: Level, *, width: int, dtype: DTypeLike = jnp.float32
) -> "MapGenerator | VectorGenerator":
    """The generator of a level: by dense layers for vectors, transposed convolutions for maps."""
    kind = MapGenerator if level.target in MAPS else VectorGenerator
    return kind(level, width=width, dtype=dtype)


class VectorGenerator(nn.Module):
    """Dense layers, as in the official code's top level.

    Noise and condition are embedded apart, in 2·width and 4·width numbers; two layers of 4·width
    follow, then the target's. Batch norm and ReLU follow each layer, ReLU alone the last, since
    features are not negative.

    Attributes:
        level: what to make of what.
        width: a quarter of the hidden layers' size.
        dtype: of the computation; parameters, statistics and features are float32.
    """

    level: Level
    width: int
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self, condition: Float[Array, "n k"], noise: Float[Array, "n z"], *, train: bool
    ) -> Float[Array, "n d"]:
        """Makes features, at least 0.

        Args:
            condition: features of the level above, or one-hot labels.
            noise: see `draw_noise`.
            train: batch norm uses and updates by the batch's statistics, else the running ones.

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
        return nn.relu(normalise(x, train=train, dtype=self.dtype))


class MapGenerator(nn.Module):
    """A dense layer and four transposed 5×5 convolutions.

    The convolutions undo the encoder's poolings (stride 2, twice the size) and convolutions
    (stride 1 without padding, 4 more) from the first map to the target; where that takes fewer than
    four, others that keep the size come first. They have 2·width, width, width and the target's
    channels, batch norm and ReLU between, and at the end tanh for an image and ReLU for features.

    The noise is embedded by two dense layers of `width`. A condition that is a vector joins it and
    the dense layer makes the first map of both; one that is a map joins the map made of the noise.

    Attributes:
        level: what to make of what.
        width: channels of the middle layers.
        dtype: of the computation; parameters, statistics and results are float32.
    """

    level: Level
    width: int
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self, condition: Float[Array, "n ..."], noise: Float[Array, "n z"], *, train: bool
    ) -> Float[Array, "n h w c"]:
        """Makes images in [-1, 1] or features, at least 0.

        Args:
            condition: features of the level above, or one-hot labels.
            noise: see `draw_noise`.
            train: batch norm uses and updates by the batch's statistics, else the running ones.

        Raises:
            InputError: the shapes are not the level's.
        """
        _check_inputs(self.level, condition, noise)
        x = self._first_map(condition, noise, train)
        widths = (2 * self.width, self.width, self.width)
        *resizings, last = _resizings(self.level)
        for features, resizing in zip(widths, resizings, strict=True):
            x = self._layer(x, features, resizing, use_bias=False)
            x = nn.relu(normalise(x, train=train, dtype=self.dtype))
        x = self._layer(x, self.level.target_shape[-1], last, use_bias=True)
        activation = nn.tanh if self.level.target == "image" else nn.relu
        return activation(x).astype(jnp.float32)

    def _first_map(self, condition: Array, noise: Array, train: bool) -> Array:
        x = noise
        for _ in range(2):
            x = dense(self.width, use_bias=False, dtype=self.dtype)(x)
            x = nn.relu(normalise(x, train=train, dtype=self.dtype))
        is_map = condition.ndim == 4
        if not is_map:
            x = jnp.concatenate([condition.astype(x.dtype), x], axis=-1)
        height, width = self.level.start_size
        x = dense(height * width * 2 * self.width, use_bias=False, dtype=self.dtype)(x)
        x = x.reshape(len(x), height, width, -1)
        x = nn.relu(normalise(x, train=train, dtype=self.dtype))
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
"""What a layer does to the size of a map: nothing, 4 pixels more, twice."""


def _resizings(level: Level) -> tuple[int, ...]:
    start = level.condition if level.condition in MAPS else MAPS[-1]
    undone = MAPS.index(start) - MAPS.index(level.target)
    undoing = (DOUBLE, GROW) * undone
    return (KEEP,) * (LAYERS - len(undoing)) + undoing


class LevelDiscriminator(nn.Module):
    """Tells real features from made ones and, by its head Q, guesses the noise.

    Maps: 5×5 convolutions of stride 2 with width/2, width, 2·width… channels until no side is
    longer than 4, and a dense layer of 2·width, after the official code for MNIST. Vectors: two
    dense layers of 4·width, the second with batch norm, as for CIFAR-10's top level. Leaky ReLU
    between; one dense layer for each head.

    Attributes:
        level: whose features to judge.
        width: twice the first convolution's channels.
        dtype: of the computation; parameters, statistics and results are float32.
        spectral_norm: whether spectral norm limits all weights, in batch norm's place (see
            `gans.blocks.limited`).
    """

    level: Level
    width: int
    dtype: DTypeLike = jnp.float32
    spectral_norm: bool = False

    @nn.compact
    def __call__(self, features: Float[Array, "n ..."], *, train: bool) -> Judgement:
        """Judges features (images in [-1, 1]), all real or all made.

        Args:
            features: the level's target.
            train: batch norm uses and updates by the batch's statistics, else the running ones.

        Raises:
            InputError: the shape is not the level's.
        """
        _check_shape(self.level.target, features, self.level.target_shape)
        x = self._shared(features, train)
        logits = self._dense(x, 1, train)[:, 0]
        guess = self._dense(x, self.level.noise_dim, train)
        return Judgement(logits.astype(jnp.float32), guess.astype(jnp.float32))

    def _shared(self, x: Array, train: bool) -> Array:
        if x.ndim == 4:
            widths = _trunk(x.shape[1:3], self.width)
            x = ConvTrunk(widths, self.dtype, self.spectral_norm)(x, train=train)
            return leaky_relu(self._dense(x, 2 * self.width, train))
        x = leaky_relu(self._dense(x, 4 * self.width, train))
        normalised = not self.spectral_norm
        x = self._dense(x, 4 * self.width, train, use_bias=not normalised)
        return leaky_relu(normalise(x, train=train, dtype=self.dtype) if normalised else x)

    def _dense(self, x: Array, features: int, train: bool, *, use_bias: bool = True) -> Array:
        layer = dense(features, use_bias=use_bias, dtype=self.dtype)
        return limited(layer, x, spectral_norm=self.spectral_norm, train=train)


def _trunk(size: tuple[int, ...], width: int) -> tuple[int, ...]:
    """Channels of the convolutions that bring a map down to the side that is judged."""
    features: list[int] = []
    side = max(size)
    while side > JUDGED_SIDE_PX:
        features.append(max(1, width * 2 ** len(features) // 2))
        side = (side + 1) // 2
    return tuple(features)


def _check_inputs(level: Level, condition: Array, noise: Array) -> None:
    _check_shape(level.condition, condition, level.condition_shape)
    _check_shape("noise", noise, (level.noise_dim,))
    if len(condition) != len(noise):
        raise InputError(
            f"each of {len(condition)} conditions needs noise of its own, got {len(noise)}"
        )


def _check_shape(name: str, array: Array, shape: tuple[int, ...]) -> None:
    if array.shape[1:] != shape:
        expected = ", ".join(map(str, ("n", *shape)))
        raise InputError(f"{name} must have shape ({expected}), got {array.shape}")
