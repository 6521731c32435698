"""Layers and blocks that the networks of all our GANs share."""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.traverse_util import flatten_dict, unflatten_dict
from jaxtyping import Array, Float

from train.models.layers import BATCH_NORM_MOMENTUM, Conv, DTypeLike, batch_norm
from train.models.transposed import TransposedConv

WEIGHT_STD = 0.02
"""Standard deviation of the initial weights; their mean is 0 (Radford et al. 2016, section 4)."""

LEAK = 0.2
"""Slope of the leaky ReLU below 0 (Radford et al. 2016, section 4)."""

KERNEL_SIZE = 5
"""Height and width of every kernel."""

BATCH_NORM_STATISTICS = ("mean", "var")
"""Names of batch norm's running averages in Flax."""

draw_weights = nn.initializers.normal(WEIGHT_STD)


class DiscriminatorOutput(NamedTuple):
    """Output of a discriminator.

    Attributes:
        logits: above 0 for examples that look real.
        noise_guess: the head Q's estimate of the generator's noise; None without that head.
    """

    logits: Float[Array, " n"]
    noise_guess: Float[Array, "n z"] | None = None


Discriminate = Callable[[dict[str, Any], Array, bool], tuple[DiscriminatorOutput, dict[str, Any]]]
"""A discriminator: from variables, features, and whether to use the batch's statistics, to its
output and the updated variables."""


def to_signed(images: Float[Array, "..."]) -> Float[Array, "..."]:
    """Maps images in [0, 1] to [-1, 1], the range inside a GAN: 2x - 1."""
    return 2 * images - 1


def from_signed(images: Float[Array, "..."]) -> Float[Array, "..."]:
    """Maps images in [-1, 1], a generator's range, to [0, 1]: (x + 1) / 2."""
    return (images + 1) / 2


def leaky_relu(x: Float[Array, "..."]) -> Float[Array, "..."]:
    """The discriminators' activation: x above 0, 0.2·x below."""
    return nn.leaky_relu(x, LEAK)


def dense(features: int, *, use_bias: bool = True, dtype: DTypeLike) -> nn.Dense:
    """Builds a dense layer with weights from N(0, 0.02)."""
    return nn.Dense(features, use_bias=use_bias, kernel_init=draw_weights, dtype=dtype)


def convolution(
    features: int, *, stride: Literal[1, 2], use_bias: bool = True, dtype: DTypeLike
) -> Conv:
    """Builds a 5×5 convolution, same-padded, with weights from N(0, 0.02)."""
    return Conv(
        features,
        kernel_size=KERNEL_SIZE,
        stride=stride,
        use_bias=use_bias,
        kernel_init=draw_weights,
        dtype=dtype,
    )


def apply_layer(
    layer: nn.Module, x: Array, *, spectral_norm: bool, train: bool
) -> Float[Array, "n ..."]:
    """Applies a discriminator's layer, with spectral norm or without.

    Spectral norm divides the weights by their largest singular value, W / σ(W), where W is a matrix
    of (all other axes) × (output channels). Each pass refines σ by one step of power iteration
    (Miyato et al. 2018, "Spectral normalization for generative adversarial networks", algorithm
    1). The gradient takes σ into account. The iteration's vector lies in "batch_stats", with batch
    norm's statistics.

    The result does not depend on the scale of the weights. So Flax's `init` returns weights already
    divided by the first estimate of σ, whose norm is near 1.

    Args:
        layer: dense, convolution or embedding; its bias stays as it is.
        x: the layer's input.
        spectral_norm: whether to divide the weights.
        train: whether to store the step of the power iteration.
    """
    return nn.SpectralNorm(layer)(x, update_stats=train) if spectral_norm else layer(x)


def transposed_convolution(
    features: int, *, stride: Literal[1, 2], use_bias: bool = True, dtype: DTypeLike
) -> TransposedConv:
    """Builds a 5×5 transposed convolution with weights from N(0, 0.02)."""
    return TransposedConv(
        features, stride=stride, use_bias=use_bias, kernel_init=draw_weights, dtype=dtype
    )


class ConvTrunk(nn.Module):
    """The first layers of a discriminator: 5×5 convolutions of stride 2 with leaky ReLU.

    Batch norm follows each convolution but the first. With spectral norm there is no batch norm,
    which would undo it: batch norm divides by the scale of the weights.

    Attributes:
        features: output channels of each convolution.
        dtype: precision of the computation; parameters and statistics are float32.
        spectral_norm: whether to use spectral norm (see `apply_layer`).
    """

    features: tuple[int, ...]
    dtype: DTypeLike = jnp.float32
    spectral_norm: bool = False

    @nn.compact
    def __call__(self, x: Float[Array, "n h w c"], *, train: bool) -> Float[Array, "n d"]:
        """Returns the last map, flattened in h, w, c order."""
        for index, features in enumerate(self.features):
            has_batch_norm = index > 0 and not self.spectral_norm
            layer = convolution(features, stride=2, use_bias=not has_batch_norm, dtype=self.dtype)
            x = apply_layer(layer, x, spectral_norm=self.spectral_norm, train=train)
            if has_batch_norm:
                x = batch_norm(x, train=train, dtype=self.dtype)
            x = leaky_relu(x)
        return x.reshape(x.shape[0], -1)


def input_gradients(
    discriminate: Discriminate, variables: dict[str, Any], features: Float[Array, "n ..."]
) -> Float[Array, "n ..."]:
    """Gradient of each example's logit by its own features, at the batch's statistics.

    R1 and R2 penalise each example by itself, and their authors' discriminators have no batch norm.
    With it, a logit depends on the whole batch, and the gradient of the sum of all logits leaves
    out what the examples have in common: where a linear layer follows batch norm, it is 0. So the
    batch's means and variances are computed first, and stay while the features vary. They still
    depend on the parameters: the weights' scale in front of batch norm does not alter the penalty.

    Args:
        discriminate: the discriminator, with its augmentation.
        variables: its variables.
        features: what it discriminates.
    """
    own = _with_own_statistics(discriminate, variables, features)
    return jax.grad(lambda x: discriminate(own, x, False)[0].logits.sum())(features)


def _with_own_statistics(
    discriminate: Discriminate, variables: dict[str, Any], features: Array
) -> dict[str, Any]:
    """Variables whose running averages of batch norm are the batch's means and variances.

    Averages that begin at 0 are a known part of them after one pass. The statistics of spectral
    norm do not depend on the batch and stay.
    """
    before: dict[Any, Any] = flatten_dict(variables.get("batch_stats", {}))
    averages = {path for path in before if path[-1] in BATCH_NORM_STATISTICS}
    if not averages:
        return variables
    zeros = {path: 0 * leaf if path in averages else leaf for path, leaf in before.items()}
    _, updated = discriminate({**variables, "batch_stats": unflatten_dict(zeros)}, features, True)
    share = 1 - BATCH_NORM_MOMENTUM
    after: dict[Any, Any] = flatten_dict(updated["batch_stats"])
    own = {path: leaf / share if path in averages else leaf for path, leaf in after.items()}
    return {**variables, "batch_stats": unflatten_dict(own)}
