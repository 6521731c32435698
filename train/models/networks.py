"""The networks of classifiers, by name: Flax Linen modules from normalised images to logits."""

import functools
import math
from typing import NamedTuple

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from imgopt.errors import InputError
from train.models.layers import Conv, DTypeLike, batch_norm, max_pool_2x2
from train.models.linen import (
    MakeModule,
    Network,
    check_traced,
    make_module,
)
from train.models.residual import ResNet9, WideResNet, scaled
from train.runtime.user_modules import import_place

# A number is a 3×3 convolution with that many output channels, "M" a 2×2 pooling.
# Simonyan and Zisserman 2015, configuration D, with the single dense layer usual on CIFAR-10.
VGG16 = (64, 64, "M", 128, 128, "M", *(256,) * 3, "M", *(512,) * 3, "M", *(512,) * 3, "M")
# After configuration A of the same paper, at half its width and without its last block.
VGG_SMALL = (32, "M", 64, "M", 128, 128, "M", 256, 256, "M")
KONO_CNN = (64, 64, "M", 128, 128, "M")  # paper B, table 1


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

    @property
    def size_multiple(self) -> int:
        """Height and width must be multiples of this, for every pooling to halve them."""
        return 2 ** self.layout.count("M")

    @nn.compact
    def __call__(self, images: Float[Array, "n h w c"], *, train: bool) -> Float[Array, "n k"]:
        """Computes the logits of normalised images.

        Args:
            images: height and width divisible by 2 for each pooling.
            train: batch norm uses the batch's statistics and updates the running ones; otherwise
                it uses the running ones.

        Returns:
            The k logits of every image; float32.
        """
        x = images.astype(self.dtype)
        for item in self.layout:
            x = max_pool_2x2(x) if item == "M" else self._convolution(x, int(item), train)
        x = x.reshape(x.shape[0], -1)
        for size in self.hidden:
            x = nn.relu(nn.Dense(size, dtype=self.dtype)(x))
        return nn.Dense(self.num_classes, dtype=self.dtype)(x).astype(jnp.float32)

    def _convolution(self, x: Array, features: int, train: bool) -> Array:
        x = Conv(features, use_bias=not self.batch_norm, dtype=self.dtype)(x)
        if self.batch_norm:
            x = batch_norm(x, train=train, dtype=self.dtype)
        return nn.relu(x)


class Architecture(NamedTuple):
    """Sizes of a `ConvNet` at full width; calling it makes the network."""

    layout: tuple[int | str, ...]
    hidden: tuple[int, ...] = ()
    batch_norm: bool = True

    def __call__(
        self, num_classes: int, *, width: float = 1.0, dtype: DTypeLike = jnp.float32
    ) -> ConvNet:
        """Makes the network, with all channel counts multiplied by the width."""
        return ConvNet(
            num_classes=num_classes,
            layout=tuple(x if x == "M" else scaled(int(x), width) for x in self.layout),
            hidden=tuple(scaled(size, width) for size in self.hidden),
            batch_norm=self.batch_norm,
            dtype=dtype,
        )


NETWORKS: dict[str, MakeModule] = {
    "vgg16": Architecture(VGG16),
    "vgg-small": Architecture(VGG_SMALL),
    "kono-cnn": Architecture(KONO_CNN, hidden=(1024,), batch_norm=False),
    "resnet9": ResNet9,
    "wrn-16-4": functools.partial(WideResNet, depth=16, widening=4),
}
"""What makes each network; see `train.models.linen.make_module`. `register_network` adds one."""


def register_network(name: str, make: MakeModule) -> None:
    """Gives a network of one's own a name, for this process.

    The command line and saved runs know a network by its place, "package.module:name", without
    being registered.

    Args:
        name: a new name without a colon.
        make: a Linen module, its class, or a function from the number of classes to a module; see
            `train.models.linen.make_module`.

    Raises:
        InputError: the name belongs to another network; compiled programs go by the name.

    Example:
        >>> import flax.linen as nn
        >>> register_network("one-layer", lambda num_classes: nn.Dense(num_classes))
        >>> "one-layer" in NETWORKS
        True
    """
    if ":" in name or NETWORKS.get(name, make) is not make:
        raise InputError(f"expected a new name without a colon for a network, got {name!r}")
    NETWORKS[name] = make


def build_network(
    name: str, *, num_classes: int, width: float = 1.0, dtype: DTypeLike = jnp.float32
) -> Network:
    """Builds a network by name.

    Args:
        name: a key of `NETWORKS`, or "package.module:name" of a Linen module, its class, or a
            function that makes one.
        num_classes: number of classes, k, at least 2.
        width: factor on all channel counts, above 0; each count stays at least 1.
        dtype: precision of the computation.

    Raises:
        InputError: the name is unknown, cannot be imported or makes no Linen module, or a number is
            outside its range.
    """
    if ":" not in name and name not in NETWORKS:
        raise InputError(
            f"unknown network {name!r}; expected one of {', '.join(NETWORKS)}, or "
            "package.module:name of a Flax Linen module"
        )
    if num_classes < 2:
        raise InputError(f"a classifier needs at least 2 classes, got {num_classes}")
    if not 0 < width < math.inf:
        raise InputError(f"width must be above 0 and finite, got {width}")
    expected = "a Flax Linen module, its class or a function that makes one"
    make = NETWORKS.get(name) or import_place(name, what="network", expected=expected)
    return Network(name, make_module(make, name, num_classes=num_classes, width=width, dtype=dtype))


def check_image_shape(
    name: str, image_shape: tuple[int, int, int], *, num_classes: int = 2
) -> None:
    """Raises InputError unless a network takes images of a shape; nothing is computed."""
    network = build_network(name, num_classes=num_classes)
    factor = getattr(network.module, "size_multiple", None)
    if factor is None:
        check_traced(network, image_shape, num_classes=num_classes)
        return
    height, width, _ = image_shape
    if height % factor or width % factor:
        raise InputError(
            f"{name} halves images {factor.bit_length() - 1} times, so height and width must be "
            f"multiples of {factor}; got {height}×{width}"
        )
