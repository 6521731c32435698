"""The order of the examples in an epoch, and the batches of that order."""

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Array, Int, Key

from imgopt.errors import typed_key
from train.runtime.processes import shard_batch


def fold_in(key: Key[Array, "*groups"], data: Any) -> Key[Array, "*groups"]:
    """Folds a number into a key, or into each key of an array with an axis of groups."""
    if key.ndim:
        return jax.vmap(jax.random.fold_in, (0, None))(key, data)
    return jax.random.fold_in(key, data)


def epoch_order(
    key: Key[Array, "*groups"], epoch: int, groups: Sequence[Int[np.ndarray, " _"]], *, count: int
) -> Int[Array, "*groups n"]:
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
        jnp.asarray(rows, jnp.int32)[_permutation(each, len(rows))[:count]]
        for each, rows in zip(keys.reshape(-1), groups, strict=True)
    ]
    return jnp.stack(orders) if key.ndim else orders[0]


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
    order: Int[Array, "*groups n"]
    batch_size: int

    def rows(self, step: int) -> Int[np.ndarray, "*groups b"]:
        """Rows of the batch of one step."""
        begin = (step - self.first_step) * self.batch_size
        return np.asarray(self.order)[..., begin : begin + self.batch_size]


@functools.partial(jax.jit, static_argnums=1)
def _permutation(key: Key[Array, ""], count: int) -> Int[Array, " n"]:
    return jax.random.permutation(key, jnp.arange(count, dtype=jnp.int32))


@functools.partial(jax.jit, static_argnames=("batch_size", "count", "mesh"))
def take_batches(
    data: Any,
    order: Int[Array, "*groups n"],
    first: Int[Array, ""] | int,
    *,
    batch_size: int,
    count: int,
    mesh: Mesh | None,
) -> Any:
    """Takes consecutive batches of an epoch. Compiled once for every size of data set.

    Args:
        data: Pytree of arrays with one row for each example.
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
    batches = jax.tree.map(lambda column: column[rows], data)
    return shard_batch(batches, mesh, axis=rows.ndim - 1)
