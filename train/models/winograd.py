"""Convolutions of stride 1 with fewer multiplications, for CPUs.

A tile of a × a inputs gives m × m results of an r × r kernel, a = m + r - 1, by a² products instead
of m² r² (Winograd 1980; Lavin and Gray, "Fast algorithms for convolutional neural networks", 2016):

    Y = Aᵀ [(G K Gᵀ) ⊙ (Bᵀ D B)] A

Over all tiles and channels the products are a² matrix products, which is what CPUs are best at.
"""

import functools
import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

Border = tuple[int, int]
"""Rows of zeros above and below an image, columns left and right of it."""

KernelShape = tuple[int, ...]
"""Height, width, channels in, channels out."""

POINTS = {
    4: (0, 1, -1),
    6: (0, 2 / 3, -2 / 3, 3 / 2, -3 / 2),
    8: (0, 1 / 2, -1 / 2, 1, -1, 2, -2),
}
"""By size of a tile, where its polynomials are evaluated, infinity besides.

They are chosen for float32. The rounding error with 6 and a 3×3 kernel is 1.6 times that of the
plain sum (2.7 or 3.6 times with the usual 0, ±1, 1/2, -2 or 0, ±1, ±2); with a 5×5 kernel it is
1.7 times, and 6 times with 8.
"""

MOST_RESULTS = 4
"""Down and across a tile: with more, tiles of 8 would be taken for 3×3, at such an error."""

PART_NUMBERS = 10_000_000
"""A part of a batch has at least so many before and behind its products: 40 MB in float32."""


class Transforms(NamedTuple):
    """The matrices of one size of tile and of kernel.

    Attributes:
        tile: Bᵀ, of a tile of inputs.
        kernel: G, of the kernel.
        results: Aᵀ, back to the results.
    """

    tile: Float[np.ndarray, "a a"]
    kernel: Float[np.ndarray, "a r"]
    results: Float[np.ndarray, "m a"]


@functools.cache
def transforms(size: int, taps: int) -> Transforms:
    """Toom and Cook's matrices: polynomials are multiplied by their values at `POINTS`.

    Args:
        size: a, a key of `POINTS`.
        taps: r, at most `size`.
    """
    points = np.array(POINTS[size])
    others = [np.delete(points, i) for i in range(size - 1)]
    scales = [np.prod(point - rest) for point, rest in zip(points, others, strict=True)]
    at_infinity = np.eye(size)[-1:]
    finite = [np.append(np.poly(rest)[::-1], 0) for rest in others]  # lowest powers first
    tile = np.stack([*finite, np.poly(points)[::-1]])
    kernel = np.vander(points, taps, increasing=True) / np.array(scales)[:, None]
    results = np.vander(points, size - taps + 1, increasing=True)
    return Transforms(
        tile,
        np.concatenate([kernel, at_infinity[:, -taps:]]),
        np.concatenate([results, at_infinity[:, taps - 1 :]]).T,
    )


def count_positions(images: Array, kernel_shape: KernelShape, border: Border) -> tuple[int, int]:
    """How many positions a kernel has on images between zeros, down and across."""
    height, width = (
        size + 2 * zeros - taps + 1
        for size, zeros, taps in zip(images.shape[1:3], border, kernel_shape[:2], strict=True)
    )
    return height, width


def cheapest_size(
    positions: tuple[int, ...],
    kernel_shape: KernelShape,
    *,
    plain_positions: int,
    transform_cost: int,
) -> int | None:
    """The size of tile that costs least, or None where the plain convolution does.

    Args:
        positions: of the kernel on the images, down and across.
        kernel_shape: only square kernels have tiles.
        plain_positions: as many times the plain convolution multiplies by the whole kernel.
        transform_cost: of a channel of a tile, in and out of the products, in multiplications.
    """
    taps, width, channels, features = kernel_shape
    products = channels * features
    costs: dict[int | None, int] = {None: plain_positions * taps * width * products}
    for size in POINTS:
        if taps == width and size - MOST_RESULTS < taps < size:
            step = size - taps + 1
            tiles = math.prod(-(-length // step) for length in positions)
            costs[size] = tiles * size**2 * (products + transform_cost * (channels + features))
    return min(costs, key=lambda size: costs[size])


def winograd_convolve(
    images: Float[Array, "n h w _"],
    kernel: Float[Array, "r r c d"],
    border: Border,
    *,
    size: int,
    turned: bool = False,
    at_once: bool = False,
) -> Float[Array, "n h2 w2 _"]:
    """A convolution of stride 1 between zeros.

    A batch whose tiles would be read from memory, not from the processor's cache, is taken in
    parts.

    Args:
        images: any size.
        kernel: square.
        border: rows and columns of zeros around the images.
        size: of a tile, a.
        turned: with the kernel turned by 180°, from its d channels to its c.
        at_once: make the tiles of the whole batch, because `winograd_kernel_gradient` is to make
            the same: XLA then makes them once.
    """
    taps, _, channels, features = kernel.shape
    matrices = transforms(size, taps)
    # Neither turning nor exchanging the channels moves the kernel, which can be the largest array.
    kernel_matrix = matrices.kernel[:, ::-1] if turned else matrices.kernel
    weights = _transform(kernel_matrix, kernel).reshape(size**2, channels, features)
    step = size - taps + 1
    height, width = count_positions(images, kernel.shape, border)
    rows, columns = -(-height // step), -(-width // step)

    def run(images: Array) -> Array:
        values = _transform_tiles(matrices.tile, images, border, (rows, columns), step)
        products = _batched_product(values, weights, 2, 2 if turned else 1)
        blocks = _transform(matrices.results, products)
        blocks = blocks.reshape(step, step, len(images), rows, columns, -1)
        results = blocks.transpose(2, 3, 0, 4, 1, 5)
        results = results.reshape(len(images), rows * step, columns * step, -1)
        return results[:, :height, :width]

    numbers = rows * columns * size**2 * (channels + features)
    parts = 1 if at_once else len(images) * numbers // PART_NUMBERS
    return _in_parts(run, images, parts)


def _in_parts(
    function: Callable[[Array], Array], images: Float[Array, "n *_"], parts: int
) -> Float[Array, "n *_"]:
    """Applies a function to about so many even parts of a batch, one after the other."""
    count = len(images)
    if parts <= 1:
        return function(images)
    size = -(-count // parts)
    parts = -(-count // size)
    margins = [(0, parts * size - count), *((0, 0),) * (images.ndim - 1)]
    split = jnp.pad(images, margins).reshape(parts, size, *images.shape[1:])
    results = jax.lax.map(function, split)
    return results.reshape(-1, *results.shape[2:])[:count]


def winograd_kernel_gradient(
    images: Float[Array, "n h w c"],
    gradient: Float[Array, "n h2 w2 d"],
    taps: int,
    border: Border,
    *,
    size: int,
) -> Float[Array, "r r c d"]:
    """The kernel's gradient: every matrix of `winograd_convolve` transposed.

    Args:
        images: what was convolved.
        gradient: of the result.
        taps: r, the kernel's height and width.
        border: of the convolution.
        size: of a tile, a.
    """
    matrices = transforms(size, taps)
    step = size - taps + 1
    rows, columns = (-(-length // step) for length in gradient.shape[1:3])
    values = _transform_tiles(matrices.tile, images, border, (rows, columns), step)
    changes = _transform_tiles(matrices.results.T, gradient, (0, 0), (rows, columns), step)
    products = _batched_product(values, changes, 1, 1)
    kernel = _transform(matrices.kernel.T, products)
    return kernel.reshape(taps, taps, images.shape[-1], gradient.shape[-1])


def _transform_tiles(
    matrix: np.ndarray, images: Array, border: Border, counts: tuple[int, int], step: int
) -> Float[Array, "p tiles c"]:
    """A matrix (i × a) on both sides of tiles of a × a pixels, a step apart.

    One side after the other: the whole tiles, which overlap, never stand in memory.

    Args:
        matrix: whose columns are as many as a tile has rows and columns.
        images: batch first.
        border: zeros in front of them; behind them there are as many as the tiles need.
        counts: tiles down and across.
        step: between them.
    """
    size = matrix.shape[1]
    margins = [
        (zeros, step * (count - 1) + size - length - zeros)
        for length, zeros, count in zip(images.shape[1:3], border, counts, strict=True)
    ]
    values = jnp.pad(images, ((0, 0), *margins, (0, 0)))
    for axis, count in ((-2, counts[1]), (-3, counts[0])):
        ends = step * (count - 1) + 1
        parts = [
            jax.lax.slice_in_dim(values, first, first + ends, step, values.ndim + axis)
            for first in range(size)
        ]
        stacked = jnp.stack(parts)
        values = jnp.asarray(matrix, images.dtype) @ stacked.reshape(size, -1)
        values = values.reshape(-1, *stacked.shape[1:])
    return values.reshape(len(matrix) ** 2, -1, images.shape[-1])


def _transform(matrix: np.ndarray, squares: Array) -> Float[Array, "p rest"]:
    """A matrix on both sides of squares, whose pixels are the leading axis or two."""
    both = jnp.asarray(np.kron(matrix, matrix), squares.dtype)
    return both @ squares.reshape(both.shape[1], -1)


def _batched_product(left: Array, right: Array, *contracted: int) -> Float[Array, "b i j"]:
    """A product for each of the leading axis, contracting an axis of the left and of the right."""
    left_axis, right_axis = contracted
    return jax.lax.dot_general(left, right, (((left_axis,), (right_axis,)), ((0,), (0,))))
