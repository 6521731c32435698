"""Convolutions in the forms that are fast on CPUs, forward and backward.

XLA's convolution is fast on CPUs for some shapes only. And inside a compiled loop its gradients,
convolutions in another layout, run 20 to 30 times slower than outside. So the form is chosen by
shape, and the gradients are written out: the images' gradient is a convolution with the turned
kernel, and the kernel's gradient is a product of tiles or patches.

Where `vmap` maps over kernels, they run one after the other: the grouped convolution and the
batched product that `vmap` would make take 4 times as long.
"""

import functools
import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from train.models.winograd import (
    Border,
    cheapest_size,
    count_positions,
    winograd_convolve,
    winograd_kernel_gradient,
)

FEW_CHANNELS = 4
"""Up to this many channels, a product with all taps of a kernel is faster than a convolution."""

VALUE_COST = 72
"""Cost of transforming a channel of a tile, in multiplications of the product (measured)."""

KERNEL_GRADIENT_COST = 16
"""The same cost for a kernel's gradient, whose product runs at a third of the speed."""


def _convolve(images: Array, kernel: Array, border: Border) -> Array:
    """Convolution of stride 1 of images with a border of zeros.

    It can be differentiated any number of times: each of its two gradients is linear in the
    result's gradient and in the other input, and has the same three functions as gradients again.

    Args:
        images: any size.
        kernel: any size.
        border: rows and columns of zeros around the images.
    """
    return _convolution(border)(images, kernel)


convolve = jax.custom_vjp(_convolve, nondiff_argnums=(2,))


@functools.cache
def _convolution(border: Border, *, turned: bool = False) -> Callable[[Array, Array], Array]:
    """A convolution of stride 1 that can be mapped over images and kernels.

    Args:
        border: rows and columns of zeros around the images.
        turned: turn the kernel by 180° and exchange its channels, as the images' gradient needs.
    """

    @jax.custom_batching.custom_vmap
    def run(images: Array, kernel: Array) -> Array:
        positions = count_positions(images, kernel.shape, border)
        windows, pixels = math.prod(positions), math.prod(images.shape[1:3])
        size = cheapest_size(
            positions,
            kernel.shape,
            plain_positions=min(windows, pixels),
            transform_cost=VALUE_COST,
        )
        if size:
            wide = _widen(images, kernel)
            tiled = winograd_convolve(*wide, border, size=size, turned=turned)
            return tiled.astype(images.dtype)
        plain = _turn(kernel) if turned else kernel
        channels, features = plain.shape[2:]
        if windows <= 4 or channels <= FEW_CHANNELS:
            return _patches(images, plain.shape, border) @ plain.reshape(-1, features)
        if features <= max(FEW_CHANNELS, channels // 4) or 3 * pixels < 2 * windows:
            return _spread(images, plain, border)
        return jax.lax.conv_general_dilated(
            images,
            plain,
            (1, 1),
            [(zeros, zeros) for zeros in border],
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
        )

    @run.def_vmap
    def _(_: int, mapped: list[bool], images: Array, kernel: Array) -> tuple[Array, bool]:
        if mapped == [True, False]:
            merged = run(images.reshape(-1, *images.shape[2:]), kernel)
            return merged.reshape(*images.shape[:2], *merged.shape[1:]), True
        if mapped == [False, True]:
            return jax.lax.map(lambda each: run(images, each), kernel), True
        return jax.lax.map(lambda pair: run(*pair), (images, kernel)), True

    return run


def _convolve_backward(
    border: Border, saved: tuple[Array, Array], gradient: Array
) -> tuple[Array, Array]:
    images, kernel = saved
    taps = (kernel.shape[0], kernel.shape[1])
    return (
        _images_gradient(gradient, kernel, border),
        _kernel_gradient(images, gradient, border, taps),
    )


convolve.defvjp(
    lambda images, kernel, border: (convolve(images, kernel, border), (images, kernel)),
    _convolve_backward,
)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def _images_gradient(gradient: Array, kernel: Array, border: Border) -> Array:
    """The images' gradient: a full convolution of the result's gradient with the turned kernel."""
    return _convolution(_rest(kernel.shape, border), turned=True)(gradient, kernel)


def _images_gradient_backward(
    border: Border, saved: tuple[Array, Array], images: Array
) -> tuple[Array, Array]:
    gradient, kernel = saved
    taps = (kernel.shape[0], kernel.shape[1])
    return convolve(images, kernel, border), _kernel_gradient(images, gradient, border, taps)


_images_gradient.defvjp(
    lambda gradient, kernel, border: (
        _images_gradient(gradient, kernel, border),
        (gradient, kernel),
    ),
    _images_gradient_backward,
)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def _kernel_gradient(
    images: Array, gradient: Array, border: Border, taps: tuple[int, int]
) -> Array:
    """The kernel's gradient, from the images and the result's gradient."""
    return _kernel_product(border, _rest(taps, border), taps)(images, gradient)


def _kernel_gradient_backward(
    border: Border, taps: tuple[int, int], saved: tuple[Array, Array], kernel: Array
) -> tuple[Array, Array]:
    del taps
    images, gradient = saved
    return _images_gradient(gradient, kernel, border), convolve(images, kernel, border)


_kernel_gradient.defvjp(
    lambda images, gradient, border, taps: (
        _kernel_gradient(images, gradient, border, taps),
        (images, gradient),
    ),
    _kernel_gradient_backward,
)


def _rest(taps: tuple[int, ...], border: Border) -> Border:
    """Zeros to add on each side for a full convolution, besides the border: k - 1 - border."""
    return taps[0] - 1 - border[0], taps[1] - 1 - border[1]


@functools.cache
def _kernel_product(
    border: Border, rest: Border, taps: tuple[int, int]
) -> Callable[[Array, Array], Array]:
    """At each tap of a kernel, the sum of images times the result's gradient.

    Either of the two can be cut into tiles or patches; with the roles exchanged, the border is
    `rest` and the kernel comes out turned.
    """

    @jax.custom_batching.sequential_vmap
    def run(images: Array, gradient: Array) -> Array:
        in_order, exchanged = (images, gradient, border), (gradient, images, rest)
        positions, shape = gradient.shape[1:3], (*taps, images.shape[-1], gradient.shape[-1])
        roles = exchanged if _has_more_results(images, positions) else in_order
        tiled = roles[1].shape[1:3]
        size = cheapest_size(
            tiled,
            shape,
            plain_positions=math.prod(tiled),
            transform_cost=KERNEL_GRADIENT_COST,
        )
        if size:
            one, other, zeros = roles
            wide = _widen(one, other)
            kernel = winograd_kernel_gradient(*wide, taps[0], zeros, size=size)
            kernel = kernel.astype(images.dtype)
        else:
            roles = min(in_order, exchanged, key=lambda roles: _size_of_patches(*roles[:2]))
            one, other, zeros = roles
            kernel = _product_with_patches(one, other, shape, zeros)
        return _turn(kernel) if roles is exchanged else kernel

    return run


def _has_more_results(images: Array, positions: tuple[int, ...]) -> bool:
    """Whether the result has more positions than the images have pixels."""
    return math.prod(positions) > math.prod(images.shape[1:3])


def _widen(one: Array, other: Array) -> tuple[Array, Array]:
    """Both in at least 32 bits: in 16 bits, the transforms of tiles would lose three more."""
    if one.dtype.itemsize < 4:
        return one.astype(jnp.float32), other.astype(jnp.float32)
    return one, other


def _turn(kernel: Array) -> Array:
    """The kernel turned by 180°, with its input and output channels exchanged."""
    return jnp.flip(kernel, (0, 1)).swapaxes(2, 3)


def _patches(images: Array, kernel_shape: tuple[int, ...], border: Border) -> Array:
    """The pixels under the kernel at each of its positions: (n, h2, w2, kh × kw × c)."""
    rows, columns = kernel_shape[:2]
    height, width = count_positions(images, kernel_shape, border)
    padded = jnp.pad(images, ((0, 0), (border[0],) * 2, (border[1],) * 2, (0, 0)))
    shifted = [
        padded[:, row : row + height, column : column + width]
        for row in range(rows)
        for column in range(columns)
    ]
    return jnp.concatenate(shifted, axis=-1)


def _size_of_patches(images: Array, other: Array) -> int:
    """Numbers in an image's patches, divided by the kernel's height × width."""
    return images.shape[-1] * other.shape[1] * other.shape[2]


def _product_with_patches(
    images: Array, other: Array, kernel_shape: tuple[int, ...], border: Border
) -> Array:
    """At each tap, the sum over all positions of the pixel under it times the other array."""
    patches = _patches(images, kernel_shape, border)
    product = jnp.tensordot(patches, other, axes=((0, 1, 2), (0, 1, 2)))
    return product.reshape(*kernel_shape[:2], images.shape[-1], other.shape[-1])


def _spread(images: Array, kernel: Array, border: Border) -> Array:
    """Multiplies every pixel by the whole kernel and adds the products up where they fall."""
    result = jnp.tensordot(images, kernel, axes=((3,), (2,)))  # (n, h, w, kh, kw, d)
    for axis, zeros in ((1, border[0]), (2, border[1])):
        taps = kernel.shape[axis - 1]
        size = images.shape[axis] + 2 * zeros - taps + 1
        parts = []
        for tap in range(taps):
            # The first tap's products begin at the border's end, each later tap's one before.
            margins = [(0, 0, 0)] * (result.ndim - 1)
            before = zeros - tap
            margins[axis] = (before, size - images.shape[axis] - before, 0)
            parts.append(jax.lax.pad(result[:, :, :, tap], jnp.zeros((), images.dtype), margins))
        result = functools.reduce(jnp.add, parts)
    return result


# ---- stride 2, and transposed convolutions


def convolve_by_two(images: Array, kernel: Array, border: Border) -> Array:
    """Convolution of stride 2 of images with half a kernel of zeros around them.

    Blocks of 2×2 pixels become channels, and so do the kernel's even and odd taps; then it is a
    convolution of stride 1. The only wasted products are with the zero taps that it adds.
    """
    count, height, width, channels = images.shape
    even = jnp.pad(images, ((0, 0), (0, height % 2), (0, width % 2), (0, 0)))
    blocks = even.reshape(count, (height + 1) // 2, 2, (width + 1) // 2, 2, channels)
    blocks = blocks.transpose(0, 1, 3, 2, 4, 5).reshape(*blocks.shape[:2], blocks.shape[3], -1)
    taps = _taps_by_parity(kernel).transpose(0, 2, 1, 3, 4, 5)
    taps = taps.reshape(*taps.shape[:2], -1, kernel.shape[-1])
    return convolve(blocks, taps, ((border[0] + 1) // 2, (border[1] + 1) // 2))


def transposed_convolve(images: Array, kernel: Array) -> Array:
    """Transposed convolution of stride 1 without padding: height and width grow by k - 1."""
    border = (kernel.shape[0] - 1, kernel.shape[1] - 1)
    return convolve(images, jnp.flip(kernel, (0, 1)), border)


def transposed_convolve_by_two(images: Array, kernel: Array) -> Array:
    """Transposed convolution of stride 2: the result has twice the height and width.

    One convolution of stride 1 gives the 2×2 results of each pixel as channels. Results in even
    rows need the kernel's even taps only, those in odd rows the odd ones; columns are alike. So it
    convolves with four small kernels, side by side.
    """
    count, height, width, _ = images.shape
    features = kernel.shape[-1]
    taps = jnp.flip(_taps_by_parity(kernel), (0, 2)).transpose(0, 2, 4, 1, 3, 5)
    rows, columns = taps.shape[:2]
    taps = taps.reshape(*taps.shape[:3], 4 * features)
    blocks = convolve(images, taps, (rows // 2, columns // 2))
    blocks = blocks.reshape(count, height, width, 2, 2, features).transpose(0, 1, 3, 2, 4, 5)
    return blocks.reshape(count, 2 * height, 2 * width, features)


def _taps_by_parity(
    kernel: Float[Array, "kh kw c d"],
) -> Float[Array, "th 2 tw 2 c d"]:
    """Separates even and odd taps: tap [q, r] lies 2(q - reach) + r from the kernel's middle.

    Zero taps make both sides equally long: a 5×5 kernel has 3×3 taps of each parity, and reach 1.
    """
    margins, shape = [], []
    for size in kernel.shape[:2]:
        middle = size // 2
        reach = (middle + 1) // 2
        before = 2 * reach - middle
        count = 2 * reach + 1
        margins.append((before, 2 * count - size - before))
        shape += [count, 2]
    padded = jnp.pad(kernel, (*margins, (0, 0), (0, 0)))
    return padded.reshape(*shape, *kernel.shape[2:])
