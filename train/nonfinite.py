"""What becomes of a training step whose loss, gradient or new state is not finite."""

import functools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int

from imgopt.errors import InputError

BROKEN = "not_finite"
"""Among a step's scalars: whether it, or what it would make of the state, is not finite."""


@dataclass(frozen=True)
class NonFiniteConfig:
    """What is done about a step whose loss, gradient or new state is not finite."""

    on_nonfinite: Literal["stop", "skip"] = "stop"
    """At a step that is not finite: stop, or leave its update out and go on."""
    max_skipped: int = 10
    """With --on-nonfinite skip, how many steps to skip in all before it stops after all."""

    def __post_init__(self) -> None:
        """Raises InputError for a number outside its range."""
        if self.max_skipped < 1:
            raise InputError(f"max_skipped must be at least 1, got {self.max_skipped}")

    @property
    def allowed(self) -> int | None:
        """How many steps `fit` may skip; None: it stops at the first."""
        return self.max_skipped if self.on_nonfinite == "skip" else None


class NotFinite(FloatingPointError):  # noqa: N818 -- as FloatingPointError itself
    """A step that is not finite; the message names it.

    Attributes:
        rows: of the training set, the examples of its batch.
    """

    def __init__(self, message: str, rows: Int[np.ndarray, " n"]) -> None:
        super().__init__(message)
        self.rows = rows


def watched(
    before: Any, after: Any, scalars: Mapping[str, Array], *, grouped: bool, skips: bool
) -> tuple[Any, dict[str, Array]]:
    """Looks at a step, in a compiled program.

    A gradient shows in the state: what is not finite in it makes a parameter so.

    Args:
        before: the state before the step, a pytree.
        after: the same after it.
        scalars: the step's, by name.
        grouped: whether everything has an axis of groups in front; each is looked at for itself.
        skips: whether a step that is not finite leaves the state as it was.

    Returns:
        The state to go on with; and the scalars with one more, `BROKEN`.
    """
    # What is finite times 0 is 0. CPUs sum three times as fast as they look for NaN.
    zeros = [
        (0 * leaf).sum(tuple(range(int(grouped), leaf.ndim))).astype(jnp.float32)
        for leaf in jax.tree.leaves((after, scalars))
    ]
    is_good = functools.reduce(jnp.add, zeros) == 0

    def choose(new: Array, old: Array) -> Array:
        return jnp.where(jnp.expand_dims(is_good, range(is_good.ndim, new.ndim)), new, old)

    state = jax.tree.map(choose, after, before) if skips else after
    return state, {**scalars, BROKEN: ~is_good}


def count_skipped(
    scalars: Mapping[str, np.ndarray],
    order: Int[Array, "*groups n"],
    *,
    batch_size: int,
    first: int,
    step: int,
    epoch: int,
    groups: Iterable[str] | None,
    skipped: int,
    max_skipped: int | None,
) -> int:
    """Counts the steps that are not finite, in any group.

    Args:
        scalars: of consecutive steps.
        order: of the examples in the epoch.
        batch_size: of them a step.
        first: number of the epoch's first step, from 0.
        step: that of the first one at hand.
        epoch: number of the epoch, from 0.
        groups: their names, where there are groups.
        skipped: steps that were skipped before.
        max_skipped: how many may be; None where none may.

    Returns:
        Steps that are skipped by now.

    Raises:
        NotFinite: there are more than there may be.
    """
    broken = np.flatnonzero(scalars[BROKEN].reshape(len(scalars[BROKEN]), -1).any(1))
    left = (max_skipped or 0) - skipped
    if len(broken) <= left:
        return skipped + len(broken)
    index = int(broken[left])
    begin = (step + index - first) * batch_size
    raise _not_finite(
        {name: value[index] for name, value in scalars.items()},
        np.asarray(order)[..., begin : begin + batch_size],
        groups=groups, step=step + index, epoch=epoch, skipped=max_skipped,
    )  # fmt: skip


def _not_finite(
    scalars: Mapping[str, Any],
    rows: Int[np.ndarray, "*groups n"],
    *,
    groups: Iterable[str] | None,
    step: int,
    epoch: int,
    skipped: int | None,
) -> NotFinite:
    """What to raise of a broken step; `skipped` are those before it, None where none may be."""
    broken = scalars[BROKEN]
    names = [
        name.replace("_", " ")
        for name, value in scalars.items()
        if name != BROKEN and not np.isfinite(value).all()
    ]
    whose = "" if groups is None else f" of {', '.join(np.array(list(groups))[broken])}"
    more = "" if skipped is None else f" (skipped before it: {skipped})"
    return NotFinite(
        f"not finite at step {step} (epoch {epoch + 1}): the "
        f"{' and the '.join(names or ['update'])}{whose}{more}; a lower --learning-rate may help. "
        "The last checkpoint is kept",
        rows[broken].ravel(),
    )


def means_of_finite(scalars: Mapping[str, np.ndarray], *, epoch: int) -> dict[str, np.ndarray]:
    """Means over the steps of an epoch that are finite, one a group where there are groups.

    In float64, so that they do not depend on how many steps a call took.

    Raises:
        FloatingPointError: there is no such step.
    """
    used = ~scalars[BROKEN]
    if not used.any(0).all():
        raise FloatingPointError(
            f"not a single step of epoch {epoch + 1} was finite; a lower --learning-rate may help. "
            "The last checkpoint is kept"
        )
    return {
        name: np.asarray(value.mean(0, dtype=np.float64, where=used))
        for name, value in scalars.items()
        if name != BROKEN
    }
