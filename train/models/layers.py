"""The layers that our networks share: convolution, batch norm and pooling."""

from typing import Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.typing import Initializer
from jaxtyping import Array, Float

from imgopt.errors import InputError
from imgopt.programs import standard_promotion
from train.models import cpu_convolution
from train.models.winograd import Border

DTypeLike = jnp.dtype | type
Padding = Literal["same", "valid"]

BATCH_NORM_MOMENTUM = 0.9
"""Weight of the old running average; PyTorch's default is 0.1 for the new value."""


class KernelLayer(nn.Module):
    """A layer on (n, h, w, c) with a kernel and, by default, a bias.

    Attributes:
        features: output channels.
        kernel_size: height and width of the kernel, odd.
        stride: see `Conv` and `train.models.transposed.TransposedConv`.
        use_bias: False in front of batch norm, which has a bias of its own.
        kernel_init: initialiser of the kernel.
        dtype: precision of the computation; parameters are float32.
    """

    features: int
    kernel_size: int = 3
    stride: Literal[1, 2] = 1
    use_bias: bool = True
    kernel_init: Initializer = nn.initializers.he_normal()
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, images: Float[Array, "n h w c"]) -> Float[Array, "n h2 w2 d"]:
        """Applies the kernel and adds the bias."""
        shape = (self.kernel_size, self.kernel_size, images.shape[-1], self.features)
        kernel = self.param("kernel", self.kernel_init, shape, jnp.float32)
        result = self.apply_kernel(images.astype(self.dtype), jnp.asarray(kernel, self.dtype))
        if self.use_bias:
            bias = self.param("bias", nn.initializers.zeros_init(), (self.features,), jnp.float32)
            result += jnp.expand_dims(bias.astype(self.dtype), (0, 1, 2))
        return result

    def apply_kernel(self, images: Array, kernel: Array) -> Array:
        """The layer without its bias."""
        raise NotImplementedError


class Conv(KernelLayer):
    """Convolution, by default same-padded; see `convolve` for stride and padding."""

    padding: Padding = "same"

    def apply_kernel(self, images: Array, kernel: Array) -> Array:
        """See `convolve`."""
        return convolve(images, kernel, stride=self.stride, padding=self.padding)


def convolve(
    images: Float[Array, "n h w c"],
    kernel: Float[Array, "kh kw c d"],
    *,
    stride: Literal[1, 2] = 1,
    padding: Padding = "same",
) -> Float[Array, "n h2 w2 d"]:
    """Convolution with an odd kernel, in a form that suits the platform.

    GPUs and TPUs run `lax.conv_general_dilated`. On CPUs, XLA's convolution is slow for many
    shapes, so they run `train.models.cpu_convolution`.

    Args:
        images: any size.
        kernel: of odd height and width.
        stride: 2 keeps every second row and column of the result, starting with the first.
        padding: "same" puts half a kernel of zeros around the images, as PyTorch's padding k // 2
            does (XLA's own "SAME" differs at stride 2); "valid" puts none, at stride 1 only.

    Returns:
        Height ceil(h / stride) if "same", h - kh + 1 if "valid"; the same holds for the width.

    Raises:
        InputError: a kernel of even size, a stride or padding that is not offered, or images
            smaller than a kernel without padding.
    """
    check_kernel(kernel)
    border = _border(images, kernel, stride=stride, padding=padding)
    on_cpu = cpu_convolution.convolve if stride == 1 else cpu_convolution.convolve_by_two
    return jax.lax.platform_dependent(
        images,
        kernel,
        cpu=lambda images, kernel: on_cpu(images, kernel, border),
        default=lambda images, kernel: convolve_directly(images, kernel, border, stride),
    )


def check_kernel(kernel: Array) -> None:
    """Raises InputError unless a kernel has a middle, that is, odd height and width."""
    height, width = kernel.shape[:2]
    if not height % 2 or not width % 2:
        raise InputError(f"a kernel needs odd height and width, got {height}×{width}")


def _border(images: Array, kernel: Array, *, stride: int, padding: str) -> Border:
    """Rows and columns of zeros around the images."""
    if (stride, padding) not in {(1, "same"), (2, "same"), (1, "valid")}:
        raise InputError(
            'stride and padding must be 1 and "same", 2 and "same", or 1 and "valid"; '
            f"got {stride} and {padding!r}"
        )
    (height, width), (rows, columns) = images.shape[1:3], kernel.shape[:2]
    if padding == "same":
        return rows // 2, columns // 2
    if height < rows or width < columns:
        raise InputError(
            f"images of {height}×{width} are smaller than the kernel of {rows}×{columns}; "
            'take larger images or padding "same"'
        )
    return 0, 0


def convolve_directly(images: Array, kernel: Array, border: Border, stride: int) -> Array:
    """XLA's convolution of images with a border of zeros; see `convolve`."""
    return jax.lax.conv_general_dilated(
        images,
        kernel,
        (stride, stride),
        [(zeros, zeros) for zeros in border],
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )


def batch_norm(x: Array, *, train: bool, dtype: DTypeLike) -> Array:
    """Adds batch norm to the Linen module that calls it.

    The running variance averages the batches' biased variances. PyTorch averages the unbiased ones,
    which are n / (n - 1) times ours; n is the count of a channel's numbers in a batch.

    Args:
        x: channels last.
        train: use the batch's statistics and update the running ones; else use the running ones.
        dtype: precision of the result; statistics are float32.
    """
    with standard_promotion():
        return nn.BatchNorm(
            use_running_average=not train, momentum=BATCH_NORM_MOMENTUM, dtype=dtype
        )(x)


def global_max_pool(images: Float[Array, "n h w c"]) -> Float[Array, "n c"]:
    """The maximum over all positions; equal values share its gradient as in `max_pool_2x2`."""

    def in_pairs(images: Array) -> Array:
        x = images.reshape(images.shape[0], -1, images.shape[-1])
        while (count := x.shape[1]) > 1:
            half = count // 2
            pairs = _maximum(x[:, :half], x[:, half : 2 * half])
            x = jnp.concatenate([pairs, x[:, 2 * half :]], axis=1)
        return x[:, 0]

    def in_a_window(images: Array) -> Array:
        return nn.max_pool(images, images.shape[1:3])[:, 0, 0]

    return jax.lax.platform_dependent(images, tpu=in_a_window, default=in_pairs)


def max_pool_2x2(images: Float[Array, "n h w c"]) -> Float[Array, "n h/2 w/2 c"]:
    """Halves height and width, both even, by the maximum of 2×2 windows.

    TPUs slide a window. GPUs have no deterministic kernel for its gradient, and CPUs a slow one:
    they reshape, and compare first two rows, then two columns. Two equal values get half of the
    gradient each; on TPUs the first one gets it all.
    """

    def in_pairs(images: Array) -> Array:
        count, height, width, channels = images.shape
        rows = images.reshape(count, height // 2, 2, width, channels)
        halved = _maximum(rows[:, :, 0], rows[:, :, 1])
        columns = halved.reshape(count, height // 2, width // 2, 2, channels)
        return _maximum(columns[..., 0, :], columns[..., 1, :])

    def in_a_window(images: Array) -> Array:
        return nn.max_pool(images, (2, 2), strides=(2, 2))

    return jax.lax.platform_dependent(images, tpu=in_a_window, default=in_pairs)


@jax.custom_jvp
def _maximum(one: Array, other: Array) -> Array:
    """The elementwise maximum; its gradient compares the inputs with each other.

    The gradient of `jnp.maximum` compares each input with the result. XLA may compute an input
    twice, with different rounding; then neither equals the result, and the gradient is 0 / 0.
    """
    return jnp.maximum(one, other)


@_maximum.defjvp
def _maximum_jvp(inputs: tuple[Array, Array], tangents: tuple[Array, Array]) -> tuple[Array, Array]:
    one, other = inputs
    share = jnp.where(one > other, 1, jnp.where(one == other, 0.5, 0)).astype(one.dtype)
    return _maximum(one, other), share * tangents[0] + (1 - share) * tangents[1]
