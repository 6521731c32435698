"""Update rules for the weights of one image, as optax transformations.

Equal options give the identical object, so that a synthesis with an equal rule is not compiled
again.
"""

import functools
import inspect
from typing import Any, Literal

import jax
import jax.numpy as jnp
import optax

from imgopt.errors import InputError
from imgopt.promotion import standard_promotion

# Paper A, sections 2.2.1 and 2.2.2.
LEARNING_RATE = 0.05
WEIGHT_DECAY = 5e-4
MOMENTUM = 0.9


@functools.cache
def sgd(
    *, learning_rate: float = LEARNING_RATE, weight_decay: float = WEIGHT_DECAY
) -> optax.GradientTransformation:
    """Gradient descent: w ← w - γ(∇L + λw) (A, eq. 6).

    Args:
        learning_rate: γ.
        weight_decay: λ; it pulls every pixel towards mid-grey.

    Example:
        >>> rule = sgd(learning_rate=0.5, weight_decay=0.0)
        >>> weights, gradient = jnp.array([1.0]), jnp.array([0.5])
        >>> change, _ = rule.update(gradient, rule.init(weights), weights)
        >>> change.tolist()
        [-0.25]
    """
    return optax.chain(optax.add_decayed_weights(weight_decay), optax.sgd(learning_rate))


@functools.cache
def momentum_sgd(
    *,
    learning_rate: float = LEARNING_RATE,
    momentum: float = MOMENTUM,
    weight_decay: float = WEIGHT_DECAY,
    form: Literal["pytorch", "printed"] = "pytorch",
) -> optax.GradientTransformation:
    """Gradient descent with momentum (A, eqs. 7 and 8).

    The two forms:
        pytorch: v ← μv + ∇L + λw;  w ← w - γv.
        printed: v ← μv + γ∇L + γλw;  w ← w - γv, as the paper prints it; its effective rate is γ².

    Args:
        learning_rate: γ.
        momentum: μ in [0, 1).
        weight_decay: λ, added before the momentum.
        form: "pytorch" or "printed".

    Raises:
        InputError: the form is neither of the two.

    Example:
        >>> rule = momentum_sgd(learning_rate=0.5, momentum=0.5, weight_decay=0.0)
        >>> weights, gradient = jnp.array([1.0]), jnp.array([0.5])
        >>> change, state = rule.update(gradient, rule.init(weights), weights)
        >>> change, state = rule.update(gradient, state, weights)
        >>> change.tolist()
        [-0.375]
    """
    if form not in ("pytorch", "printed"):
        raise InputError(f'form must be "pytorch" or "printed", got {form!r}')
    return optax.chain(
        optax.add_decayed_weights(weight_decay),
        optax.scale(learning_rate) if form == "printed" else optax.identity(),
        optax.trace(decay=momentum),
        optax.scale(-learning_rate),
    )


OWN_RULES = {"sgd": sgd, "momentum": momentum_sgd}
"""The paper's rules by name. Every other name is looked up in optax."""


def rule_by_name(name: str, **options: Any) -> optax.GradientTransformation:
    """Makes a rule from its name: "sgd", "momentum", or any optimiser of optax such as "adam".

    Args:
        name: the rule's name.
        **options: options of the rule, such as `learning_rate=0.1`.

    Returns:
        The rule.

    Raises:
        InputError: there is no such rule, or it does not take these options or values.

    Example:
        >>> rule_by_name("sgd", learning_rate=0.5) is sgd(learning_rate=0.5)
        True
    """
    factory = OWN_RULES.get(name) or getattr(optax, name, None)
    if not callable(factory):
        raise InputError(
            f"unknown update rule {name!r}; expected {', '.join(OWN_RULES)} or an optimiser of "
            "optax such as adam, adamw, rmsprop, lion"
        )
    try:
        rule = factory(**options)
    except TypeError as error:
        accepted = ", ".join(inspect.signature(factory).parameters)
        raise InputError(f"rule {name!r}: {error}; it takes {accepted}") from error
    if not isinstance(rule, optax.GradientTransformation):
        raise InputError(f"optax.{name} is not an optimiser; choose one such as adam or rmsprop")
    _check_update(rule, name, options)
    return rule


def _check_update(rule: optax.GradientTransformation, name: str, options: dict[str, Any]) -> None:
    """Traces one update, since optax itself accepts options such as learning_rate="fast"."""
    weights = jax.ShapeDtypeStruct((2, 2, 1), jnp.float32)
    try:
        with standard_promotion():
            change, _ = jax.eval_shape(lambda w: rule.update(w, rule.init(w), w), weights)
    except Exception as error:  # every transformation raises its own kind of error
        raise InputError(f"rule {name!r} cannot update with {options}: {error}") from error
    if jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), change) != ((2, 2, 1), jnp.float32):
        raise InputError(f"rule {name!r} with {options} does not give real updates of float32")
