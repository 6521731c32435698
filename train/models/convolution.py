"""The layers that our networks share: one convolution, one pooling."""

import functools
import math
from collections.abc import Callable
from typing import Literal

import jax
import jax.numpy as jnp
from jax.custom_derivatives import CustomVJPPrimal
from jaxtyping import Array, Float

from imgopt.errors import InputError
from train.models.winograd import (
    Border,
    KernelShape,
    cheapest_size,
    count_positions,
    winograd_convolve,
    winograd_kernel_gradient,
)

DTypeLike = jnp.dtype | type
Padding = Literal["same", "valid"]

FEW_CHANNELS = 4
"""Up to so many, a product with all of a kernel's taps is quicker than a convolution."""
VALUE_COST = 72
"""Of the transforms of a channel of a tile, in multiplications of the product (measured)."""
KERNEL_GRADIENT_COST = 16
"""Likewise beside the product for a kernel's gradient, which runs at a third of the speed."""


def convolve(
    images: Float[Array, "n h w c"],
    kernel: Float[Array, "kh kw c d"],
    *,
    stride: Literal[1, 2] = 1,
    padding: Padding = "same",
) -> Float[Array, "n h2 w2 d"]:
    """Convolution with an odd kernel, lowered per platform.

    On GPUs and TPUs it is `lax.conv_general_dilated`. On CPUs, XLA is quick on some forms of
    convolution only, so value and gradients are written in those (see `_value_on_cpu`).

    Args:
        images: any size.
        kernel: of odd height and width.
        stride: 2 keeps every second row and column of the result, from the first on.
        padding: "same" puts half a kernel of zeros around the images, as PyTorch's padding k // 2
            does (XLA's own "SAME" differs at stride 2); "valid" puts none, at stride 1 only.

    Returns:
        Height ceil(h / stride) if "same", h - kh + 1 if "valid"; the width likewise.

    Raises:
        InputError: a kernel of even size, a stride or padding that is not offered, or images
            smaller than a kernel without padding.
    """
    check_kernel(kernel)
    border = _border(images, kernel, stride=stride, padding=padding)
    on_cpu = convolve_on_cpu if stride == 1 else _convolve_by_two_on_cpu
    return jax.lax.platform_dependent(
        images,
        kernel,
        cpu=lambda images, kernel: on_cpu(images, kernel, border),
        default=lambda images, kernel: _convolve_directly(images, kernel, border, stride),
    )


def check_kernel(kernel: Array) -> None:
    """Raises InputError unless a kernel has a middle, that is, odd height and width."""
    height, width = kernel.shape[:2]
    if not height % 2 or not width % 2:
        raise InputError(f"a kernel needs odd height and width, got {height}×{width}")


def _border(images: Array, kernel: Array, *, stride: int, padding: str) -> Border:
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


def _convolve_directly(images: Array, kernel: Array, border: Border, stride: int = 1) -> Array:
    return jax.lax.conv_general_dilated(
        images,
        kernel,
        (stride, stride),
        [(size, size) for size in border],
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )


def _value_on_cpu(images: Array, kernel: Array, border: Border) -> Array:
    """The value of a convolution of stride 1, from what is quick on CPUs.

    With many channels that is Winograd's form. Otherwise, tiny maps and few channels are a product
    of image patches with the kernel (3×3 on 2×2 is 80 times as quick so); few channels of the
    result, and results on larger maps than the images, are a product of pixels with the kernel,
    added up where it falls.

    The gradients that automatic differentiation gives are convolutions in layouts that XLA, inside
    a compiled loop, runs 20 to 30 times slower than outside. Here the images' gradient is a
    convolution with the turned kernel, and the kernel's a product of tiles or patches. Where
    kernels are mapped over, they take turns: the grouped convolution and the batched product that
    `vmap` would make take 4 times as long.
    """
    return _with_mapped_kernels_in_turn(border)(images, kernel)


convolve_on_cpu = jax.custom_vjp(_value_on_cpu, nondiff_argnums=(2,))


@functools.cache
def _with_mapped_kernels_in_turn(
    border: Border, *, turned: bool = False, at_once: bool = False
) -> Callable[[Array, Array], Array]:
    @jax.custom_batching.custom_vmap
    def run(images: Array, kernel: Array) -> Array:
        positions = count_positions(images, kernel.shape, border)
        windows, pixels = math.prod(positions), math.prod(images.shape[1:3])
        size = _tile_size(images, positions, kernel.shape, min(windows, pixels), VALUE_COST)
        if size:
            return winograd_convolve(
                images, kernel, border, size=size, turned=turned, at_once=at_once
            )
        plain = _turn(kernel) if turned else kernel
        channels, features = plain.shape[2:]
        if windows <= 4 or channels <= FEW_CHANNELS:
            return _patches(images, plain.shape, border) @ plain.reshape(-1, features)
        if features <= max(FEW_CHANNELS, channels // 4) or 3 * pixels < 2 * windows:
            return _spread(images, plain, border)
        return _convolve_directly(images, plain, border)

    @run.def_vmap
    def _(_: int, mapped: list[bool], images: Array, kernel: Array) -> tuple[Array, bool]:
        if mapped == [True, False]:
            merged = run(images.reshape(-1, *images.shape[2:]), kernel)
            return merged.reshape(*images.shape[:2], *merged.shape[1:]), True
        if mapped == [False, True]:
            return jax.lax.map(lambda each: run(images, each), kernel), True
        return jax.lax.map(lambda pair: run(*pair), (images, kernel)), True

    return run


def _forward(
    images: CustomVJPPrimal, kernel: CustomVJPPrimal, border: Border
) -> tuple[Array, tuple[Array, Array]]:
    # Where the kernel is trained, its gradient may need the same tiles of images.
    positions = count_positions(images.value, kernel.value.shape, border)
    at_once = kernel.perturbed and not _is_growing(images.value, positions)
    run = _with_mapped_kernels_in_turn(border, at_once=at_once)
    return run(images.value, kernel.value), (images.value, kernel.value)


def _backward(border: Border, saved: tuple[Array, Array], gradient: Array) -> tuple[Array, Array]:
    images, kernel = saved
    # Around the gradient goes what is missing in `border` to the zeros of a full convolution.
    rest = (kernel.shape[0] - 1 - border[0], kernel.shape[1] - 1 - border[1])
    images_gradient = _with_mapped_kernels_in_turn(rest, turned=True)(gradient, kernel)
    return images_gradient, _kernel_gradient(border, rest, kernel.shape[:2])(images, gradient)


@functools.cache
def _kernel_gradient(
    border: Border, rest: Border, taps: tuple[int, int]
) -> Callable[[Array, Array], Array]:
    @jax.custom_batching.sequential_vmap
    def run(images: Array, gradient: Array) -> Array:
        # A sum over all pairs of a pixel and a position, either of which can play the images.
        as_it_is, exchanged = (images, gradient, border), (gradient, images, rest)
        positions, shape = gradient.shape[1:3], (*taps, images.shape[-1], gradient.shape[-1])
        way = exchanged if _is_growing(images, positions) else as_it_is
        tiled = way[1].shape[1:3]
        size = _tile_size(images, tiled, shape, math.prod(tiled), KERNEL_GRADIENT_COST)
        if size:
            one, other, zeros = way
            kernel = winograd_kernel_gradient(one, other, taps[0], zeros, size=size)
        else:
            way = min(as_it_is, exchanged, key=lambda way: _size_of_patches(*way[:2]))
            one, other, zeros = way
            kernel = _product(one, other, shape, zeros)
        return _turn(kernel) if way is exchanged else kernel

    return run


def _is_growing(images: Array, positions: tuple[int, ...]) -> bool:
    """Whether there are more results than pixels."""
    return math.prod(positions) > math.prod(images.shape[1:3])


convolve_on_cpu.defvjp(_forward, _backward, symbolic_zeros=True)


def _tile_size(
    images: Array, positions: tuple[int, ...], kernel_shape: KernelShape, plain: int, cost: int
) -> int | None:
    """Of Winograd's tiles; None where they do not pay, or would cost 16-bit floats too much."""
    if images.dtype.itemsize < 4:
        return None
    return cheapest_size(positions, kernel_shape, plain_positions=plain, transform_cost=cost)


def _turn(kernel: Array) -> Array:
    """The kernel that leads back: turned by 180°, its inputs and outputs exchanged."""
    return jnp.flip(kernel, (0, 1)).swapaxes(2, 3)


def _size_of_patches(images: Array, other: Array) -> int:
    """Numbers in the patches of images at each pixel of the other, over the kernel's taps."""
    return images.shape[-1] * other.shape[1] * other.shape[2]


def _product(images: Array, other: Array, kernel_shape: tuple[int, ...], border: Border) -> Array:
    """At each tap, the sum over all pixels of the image under it times the other."""
    patches = _patches(images, kernel_shape, border)
    product = jnp.tensordot(patches, other, axes=((0, 1, 2), (0, 1, 2)))
    return product.reshape(*kernel_shape[:2], images.shape[-1], other.shape[-1])


def _convolve_by_two_on_cpu(images: Array, kernel: Array, border: Border) -> Array:
    """At stride 2 with half a kernel of zeros: at stride 1 over blocks of 2×2 pixels.

    The blocks' pixels become channels, and so do the kernel's even and odd taps. Nothing that is
    computed is thrown away but the zeros that make the number of taps even.
    """
    count, height, width, channels = images.shape
    even = jnp.pad(images, ((0, 0), (0, height % 2), (0, width % 2), (0, 0)))
    blocks = even.reshape(count, (height + 1) // 2, 2, (width + 1) // 2, 2, channels)
    blocks = blocks.transpose(0, 1, 3, 2, 4, 5).reshape(*blocks.shape[:2], blocks.shape[3], -1)
    taps = taps_by_parity(kernel).transpose(0, 2, 1, 3, 4, 5)
    taps = taps.reshape(*taps.shape[:2], -1, kernel.shape[-1])
    return convolve_on_cpu(blocks, taps, ((border[0] + 1) // 2, (border[1] + 1) // 2))


def taps_by_parity(
    kernel: Float[Array, "kh kw c d"],
) -> Float[Array, "th 2 tw 2 c d"]:
    """Even and odd taps apart: tap [q, r] stands 2(q - reach) + r from the kernel's middle.

    Zeros make them as many on both sides: a kernel of 5×5 has 3×3 taps of each parity, and reach 1.
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


def _patches(images: Array, kernel_shape: tuple[int, ...], border: Border) -> Array:
    """For every position of the kernel, the pixels under it: (n, h2, w2, kh × kw × c)."""
    rows, columns = kernel_shape[:2]
    height, width = count_positions(images, kernel_shape, border)
    padded = jnp.pad(images, ((0, 0), (border[0],) * 2, (border[1],) * 2, (0, 0)))
    shifted = [
        padded[:, row : row + height, column : column + width]
        for row in range(rows)
        for column in range(columns)
    ]
    return jnp.concatenate(shifted, axis=-1)


def _spread(images: Array, kernel: Array, border: Border) -> Array:
    """Every pixel times the whole kernel, added up where it falls."""
    result = jnp.tensordot(images, kernel, axes=((3,), (2,)))  # (n, h, w, kh, kw, d)
    for axis, zeros in ((1, border[0]), (2, border[1])):
        taps = kernel.shape[axis - 1]
        size = images.shape[axis] + 2 * zeros - taps + 1
        parts = []
        for tap in range(taps):
            # The first tap's results begin at the border's end, each later one's a pixel before.
            margins = [(0, 0, 0)] * (result.ndim - 1)
            before = zeros - tap
            margins[axis] = (before, size - images.shape[axis] - before, 0)
            parts.append(jax.lax.pad(result[:, :, :, tap], jnp.zeros((), images.dtype), margins))
        result = functools.reduce(jnp.add, parts)
    return result
