"""Architectures of classifiers: Flax Linen modules from normalised images to logits."""

import math
from typing import Literal, NamedTuple

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from imgopt.errors import InputError
from imgopt.promotion import standard_promotion
from train.models.layers import Conv, DTypeLike, max_pool_2x2

NetworkName = Literal["vgg16", "vgg-small", "kono-cnn"]

# A number is a 3×3 convolution with that many output channels, "M" a 2×2 pooling.
# Simonyan and Zisserman 2015, configuration D, with the single dense layer usual on CIFAR-10.
VGG16 = (64, 64, "M", 128, 128, "M", *(256,) * 3, "M", *(512,) * 3, "M", *(512,) * 3, "M")
# After configuration A of the same paper, at half its width and without its last block.
VGG_SMALL = (32, "M", 64, "M", 128, 128, "M", 256, 256, "M")
KONO_CNN = (64, 64, "M", 128, 128, "M")  # paper B, table 1

BATCH_NORM_MOMENTUM = 0.9
"""Weight of the old running average; PyTorch's default is 0.1 for the new value."""


class ConvNet(nn.Module):
    """Blocks of 3×3 convolutions with ReLU and 2×2 poolings, then dense layers.

    Attributes:
        num_classes: number of classes, k.
        layout: output channels of each convolution, and "M" for each pooling.
        hidden: sizes of the dense layers before the last one.
        batch_norm: whether batch norm follows each convolution.
        dtype: precision of the computation; parameters, statistics and results are float32.
    """

    num_classes: int
    layout: tuple[int | str, ...]
    hidden: tuple[int, ...] = ()
    batch_norm: bool = True
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self, images: Float[Array, "n h w c"], *, train: bool, features: bool = False
    ) -> Float[Array, "n k_or_d"]:
        """Computes logits, or the inputs of the last dense layer.

        Args:
            images: normalised; height and width divisible by 2 for each pooling.
            train: batch norm uses the batch's statistics and updates the running ones; otherwise
                it uses the running ones.
            features: stop before the last dense layer; not for initialisation.

        Returns:
            The k logits, or the d features, of every image; float32.
        """
        x = images.astype(self.dtype)
        for item in self.layout:
            x = max_pool_2x2(x) if item == "M" else self._convolution(x, int(item), train)
        x = x.reshape(len(x), -1)
        for size in self.hidden:
            x = nn.relu(nn.Dense(size, dtype=self.dtype)(x))
        if not features:
            x = nn.Dense(self.num_classes, dtype=self.dtype)(x)
        return x.astype(jnp.float32)

    def _convolution(self, x: Array, features: int, train: bool) -> Array:
        x = Conv(features, use_bias=not self.batch_norm, dtype=self.dtype)(x)
        if self.batch_norm:
            with standard_promotion():
                x = nn.BatchNorm(
                    use_running_average=not train, momentum=BATCH_NORM_MOMENTUM, dtype=self.dtype
                )(x)
        return nn.relu(x)


class Architecture(NamedTuple):
    """Sizes of a `ConvNet` at full width; see there."""

    layout: tuple[int | str, ...]
    hidden: tuple[int, ...] = ()
    batch_norm: bool = True


NETWORKS: dict[str, Architecture] = {
    "vgg16": Architecture(VGG16),
    "vgg-small": Architecture(VGG_SMALL),
    "kono-cnn": Architecture(KONO_CNN, hidden=(1024,), batch_norm=False),
}


def build_network(
    name: str, *, num_classes: int, width: float = 1.0, dtype: DTypeLike = jnp.float32
) -> ConvNet:
    """Builds a network by name.

    Args:
        name: "vgg16", "vgg-small" or "kono-cnn".
        num_classes: number of classes, k, at least 2.
        width: factor on all channel counts, above 0; each count stays at least 1.
        dtype: precision of the computation.

    Raises:
        InputError: the name is unknown or a number is outside its range.
    """
    if name not in NETWORKS:
        raise InputError(f"unknown network {name!r}; expected one of {', '.join(NETWORKS)}")
    if num_classes < 2:
        raise InputError(f"a classifier needs at least 2 classes, got {num_classes}")
    if not 0 < width < math.inf:
        raise InputError(f"width must be above 0 and finite, got {width}")
    architecture = NETWORKS[name]
    return ConvNet(
        num_classes=num_classes,
        layout=_scale(architecture.layout, width),
        hidden=_scale(architecture.hidden, width),
        batch_norm=architecture.batch_norm,
        dtype=dtype,
    )


def check_image_shape(name: str, image_shape: tuple[int, int, int]) -> None:
    """Raises InputError unless every pooling of a network can halve the height and width."""
    factor = 2 ** NETWORKS[name].layout.count("M")
    height, width, _ = image_shape
    if height % factor or width % factor:
        raise InputError(
            f"{name} halves images {factor.bit_length() - 1} times, so height and width must be "
            f"multiples of {factor}; got {height}×{width}"
        )


def _scale(layout: tuple, width: float) -> tuple:
    return tuple(item if item == "M" else max(1, round(item * width)) for item in layout)
