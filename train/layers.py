"""The layers that our networks share: one convolution, one pooling."""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

DTypeLike = jnp.dtype | type


def convolve(
    images: Float[Array, "n h w c"], kernel: Float[Array, "kh kw c d"]
) -> Float[Array, "n h w d"]:
    """Same-padded convolution of stride 1, lowered to whatever is quick on the platform.

    XLA's CPU convolution is good on most shapes and poor on two kinds: tiny maps (3×3 on 2×2 takes
    80 times as long as the matrix product) and few input channels. These become a product of image
    patches with the kernel on CPUs; elsewhere and otherwise it is `lax.conv_general_dilated`.
    """
    height, width, channels = images.shape[1:]
    if height * width > 4 and channels > 4:
        return _convolve_directly(images, kernel)
    return jax.lax.platform_dependent(
        images, kernel, cpu=_convolve_patches, default=_convolve_directly
    )


def _convolve_directly(images: Array, kernel: Array) -> Array:
    return jax.lax.conv_general_dilated(
        images, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )


def _convolve_patches(images: Array, kernel: Array) -> Array:
    kernel_height, kernel_width, channels, features = kernel.shape
    height, width = images.shape[1:3]
    # XLA's "SAME" puts the odd pixel of an even kernel behind.
    pads = [((size - 1) // 2, size // 2) for size in (kernel_height, kernel_width)]
    padded = jnp.pad(images, ((0, 0), *pads, (0, 0)))
    patches = jnp.concatenate(
        [
            padded[:, row : row + height, column : column + width]
            for row in range(kernel_height)
            for column in range(kernel_width)
        ],
        axis=-1,
    )
    return patches @ kernel.reshape(kernel_height * kernel_width * channels, features)


class Conv(nn.Module):
    """Same-padded convolution of stride 1 on (n, h, w, c), with a bias unless told otherwise.

    Attributes:
        features: output channels.
        kernel_size: height and width of the kernel, odd.
        use_bias: False in front of batch norm, which has its own.
        dtype: of the computation; parameters are float32.
    """

    features: int
    kernel_size: int = 3
    use_bias: bool = True
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, images: Float[Array, "n h w c"]) -> Float[Array, "n h w d"]:
        """Convolves."""
        shape = (self.kernel_size, self.kernel_size, images.shape[-1], self.features)
        kernel = self.param("kernel", nn.initializers.he_normal(), shape)
        result = convolve(images.astype(self.dtype), kernel.astype(self.dtype))
        if self.use_bias:
            bias = self.param("bias", nn.initializers.zeros_init(), (self.features,))
            result += bias.astype(self.dtype)
        return result


def max_pool_2x2(images: Float[Array, "n h w c"]) -> Float[Array, "n h/2 w/2 c"]:
    """Halves height and width, both even, by the maximum of 2×2 windows.

    By reshaping: the gradient of the windowed form has no deterministic kernel on GPUs. Where
    several pixels tie, they share the gradient.
    """
    count, height, width, channels = images.shape
    windows = images.reshape(count, height // 2, 2, width // 2, 2, channels)
    return windows.max((2, 4))
