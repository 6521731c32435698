"""Optimisers and schedules of the learning rate, by name."""

import jax.numpy as jnp
import optax
from jax.typing import ArrayLike
from jaxtyping import Array, Int

from train.recipes.train_options import OptimizerName, ScheduleName


def make_schedule(
    name: ScheduleName,
    total_steps: Int[Array, ""] | int,
    *,
    learning_rate: float,
    warmup_fraction: float,
) -> optax.Schedule:
    """The learning rate as a function of the step: a linear rise from 0, then as its name says.

    cosine: falls to 0 as half a cosine (Loshchilov and Hutter 2017). one-cycle: falls linearly to 0
    (Smith 2018). constant: stays.

    Args:
        name: What follows the rise.
        total_steps: Number of updates in all; it may be traced.
        learning_rate: Highest learning rate.
        warmup_fraction: Share of all steps in which the rate rises, in [0, 1).
    """

    # Optax's own schedules need their lengths while tracing; here they are the program's arguments.
    def rate(step: ArrayLike) -> Array:
        step, total = jnp.asarray(step, jnp.float32), jnp.asarray(total_steps, jnp.float32)
        rise = jnp.round(warmup_fraction * total)
        fallen = (step - rise) / (total - rise)
        if name == "cosine":
            after = 0.5 * (1 + jnp.cos(jnp.pi * fallen))
        else:
            after = 1 - fallen if name == "one-cycle" else jnp.ones_like(fallen)
        return learning_rate * jnp.where(step < rise, step / jnp.maximum(rise, 1), after)

    return rate


def optimizer_by_name(
    name: OptimizerName, rate: optax.Schedule, *, weight_decay: float, momentum: float
) -> optax.GradientTransformation:
    """Makes an optimiser.

    sgd has Nesterov momentum. For sgd and adam the decay is added to the gradient; adamw, lamb and
    lion take it from the parameters, times the learning rate (Loshchilov and Hutter 2019).

    Args:
        name: Its name.
        rate: Learning rate as a function of the step.
        weight_decay: Factor of the parameters.
        momentum: Momentum; used by sgd only.
    """
    if name in ("sgd", "adam"):
        rule = optax.sgd(rate, momentum=momentum, nesterov=True)
        rule = rule if name == "sgd" else optax.adam(rate)
        return optax.chain(optax.add_decayed_weights(weight_decay), rule)
    decoupled = {"adamw": optax.adamw, "lamb": optax.lamb, "lion": optax.lion}
    return decoupled[name](rate, weight_decay=weight_decay)
