"""The layers that our networks share: convolution and pooling."""

from typing import Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.typing import Initializer
from jaxtyping import Array, Float

from train.models.convolution import DTypeLike, Padding, convolve


class Conv(nn.Module):
    """Convolution on (n, h, w, c), same-padded and with a bias unless told otherwise.

    Attributes:
        features: output channels.
        kernel_size: height and width of the kernel, odd.
        stride: as in `convolve`.
        padding: as in `convolve`.
        use_bias: False in front of batch norm, which has its own.
        kernel_init: draws the kernel.
        dtype: of the computation; parameters are float32.
    """

    features: int
    kernel_size: int = 3
    stride: Literal[1, 2] = 1
    padding: Padding = "same"
    use_bias: bool = True
    kernel_init: Initializer = nn.initializers.he_normal()
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, images: Float[Array, "n h w c"]) -> Float[Array, "n h2 w2 d"]:
        """Convolves."""
        shape = (self.kernel_size, self.kernel_size, images.shape[-1], self.features)
        kernel = self.param("kernel", self.kernel_init, shape)
        result = convolve(
            images.astype(self.dtype),
            jnp.asarray(kernel, self.dtype),
            stride=self.stride,
            padding=self.padding,
        )
        if self.use_bias:
            bias = self.param("bias", nn.initializers.zeros_init(), (self.features,))
            result += jnp.expand_dims(bias.astype(self.dtype), (0, 1, 2))
        return result


def max_pool_2x2(images: Float[Array, "n h w c"]) -> Float[Array, "n h/2 w/2 c"]:
    """Halves height and width, both even, by the maximum of 2×2 windows.

    By reshaping: the gradient of the windowed form has no deterministic kernel on GPUs. Of two
    pixels, then of two columns, that tie, both have half of the gradient.
    """
    count, height, width, channels = images.shape
    rows = images.reshape(count, height // 2, 2, width, channels)
    halved = _larger(rows[:, :, 0], rows[:, :, 1])
    columns = halved.reshape(count, height // 2, width // 2, 2, channels)
    return _larger(columns[..., 0, :], columns[..., 1, :])


@jax.custom_jvp
def _larger(one: Array, other: Array) -> Array:
    """The elementwise maximum, with a gradient that cannot get lost.

    Those of JAX's maxima ask which input equals the result. XLA may compute an input twice, in two
    programs that round differently, and then none does: 0 / 0.
    """
    return jnp.maximum(one, other)


@_larger.defjvp
def _larger_jvp(inputs: tuple[Array, Array], tangents: tuple[Array, Array]) -> tuple[Array, Array]:
    one, other = inputs
    share = jnp.where(one > other, 1, jnp.where(one == other, 0.5, 0)).astype(one.dtype)
    return _larger(one, other), share * tangents[0] + (1 - share) * tangents[1]
