"""Finds training steps that are not finite; they stop the training or are skipped."""

import functools
from collections.abc import Iterable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int

from train.batches import Epoch

NOT_FINITE = "not_finite"
"""Name of the flag among a step's scalars: whether a scalar or the new state is not finite."""


class NotFinite(FloatingPointError):  # noqa: N818 -- as FloatingPointError itself
    """A training step is not finite; the message names the step.

    Attributes:
        rows: Rows of the training set that were in the step's batch.
    """

    def __init__(self, message: str, rows: Int[np.ndarray, " n"]) -> None:
        super().__init__(message)
        self.rows = rows


def flag_nonfinite(
    before: Any, after: Any, scalars: Mapping[str, Array], *, grouped: bool, skips: bool
) -> tuple[Any, dict[str, Array]]:
    """Checks a step within a compiled program, and undoes it if it is to be skipped.

    A non-finite gradient needs no check of its own: it makes a parameter non-finite.

    Args:
        before: State before the step, a pytree.
        after: State after the step.
        scalars: Scalars of the step, by name.
        grouped: Whether all arrays have a leading axis of groups; each group is checked by itself.
        skips: Whether a non-finite step leaves the state unchanged.

    Returns:
        The state to continue with, and the scalars with the flag `NOT_FINITE` added.
    """
    # A finite number times 0 is 0. On CPUs the sum is three times as fast as a search for NaN.
    zeros = [
        (0 * leaf).sum(tuple(range(int(grouped), leaf.ndim))).astype(jnp.float32)
        for leaf in jax.tree.leaves((after, scalars))
    ]
    is_good = functools.reduce(jnp.add, zeros) == 0

    def choose(new: Array, old: Array) -> Array:
        return jnp.where(jnp.expand_dims(is_good, range(is_good.ndim, new.ndim)), new, old)

    state = jax.tree.map(choose, after, before) if skips else after
    return state, {**scalars, NOT_FINITE: ~is_good}


def count_skipped(
    scalars: Mapping[str, np.ndarray],
    epoch: Epoch,
    *,
    step: int,
    groups: Iterable[str] | None,
    skipped: int,
    max_skipped: int | None,
) -> int:
    """Counts the steps that are not finite in any group, and stops at one too many.

    Args:
        scalars: Scalars of consecutive steps, with the flag of `flag_nonfinite`.
        epoch: Epoch of these steps.
        step: Number of the first of these steps.
        groups: Names of the groups; None if there are none.
        skipped: Steps skipped before these.
        max_skipped: Most steps that may be skipped; None if skipping is not allowed.

    Returns:
        Steps skipped so far, these included.

    Raises:
        NotFinite: More steps are not finite than may be skipped.
    """
    is_bad = scalars[NOT_FINITE]
    bad_steps = np.flatnonzero(is_bad.reshape(len(is_bad), -1).any(1))
    left = (max_skipped or 0) - skipped
    if len(bad_steps) <= left:
        return skipped + len(bad_steps)
    index = int(bad_steps[left])
    raise _not_finite(
        {name: value[index] for name, value in scalars.items()},
        epoch, step=step + index, groups=groups, skipped=max_skipped,
    )  # fmt: skip


def _not_finite(
    scalars: Mapping[str, Any],
    epoch: Epoch,
    *,
    step: int,
    groups: Iterable[str] | None,
    skipped: int | None,
) -> NotFinite:
    """Builds the error for a non-finite step; `skipped` is None if skipping is not allowed."""
    is_bad = scalars[NOT_FINITE]
    names = [
        name.replace("_", " ")
        for name, value in scalars.items()
        if name != NOT_FINITE and not np.isfinite(value).all()
    ]
    whose = "" if groups is None else f" of {', '.join(np.array(list(groups))[is_bad])}"
    more = "" if skipped is None else f" (skipped before it: {skipped})"
    return NotFinite(
        f"not finite at step {step} (epoch {epoch.number + 1}): the "
        f"{' and the '.join(names or ['update'])}{whose}{more}; a lower --learning-rate may help. "
        "The last checkpoint is kept",
        epoch.rows(step)[is_bad].ravel(),
    )


def finite_means(scalars: Mapping[str, np.ndarray], *, epoch: int) -> dict[str, np.ndarray]:
    """Means over the finite steps of an epoch, one for each group if there are groups.

    They are taken in float64, so that they do not depend on the number of steps per device call.

    Args:
        scalars: Scalars of all steps of the epoch, with the flag of `flag_nonfinite`.
        epoch: Number of the epoch, from 0.

    Raises:
        FloatingPointError: No step is finite.
    """
    used = ~scalars[NOT_FINITE]
    if not used.any(0).all():
        raise FloatingPointError(
            f"not a single step of epoch {epoch + 1} was finite; a lower --learning-rate may help. "
            "The last checkpoint is kept"
        )
    return {
        name: np.asarray(value.mean(0, dtype=np.float64, where=used))
        for name, value in scalars.items()
        if name != NOT_FINITE
    }
