"""The transposed convolution: from small maps to larger ones."""

from typing import Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from imgopt.errors import InputError
from train.models import cpu_convolution
from train.models.layers import KernelLayer, check_kernel


class TransposedConv(KernelLayer):
    """Transposed convolution; see `transposed_convolve` for its stride."""

    kernel_size: int = 5

    def apply_kernel(self, images: Array, kernel: Array) -> Array:
        """See `transposed_convolve`."""
        return transposed_convolve(images, kernel, stride=self.stride)


def transposed_convolve(
    images: Float[Array, "n h w c"],
    kernel: Float[Array, "kh kw c d"],
    *,
    stride: Literal[1, 2],
) -> Float[Array, "n h2 w2 d"]:
    """Multiplies each pixel by the kernel and adds the products at the pixel's place × stride.

    At stride 2 it is PyTorch's ConvTranspose2d with padding k // 2 and output_padding 1 ("half" in
    Theano); at stride 1 the one without padding ("valid" in Theano). GPUs and TPUs run
    `lax.conv_general_dilated` with `lhs_dilation`; CPUs run `train.models.cpu_convolution`, which
    multiplies no zeros between pixels.

    Args:
        images: any size.
        kernel: of odd height and width, (height, width, in, out).
        stride: how far apart neighbouring pixels' products lie.

    Returns:
        Twice the height and width at stride 2; h + kh - 1 and w + kw - 1 at stride 1.

    Raises:
        InputError: a kernel of even size, or a stride that is not offered.
    """
    check_kernel(kernel)
    if stride not in {1, 2}:
        raise InputError(f"the stride of a transposed convolution must be 1 or 2, got {stride}")
    by_two = cpu_convolution.transposed_convolve_by_two
    return jax.lax.platform_dependent(
        images,
        kernel,
        cpu=cpu_convolution.transposed_convolve if stride == 1 else by_two,
        default=lambda images, kernel: transpose_directly(images, kernel, stride),
    )


def transpose_directly(images: Array, kernel: Array, stride: int) -> Array:
    """XLA's transposed convolution; see `transposed_convolve`."""
    sizes = kernel.shape[:2]
    if stride == 1:
        margins = [(size - 1, size - 1) for size in sizes]
    else:
        margins = [(size - 1 - size // 2, size - size // 2) for size in sizes]
    return jax.lax.conv_general_dilated(
        images,
        jnp.flip(kernel, (0, 1)),
        (1, 1),
        margins,
        lhs_dilation=(stride, stride),
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )
