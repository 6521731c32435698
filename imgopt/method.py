"""Paper A's method as three pure functions: `init`, `update` and `finish`.

The classifier stays fixed and the image moves. The image is a function of unconstrained weights w:
x = filter(map(w)). One update takes the gradient of one image's loss over its weights and passes it
to an optax rule; `jax.vmap` does so for a batch. An image and its rule's state therefore never
depend on their neighbours, even if the classifier or the rule would look at the whole batch.

Images may be any pytree of arrays with one row an image: one array as a rule, or a dict of several
pictures. Weights, gradients and the rule's state have the same structure.
"""

import functools
from collections.abc import Callable
from typing import Any, Literal, NamedTuple, TypedDict, Unpack, cast

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.core import Tracer
from jaxtyping import Array, Bool, Float, Int, Key

from imgopt.classifier import Classify, are_probabilities
from imgopt.errors import InputError
from imgopt.filters import MEASURED_VIEWS_STREAM, ImageFilter, Views, as_hashable
from imgopt.measures import ranking_as_asked
from imgopt.pixel_maps import PixelMap, arctan_map, check_images, slope, to_float, to_uint8
from imgopt.programs import full_precision, standard_promotion
from imgopt.rules import as_rule, evaluation_weights, own_keys, polyak_lbfgs

Loss = Callable[[Float[Array, " k"], Float[Array, " k"]], Float[Array, ""]]
"""What an image's update descends: (log-probabilities, target) → scalar."""

Criterion = Literal["kl", "max_error"]
"""What the tolerance is compared with: `KL(q* ‖ p)` in nats, or `max |p - q*|`."""

DEFAULT_RULE = polyak_lbfgs()

FROZEN_SLOPE = 1e-5
"""A pixel whose derivative d image / d weight is below this cannot move."""


class Synthesis(NamedTuple):
    """Finished images and their measures, one row an image.

    `outputs`, `kl` and `max_error` are measured on the finished image after rounding to uint8, so
    they hold for the image in the file. They are NaN where the image is not finite. Rounding has
    no derivative: to differentiate through a synthesis, use `images`.

    Attributes:
        images: finished images before rounding, in [0, 1], filtered where a filter was given.
        outputs: the classifier's softmax q.
        kl: `KL(q* ‖ q)` in nats, `q*` the target.
        max_error: `max |q - q*|` over the classes.
        steps: number of updates that the image took.
        frozen: share of the original's pixels that could not move (slope below 1e-5), in [0, 1].
        view_kl: mean `KL(q* ‖ q)` over random views of the finished image, in nats; None without
            `views`.
        view_ranking: share of those views whose output ranks the classes as the target does, in
            [0, 1]; None without `views`.
    """

    images: Any
    outputs: Float[Array, "n k"]
    kl: Float[Array, " n"]
    max_error: Float[Array, " n"]
    steps: Int[Array, " n"]
    frozen: Float[Array, " n"]
    view_kl: Float[Array, " n"] | None = None
    view_ranking: Float[Array, " n"] | None = None


class State(NamedTuple):
    """The state of a batch between two updates, one row an image.

    Attributes:
        weights: the images' weights.
        opt_state: state of the update rule.
        targets: `q*`.
        steps: number of updates so far.
        active: whether the image still moves.
        frozen: share of the original's pixels that cannot move.
        keys: the images' own keys, from which their views are drawn; None without `views`.
    """

    weights: Any
    opt_state: optax.OptState
    targets: Float[Array, "n k"]
    steps: Int[Array, " n"]
    active: Bool[Array, " n"]
    frozen: Float[Array, " n"]
    keys: Key[Array, " n"] | None = None


class Transform(NamedTuple):
    """Three pure functions, which can be jitted, mapped, scanned and differentiated.

    Attributes:
        init: images, and optionally their `indices` → state before the first update.
        update: state → state after one update of every active image.
        finish: state → `Synthesis`.
    """

    init: Callable[..., State]
    update: Callable[[State], State]
    finish: Callable[[State], Synthesis]


class Options(TypedDict, total=False):
    """How images are optimised; keyword arguments of `transform`, `synthesize` and the like.

    Attributes:
        optimizer: the update rule, `imgopt.polyak_lbfgs()` by default. Any optax transformation; it
            also gets the loss's `value`, `grad` and `value_fn`. Its state is kept per image.
        pixel_map: `imgopt.arctan_map()` by default.
        image_filter: applied between the pixel map and the classifier, and to the finished image;
            none by default.
        tolerance: an image stops before the first update at which its criterion, on the unrounded
            image, is at or below this. None: it never stops, as in the paper. For lookahead and
            schedule-free rules it is taken at the weights at which they take the gradient.
        criterion: "kl" for `KL(q* ‖ p)` in nats, "max_error" for `max |p - q*|`. Cross entropy is
            no criterion, since its smallest value is the entropy of `q*`.
        measure: the classifier that measures the finished images; `classify` by default. Useful
            where `classify` computes in bfloat16 and the measurement should be in float32.
        views: random views, such as flips and crops, over which loss and criterion are averaged at
            every update; none by default.
        loss: what the updates descend, `KL(q* ‖ p)` by default. Another loss, such as one of
            `imgopt.attacks`, may have no smallest value of 0, which Polyak's steps need.
    """

    optimizer: optax.GradientTransformation | optax.MultiSteps | None
    pixel_map: PixelMap | None
    image_filter: ImageFilter | None
    tolerance: float | None
    criterion: Criterion
    measure: Classify | None
    views: Views | None
    loss: Loss | None


class Method(NamedTuple):
    """The options with their defaults filled in, but for the classifier that measures."""

    optimizer: optax.GradientTransformation | optax.MultiSteps
    pixel_map: PixelMap
    image_filter: ImageFilter | None
    criterion: Criterion
    tolerance: Any
    views: Views | None
    loss: Loss

    def render(self, weights: Any) -> Any:
        """The image that the classifier sees."""
        images = jax.tree.map(self.pixel_map.to_image, weights)
        return jax.tree.map(self.image_filter, images) if self.image_filter else images


def transform(
    classify: Classify, targets: Float[Any, "n k"], **options: Unpack[Options]
) -> Transform:
    """The method as pure functions, for loops of one's own.

    Nothing is checked that only concrete values show, and nothing is compiled. For the checked
    and compiled loop see `imgopt.synthesize`.

    Args:
        classify: any JAX function from images in [0, 1] to logits, in evaluation mode.
        targets: `q*`, one row an image, at least 0, each summing to 1.
        **options: see `Options`.

    Raises:
        InputError: an option is unknown or outside its range.

    Example:
        >>> def classify(x):
        ...     brightness = x.mean((1, 2, 3))
        ...     return 9 * jnp.stack([brightness, 1 - brightness], axis=1)
        >>> init, update, finish = transform(classify, jnp.array([[0.3, 0.7]]))
        >>> state = init(jnp.full((1, 4, 4, 3), 0.75))
        >>> state = jax.lax.fori_loop(0, 10, lambda _, state: update(state), state)
        >>> bool(finish(state).kl[0] < 0.01)
        True
    """
    method = make_method(options)
    return Transform(
        functools.partial(init, method, targets),
        functools.partial(update, method, classify),
        functools.partial(finish, method, options.get("measure") or classify),
    )


def init(method: Method, targets: Float[Any, "n k"], images: Any, indices: Any = None) -> State:
    """The state before the first update.

    Args:
        method: the static part.
        targets: `q*`.
        images: a pytree of images in [0, 1], with one row an image.
        indices: the images' indices in the whole data set, 0 to n - 1 by default. Views, and rules
            that draw random numbers, draw for image i with their key folded with `indices[i]`.

    Raises:
        InputError: the images are no floats, or known values are outside [0, 1].
    """
    for leaf in jax.tree.leaves(images):
        check_images(leaf)
    weights = jax.tree.map(method.pixel_map.to_weights, images)
    dtype = jax.tree.leaves(weights)[0].dtype
    count = len(jax.tree.leaves(weights)[0])

    def init_rule(weights: Any, index: Int[Array, ""]) -> optax.OptState:
        with standard_promotion():
            return own_keys(as_rule(method.optimizer).init(weights), index)

    indices = jnp.arange(count) if indices is None else jnp.asarray(indices)
    return State(
        weights,
        jax.vmap(init_rule)(weights, indices),
        jnp.asarray(targets, dtype),
        jnp.zeros(count, jnp.int32),
        jnp.ones(count, bool),
        jax.vmap(functools.partial(_frozen_share, method.pixel_map))(weights),
        method.views and method.views.keys(indices),
    )


def update(method: Method, classify: Classify, state: State) -> State:
    """One update of every active image; an image that has met the tolerance stays as it is."""

    def update_image(state: State) -> State:
        key = None if state.keys is None else jax.random.fold_in(state.keys, state.steps)

        def loss(weights: Any) -> tuple[Array, Array]:
            # The cross entropy (A, section 2.1) less the target's entropy, so that it falls to 0.
            log_p = _log_probabilities(method.views, classify, method.render(weights), key)
            return _mean(method.loss, log_p, state.targets), log_p

        def value_fn(weights: Any) -> Float[Array, ""]:
            # A line search may hand over float64 weights where JAX's 64-bit types are enabled.
            like = state.weights
            weights = jax.tree.map(lambda leaf, old: leaf.astype(old.dtype), weights, like)
            return loss(weights)[0]

        (value, log_p), gradient = jax.value_and_grad(loss, has_aux=True)(state.weights)
        with standard_promotion():
            change, opt_state = as_rule(method.optimizer).update(
                gradient,
                state.opt_state,
                state.weights,
                value=value,
                grad=gradient,
                value_fn=value_fn,
            )
            weights = optax.apply_updates(state.weights, change)
        found = _mean(errors, log_p, state.targets)[method.criterion]
        tolerance = -jnp.inf if method.tolerance is None else method.tolerance
        active = state.active & ~(found <= jnp.asarray(tolerance, found.dtype))
        new, old = (weights, opt_state), (state.weights, state.opt_state)
        weights, opt_state = jax.tree.map(lambda n, o: jnp.where(active, n, o), new, old)
        steps = state.steps + active.astype(jnp.int32)
        return state._replace(weights=weights, opt_state=opt_state, steps=steps, active=active)

    return jax.vmap(update_image)(state)


def finish(method: Method, classify: Classify, state: State) -> Synthesis:
    """Measures the finished images as an 8-bit file will hold them."""
    return measure(method, classify, state)[0]


def measure(
    method: Method, classify: Classify, state: State
) -> tuple[Synthesis, Bool[Array, " n"]]:
    """Measures the finished images; also says whether each output looks like probabilities."""

    def finish_image(state: State) -> tuple[Synthesis, Bool[Array, ""]]:
        weights = evaluation_weights(state.opt_state, state.weights)
        image = jax.tree.map(lambda leaf: jnp.clip(leaf, 0, 1), method.render(weights))
        seen = jax.tree.map(lambda leaf: to_float(to_uint8(leaf)).astype(leaf.dtype), image)
        logits = _logits(classify, seen)
        log_q = jax.nn.log_softmax(logits)
        found = errors(log_q, state.targets)
        # Rounding turns NaN into a healthy black. NaN is put in last: XLA on CPUs may drop a NaN
        # that goes into `exp`.
        finite = [jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(image)]
        is_finite = jnp.stack([*finite, ~jnp.isnan(log_q).any()]).all()
        measured = jnp.exp(log_q), jnp.maximum(found["kl"], 0), found["max_error"]
        of_views = _measure_views(method.views, classify, seen, state)
        *measured, view_kl, view_ranking = (
            value if value is None else jnp.where(is_finite, value, jnp.nan)
            for value in (*measured, *of_views)
        )
        result = Synthesis(image, *measured, state.steps, state.frozen, view_kl, view_ranking)
        return result, are_probabilities(logits)

    with full_precision():
        return jax.vmap(finish_image)(state)


def _measure_views(
    views: Views | None, classify: Classify, image: Any, state: State
) -> tuple[Array | None, Array | None]:
    """Mean KL over views of an image, and the share of them that rank as asked; None without."""
    if views is None:
        return None, None
    key = jax.random.fold_in(cast(Array, state.keys), jnp.uint32(MEASURED_VIEWS_STREAM))
    log_q = _log_probabilities(views, classify, image, key)
    ranks = ranking_as_asked(jnp.exp(log_q), jnp.broadcast_to(state.targets, log_q.shape))
    kl = _mean(divergence, log_q, state.targets)
    return jnp.maximum(kl, 0), ranks.mean(dtype=log_q.dtype)


def divergence(log_p: Float[Array, " k"], target: Float[Array, " k"]) -> Float[Array, ""]:
    """KL(target ‖ p) in nats.

    A class with target 0 adds 0, also where its logit is -inf. Rounding can make the divergence
    fall a little below 0.
    """
    asked_log_p = jnp.where(target > 0, log_p, 0)
    return (jax.scipy.special.xlogy(target, target) - target * asked_log_p).sum()


def errors(
    log_p: Float[Array, " k"], target: Float[Array, " k"]
) -> dict[Criterion, Float[Array, ""]]:
    """How far an output is from a target: "kl" = KL(target ‖ p) in nats, and "max_error"."""
    max_error = jnp.abs(jnp.exp(log_p) - target).max()
    return {"kl": divergence(log_p, target), "max_error": max_error}


def _mean(function: Callable, log_p: Float[Array, "*views k"], target: Float[Array, " k"]) -> Any:
    """A function of an output and its target, or its mean over the outputs for several views."""
    if log_p.ndim == 1:
        return function(log_p, target)
    found = jax.vmap(function, in_axes=(0, None))(log_p, target)
    return jax.tree.map(lambda each: each.mean(), found)


def make_method(options: Options) -> Method:
    """Checks the options and fills in their defaults.

    Raises:
        InputError: an option is unknown or outside its range.
    """
    unknown = set(options) - set(Options.__annotations__)
    if unknown:
        raise InputError(
            f"unknown option {sorted(unknown)[0]!r}; expected {', '.join(Options.__annotations__)}"
        )
    criterion, tolerance = options.get("criterion", "kl"), options.get("tolerance")
    if criterion not in ("kl", "max_error"):
        raise InputError(f'criterion must be "kl" or "max_error", got {criterion!r}')
    views = options.get("views")
    if not (views is None or isinstance(views, Views)):
        raise InputError(f"views must be imgopt.Views or None, got {type(views).__name__}")
    is_known = not (tolerance is None or isinstance(tolerance, Tracer))
    is_number = isinstance(tolerance, float | int | np.number | jax.Array)
    if is_known and not (is_number and np.ndim(tolerance) == 0 and 0 <= tolerance < np.inf):
        raise InputError(f"tolerance must be None or at least 0, got {tolerance!r}")
    optimizer, pixel_map = options.get("optimizer"), options.get("pixel_map") or arctan_map()
    image_filter = options.get("image_filter")
    if not isinstance(pixel_map, PixelMap):
        raise InputError(f"pixel_map must be one such as imgopt.arctan_map(), got {pixel_map!r}")
    if image_filter is not None and not callable(image_filter):
        raise InputError(f"image_filter must be a function of images, got {image_filter!r}")
    image_filter = image_filter and as_hashable(image_filter)
    loss = options.get("loss") or divergence
    if not callable(loss):
        raise InputError(f"loss must be a function (log_p, target) → scalar, got {loss!r}")
    optimizer = DEFAULT_RULE if optimizer is None else optimizer
    return Method(optimizer, pixel_map, image_filter, criterion, tolerance, views, loss)


def _log_probabilities(
    views: Views | None, classify: Classify, image: Any, key: Key[Array, ""] | None
) -> Float[Array, "*views k"]:
    """The classifier's log-probabilities for one image, or for each of its views."""

    def of_one(image: Any) -> Float[Array, " k"]:
        return jax.nn.log_softmax(_logits(classify, image))

    return of_one(image) if views is None else jax.vmap(of_one)(views.draw(cast(Array, key), image))


def _logits(classify: Classify, image: Any) -> Float[Array, " k"]:
    """The classifier's logits for one image, in the image's precision."""
    logits = classify(jax.tree.map(lambda leaf: leaf[None], image))[0]
    return logits.astype(jax.tree.leaves(image)[0].dtype)


def _frozen_share(pixel_map: PixelMap, weights: Any) -> Float[Array, ""]:
    slopes = [slope(pixel_map, leaf).ravel() for leaf in jax.tree.leaves(weights)]
    return (jnp.concatenate(slopes) < FROZEN_SLOPE).mean(dtype=slopes[0].dtype)
