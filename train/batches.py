"""The order of an epoch's examples, and batches of them."""

import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Array, Int, Key

from train.runtime.processes import shard_batch


def fold_in(key: Key[Array, "*groups"], data: Any) -> Key[Array, "*groups"]:
    """Folds a number into a key, or into each of several, with an axis of groups."""
    if key.ndim:
        return jax.vmap(jax.random.fold_in, (0, None))(key, data)
    return jax.random.fold_in(key, data)


def epoch_order(
    key: Key[Array, "*groups"], epoch: int, groups: Sequence[Int[np.ndarray, " _"]], *, count: int
) -> Int[Array, "*groups n"]:
    """The rows of each group in the order of an epoch.

    Args:
        key: of the training; one a group, where there are groups.
        epoch: its number, from 0.
        groups: rows of each group; of a single one, where there are none.
        count: as many of the first ones are given.
    """
    keys = fold_in(fold_in(key, 1), epoch)
    orders = [
        jnp.asarray(rows)[_permutation(each, len(rows))[:count]]
        for each, rows in zip(keys.reshape(-1), groups, strict=True)
    ]
    return jnp.stack(orders) if key.ndim else orders[0]


@functools.partial(jax.jit, static_argnums=1)
def _permutation(key: Key[Array, ""], count: int) -> Int[Array, " n"]:
    return jax.random.permutation(key, count)


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
    """Consecutive batches of an epoch. A program of its own for every size of data set.

    Args:
        data: a pytree of arrays with one row an example.
        order: rows of each group, or of all, as `epoch_order` gives them.
        first: number of the first batch in the epoch.
        batch_size: rows in each.
        count: of batches; past the epoch's end its last row is repeated.
        mesh: of devices, each of which has its part of every batch; None for a single one.

    Returns:
        The data's arrays with two or three axes in front: batches, groups if any, examples.
    """
    places = first * batch_size + jnp.arange(count * batch_size)
    rows = jnp.take(order, places, axis=-1, mode="clip")
    rows = jnp.moveaxis(rows.reshape(*order.shape[:-1], count, batch_size), -2, 0)
    batches = jax.tree.map(lambda column: column[rows], data)
    return shard_batch(batches, mesh, axis=rows.ndim - 1)
