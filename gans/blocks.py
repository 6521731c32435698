"""What the networks of all our GANs are made of."""

from typing import Literal, NamedTuple

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from imgopt.promotion import standard_promotion
from train.models.convolution import DTypeLike
from train.models.layers import Conv
from train.models.networks import BATCH_NORM_MOMENTUM
from train.models.transposed import TransposedConv

WEIGHT_STD = 0.02
"""Standard deviation of the initial weights, around 0 (Radford et al. 2016, section 4)."""

LEAK = 0.2
"""Slope of the leaky ReLU below 0 (the same section)."""

KERNEL_SIZE = 5
"""Height and width of every kernel."""

draw_weights = nn.initializers.normal(WEIGHT_STD)


class Judgement(NamedTuple):
    """What a discriminator says.

    Attributes:
        logits: of "real".
        noise_guess: the head Q's guess of the noise that the example was made of, where it has one.
    """

    logits: Float[Array, " n"]
    noise_guess: Float[Array, "n z"] | None = None


def to_signed(images: Float[Array, "..."]) -> Float[Array, "..."]:
    """Images in [0, 1], as they are outside a GAN → [-1, 1], as they are inside: 2x - 1."""
    return 2 * images - 1


def from_signed(images: Float[Array, "..."]) -> Float[Array, "..."]:
    """Images in [-1, 1], as a generator's tanh gives them → [0, 1]: (x + 1) / 2."""
    return (images + 1) / 2


def leaky_relu(x: Float[Array, "..."]) -> Float[Array, "..."]:
    """The discriminators' activation: x above 0, 0.2·x below."""
    return nn.leaky_relu(x, LEAK)


def normalise(x: Float[Array, "..."], *, train: bool, dtype: DTypeLike) -> Float[Array, "..."]:
    """Batch norm of the last axis; a submodule of the module whose method calls it.

    With `train` by the batch's mean and (biased) variance, which also enter the running averages;
    else by those. PyTorch's running variance differs: it averages the unbiased one, n / (n - 1)
    times ours, n being the numbers a channel has in a batch.
    """
    layer = nn.BatchNorm(use_running_average=not train, momentum=BATCH_NORM_MOMENTUM, dtype=dtype)
    with standard_promotion():
        return layer(x)


def dense(features: int, *, use_bias: bool = True, dtype: DTypeLike) -> nn.Dense:
    """A dense layer with weights drawn from N(0, 0.02)."""
    return nn.Dense(features, use_bias=use_bias, kernel_init=draw_weights, dtype=dtype)


def convolution(
    features: int, *, stride: Literal[1, 2], use_bias: bool = True, dtype: DTypeLike
) -> Conv:
    """A 5×5 convolution, same-padded, with weights drawn from N(0, 0.02)."""
    return Conv(
        features,
        kernel_size=KERNEL_SIZE,
        stride=stride,
        use_bias=use_bias,
        kernel_init=draw_weights,
        dtype=dtype,
    )


def limited(
    layer: nn.Module, x: Array, *, spectral_norm: bool, train: bool
) -> Float[Array, "n ..."]:
    """Applies a discriminator's layer, its weights divided by their spectral norm if so chosen.

    W / σ(W), where σ is the largest singular value of the weights as a matrix, (all else) × (out),
    by one step of power iteration a pass from where the last one came to (Miyato et al. 2018,
    "Spectral normalization for generative adversarial networks", algorithm 1); the gradient knows
    of σ. The iteration's vector is kept where batch norm's statistics are, in "batch_stats".

    The judgement does not depend on the weights' scale. Flax makes use of that: `init` gives
    weights already divided by the first estimate of their norm, so that it is near 1.

    Args:
        layer: dense, convolution or embedding; its bias is left as it is.
        x: what the layer takes.
        spectral_norm: else the layer is applied as it is.
        train: the iteration goes on from this pass, else the pass leaves no trace.
    """
    return nn.SpectralNorm(layer)(x, update_stats=train) if spectral_norm else layer(x)


def transposed_convolution(
    features: int, *, stride: Literal[1, 2], use_bias: bool = True, dtype: DTypeLike
) -> TransposedConv:
    """A 5×5 transposed convolution with weights drawn from N(0, 0.02)."""
    return TransposedConv(
        features, stride, use_bias=use_bias, kernel_init=draw_weights, dtype=dtype
    )


class ConvTrunk(nn.Module):
    """A discriminator's beginning: 5×5 convolutions of stride 2 with leaky ReLU.

    Batch norm follows each but the first, unless spectral norm takes its place: batch norm would
    undo it, since it divides by whatever scale the weights have.

    Attributes:
        features: output channels of each convolution.
        dtype: of the computation; parameters and statistics are float32.
        spectral_norm: whether the weights are limited (see `limited`).
    """

    features: tuple[int, ...]
    dtype: DTypeLike = jnp.float32
    spectral_norm: bool = False

    @nn.compact
    def __call__(self, x: Float[Array, "n h w c"], *, train: bool) -> Float[Array, "n d"]:
        """Gives the last map as one vector an example, in h, w, c order."""
        for index, features in enumerate(self.features):
            normalised = index > 0 and not self.spectral_norm
            layer = convolution(features, stride=2, use_bias=not normalised, dtype=self.dtype)
            x = limited(layer, x, spectral_norm=self.spectral_norm, train=train)
            if normalised:
                x = normalise(x, train=train, dtype=self.dtype)
            x = leaky_relu(x)
        return x.reshape(len(x), -1)
