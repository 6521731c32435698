"""DCGAN: an image out of noise by transposed convolutions, judged by strided ones.

After Radford, Metz, Chintala 2016, "Unsupervised representation learning with deep convolutional
generative adversarial networks", at the size of paper B, 3.2.2. Without classes it is one GAN for
one class. With classes, the generator's noise is followed by a learnt embedding of the label, as
in Mirza, Osindero 2014, "Conditional generative adversarial nets"; and the discriminator adds to
its logit the product of its features with another embedding, as in Miyato, Koyama 2018, "cGANs
with projection discriminator", eq. 3.
"""

from dataclasses import dataclass

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from gans.blocks import (
    ConvTrunk,
    dense,
    draw_weights,
    limited,
    normalise,
    transposed_convolution,
)
from imgopt.errors import InputError
from train.models.convolution import DTypeLike

LABEL_STD = 0.1
"""Standard deviation of the generator's label embedding at the start. With 1 it outweighs the
noise, and the generator learns one image for each class: after 320 steps on 5,000 CIFAR-10 images
the standard deviation of a pixel within a class was 0.03, with 0.1 it was 0.33 (on [-1, 1])."""

HALVINGS = 4
"""Convolutions of stride 2 in the discriminator, transposed ones in the generator."""


@dataclass(frozen=True)
class DcganConfig:
    """Sizes of a DCGAN."""

    image_size: int = 32
    """Height and width in pixels: 16, 32, 64 or a larger power of two."""
    channels: int = 3
    """Of the images."""
    num_classes: int | None = None
    """Of a class-conditional GAN; none: one that knows no classes."""
    noise_dim: int = 100
    """Numbers that the generator makes an image of."""
    label_dim: int = 50
    """Numbers that a label is embedded in beside the noise, with classes only."""
    width: int = 64
    """Channels next to the image; each halving of the image doubles them."""

    def __post_init__(self) -> None:
        """Refuses sizes that cannot be.

        Raises:
            InputError: a size is outside its range.
        """
        size = self.image_size
        if size < 2**HALVINGS or size & (size - 1):
            raise InputError(
                f"image_size must be a power of two, at least {2**HALVINGS}, since the image is "
                f"halved {HALVINGS} times; got {size}"
            )
        for name in ("channels", "noise_dim", "label_dim", "width"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.num_classes is not None and self.num_classes < 2:
            raise InputError(
                f"a class-conditional GAN needs at least 2 classes, got {self.num_classes}; "
                "give none for a GAN of one class"
            )


def draw_noise(key: Key[Array, ""], count: int, *, noise_dim: int) -> Float[Array, "n z"]:
    """Uniform noise on [-1, 1), as in the code of Radford et al.

    Args:
        key: the randomness.
        count: n, the images to make of it.
        noise_dim: z.
    """
    return jax.random.uniform(key, (count, noise_dim), minval=-1.0)


class Generator(nn.Module):
    """Noise → dense → four transposed 5×5 convolutions of stride 2 → tanh.

    Batch norm and ReLU follow each layer but the last.

    Attributes:
        config: sizes.
        dtype: of the computation; parameters, statistics and images are float32.
    """

    config: DcganConfig
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self,
        noise: Float[Array, "n z"],
        labels: Int[Array, " n"] | None = None,
        *,
        train: bool,
    ) -> Float[Array, "n h w c"]:
        """Makes images in [-1, 1] (see `gans.from_signed`).

        Args:
            noise: see `draw_noise`.
            labels: in [0, num_classes), with classes only.
            train: batch norm uses and updates by the batch's statistics, else the running ones.

        Raises:
            InputError: labels without classes or classes without labels.
        """
        _check_labels(self.config, labels)
        if self.config.num_classes is not None:
            noise = jnp.concatenate([noise, self._embed(labels)], axis=-1)
        widths = _widths(self.config)[::-1]
        side = self.config.image_size // 2**HALVINGS
        x = dense(side * side * widths[0], use_bias=False, dtype=self.dtype)(noise)
        x = x.reshape(len(x), side, side, widths[0])
        for features in widths[1:]:
            x = nn.relu(normalise(x, train=train, dtype=self.dtype))
            layer = transposed_convolution(features, stride=2, use_bias=False, dtype=self.dtype)
            x = layer(x)
        x = nn.relu(normalise(x, train=train, dtype=self.dtype))
        x = transposed_convolution(self.config.channels, stride=2, dtype=self.dtype)(x)
        return nn.tanh(x).astype(jnp.float32)

    def _embed(self, labels: Array | None) -> Array:
        initial = nn.initializers.normal(LABEL_STD)
        return nn.Embed(
            self.config.num_classes or 0, self.config.label_dim, embedding_init=initial
        )(labels)


class Discriminator(nn.Module):
    """Four 5×5 convolutions of stride 2, then dense to one logit.

    Leaky ReLU follows each convolution, batch norm each but the first.

    Attributes:
        config: sizes.
        dtype: of the computation; parameters, statistics and logits are float32.
        spectral_norm: whether spectral norm limits all weights, in batch norm's place (see
            `gans.blocks.limited`).
    """

    config: DcganConfig
    dtype: DTypeLike = jnp.float32
    spectral_norm: bool = False

    @nn.compact
    def __call__(
        self,
        images: Float[Array, "n h w c"],
        labels: Int[Array, " n"] | None = None,
        *,
        train: bool,
    ) -> Float[Array, " n"]:
        """Computes the logit of "real": above 0 for an image that looks like the data.

        Args:
            images: in [-1, 1] (see `gans.to_signed`), all real or all generated: batch norm's
                statistics are those of one kind.
            labels: in [0, num_classes), with classes only.
            train: batch norm uses and updates by the batch's statistics, else the running ones.

        Raises:
            InputError: labels without classes or classes without labels, or images of another
                size.
        """
        _check_labels(self.config, labels)
        side, channels = self.config.image_size, self.config.channels
        if images.shape[1:] != (side, side, channels):
            raise InputError(
                f"images must have shape (n, {side}, {side}, {channels}), got {images.shape}"
            )
        trunk = ConvTrunk(_widths(self.config), self.dtype, self.spectral_norm)
        x = trunk(images, train=train)
        logits = self._limit(dense(1, dtype=self.dtype), x, train)[:, 0]
        classes = self.config.num_classes
        if classes is not None and labels is not None:
            embed = nn.Embed(classes, x.shape[-1], embedding_init=draw_weights)
            alike = self._limit(embed, labels, train) * x.astype(jnp.float32)
            logits = logits.astype(jnp.float32) + alike.sum(-1)
        return logits.astype(jnp.float32)

    def _limit(self, layer: nn.Module, x: Array, train: bool) -> Array:
        return limited(layer, x, spectral_norm=self.spectral_norm, train=train)


def _widths(config: DcganConfig) -> tuple[int, ...]:
    """Channels of the maps, from the largest map to the smallest."""
    return tuple(config.width * 2**index for index in range(HALVINGS))


def _check_labels(config: DcganConfig, labels: Array | None) -> None:
    if config.num_classes is None and labels is not None:
        raise InputError("this GAN knows no classes, so it takes no labels; set num_classes")
    if config.num_classes is not None and labels is None:
        raise InputError(f"a GAN of {config.num_classes} classes needs a label for every example")
