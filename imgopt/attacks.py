"""Attacks: small changes of an image that change the classifier's first class.

An attack is an update rule for `imgopt.synthesize` over the identity pixel map: its weights are the
pixels, and the rule keeps them in [0, 1] and near the original. Its loss says where to go: to the
target (KL, the default), away from the classes that the target excludes, or across the border of
the classes asked for. So an image is independent of its batch, may be attacked over random views or
several classifiers, and is measured as any synthesised image is.
"""

import functools
import math
from typing import Any, Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, Int, Key

from imgopt.errors import InputError
from imgopt.pixel_maps import MAX_LEVEL, PixelMap
from imgopt.rules import safe_divisor

Norm = Literal["linf", "l2"]
"""Norm of a perturbation over all pixels and channels: the largest change, or the Euclidean one."""

RADIUS = 8 / MAX_LEVEL
"""Largest change of a pixel by default (Madry et al. 2018, for CIFAR-10)."""

STEPS_ACROSS = 4
"""Steps from the centre of the ball to its border by default (Madry et al. 2018: 8 / 2)."""

SEARCHES = 10
SEARCH_UPDATES = 20

LEAST_MARGIN = 1e-3
"""Smallest loss from which the first c is computed: an image on the border needs some c too."""

WIDENING = 4.0
"""Factor on c until one c has failed and another has succeeded."""


@functools.cache
def identity_map() -> PixelMap:
    """The map whose weights are the pixels themselves, for rules that keep them in [0, 1].

    No pixel is frozen, as black and white have a slope of 1 too.

    Example:
        >>> identity_map().to_image(jnp.array([0.0, 1.0])).tolist()
        [0.0, 1.0]
    """
    return PixelMap(lambda image: image, lambda weights: weights)


def excluded_log_probability(
    log_p: Float[Array, " k"], target: Float[Array, " k"]
) -> Float[Array, ""]:
    """Logarithm of the probability that an output gives to the classes whose target is 0.

    A target that excludes the label alone makes it -CE(p, label): descending it is the non-targeted
    attack, which raises the label's cross entropy (A, 4.2; Goodfellow et al. 2015).

    Args:
        log_p: log-probabilities of an image.
        target: `q*` of the image.

    Example:
        >>> p, target = jnp.array([0.5, 0.25, 0.25]), jnp.array([0.0, 0.5, 0.5])
        >>> round(excluded_log_probability(jnp.log(p), target).item(), 4)  # log 0.5
        -0.6931
    """
    return jax.nn.logsumexp(_only(target == 0, log_p))


def margin(log_p: Float[Array, " k"], target: Float[Array, " k"]) -> Float[Array, ""]:
    """Largest logit of the unwanted classes minus the largest logit of the wanted ones.

    A class is wanted if the target is largest there. So the margin is below 0 exactly where the
    output's first class is a wanted one (f of Carlini and Wagner 2017, section V, without its cut
    at 0).

    Args:
        log_p: log-probabilities of an image.
        target: `q*` of the image.

    Example:
        >>> log_p = jnp.log(jnp.array([0.5, 0.25, 0.25]))
        >>> round(margin(log_p, jnp.array([0.0, 1.0, 0.0])).item(), 4)  # log 2
        0.6931
    """
    is_asked = target == target.max()
    return _only(~is_asked, log_p).max() - _only(is_asked, log_p).max()


def fgsm(radius: float = RADIUS, *, norm: Norm = "linf") -> optax.GradientTransformation:
    """One step of the length of the radius (fast gradient sign method; Goodfellow et al. 2015).

    `x' = clip(x - ε·sign(∇L), 0, 1)`; with norm "l2", `x' = clip(x - ε·∇L/‖∇L‖, 0, 1)`. Further
    updates stay in the same ball.

    Args:
        radius: ε, in pixels' units of [0, 1].
        norm: norm of the ball.

    Raises:
        InputError: an option is outside its range.

    Example:
        >>> rule = fgsm(0.25)
        >>> pixels, gradient = jnp.array([0.5, 0.5, 0.0]), jnp.array([3.0, -1.0, 2.0])
        >>> rule.update(gradient, rule.init(pixels), pixels)[0].tolist()
        [-0.25, 0.25, 0.0]
    """
    return pgd(radius, norm=norm, step_size=radius, random_start=False)


def pgd(
    radius: float = RADIUS,
    *,
    norm: Norm = "linf",
    step_size: float | None = None,
    random_start: bool = True,
    seed: int = 0,
) -> optax.GradientTransformation:
    """Projected gradient descent in a ball around the original (Madry et al. 2018).

    `x ← P(x - α·d)`, with `d = sign(∇L)` or `∇L/‖∇L‖`, the steepest descent in the ball's norm. P
    takes the nearest point of the ball, and clips it to [0, 1], which leaves it in the ball.

    Args:
        radius: ε, in pixels' units of [0, 1].
        norm: norm of the ball.
        step_size: α; a quarter of the radius by default.
        random_start: whether the first update only moves the image to a random point of the ball,
            uniformly drawn, then clipped. So n steps need n + 1 updates.
        seed: seed of the random starts; image i's own is drawn with the key folded with its index.

    Raises:
        InputError: an option is outside its range.

    Example:
        >>> rule = pgd(0.25, step_size=0.125, random_start=False)
        >>> pixels, gradient = jnp.array([0.5, 0.5]), jnp.array([3.0, -1.0])
        >>> rule.update(gradient, rule.init(pixels), pixels)[0].tolist()
        [-0.125, 0.125]
    """
    step_size = radius / STEPS_ACROSS if step_size is None else step_size
    for name, value in (("radius", radius), ("step_size", step_size)):
        if not (isinstance(value, float | int) and 0 < value < math.inf):
            raise InputError(f"{name} must be above 0 and finite, got {value!r}")
    if norm not in get_args(Norm):
        raise InputError(f'norm must be "linf" or "l2", got {norm!r}')
    ball = _Ball(norm, float(radius))

    def init(params: Any) -> Any:
        key = jax.random.key(seed) if random_start else None
        return _PgdState(params, key, jnp.ones((), bool))

    def update(updates: Any, state: Any, params: Any = None) -> tuple[Any, Any]:
        moved = jax.tree.map(lambda w, d: w - step_size * d, params, ball.steepest(updates))
        moved = ball.project(moved, state.origin)
        if state.key is not None:
            started = ball.draw(state.key, state.origin)
            moved = jax.tree.map(lambda s, m: jnp.where(state.is_first, s, m), started, moved)
        return optax.tree.sub(moved, params), state._replace(is_first=jnp.zeros((), bool))

    return optax.GradientTransformation(init, update)


def smallest_perturbation(
    *,
    searches: int = SEARCHES,
    search_updates: int = SEARCH_UPDATES,
    levels: int | None = MAX_LEVEL,
) -> optax.GradientTransformationExtraArgs:
    """The smallest change that reaches the classes asked for (B, 2.1, eq. 1; Szegedy et al. 2014).

    It minimises `‖r‖² + c·L(x + r)` with x + r in [0, 1], and searches the smallest c with which
    the class is reached. That is eq. 1 divided by its c: the c there weighs the norm, so its
    largest one, not the "smallest" of the text, belongs to the smallest change. The square in place
    of the norm has the same stationary points over all c, and is smooth at r = 0.

    The loss must be below 0 exactly where the class is reached, as `margin` is. Every search starts
    at the original. Its updates are r ← (r - c·∇L/2)/2, clipped, which for a linear loss halve the
    distance to the minimum r = -c·∇L/2. The first c would suffice if the loss were linear; it grows
    fourfold until a search succeeds, shrinks so until one fails, and is then bisected
    geometrically. The smallest change of all updates is kept, and the last update moves the image
    there. An image that never reaches its class ends as its original.

    Args:
        searches: values of c that are tried, at least 1.
        search_updates: updates for each, at least 1. `searches * search_updates` updates are one
            whole attack; further ones change nothing.
        levels: an image counts as it is after rounding to this many levels above 0, 255 for an
            8-bit file, which costs an evaluation of the loss in every update. None: unrounded.

    Raises:
        InputError: an option is outside its range.

    Example:
        >>> rule = smallest_perturbation(searches=8, search_updates=16, levels=None)
        >>> pixels = jnp.array([0.75, 0.5])  # loss w₀ - 0.5
        >>> gradient, state = jnp.array([1.0, 0.0]), rule.init(pixels)
        >>> for _ in range(8 * 16):
        ...     change, state = rule.update(gradient, state, pixels, value=pixels[0] - 0.5)
        ...     pixels = pixels + change
        >>> pixels.round(2).tolist()
        [0.5, 0.5]
    """
    for name, value in (("searches", searches), ("search_updates", search_updates)):
        if not isinstance(value, int) or value < 1:
            raise InputError(f"{name} must be an integer of at least 1, got {value!r}")
    if levels is not None and (not isinstance(levels, int) or levels < 1):
        raise InputError(f"levels must be None or an integer of at least 1, got {levels!r}")
    whole = levels or MAX_LEVEL

    def init(params: Any) -> Any:
        dtype = jax.tree.leaves(params)[0].dtype
        return _SearchState(params, params, jnp.asarray(jnp.inf, dtype), _Bracket.new(dtype))

    def update(updates: Any, state: Any, params: Any = None, **extra: Any) -> tuple[Any, Any]:
        seen, value = params, extra["value"]
        if levels is not None:
            seen = jax.tree.map(lambda w: jnp.round(w * whole) / whole, params)
            value = extra["value_fn"](seen)
        state = state.compared(seen, is_reached=value < 0)
        square: Any = optax.tree.vdot(updates, updates)
        bracket = state.bracket.begun(extra["value"], square)
        change = jax.tree.map(lambda w, x: w - x, params, state.origin)
        moved = jax.tree.map(
            lambda x, r, g: jnp.clip(x + (r - bracket.weight * g / 2) / 2, 0, 1),
            state.origin,
            change,
            updates,
        )
        count = bracket.updates + 1
        is_last, is_over = count % search_updates == 0, count >= searches * search_updates
        new = jax.tree.map(
            lambda m, x, b: jnp.where(is_over, b, jnp.where(is_last, x, m)),
            moved,
            state.origin,
            state.best,
        )
        bracket = bracket._replace(updates=count).narrowed(when=is_last)
        return optax.tree.sub(new, params), state._replace(bracket=bracket)

    return optax.GradientTransformationExtraArgs(init, update)


class _PgdState(NamedTuple):
    """State of `pgd`: the original, the random start's key, whether no update was made yet."""

    origin: Any
    key: Key[Array, ""] | None
    is_first: Bool[Array, ""]


class _Ball(NamedTuple):
    """All images within a radius of an original."""

    norm: Norm
    radius: float

    def steepest(self, gradient: Any) -> Any:
        """The direction of norm 1 along which the gradient rises most; 0 where that is 0."""
        if self.norm == "linf":
            return jax.tree.map(jnp.sign, gradient)
        return optax.tree.scale(1 / safe_divisor(optax.tree.norm(gradient)), gradient)

    def project(self, images: Any, origin: Any) -> Any:
        """The nearest point of the ball, clipped to [0, 1]."""
        change = optax.tree.sub(images, origin)
        if self.norm == "linf":
            change = jax.tree.map(lambda r: jnp.clip(r, -self.radius, self.radius), change)
        else:
            length = optax.tree.norm(change)
            change = optax.tree.scale(jnp.minimum(1, self.radius / safe_divisor(length)), change)
        return jax.tree.map(lambda x, r: jnp.clip(x + r, 0, 1), origin, change)

    def draw(self, key: Key[Array, ""], origin: Any) -> Any:
        """A uniformly drawn point of the ball, clipped to [0, 1]."""
        if self.norm == "linf":
            noise = optax.tree.random_like(key, origin, jax.random.uniform)
            change = jax.tree.map(lambda u: self.radius * (2 * u - 1), noise)
        else:
            direction_key, length_key = jax.random.split(key)
            noise = optax.tree.random_like(direction_key, origin, jax.random.normal)
            size = sum(leaf.size for leaf in jax.tree.leaves(origin))
            dtype = jax.tree.leaves(origin)[0].dtype
            share = jax.random.uniform(length_key, (), dtype) ** (1 / size)
            change = optax.tree.scale(self.radius * share / optax.tree.norm(noise), noise)
        return self.project(jax.tree.map(jnp.add, origin, change), origin)


class _Bracket(NamedTuple):
    """The search for the smallest weight c of the loss with which the class is reached.

    Attributes:
        weight: c of the present search.
        low: largest c that failed; 0 if none did.
        high: smallest c that succeeded; infinite if none did.
        is_reached: whether the present search has succeeded.
        updates: number of updates so far.
    """

    weight: Float[Array, ""]
    low: Float[Array, ""]
    high: Float[Array, ""]
    is_reached: Bool[Array, ""]
    updates: Int[Array, ""]

    @classmethod
    def new(cls, dtype: Any) -> "_Bracket":
        """The bracket before the first update."""
        zero, infinity = jnp.zeros((), dtype), jnp.asarray(jnp.inf, dtype)
        return cls(zero, zero, infinity, jnp.zeros((), bool), jnp.zeros((), jnp.int32))

    def begun(self, value: Array, square: Array) -> "_Bracket":
        """The bracket with a first c, from the loss and the square of its gradient's norm."""
        first = 2 * jnp.maximum(value, LEAST_MARGIN) / safe_divisor(square)
        return self._replace(weight=jnp.where(self.updates == 0, first, self.weight))

    def narrowed(self, *, when: Bool[Array, ""]) -> "_Bracket":
        """The bracket and the c of the next search, where a search has ended."""
        low = jnp.where(self.is_reached, self.low, self.weight)
        high = jnp.where(self.is_reached, self.weight, self.high)
        is_open = jnp.isinf(high)
        between = jnp.sqrt(jnp.where(is_open, 0, low * high))
        following = jnp.where(low > 0, between, high / WIDENING)
        following = jnp.where(is_open, self.weight * WIDENING, following)
        after = _Bracket(following, low, high, jnp.zeros((), bool), self.updates)
        return jax.tree.map(lambda n, o: jnp.where(when, n, o), after, self)


class _SearchState(NamedTuple):
    """State of `smallest_perturbation`: original, best image, its ‖r‖², and the search."""

    origin: Any
    best: Any
    best_square: Float[Array, ""]
    bracket: _Bracket

    def compared(self, images: Any, *, is_reached: Bool[Array, ""]) -> "_SearchState":
        """The state after an image has been compared with the best one."""
        change = optax.tree.sub(images, self.origin)
        square = optax.tree.vdot(change, change)
        is_better = is_reached & (square < self.best_square)
        best = jax.tree.map(lambda n, o: jnp.where(is_better, n, o), images, self.best)
        bracket = self.bracket._replace(is_reached=self.bracket.is_reached | is_reached)
        best_square = jnp.where(is_better, square, self.best_square)
        return _SearchState(self.origin, best, best_square, bracket)


def _only(chosen: Bool[Array, " k"], log_p: Float[Array, " k"]) -> Float[Array, " k"]:
    """Log-probabilities of the chosen classes; very small and without gradient for the others."""
    return jnp.where(chosen & (log_p > -jnp.inf), log_p, jnp.finfo(log_p.dtype).min)
