"""Pairs of a generator and a discriminator: what training asks of them, and our GANs' pairs."""

from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, cast, runtime_checkable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key, UInt8

from gans import dcgan, stacked
from gans.augmentation import augment
from gans.blocks import DiscriminatorOutput, to_signed
from gans.encoder import FEATURES, Encoder
from gans.losses import conditional_loss
from gans.options.training import AugmentationName, LossWeights
from gans.stacked import Level, LevelDiscriminator, StackConfig, build_generator
from imgopt import to_float
from train.checks import check_grey_levels, check_labels, one_hot
from train.recipes.train_options import Precision

IMAGE = "image"

Variables = dict[str, Any]


class GanData(NamedTuple):
    """A training set or a batch: 8-bit images and their classes."""

    images: UInt8[Array, "n h w c"]
    labels: Int[Array, " n"]


def check_gan_data(data: GanData, *, num_classes: int | None) -> None:
    """Checks a training set before anything is compiled.

    Args:
        data: The training set.
        num_classes: Number of classes; None if the labels are not used.

    Raises:
        InputError: The images are not uint8, or the labels are not one class for each image.
    """
    check_grey_levels(data.images)
    check_labels(data.labels, count=len(data.images), num_classes=num_classes)


class GeneratedBatch(NamedTuple):
    """Output of a generator, and its inputs.

    Attributes:
        features: the output: images in [-1, 1], or features of an encoder.
        condition: labels, or features of the level above; None for a GAN without classes.
        noise: random input.
    """

    features: Float[Array, "n ..."]
    condition: Array | None
    noise: Float[Array, "n z"]


@runtime_checkable  # for tests, which check annotations
class NetworkPair(Protocol):
    """A generator and its discriminator, hashable by value."""

    @property
    def target(self) -> str:
        """Name of the features that the generator makes, such as "image"."""
        ...

    @property
    def weights(self) -> LossWeights:
        """Weights of the losses."""
        ...

    @property
    def num_classes(self) -> int | None:
        """Number of classes; None for a GAN that does not know them."""
        ...

    def initial(self, key: Key[Array, ""]) -> tuple[Variables, Variables]:
        """Draws the first variables of the generator and of the discriminator."""
        ...

    def real(self, batch: GanData, constants: Any) -> Float[Array, "n ..."]:
        """Real features, which the generator learns to imitate."""
        ...

    def condition(self, batch: GanData, constants: Any) -> Array | None:
        """Condition of the chain's top generator: labels or real features."""
        ...

    def draw_noise(self, key: Key[Array, ""], count: int) -> Float[Array, "n z"]:
        """Draws the generator's noise for `count` examples."""
        ...

    def generate(
        self, variables: Variables, condition: Array | None, noise: Array
    ) -> tuple[Array, Variables]:
        """Generates features in training mode; also returns the updated variables."""
        ...

    def discriminate(
        self,
        key: Key[Array, ""],
        variables: Variables,
        features: Array,
        condition: Array | None,
        *,
        train: bool = True,
    ) -> tuple[DiscriminatorOutput, Variables]:
        """Applies the discriminator; also returns the updated variables.

        Args:
            key: randomness of the augmentations.
            variables: the discriminator's.
            features: all real or all generated, since batch norm uses their statistics.
            condition: the condition of each example.
            train: batch norm uses the batch's statistics and updates the running ones; otherwise
                it uses the running ones.
        """
        ...

    def conditional_loss(
        self, generated: GeneratedBatch, constants: Any
    ) -> Float[Array, ""] | None:
        """Mean distance of generated features from their condition; None without an encoder."""
        ...


@dataclass(frozen=True)
class DcganPair:
    """The networks of a DCGAN.

    Attributes:
        config: sizes of the networks.
        augmentations: changes to all images that the discriminator sees (see
            `gans.augmentation`).
        spectral_norm: whether the discriminator uses spectral norm.
        precision: precision of the computation.
    """

    config: dcgan.DcganConfig
    augmentations: tuple[AugmentationName, ...] = ()
    spectral_norm: bool = False
    precision: Precision = "float32"

    @property
    def target(self) -> str:
        """The generator makes images."""
        return IMAGE

    @property
    def weights(self) -> LossWeights:
        """Default weights; only the adversarial loss exists here."""
        return LossWeights()

    @property
    def num_classes(self) -> int | None:
        """Number of classes; None for a GAN without classes."""
        return self.config.num_classes

    @property
    def _generator(self) -> dcgan.Generator:
        return dcgan.Generator(self.config, dtype=_dtype(self.precision))

    @property
    def _discriminator(self) -> dcgan.Discriminator:
        dtype = _dtype(self.precision)
        return dcgan.Discriminator(self.config, dtype=dtype, spectral_norm=self.spectral_norm)

    def initial(self, key: Key[Array, ""]) -> tuple[Variables, Variables]:
        """See `NetworkPair`."""
        keys = jax.random.split(key)
        labels = None if self.config.num_classes is None else jnp.zeros(1, jnp.int32)
        noise = jnp.zeros((1, self.config.noise_dim), jnp.float32)
        size = self.config.image_size
        images = jnp.zeros((1, size, size, self.config.channels), jnp.float32)
        return (
            _init(self._generator, keys[0], noise, labels),
            _init(self._discriminator, keys[1], images, labels),
        )

    def real(self, batch: GanData, constants: Any) -> Float[Array, "n h w c"]:
        """The images of the batch, in [-1, 1]."""
        del constants
        return _signed(batch)

    def condition(self, batch: GanData, constants: Any) -> Array | None:
        """The labels of the batch; None for a GAN without classes."""
        del constants
        return None if self.config.num_classes is None else batch.labels

    def draw_noise(self, key: Key[Array, ""], count: int) -> Float[Array, "n z"]:
        """See `gans.dcgan.draw_dcgan_noise`."""
        return dcgan.draw_dcgan_noise(key, count, noise_dim=self.config.noise_dim)

    def generate(
        self, variables: Variables, condition: Array | None, noise: Array
    ) -> tuple[Array, Variables]:
        """See `NetworkPair`."""
        return _apply(self._generator, variables, noise, condition)

    def discriminate(
        self,
        key: Key[Array, ""],
        variables: Variables,
        features: Array,
        condition: Array | None,
        *,
        train: bool = True,
    ) -> tuple[DiscriminatorOutput, Variables]:
        """See `NetworkPair`."""
        features = augment(key, features, self.augmentations)
        logits, updated = _apply(self._discriminator, variables, features, condition, train=train)
        return DiscriminatorOutput(logits), updated

    def conditional_loss(self, generated: GeneratedBatch, constants: Any) -> None:
        """None: a DCGAN has no encoder."""
        del generated, constants


@dataclass(frozen=True)
class LevelPair:
    """The networks of one level of a Stacked GAN; the constants are the encoder's variables.

    Attributes:
        config: sizes of the stack.
        level: inputs and outputs of the generator.
        weights: weights of the losses.
        augmentations: changes to all images that the discriminator sees, on the images' level.
        spectral_norm: whether the discriminator uses spectral norm.
        precision: precision of the computation.
    """

    config: StackConfig
    level: Level
    weights: LossWeights
    augmentations: tuple[AugmentationName, ...] = ()
    spectral_norm: bool = False
    precision: Precision = "float32"

    @property
    def target(self) -> str:
        """Name of the features that the generator makes."""
        return self.level.target

    @property
    def num_classes(self) -> int:
        """Number of classes."""
        return self.config.num_classes

    @property
    def _generator(self) -> stacked.MapGenerator | stacked.VectorGenerator:
        return build_generator(self.level, width=self.config.width, dtype=_dtype(self.precision))

    @property
    def _discriminator(self) -> LevelDiscriminator:
        return LevelDiscriminator(
            self.level,
            self.config.width,
            dtype=_dtype(self.precision),
            spectral_norm=self.spectral_norm,
        )

    def initial(self, key: Key[Array, ""]) -> tuple[Variables, Variables]:
        """See `NetworkPair`."""
        keys = jax.random.split(key)
        condition = jnp.zeros((1, *self.level.condition_shape), jnp.float32)
        noise = jnp.zeros((1, self.level.noise_dim), jnp.float32)
        features = jnp.zeros((1, *self.level.target_shape), jnp.float32)
        return (
            _init(self._generator, keys[0], condition, noise),
            _init(self._discriminator, keys[1], features),
        )

    def real(self, batch: GanData, constants: Variables) -> Float[Array, "n ..."]:
        """The target features of the batch, from the encoder, or its images."""
        return self._features(batch, constants)[self.level.target]

    def condition(self, batch: GanData, constants: Variables) -> Array:
        """The features of the level above, from the encoder, or one-hot labels."""
        if self.level.condition == FEATURES[-1]:
            return one_hot(batch.labels, self.config.num_classes)
        return self._features(batch, constants)[self.level.condition]

    def draw_noise(self, key: Key[Array, ""], count: int) -> Float[Array, "n z"]:
        """See `gans.stacked.draw_stack_noise`."""
        return stacked.draw_stack_noise(key, count, noise_dim=self.level.noise_dim)

    def generate(
        self, variables: Variables, condition: Array | None, noise: Array
    ) -> tuple[Array, Variables]:
        """See `NetworkPair`."""
        return _apply(self._generator, variables, condition, noise)

    def discriminate(
        self,
        key: Key[Array, ""],
        variables: Variables,
        features: Array,
        condition: Array | None,
        *,
        train: bool = True,
    ) -> tuple[DiscriminatorOutput, Variables]:
        """See `NetworkPair`; ignores the condition."""
        del condition
        if self.level.target == IMAGE:
            features = augment(key, features, self.augmentations)
        return _apply(self._discriminator, variables, features, train=train)

    def conditional_loss(self, generated: GeneratedBatch, constants: Variables) -> Float[Array, ""]:
        """Mean distance of the encoder's features of a generated batch from their condition."""
        found = self._encode(constants, generated.features, start=self.level.target)
        return conditional_loss(
            found[self.level.condition],
            cast(Array, generated.condition),
            is_label=self.level.condition == FEATURES[-1],
        ).mean()

    def _features(self, batch: GanData, encoder: Variables) -> dict[str, Array]:
        return self._encode(encoder, _signed(batch), start=IMAGE)

    def _encode(self, encoder: Variables, features: Array, *, start: str) -> dict[str, Array]:
        network = build_encoder(self.config, precision=self.precision)
        return cast(dict[str, Array], network.apply(encoder, features, start=start))


def build_encoder(config: StackConfig, *, precision: Precision = "float32") -> Encoder:
    """Builds the encoder of a stack."""
    return Encoder(config.num_classes, config.encoder_width, dtype=_dtype(precision))


def _signed(batch: GanData) -> Float[Array, "n h w c"]:
    """A batch's images in [-1, 1]."""
    check_grey_levels(batch.images)
    return to_signed(to_float(batch.images))


def _dtype(precision: Precision) -> Any:
    return jnp.dtype(precision).type


def _init(network: Any, key: Key[Array, ""], *inputs: Any) -> Variables:
    return dict(network.init(key, *inputs, train=False))


def _apply(
    network: Any, variables: Variables, *inputs: Any, train: bool = True
) -> tuple[Any, Variables]:
    """Applies a network; also returns the variables, in training mode with the new statistics."""
    result, updated = network.apply(variables, *inputs, train=train, mutable=["batch_stats"])
    return result, {**variables, **updated}
