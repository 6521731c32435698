"""Residual networks for small images: ResNet-9 and wide residual networks."""

from typing import Literal

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from imgopt.errors import InputError
from train.models.layers import Conv, DTypeLike, batch_norm, global_max_pool, max_pool_2x2


def scaled(channels: int, width: float) -> int:
    """A channel count times a factor, at least 1."""
    return max(1, round(channels * width))


class ResNet9(nn.Module):
    """ResNet-9, of David Page's entry to DAWNBench (github.com/davidcpage/cifar10-fast).

    Every convolution is 3×3, same-padded, without bias, and followed by batch norm and ReLU:
    prep 64; layer1 128, pool, residual; layer2 256, pool; layer3 512, pool, residual. A residual
    adds two convolutions of the same width to its input. Then the maximum over all positions, and
    a dense layer without bias, whose logits are multiplied by 0.125.

    Attributes:
        num_classes: number of classes, k.
        width: factor on all channel counts.
        dtype: precision of the computation; parameters, statistics and results are float32.
    """

    num_classes: int
    width: float = 1.0
    dtype: DTypeLike = jnp.float32

    size_multiple = 8
    """Height and width are halved three times."""

    LOGIT_SCALE = 0.125

    @nn.compact
    def __call__(self, images: Float[Array, "n h w c"], *, train: bool) -> Float[Array, "n k"]:
        """Computes the logits of normalised images."""
        x = self._convolve(images.astype(self.dtype), 64, train)
        for channels, is_residual in ((128, True), (256, False), (512, True)):
            x = max_pool_2x2(self._convolve(x, channels, train))
            if is_residual:
                x += self._convolve(self._convolve(x, channels, train), channels, train)
        x = nn.Dense(self.num_classes, use_bias=False, dtype=self.dtype)(global_max_pool(x))
        return self.LOGIT_SCALE * x.astype(jnp.float32)

    def _convolve(self, x: Array, channels: int, train: bool) -> Array:
        x = Conv(scaled(channels, self.width), use_bias=False, dtype=self.dtype)(x)
        return nn.relu(batch_norm(x, train=train, dtype=self.dtype))


class WideResNet(nn.Module):
    """A wide residual network, WRN-d-k, without dropout (Zagoruyko and Komodakis 2016).

    A 3×3 convolution to 16 channels; three groups of (d - 4) / 6 blocks of 16k, 32k and 64k
    channels, of which the second and the third group halve height and width; batch norm, ReLU, the
    mean over all positions, and a dense layer. A block is batch norm, ReLU, 3×3, batch norm, ReLU,
    3×3, added to its input; where the channels change, to a 1×1 convolution of the input after the
    first batch norm and ReLU, as in the authors' code.

    Attributes:
        num_classes: number of classes.
        depth: d, the number of 3×3 convolutions and 4; 6n + 4.
        widening: k, of the paper.
        width: factor on all channel counts, also the first 16.
        dtype: precision of the computation; parameters, statistics and results are float32.
    """

    num_classes: int
    depth: int = 16
    widening: int = 4
    width: float = 1.0
    dtype: DTypeLike = jnp.float32

    size_multiple = 1
    """Any height and width; an odd one is halved and rounded up."""

    @nn.compact
    def __call__(self, images: Float[Array, "n h w c"], *, train: bool) -> Float[Array, "n k"]:
        """Computes the logits of normalised images."""
        if self.depth < 10 or (self.depth - 4) % 6:
            raise InputError(f"depth of a wide residual network must be 6n + 4, got {self.depth}")
        x = images.astype(self.dtype)
        x = Conv(scaled(16, self.width), use_bias=False, dtype=self.dtype)(x)
        for group in range(3):
            channels = scaled(16 * 2**group * self.widening, self.width)
            for block in range((self.depth - 4) // 6):
                x = self._block(x, channels, 2 if group and not block else 1, train)
        x = nn.relu(batch_norm(x, train=train, dtype=self.dtype)).mean((1, 2))
        return nn.Dense(self.num_classes, dtype=self.dtype)(x).astype(jnp.float32)

    def _block(self, x: Array, channels: int, stride: Literal[1, 2], train: bool) -> Array:
        keep = x
        x = nn.relu(batch_norm(x, train=train, dtype=self.dtype))
        if keep.shape[-1] != channels or stride != 1:
            # Of stride 1 on every second pixel, which is the same and a plain product.
            pixels = x[:, ::stride, ::stride]
            keep = Conv(channels, 1, use_bias=False, dtype=self.dtype)(pixels)
        x = Conv(channels, 3, stride, use_bias=False, dtype=self.dtype)(x)
        x = nn.relu(batch_norm(x, train=train, dtype=self.dtype))
        return keep + Conv(channels, use_bias=False, dtype=self.dtype)(x)
