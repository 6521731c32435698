"""DCGAN: a generator of transposed convolutions and a discriminator of strided convolutions.

After Radford, Metz, Chintala 2016, "Unsupervised representation learning with deep convolutional
generative adversarial networks", with the sizes of paper B, 3.2.2. A GAN without classes learns one
class. With classes, a learnt embedding of the label is appended to the generator's noise (Mirza,
Osindero 2014, "Conditional generative adversarial nets"). The discriminator adds to its logit the
inner product of its features and another embedding (Miyato, Koyama 2018, "cGANs with projection
discriminator", eq. 3).
"""

from dataclasses import dataclass

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from gans.blocks import ConvTrunk, apply_layer, dense, draw_weights, transposed_convolution
from imgopt.errors import InputError
from train.checks import check_labels, outside_as_nan
from train.models.layers import DTypeLike, batch_norm

LABEL_STD = 0.1
"""Standard deviation of the generator's initial label embedding. With 1 it outweighs the noise, and
the generator learns one image for each class: after 320 steps on 5,000 CIFAR-10 images the standard
deviation of a pixel within a class was 0.03 (on [-1, 1]). With 0.1 it was 0.33."""

HALVINGS = 4
"""Number of convolutions of stride 2 in the discriminator; the generator has as many."""


@dataclass(frozen=True)
class DcganConfig:
    """Sizes of a DCGAN."""

    image_size: int = 32
    """Height and width in pixels: 16, 32, 48 or another multiple of 16."""
    channels: int = 3
    """Channels of the images."""
    num_classes: int | None = None
    """Number of classes of a class-conditional GAN; none for a GAN of one class."""
    noise_dim: int = 100
    """Length of the noise vector."""
    label_dim: int = 50
    """Length of a label's embedding in the generator, with classes only."""
    width: int = 64
    """Channels of the largest maps; each halving of the image doubles them."""

    def __post_init__(self) -> None:
        """Checks the sizes.

        Raises:
            InputError: a size is outside its range.
        """
        size = self.image_size
        if size < 1 or size % 2**HALVINGS:
            raise InputError(
                f"image_size must be a multiple of {2**HALVINGS}, since the image is halved "
                f"{HALVINGS} times; got {size}"
            )
        for name in ("channels", "noise_dim", "label_dim", "width"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.num_classes is not None and self.num_classes < 2:
            raise InputError(
                f"a class-conditional GAN needs at least 2 classes, got {self.num_classes}; "
                "give none for a GAN of one class"
            )


def draw_dcgan_noise(key: Key[Array, ""], count: int, *, noise_dim: int) -> Float[Array, "n z"]:
    """Draws uniform noise on [-1, 1), as the code of Radford et al. does.

    Args:
        key: PRNG key.
        count: number of noise vectors, n.
        noise_dim: their length, z.

    Example:
        >>> draw_dcgan_noise(jax.random.key(0), 4, noise_dim=100).shape
        (4, 100)
    """
    return jax.random.uniform(key, (count, noise_dim), jnp.float32, minval=-1.0)


class Generator(nn.Module):
    """Noise → dense → four transposed 5×5 convolutions of stride 2 → tanh.

    Batch norm and ReLU follow each layer but the last.

    Attributes:
        config: sizes.
        dtype: precision of the computation; parameters, statistics and images are float32.
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
        """Generates images in [-1, 1] (see `gans.blocks.from_signed`).

        Args:
            noise: see `draw_dcgan_noise`.
            labels: in [0, num_classes), with classes only.
            train: batch norm uses the batch's statistics and updates the running ones; otherwise
                it uses the running ones.

        Raises:
            InputError: labels without classes or classes without labels.
        """
        labels = _checked_labels(self.config, labels)
        if labels is not None:
            noise = jnp.concatenate([noise, self._embed(labels)], axis=-1)
        widths = _widths(self.config)[::-1]
        side = self.config.image_size // 2**HALVINGS
        x = dense(side * side * widths[0], use_bias=False, dtype=self.dtype)(noise)
        x = x.reshape(x.shape[0], side, side, widths[0])
        for features in widths[1:]:
            x = nn.relu(batch_norm(x, train=train, dtype=self.dtype))
            layer = transposed_convolution(features, stride=2, use_bias=False, dtype=self.dtype)
            x = layer(x)
        x = nn.relu(batch_norm(x, train=train, dtype=self.dtype))
        x = transposed_convolution(self.config.channels, stride=2, dtype=self.dtype)(x)
        return nn.tanh(x).astype(jnp.float32)

    def _embed(self, labels: Array) -> Array:
        initial = nn.initializers.normal(LABEL_STD)
        return nn.Embed(
            self.config.num_classes or 0, self.config.label_dim, embedding_init=initial
        )(labels)


class Discriminator(nn.Module):
    """Four 5×5 convolutions of stride 2, then dense to one logit.

    Leaky ReLU follows each convolution, batch norm each but the first.

    Attributes:
        config: sizes.
        dtype: precision of the computation; parameters, statistics and logits are float32.
        spectral_norm: whether to use spectral norm instead of batch norm (see
            `gans.blocks.apply_layer`).
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
        """Computes logits, which are above 0 for images that look real.

        Args:
            images: in [-1, 1] (see `gans.blocks.to_signed`), all real or all generated, since
                batch norm uses their statistics.
            labels: in [0, num_classes), with classes only.
            train: batch norm uses the batch's statistics and updates the running ones; otherwise
                it uses the running ones.

        Raises:
            InputError: labels without classes or classes without labels, or images of another
                size.
        """
        labels = _checked_labels(self.config, labels)
        side, channels = self.config.image_size, self.config.channels
        if images.shape[1:] != (side, side, channels):
            raise InputError(
                f"images must have shape (n, {side}, {side}, {channels}), got {images.shape}"
            )
        trunk = ConvTrunk(_widths(self.config), self.dtype, self.spectral_norm)
        x = trunk(images, train=train)
        logits = self._apply(dense(1, dtype=self.dtype), x, train)[:, 0]
        classes = self.config.num_classes
        if classes is not None and labels is not None:  # they go together
            embed = nn.Embed(classes, x.shape[-1], embedding_init=draw_weights)
            match = self._apply(embed, labels, train) * x.astype(jnp.float32)
            logits = logits.astype(jnp.float32) + match.sum(-1)
        return logits.astype(jnp.float32)

    def _apply(self, layer: nn.Module, x: Array, train: bool) -> Array:
        return apply_layer(layer, x, spectral_norm=self.spectral_norm, train=train)


def _widths(config: DcganConfig) -> tuple[int, ...]:
    """Channels of the maps, the largest map first."""
    return tuple(config.width * 2**index for index in range(HALVINGS))


def _checked_labels(config: DcganConfig, labels: Array | None) -> Array | None:
    """Labels that an embedding takes; one outside its range gives NaN, not another class."""
    if config.num_classes is None:
        if labels is not None:
            raise InputError("this GAN has no classes, so it takes no labels; set num_classes")
        return None
    if labels is None:
        raise InputError(f"a GAN of {config.num_classes} classes needs a label for every example")
    check_labels(labels, num_classes=config.num_classes)
    return outside_as_nan(labels, config.num_classes)
