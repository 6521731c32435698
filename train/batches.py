"""The order of the examples in an epoch, and the batches of that order."""

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Array, Int, Key, UInt32

from imgopt.errors import typed_key
from train.runtime.processes import shard_batch


def fold_in(key: Key[Array, "*groups"], data: Any) -> Key[Array, "*groups"]:
    """Folds a number into a key, or into each key of an array with an axis of groups."""
    if key.ndim:
        return jax.vmap(jax.random.fold_in, (0, None))(key, data)
    return jax.random.fold_in(key, data)


def epoch_order(
    key: Key[Array, "*groups"], epoch: int, groups: Sequence[Int[np.ndarray, " _"]], *, count: int
) -> Int[np.ndarray, "*groups n"]:
    """Draws the order of the rows in an epoch, for each group by itself.

    Args:
        key: Key of the training; one for each group if there are groups.
        epoch: Number of the epoch, from 0.
        groups: Rows of each group; without groups, a single array of all rows.
        count: Number of rows to return, the first ones of the order.
    """
    key = typed_key(key)
    keys = fold_in(fold_in(key, 1), epoch)
    orders = [
        np.asarray(rows, np.int32)[_permutation(each, len(rows))[:count]]
        for each, rows in zip(keys.reshape(-1), groups, strict=True)
    ]
    return np.stack(orders) if key.ndim else orders[0]


class Epoch(NamedTuple):
    """An epoch: which rows each of its steps takes.

    Attributes:
        number: Number of the epoch, from 0.
        first_step: Number of its first step, counted from the beginning of the training.
        order: Rows of each group, or of all, as drawn by `epoch_order`.
        batch_size: Rows in a batch.
    """

    number: int
    first_step: int
    order: Int[np.ndarray, "*groups n"]
    batch_size: int

    def rows(self, step: int) -> Int[np.ndarray, "*groups b"]:
        """Rows of the batch of one step."""
        begin = (step - self.first_step) * self.batch_size
        return self.order[..., begin : begin + self.batch_size]


def _permutation(key: Key[Array, ""], count: int) -> Int[np.ndarray, " n"]:
    """The permutation that `jax.random.permutation` draws, sorted by the host.

    A TPU's compiler takes 20 seconds for that function's sorts, and a host sorts in milliseconds.
    """
    # Random words are sorted as often as JAX does, so that ties almost never decide.
    rounds = math.ceil(3 * math.log(max(1, count)) / math.log(2**32 - 1))
    rows = np.arange(count, dtype=np.int32)
    for words in np.asarray(_random_words(key, count, rounds)):
        rows = rows[np.argsort(words, kind="stable")]
    return rows


@functools.partial(jax.jit, static_argnums=(1, 2))
def _random_words(key: Key[Array, ""], count: int, rounds: int) -> UInt32[Array, "rounds n"]:
    """The words by which each round sorts."""
    drawn = []
    for _ in range(rounds):
        key, own = jax.random.split(key)
        drawn.append(jax.random.bits(own, (count,), jnp.uint32))
    return jnp.stack(drawn) if drawn else jnp.zeros((0, count), jnp.uint32)


@functools.partial(
    jax.tree_util.register_dataclass, data_fields=("values",), meta_fields=("shape",)
)
@dataclass(frozen=True)
class FlatRows:
    """A column of a data set whose rows are stored as vectors.

    TPUs store the last two axes of an array in tiles of 32 × 128 bytes. An image's last axes, width
    and channel, fill few of them: 50,000 images of 32×32 in 8 bits would take 585 MiB instead of
    146 wherever rows are taken from them.

    Attributes:
        values: Array of shape (n, d), one row for each example.
        shape: Shape of a row.
    """

    values: Any
    shape: tuple[int, ...]


def flatten_rows(data: Any) -> Any:
    """Stores the columns of a data set that have rows of several axes as `FlatRows`."""

    def flatten(column: Any) -> Any:
        if column.ndim < 3:
            return column
        if isinstance(column, jax.ShapeDtypeStruct):
            size = math.prod(column.shape[1:])
            flat = jax.ShapeDtypeStruct((len(column), size), column.dtype)
        else:
            flat = column.reshape(len(column), -1)
        return FlatRows(flat, column.shape[1:])

    return jax.tree.map(flatten, data)


@functools.partial(jax.jit, static_argnames=("batch_size", "count", "mesh"))
def take_batches(
    data: Any,
    order: Int[Any, "*groups n"],
    first: Int[Array, ""] | int,
    *,
    batch_size: int,
    count: int,
    mesh: Mesh | None,
) -> Any:
    """Takes consecutive batches of an epoch. Compiled once for every size of data set.

    Args:
        data: Pytree of arrays with one row for each example, or of `FlatRows`.
        order: Rows of each group, or of all, as drawn by `epoch_order`.
        first: Number of the first batch within the epoch.
        batch_size: Rows in a batch.
        count: Number of batches; past the end of the epoch its last row is repeated.
        mesh: Devices that share every batch; None for a single device.

    Returns:
        The data's arrays with leading axes for batches, groups (if there are any) and examples.
    """
    places = first * batch_size + jnp.arange(count * batch_size, dtype=jnp.int32)
    rows = jnp.take(order, places, axis=-1, mode="clip")
    rows = jnp.moveaxis(rows.reshape(*order.shape[:-1], count, batch_size), -2, 0)

    def take(column: Any) -> Array:
        if isinstance(column, FlatRows):
            return column.values[rows].reshape(*rows.shape, *column.shape)
        return column[rows]

    batches = jax.tree.map(take, data, is_leaf=lambda each: isinstance(each, FlatRows))
    return shard_batch(batches, mesh, axis=rows.ndim - 1)
