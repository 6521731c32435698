"""What a recipe keeps beside the classifier: an average, statistics of made images, a count."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int

from imgopt.programs import standard_promotion

WARM_UP_STEPS = 10


class RecipeState(NamedTuple):
    """The optimiser's state, and what else changes in a training by a recipe.

    Attributes:
        optimizer: The optimiser's state.
        trained: The variables in training, if the classifier's variables are their average; else
            None.
        auxiliary: Batch norm's statistics of made images, where they are kept apart; else None.
        steps: Number of updates so far.
    """

    optimizer: Any
    trained: dict[str, Any] | None
    auxiliary: dict[str, Any] | None
    steps: Int[Array, ""]


class StepConstants(NamedTuple):
    """What a step with teachers needs and does not change.

    Attributes:
        total_steps: Number of updates in all, an int32 array.
        teachers: The variables of every teacher.
    """

    total_steps: Any
    teachers: tuple[dict[str, Any], ...]


def moving_average(average: Any, new: Any, *, decay: float, steps: Int[Array, ""]) -> Any:
    """One step of an exponential moving average: a + (1 - d)·(new - a).

    d is the smaller of `decay` and (1 + t) / (10 + t), so that the first parameters, which are
    random, are soon forgotten.

    Args:
        average: a, a pytree of floats.
        new: Values to average.
        decay: Largest d, in [0, 1).
        steps: t, the number of updates before this one.
    """
    count = jnp.asarray(steps, jnp.float32)
    share = 1 - jnp.minimum(jnp.float32(decay), (1 + count) / (WARM_UP_STEPS + count))
    with standard_promotion():
        return jax.tree.map(lambda a, n: (a + share * (n - a)).astype(a.dtype), average, new)


def split_variables(variables: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    """The parameters, and all other collections, such as batch norm's statistics."""
    return variables["params"], {name: v for name, v in variables.items() if name != "params"}
