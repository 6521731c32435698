"""The layers that our networks share: one convolution, one pooling."""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

DTypeLike = jnp.dtype | type


def convolve(
    images: Float[Array, "n h w c"], kernel: Float[Array, "kh kw c d"]
) -> Float[Array, "n h w d"]:
    """Same-padded convolution of stride 1 with an odd kernel, lowered per platform.

    On GPUs and TPUs it is `lax.conv_general_dilated`. On CPUs, XLA is quick on some forms of
    convolution only, so value and gradients are written in those (see `_convolve_on_cpu`).
    """
    return jax.lax.platform_dependent(
        images, kernel, cpu=_convolve_on_cpu, default=_convolve_directly
    )


def _convolve_directly(images: Array, kernel: Array) -> Array:
    return jax.lax.conv_general_dilated(
        images, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )


@jax.custom_vjp
def _convolve_on_cpu(images: Array, kernel: Array) -> Array:
    """The same value from what is quick on CPUs.

    Tiny maps and few channels are a product of image patches with the kernel (3×3 on 2×2 is 80
    times as quick so). The gradients that automatic differentiation gives are convolutions in
    layouts that XLA, inside a compiled loop, runs 20 to 30 times slower than outside; here the
    images' gradient is a plain convolution with the turned kernel, and the kernel's a product of
    the patches with the gradient.
    """
    height, width, channels = images.shape[1:]
    if height * width <= 4 or channels <= 4:
        return _patches(images, kernel.shape) @ kernel.reshape(-1, kernel.shape[-1])
    return _convolve_directly(images, kernel)


def _forward(images: Array, kernel: Array) -> tuple[Array, tuple[Array, Array]]:
    return _convolve_on_cpu(images, kernel), (images, kernel)


def _backward(saved: tuple[Array, Array], gradient: Array) -> tuple[Array, Array]:
    images, kernel = saved
    turned = jnp.flip(kernel, (0, 1)).swapaxes(2, 3)
    patches = _patches(images, kernel.shape)
    kernel_gradient = jnp.tensordot(patches, gradient, axes=((0, 1, 2), (0, 1, 2)))
    return _convolve_on_cpu(gradient, turned), kernel_gradient.reshape(kernel.shape)


_convolve_on_cpu.defvjp(_forward, _backward)


def _patches(images: Array, kernel_shape: tuple[int, ...]) -> Array:
    """For every pixel, the window around it: (n, h, w, kernel height × kernel width × c)."""
    rows, columns = kernel_shape[:2]
    height, width = images.shape[1:3]
    padded = jnp.pad(images, ((0, 0), (rows // 2,) * 2, (columns // 2,) * 2, (0, 0)))
    shifted = [
        padded[:, row : row + height, column : column + width]
        for row in range(rows)
        for column in range(columns)
    ]
    return jnp.concatenate(shifted, axis=-1)


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
        result = convolve(images.astype(self.dtype), jnp.asarray(kernel, self.dtype))
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
