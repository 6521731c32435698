"""Mnemonics exemplars: images on which a trained classifier can be retrained without forgetting.

A few images a class, the exemplars ε, are moved so that the classifier, after some steps of
retraining on them alone, has a small loss on the whole data set D (A, 4.3, eq. 13; Liu et al.
2020):

    Θ'(ε): Θ ← Θ - α ∇L(Θ; ε), repeated; then ε ← ε - β ∇L(Θ'(ε); D)

L is the mean cross entropy. The second gradient goes through the retraining. Each retraining starts
at the trained parameters.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int, Key

from imgopt import to_float
from imgopt.programs import standard_promotion
from imgopt.rules import as_rule
from train.recipes.options import Mnemonics

Apply = Callable[[Any, Array], Array]
"""Function (parameters, images in [0, 1]) → logits, in evaluation mode."""


class Labelled(NamedTuple):
    """Images in [0, 1], or grey levels as uint8, and their classes."""

    images: Array
    labels: Int[Array, " n"]


class ExemplarState(NamedTuple):
    """Exemplars between two updates.

    Attributes:
        exemplars: images in [0, 1], and their classes, which stay.
        opt_state: state of the update rule.
        step: number of updates so far.
    """

    exemplars: Labelled
    opt_state: Any
    step: Int[Array, ""]


def begin_exemplars(exemplars: Labelled, *, options: Mnemonics) -> ExemplarState:
    """The state before the first update, from images in [0, 1]."""
    with standard_promotion():
        opt_state = as_rule(options.make_rule()).init(exemplars.images)
    return ExemplarState(exemplars, opt_state, jnp.zeros((), jnp.int32))


def update_exemplars(
    key: Key[Array, ""],
    apply: Apply,
    params: Any,
    state: ExemplarState,
    originals: Labelled,
    *,
    options: Mnemonics,
) -> tuple[ExemplarState, Float[Array, ""]]:
    """One update of the exemplars.

    Args:
        key: originals of update t are drawn with the key folded with t.
        apply: the classifier.
        params: its trained parameters, which stay.
        state: the exemplars.
        originals: D.
        options: the options.

    Returns:
        The new state, and the loss on the drawn originals before the update, in nats.
    """
    drawn = _draw(jax.random.fold_in(key, state.step), originals, options.originals_per_step)
    images = state.exemplars.images

    def loss(images: Array) -> Float[Array, ""]:
        exemplars = state.exemplars._replace(images=images)
        retrained = retrain(apply, params, exemplars, options=options)
        return mean_cross_entropy(apply, retrained, drawn)

    value, gradient = jax.value_and_grad(loss)(images)
    with standard_promotion():
        change, opt_state = as_rule(options.make_rule()).update(
            gradient, state.opt_state, images, value=value, grad=gradient, value_fn=loss
        )
        moved: Any = optax.apply_updates(images, change)
    exemplars = state.exemplars._replace(images=jnp.clip(moved, 0, 1))
    return ExemplarState(exemplars, opt_state, state.step + 1), value


def retrain(apply: Apply, params: Any, exemplars: Labelled, *, options: Mnemonics) -> Any:
    """Parameters after some steps of gradient descent on all exemplars.

    It can be differentiated with respect to the exemplars. Only the parameters between the steps
    are kept for that; what a step needs inside is computed again.

    Args:
        apply: the classifier.
        params: its trained parameters.
        exemplars: images in [0, 1] and their classes.
        options: number and rate of the steps.
    """

    @jax.checkpoint
    def step(params: Any, exemplars: Labelled) -> Any:
        gradient = jax.grad(lambda params: mean_cross_entropy(apply, params, exemplars))(params)
        return jax.tree.map(lambda p, g: p - options.retrain_rate * g, params, gradient)

    # No loop of the compiler: on CPUs convolutions are slow inside one.
    for _ in range(options.retrain_steps):
        params = step(params, exemplars)
    return params


def mean_cross_entropy(apply: Apply, params: Any, data: Labelled) -> Float[Array, ""]:
    """Mean cross entropy of labelled images, in nats."""
    images = to_float(data.images) if data.images.dtype == jnp.uint8 else data.images
    logits = apply(params, images)
    losses = optax.losses.softmax_cross_entropy_with_integer_labels(logits, data.labels)
    return losses.mean()


def _draw(key: Key[Array, ""], data: Labelled, count: int) -> Labelled:
    """Draws images without repetition; all of them, if there are no more."""
    if count >= len(data.labels):
        return data
    rows = jax.random.permutation(key, len(data.labels))[:count]
    return Labelled(data.images[rows], data.labels[rows])
