"""Update rules for the weights of one image, as optax transformations.

Every optax transformation works. `update` gives it the loss, `KL(q* ‖ p)`, as `value`, its gradient
as `grad` and the function itself as `value_fn`, so that line searches work too.
"""

import inspect
from collections.abc import Callable
from typing import Any, Literal, NamedTuple, cast

import jax
import jax.numpy as jnp
import numpy as np
import optax
import optax.contrib
from jax.core import Tracer
from jaxtyping import Array, Int

from imgopt.errors import InputError, first_line, is_integer, is_number
from imgopt.programs import on_vectors, standard_promotion

# Paper A, sections 2.2.1 and 2.2.2.
LEARNING_RATE = 0.05
WEIGHT_DECAY = 5e-4
MOMENTUM = 0.9

POLYAK_SCALE = 0.5
POLYAK_MOMENTUM = 0.5
MAX_LEARNING_RATE = 1e4
"""Bound of Polyak's step. Where all pixels are black or white, the gradient nearly vanishes, and
without a bound one step would turn them over. Images of other kinds take rates of 1 to 1,000."""

LBFGS_MEMORY = 3
MIN_COSINE = 0.3

Rate = float | Array | optax.Schedule


def sgd(
    learning_rate: Rate = LEARNING_RATE, *, weight_decay: float = WEIGHT_DECAY
) -> optax.GradientTransformation:
    """Gradient descent: w ← w - γ(∇L + λw) (A, eq. 6).

    Args:
        learning_rate: γ, or an optax schedule of it.
        weight_decay: λ; it pulls every pixel towards mid-grey.

    Raises:
        InputError: a number is not finite, or no number.

    Example:
        >>> rule = sgd(0.5, weight_decay=0.0)
        >>> weights, gradient = jnp.array([1.0]), jnp.array([0.5])
        >>> change, _ = rule.update(gradient, rule.init(weights), weights)
        >>> change.tolist()
        [-0.25]
    """
    _check_numbers("sgd", learning_rate=learning_rate, weight_decay=weight_decay)
    return optax.chain(optax.add_decayed_weights(weight_decay), optax.sgd(learning_rate))


def momentum_sgd(
    learning_rate: Rate = LEARNING_RATE,
    *,
    momentum: float = MOMENTUM,
    weight_decay: float = WEIGHT_DECAY,
    form: Literal["pytorch", "printed"] = "pytorch",
) -> optax.GradientTransformation:
    """Gradient descent with momentum (A, eqs. 7 and 8).

    The two forms:
        pytorch: v ← μv + ∇L + λw;  w ← w - γv.
        printed: v ← μv + γ∇L + γλw;  w ← w - γv, as the paper prints it; its effective rate is γ².

    Args:
        learning_rate: γ, or an optax schedule of it.
        momentum: μ in [0, 1).
        weight_decay: λ, added before the momentum.
        form: "pytorch" or "printed".

    Raises:
        InputError: the form is neither of the two, or a number is not finite, or no number.

    Example:
        >>> rule = momentum_sgd(0.5, momentum=0.5, weight_decay=0.0)
        >>> weights, gradient = jnp.array([1.0]), jnp.array([0.5])
        >>> change, state = rule.update(gradient, rule.init(weights), weights)
        >>> change, state = rule.update(gradient, state, weights)
        >>> change.tolist()
        [-0.375]
    """
    if form not in ("pytorch", "printed"):
        raise InputError(f'form must be "pytorch" or "printed", got {form!r}')
    _check_numbers("momentum", learning_rate=learning_rate, weight_decay=weight_decay)
    _check_momentum(momentum)
    once_more = optax.scale_by_learning_rate(learning_rate, flip_sign=False)
    return optax.chain(
        optax.add_decayed_weights(weight_decay),
        once_more if form == "printed" else optax.identity(),
        optax.trace(decay=momentum),
        optax.scale_by_learning_rate(learning_rate),
    )


def polyak(
    scale: float = POLYAK_SCALE,
    *,
    momentum: float = POLYAK_MOMENTUM,
    weight_decay: float = 0.0,
    max_learning_rate: float = MAX_LEARNING_RATE,
) -> optax.GradientTransformationExtraArgs:
    """Polyak's step: `v ← μv + γ∇L` with `γ = s·L/‖∇L‖²`;  `w ← (1 - λ)w - v`.

    The loss is `L = KL(q* ‖ p)`, whose smallest value is known: 0. So each image has a step of its
    own in every update, and there is no learning rate to tune (Polyak 1987; Loizou et al. 2021).
    The weight decay stands apart from the step. With it, or with a filter that the target cannot be
    reached through, the loss does not fall to 0; the step then grows where the gradient vanishes,
    which `max_learning_rate` bounds.

    Args:
        scale: s, above 0.
        momentum: μ in [0, 1).
        weight_decay: λ in [0, 1), the share of every weight that an update takes away.
        max_learning_rate: largest γ, above 0.

    Raises:
        InputError: a number is outside its range.

    Example:
        >>> rule = polyak(0.5, momentum=0.0)
        >>> weights = jnp.array([2.0])  # loss w², gradient 2w
        >>> gradient, value = 2 * weights, weights[0] ** 2
        >>> state = rule.init(weights)
        >>> rule.update(gradient, state, weights, value=value, grad=gradient)[0].tolist()
        [-0.5]
    """
    _check_numbers("polyak", schedules=False, weight_decay=weight_decay)
    _check_momentum(momentum)
    if not 0 <= weight_decay < 1:
        raise InputError(f"weight_decay must be in [0, 1), got {weight_decay}")
    return optax.chain(
        _polyaks_step(scale, max_learning_rate),
        optax.trace(decay=momentum),
        optax.add_decayed_weights(weight_decay),
        optax.scale(-1),
    )


def polyak_lbfgs(
    scale: float = POLYAK_SCALE,
    *,
    memory: int = LBFGS_MEMORY,
    min_cosine: float = MIN_COSINE,
    max_learning_rate: float = MAX_LEARNING_RATE,
) -> optax.GradientTransformationExtraArgs:
    """L-BFGS's direction with Polyak's step: w ← w - γd with γ = s·L/⟨∇L, d⟩.

    The direction d = H∇L comes from the last changes of the weights and the gradient (Nocedal
    1980), and the known smallest loss, 0, gives the step length: no line search is needed, so an
    update costs one gradient. A direction at a right angle to the gradient would need a long step,
    and images would wander: where cos(d, ∇L) is small, d is the gradient itself.

    Args:
        scale: s, above 0.
        memory: pairs of changes that are kept, at least 1; a pair is as large as two images.
        min_cosine: smallest cosine between d and the gradient, in [0, 1).
        max_learning_rate: largest γ, above 0.

    Raises:
        InputError: a number is outside its range.

    Example:
        >>> rule = polyak_lbfgs(0.5)
        >>> weights = jnp.array([2.0])  # loss w², gradient 2w
        >>> gradient, value = 2 * weights, weights[0] ** 2
        >>> state = rule.init(weights)
        >>> rule.update(gradient, state, weights, value=value, grad=gradient)[0].tolist()
        [-0.5]
    """
    if not is_integer(memory, least=1):
        raise InputError(f"memory must be an integer of at least 1, got {memory!r}")
    if isinstance(min_cosine, float | int) and not 0 <= min_cosine < 1:
        raise InputError(f"min_cosine must be in [0, 1), got {min_cosine}")
    step = _polyaks_step(scale, max_learning_rate, min_cosine)
    return on_vectors(optax.chain(optax.scale_by_lbfgs(memory), step, optax.scale(-1)))


def _polyaks_step(
    scale: float, max_learning_rate: float, min_cosine: float = 0.0
) -> optax.GradientTransformationExtraArgs:
    """Scales a direction d to γd with γ = s·L/⟨∇L, d⟩, at most the largest rate."""
    positive = {"scale": scale, "max_learning_rate": max_learning_rate}
    _check_numbers("polyak", schedules=False, **positive, min_cosine=min_cosine)
    for option, number in positive.items():
        if not isinstance(number, Tracer) and number <= 0:
            raise InputError(f"{option} must be above 0, got {number}")

    def update(updates: Any, state: Any, params: Any = None, **extra: Any) -> tuple[Any, Any]:
        del params
        value, grad = extra["value"], extra["grad"]
        descent: Any = optax.tree.vdot(grad, updates)
        square: Any = optax.tree.vdot(grad, grad)
        length: Any = optax.tree.vdot(updates, updates)
        # Squares throughout: the root of 0 has no derivative.
        descends = (descent > 0) & (descent**2 > min_cosine**2 * square * length)
        direction = jax.tree.map(lambda d, g: jnp.where(descends, d, g), updates, grad)
        descent = jnp.where(descends, descent, square)
        length = jnp.where(descends, length, square)
        # A gradient of 0 has no direction: no step.
        rate = jnp.where(descent > 0, scale * jnp.maximum(value, 0) / safe_divisor(descent), 0)
        # The longest step is that of gradient descent with the largest rate.
        longest = max_learning_rate * jnp.sqrt(safe_divisor(square) / safe_divisor(length))
        return optax.tree.scale(jnp.minimum(rate, longest), direction), state

    return optax.GradientTransformationExtraArgs(optax.init_empty_state, update)


OWN_RULES: dict[str, Callable[..., optax.GradientTransformation]] = {
    "sgd": sgd,
    "momentum": momentum_sgd,
    "polyak": polyak,
    "polyak-lbfgs": polyak_lbfgs,
}
"""The house's rules by name. Every other name is looked up in optax and optax.contrib."""


def rule_by_name(name: str, **options: Any) -> optax.GradientTransformation:
    """Makes a rule from its name: one of `OWN_RULES`, of optax, or of optax.contrib.

    Args:
        name: the rule's name, such as "polyak", "adam" or "schedule_free_sgd".
        **options: options of the rule, such as `learning_rate=0.1`.

    Returns:
        The rule.

    Raises:
        InputError: there is no such rule, or it does not take these options or values.

    Example:
        >>> rule = rule_by_name("lion", learning_rate=0.5)
        >>> weights = jnp.array([1.0])
        >>> rule.update(weights, rule.init(weights), weights)[0].round(2).tolist()
        [-0.5]
    """
    places = (OWN_RULES.get(name), getattr(optax, name, None), getattr(optax.contrib, name, None))
    factory = next((place for place in places if callable(place)), None)
    if factory is None:
        raise InputError(
            f"unknown update rule {name!r}; expected {', '.join(OWN_RULES)}, or an optimiser of "
            "optax or optax.contrib such as adam, lbfgs, lion, schedule_free_sgd"
        )
    described = f"rule {name!r} with {options}" if options else f"rule {name!r}"
    try:
        rule = factory(**options)
    except TypeError as error:
        accepted = ", ".join(inspect.signature(factory).parameters)
        raise InputError(f"rule {name!r}: {error}; it takes {accepted}") from error
    except ValueError as error:
        raise InputError(f"{described}: {first_line(error)}") from error
    check_rule(rule, described=described)
    return cast(optax.GradientTransformation, rule)


PROBE = jax.ShapeDtypeStruct((2, 2, 1), jnp.float32)
"""Weights of a tiny image, on which a rule that is made by name is tried."""


def check_rule(optimizer: Any, *, weights: Any = PROBE, described: str = "optimizer") -> list:
    """Traces one update, since optax itself accepts options such as learning_rate="fast".

    Args:
        optimizer: an optax transformation, or `optax.MultiSteps`.
        weights: shapes and types of the weights of one image.
        described: what the message calls the rule.

    Returns:
        The arrays that the rule holds, such as a learning rate that is an array.

    Raises:
        InputError: it is no optax transformation, or cannot update such weights.
    """

    def square(weights: Any) -> Any:
        return optax.tree.vdot(weights, weights)

    def one_update(weights: Any) -> Any:
        rule = as_rule(optimizer)
        options = {"value": square(weights), "grad": weights, "value_fn": square}
        return rule.update(weights, rule.init(weights), weights, **options)[0]

    if not isinstance(optimizer, optax.GradientTransformation | optax.MultiSteps):
        raise InputError(
            f"{described} must be an optax transformation with init and update, such as "
            f"optax.adam(0.1); got {type(optimizer).__name__}"
        )
    try:
        with standard_promotion():
            closed, change = jax.make_jaxpr(lambda w: one_update(w), return_shape=True)(weights)
    except Exception as error:  # every transformation raises its own kind of error
        what = first_line(error)
        if "accepts a scalar seed" in what:  # in `init` of optax's rules that draw noise
            what = "its key must be one of jax.random.key, not of jax.random.PRNGKey"
        raise InputError(f"{described} cannot update: {what}") from error
    expected, found = (
        jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), tree) for tree in (weights, change)
    )
    if expected != found:
        raise InputError(f"{described} must give changes like the weights, {expected}; got {found}")
    return list(closed.consts)


def safe_divisor(value: Array) -> Array:
    """The number where it is above 0, and 1 elsewhere."""
    return jnp.where(value > 0, value, 1)


class _LookaheadState(NamedTuple):
    """State of `optax.lookahead` together with the slow weights, which it keeps elsewhere."""

    inner: optax.LookaheadState
    slow: Any


def as_rule(optimizer: Any) -> optax.GradientTransformationExtraArgs:
    """Gives any rule of optax the same form: `init(weights)`, and `update` with extra arguments.

    `optax.MultiSteps` keeps its transformation inside. `optax.lookahead` moves pairs of fast and
    slow weights; here the weights are the fast ones, and the slow ones go into the state.
    """
    if not isinstance(optimizer, optax.GradientTransformation):
        optimizer = optimizer.gradient_transformation()
    rule: Any = optax.with_extra_args_support(optimizer)
    is_lookahead = getattr(optimizer.init, "__qualname__", "") == "lookahead.<locals>.init_fn"
    if not is_lookahead:
        return rule

    def init(params: Any) -> Any:
        return _LookaheadState(rule.init(optax.LookaheadParams.init_synced(params)), params)

    def update(updates: Any, state: Any, params: Any = None, **extra: Any) -> tuple[Any, Any]:
        pair = optax.LookaheadParams(fast=params, slow=state.slow)
        change, inner = rule.update(updates, state.inner, pair, **extra)
        return change.fast, _LookaheadState(inner, optax.apply_updates(state.slow, change.slow))

    return optax.GradientTransformationExtraArgs(init, update)


def evaluation_weights(opt_state: optax.OptState, weights: Any) -> Any:
    """The weights to evaluate, which differ from the updated ones for some rules.

    Schedule-free rules take gradients at one point and average another. Lookahead has slow weights.
    """
    special = (optax.contrib.ScheduleFreeState, _LookaheadState)
    parts = jax.tree.leaves(opt_state, is_leaf=lambda part: isinstance(part, special))
    part: Any
    for part in parts:
        if isinstance(part, _LookaheadState):
            return part.slow
        if isinstance(part, optax.contrib.ScheduleFreeState):
            with standard_promotion():
                return optax.contrib.schedule_free_eval_params(part, weights)
    return weights


def own_keys(opt_state: optax.OptState, index: Int[Array, ""]) -> optax.OptState:
    """Folds an image's index into the random keys of its rule's state.

    Otherwise all images would be given the same noise, since optax makes every state from one key.
    """

    def fold(leaf: Any) -> Any:
        is_key = jnp.issubdtype(jnp.asarray(leaf).dtype, jax.dtypes.prng_key)
        return jax.random.fold_in(leaf, index) if is_key else leaf

    return jax.tree.map(fold, opt_state)


def _check_numbers(name: str, *, schedules: bool = True, **numbers: Any) -> None:
    """Raises InputError unless each is a finite number, an array without axes, or a schedule."""
    for option, number in numbers.items():
        if (schedules and callable(number)) or isinstance(number, Tracer):
            continue
        if not (is_number(number) and np.isfinite(number)):
            raise InputError(f"rule {name!r} needs a finite number as {option}, got {number!r}")


def _check_momentum(momentum: Any) -> None:
    if isinstance(momentum, Tracer):
        return
    if not (isinstance(momentum, float | int) and 0 <= momentum < 1):
        raise InputError(f"momentum must be in [0, 1), got {momentum!r}")
