"""Convolutions of stride 1 with fewer multiplications, for CPUs.

Images are cut into tiles of a × a pixels. A tile gives m × m results of an r × r kernel, where
a = m + r - 1, with a² instead of m² r² multiplications (Winograd 1980; Lavin and Gray, "Fast
algorithms for convolutional neural networks", 2016):

    Y = Aᵀ [(G K Gᵀ) ⊙ (Bᵀ D B)] A

Over all tiles and channels these are a² matrix products, which CPUs compute fastest.
"""

import functools
import math
from typing import NamedTuple

import jax
import jax.export
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
}
"""Points at which the polynomials are evaluated, besides infinity, by size of tile.

They are chosen for float32. With tiles of 6 the rounding error is 1.6 times that of the plain sum
for a 3×3 kernel (2.7 or 3.6 times with the usual 0, ±1, 1/2, -2 or 0, ±1, ±2), and 1.7 times for a
5×5 kernel. Tiles of 8 would have 6 times its error.
"""

PART_NUMBERS = 1_000_000
"""Numbers in the transformed tiles and products of a part of a batch: 4 MB in float32.

What a processor keeps in its cache is transformed and multiplied up to three times as fast.
"""


class Transforms(NamedTuple):
    """Transformation matrices for one size of tile and one size of kernel.

    Attributes:
        tile: Bᵀ, transforms a tile of inputs.
        kernel: G, transforms the kernel.
        results: Aᵀ, transforms the products back to results.
    """

    tile: Float[np.ndarray, "a a"]
    kernel: Float[np.ndarray, "a r"]
    results: Float[np.ndarray, "m a"]


@functools.cache
def transforms(size: int, taps: int) -> Transforms:
    """Toom and Cook's matrices: polynomials are multiplied by their values at `POINTS`.

    Args:
        size: size of the tile, a, a key of `POINTS`.
        taps: size of the kernel, r, at most `size`.
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
    """Counts the positions of a kernel on images with a border of zeros, down and across."""
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
    """Finds the cheapest size of tile; None where the plain convolution is cheaper.

    Args:
        positions: positions of the kernel on the images, down and across.
        kernel_shape: shape of the kernel; only square kernels have tiles.
        plain_positions: how often the plain convolution multiplies by the whole kernel.
        transform_cost: cost of transforming a channel of a tile, in multiplications.
    """
    taps, width, channels, features = kernel_shape
    products = channels * features
    costs: dict[int | None, int] = {None: plain_positions * taps * width * products}
    for size in POINTS:
        if taps == width and taps < size:
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
) -> Float[Array, "n h2 w2 _"]:
    """Convolution of stride 1 of images with a border of zeros.

    A batch whose tiles exceed the processor's cache is computed in parts.

    Args:
        images: any size.
        kernel: square.
        border: rows and columns of zeros around the images.
        size: size of a tile, a.
        turned: use the kernel turned by 180°, from its d channels to its c.
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
        blocks = blocks.reshape(step, step, images.shape[0], rows, columns, -1)
        results = blocks.transpose(2, 3, 0, 4, 1, 5)
        results = results.reshape(images.shape[0], rows * step, columns * step, -1)
        return results[:, :height, :width]

    numbers = rows * columns * size**2 * (channels + features)
    parts = _count_parts(images, numbers)
    if parts == 1:
        return run(images)
    results = jax.lax.map(run, _split(images, parts))
    return results.reshape(-1, *results.shape[2:])[: images.shape[0]]


def _count_parts(images: Float[Array, "n *_"], numbers: int, *, at_least: int = 0) -> int:
    """Number of parts of a batch.

    Args:
        images: the batch; the number of its images may be unknown, as in an exported program.
        numbers: numbers that are computed for an image.
        at_least: fewest numbers in a part.
    """
    count = images.shape[0]
    if jax.export.is_symbolic_dim(count):
        return 1
    return min(max(count * numbers // max(PART_NUMBERS, at_least), 1), count)


def _split(images: Float[Array, "n *_"], parts: int) -> Float[Array, "parts m *_"]:
    """Splits a batch into at most so many equal parts; zeros fill up the last one."""
    count = images.shape[0]
    size = -(-count // parts)
    parts = -(-count // size)
    margins = [(0, parts * size - count), *((0, 0),) * (images.ndim - 1)]
    return jnp.pad(images, margins).reshape(parts, size, *images.shape[1:])


def winograd_kernel_gradient(
    images: Float[Array, "n h w c"],
    gradient: Float[Array, "n h2 w2 d"],
    taps: int,
    border: Border,
    *,
    size: int,
) -> Float[Array, "r r c d"]:
    """The kernel's gradient: `winograd_convolve` with every matrix transposed.

    It is the sum over parts of the batch, unless the sum itself exceeds the processor's cache.

    Args:
        images: inputs of the convolution.
        gradient: gradient of its result.
        taps: height and width of the kernel, r.
        border: rows and columns of zeros around the images.
        size: size of a tile, a.
    """
    matrices = transforms(size, taps)
    step = size - taps + 1
    rows, columns = (-(-length // step) for length in gradient.shape[1:3])
    channels, features = images.shape[-1], gradient.shape[-1]

    def run(images: Array, gradient: Array) -> Array:
        values = _transform_tiles(matrices.tile, images, border, (rows, columns), step)
        changes = _transform_tiles(matrices.results.T, gradient, (0, 0), (rows, columns), step)
        return _batched_product(values, changes, 1, 1)

    numbers = rows * columns * size**2 * (channels + features)
    parts = _count_parts(images, numbers, at_least=size**2 * channels * features)
    if parts == 1:
        products = run(images, gradient)
    else:
        zeros = jnp.zeros((size**2, channels, features), images.dtype)
        products, _ = jax.lax.scan(
            lambda total, part: (total + run(*part), None),
            zeros,
            (_split(images, parts), _split(gradient, parts)),
        )
    kernel = _transform(matrices.kernel.T, products)
    return kernel.reshape(taps, taps, channels, features)


def _transform_tiles(
    matrix: np.ndarray, images: Array, border: Border, counts: tuple[int, int], step: int
) -> Float[Array, "p tiles c"]:
    """Applies a matrix (i × a) to the rows and the columns of tiles of a × a pixels.

    It transforms one direction after the other, so the overlapping tiles are never copied whole.

    Args:
        matrix: one column for each row of a tile.
        images: batch first.
        border: rows of zeros above and columns left of them; below and right there are as many as
            the tiles need.
        counts: number of tiles down and across.
        step: distance between neighbouring tiles.
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
    """Applies a matrix to the rows and the columns of squares; pixels are the leading axes."""
    both = jnp.asarray(np.kron(matrix, matrix), squares.dtype)
    return both @ squares.reshape(both.shape[1], -1)


def _batched_product(left: Array, right: Array, *contracted: int) -> Float[Array, "b i j"]:
    """Matrix products along the leading axis, contracting one axis of each factor."""
    left_axis, right_axis = contracted
    return jax.lax.dot_general(left, right, (((left_axis,), (right_axis,)), ((0,), (0,))))
