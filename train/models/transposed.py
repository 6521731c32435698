"""The transposed convolution: a convolution backwards, from small maps to larger ones."""

from typing import Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.typing import Initializer
from jaxtyping import Array, Float

from imgopt.errors import InputError
from train.models.convolution import DTypeLike, check_kernel, convolve_on_cpu, taps_by_parity


def transposed_convolve(
    images: Float[Array, "n h w c"],
    kernel: Float[Array, "kh kw c d"],
    *,
    stride: Literal[1, 2],
) -> Float[Array, "n h2 w2 d"]:
    """Adds the kernel, times each pixel, to the result at the pixel's place times the stride.

    PyTorch's ConvTranspose2d: at stride 2 with padding k // 2 and output_padding 1, "half" in
    Theano's words; at stride 1 without padding, "valid" there. On GPUs and TPUs it is
    `lax.conv_general_dilated` with `lhs_dilation`; on CPUs no zero between pixels is multiplied.

    Args:
        images: any size.
        kernel: of odd height and width, (height, width, in, out).
        stride: of the result.

    Returns:
        At stride 2 of twice the height and width; at stride 1 of h + kh - 1 and w + kw - 1.

    Raises:
        InputError: a kernel of even size, or a stride that is not offered.
    """
    check_kernel(kernel)
    if stride not in {1, 2}:
        raise InputError(f"the stride of a transposed convolution must be 1 or 2, got {stride}")
    return jax.lax.platform_dependent(
        images,
        kernel,
        cpu=_grow_on_cpu if stride == 1 else _double_on_cpu,
        default=_grow_directly if stride == 1 else _double_directly,
    )


def _grow_directly(images: Array, kernel: Array) -> Array:
    return _transpose_directly(images, kernel, 1, [(k - 1, k - 1) for k in kernel.shape[:2]])


def _double_directly(images: Array, kernel: Array) -> Array:
    margins = [(k - 1 - k // 2, k - k // 2) for k in kernel.shape[:2]]
    return _transpose_directly(images, kernel, 2, margins)


def _transpose_directly(
    images: Array, kernel: Array, stride: int, margins: list[tuple[int, int]]
) -> Array:
    return jax.lax.conv_general_dilated(
        images,
        jnp.flip(kernel, (0, 1)),
        (1, 1),
        margins,
        lhs_dilation=(stride, stride),
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )


def _grow_on_cpu(images: Array, kernel: Array) -> Array:
    border = (kernel.shape[0] - 1, kernel.shape[1] - 1)
    return convolve_on_cpu(images, jnp.flip(kernel, (0, 1)), border)


def _double_on_cpu(images: Array, kernel: Array) -> Array:
    """One convolution at stride 1 gives each pixel's block of 2×2 results as channels.

    Results in even rows see the kernel's even taps only, those in odd rows the odd ones, and so
    the columns: four small kernels, side by side.
    """
    count, height, width, _ = images.shape
    features = kernel.shape[-1]
    taps = jnp.flip(taps_by_parity(kernel), (0, 2)).transpose(0, 2, 4, 1, 3, 5)
    rows, columns = taps.shape[:2]
    taps = taps.reshape(*taps.shape[:3], 4 * features)
    blocks = convolve_on_cpu(images, taps, (rows // 2, columns // 2))
    blocks = blocks.reshape(count, height, width, 2, 2, features).transpose(0, 1, 3, 2, 4, 5)
    return blocks.reshape(count, 2 * height, 2 * width, features)


class TransposedConv(nn.Module):
    """Transposed convolution on (n, h, w, c), with a bias unless told otherwise.

    Attributes:
        features: output channels.
        stride: as in `transposed_convolve`.
        kernel_size: height and width of the kernel, odd.
        use_bias: False in front of batch norm, which has its own.
        kernel_init: draws the kernel.
        dtype: of the computation; parameters are float32.
    """

    features: int
    stride: Literal[1, 2]
    kernel_size: int = 5
    use_bias: bool = True
    kernel_init: Initializer = nn.initializers.he_normal()
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, images: Float[Array, "n h w c"]) -> Float[Array, "n h2 w2 d"]:
        """Convolves backwards."""
        shape = (self.kernel_size, self.kernel_size, images.shape[-1], self.features)
        kernel = self.param("kernel", self.kernel_init, shape)
        result = transposed_convolve(
            images.astype(self.dtype), jnp.asarray(kernel, self.dtype), stride=self.stride
        )
        if self.use_bias:
            bias = self.param("bias", nn.initializers.zeros_init(), (self.features,))
            result += jnp.expand_dims(bias.astype(self.dtype), (0, 1, 2))
        return result
