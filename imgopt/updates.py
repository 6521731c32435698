"""The compiled parts of `synthesize`: beginning, updates, and the measures of finished images.

The gradient is taken image by image and mapped over the batch with `jax.vmap`, together with the
optimiser's state. So an image never depends on its neighbours, even if the classifier or the
update rule would look at the whole batch.
"""

import functools
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh
from jaxtyping import Array, Bool, Float, Int

from imgopt.devices import on_each_device
from imgopt.filters import ImageFilter
from imgopt.pixel_maps import PixelMap, slope, to_float, to_uint8
from imgopt.promotion import standard_promotion

Criterion = Literal["kl", "max_error"]
"""What the tolerance is compared with: KL(q* ‖ p) in nats, or max |p - q*|."""

FROZEN_SLOPE = 1e-5
"""A pixel whose derivative d image / d weight is below this cannot move."""


class Synthesis(NamedTuple):
    """Finished images and their measures, one row an image.

    `outputs`, `kl` and `max_error` are measured on the finished image after rounding to uint8, so
    they hold for the image in the file. They are NaN where the image is not finite.

    Attributes:
        images: finished images before rounding, in [0, 1], filtered where a filter was given.
        outputs: the classifier's softmax q.
        kl: KL(q* ‖ q) in nats, q* the target.
        max_error: max |q - q*| over the classes.
        steps: number of updates that the image took.
        frozen: share of the original's pixels that could not move (slope below 1e-5), in [0, 1].
    """

    images: Float[Array, "n h w c"]
    outputs: Float[Array, "n k"]
    kl: Float[Array, " n"]
    max_error: Float[Array, " n"]
    steps: Int[Array, " n"]
    frozen: Float[Array, " n"]


class Program(NamedTuple):
    """The static part of a synthesis: everything that is compiled in and is not an array."""

    optimizer: optax.GradientTransformation
    pixel_map: PixelMap
    image_filter: ImageFilter
    criterion: Criterion
    mesh: Mesh | None

    def render(self, weights: Float[Array, "*n h w c"]) -> Float[Array, "*n h w c"]:
        """The image that the classifier sees."""
        return self.image_filter(self.pixel_map.to_image(weights))


class SharedInputs(NamedTuple):
    """Arguments that are the same for all images of a batch.

    Attributes:
        classify: the classifier.
        tolerance: an image stops at this value of the criterion; -inf: it never stops.
        max_steps: most updates of an image.
    """

    classify: jax.tree_util.Partial
    tolerance: Float[Array, ""]
    max_steps: Any


class Carry(NamedTuple):
    """The state of a batch between two updates, one row an image.

    Attributes:
        weights: the images' weights.
        opt_state: state of the update rule.
        steps: number of updates so far.
        active: whether the image still moves.
    """

    weights: Float[Array, "n h w c"]
    opt_state: optax.OptState
    steps: Int[Array, " n"]
    active: Bool[Array, " n"]


def loops_on_host() -> bool:
    """Whether Python calls every update, instead of one program that loops on the device.

    XLA's CPU backend runs the gradients of ordinary convolutions 20 to 30 times slower inside a
    compiled loop than outside, and on a CPU a call costs nothing compared with an update.
    """
    return jax.default_backend() == "cpu"


def _compiled(function: Callable, **options: Any) -> Callable:
    """Compiles function(program, shared, *rows); each device of the program works on its rows."""

    @functools.wraps(function)
    def run(program: Program, shared: Any, *rows: Any) -> Any:
        return on_each_device(functools.partial(function, program), program.mesh)(shared, *rows)

    return jax.jit(run, static_argnums=0, **options)


@_compiled
def begin(program: Program, shared: None, images: Float[Array, "n h w c"]) -> Carry:
    """The state of a batch before the first update."""
    del shared
    weights = program.pixel_map.to_weights(images)
    with standard_promotion():
        opt_state = jax.vmap(program.optimizer.init)(weights)
    count = len(images)
    return Carry(weights, opt_state, jnp.zeros(count, jnp.int32), jnp.ones(count, bool))


@functools.partial(_compiled, donate_argnums=3)  # the carry
def update(
    program: Program, shared: SharedInputs, targets: Float[Array, "n k"], carry: Carry
) -> Carry:
    """One update of every active image; an image that has met the tolerance stays as it is."""

    def loss(weights: Float[Array, "h w c"], target: Float[Array, " k"]):
        logits = shared.classify(program.render(weights)[None])[0]
        log_p = jax.nn.log_softmax(logits.astype(weights.dtype))
        return -(target * log_p).sum(), log_p

    def update_image(target: Float[Array, " k"], carry: Carry) -> Carry:
        gradient, log_p = jax.grad(loss, has_aux=True)(carry.weights, target)
        found = error(log_p, target)[program.criterion]
        is_met = found <= shared.tolerance.astype(found.dtype)
        active = carry.active & ~is_met
        with standard_promotion():
            change, new_state = program.optimizer.update(gradient, carry.opt_state, carry.weights)
        new = optax.apply_updates(carry.weights, change), new_state
        old = carry.weights, carry.opt_state
        weights, opt_state = jax.tree.map(lambda n, o: jnp.where(active, n, o), new, old)
        return Carry(weights, opt_state, carry.steps + active.astype(jnp.int32), active)

    return jax.vmap(update_image)(targets, carry)


def run_from_host(program: Program, shared: SharedInputs, targets: Array, carry: Carry) -> Carry:
    """All updates of a batch, called one by one."""
    may_stop = bool(shared.tolerance >= 0)
    for _ in range(shared.max_steps):
        carry = update(program, shared, targets, carry)
        if may_stop and not carry.active.any():
            break
    return carry


@_compiled
def run_on_device(program: Program, shared: SharedInputs, targets: Array, carry: Carry) -> Carry:
    """All updates of a batch as one program."""

    def goes_on(carry: Carry) -> Bool[Array, ""]:
        # An active image has taken every step so far, so the largest count is the loop's.
        return carry.active.any() & (carry.steps.max() < shared.max_steps)

    on_this_device = program._replace(mesh=None)
    body = functools.partial(update, on_this_device, shared, targets)
    return jax.lax.while_loop(goes_on, body, carry)


@_compiled
def finish(
    program: Program,
    measure: jax.tree_util.Partial,
    asked: tuple[Float[Array, "n h w c"], Float[Array, "n k"]],
    carry: Carry,
) -> Synthesis:
    """Measures the finished images as an 8-bit file will hold them.

    Args:
        program: the static part.
        measure: the classifier that measures.
        asked: originals and targets.
        carry: the state after the last update.
    """
    originals, targets = asked
    images = jnp.clip(program.render(carry.weights), 0, 1)
    log_q = _log_outputs(measure, to_float(to_uint8(images)).astype(images.dtype))
    # Rounding would turn the NaN of an image that went wrong into a healthy black.
    is_finite = jnp.isfinite(images).all((1, 2, 3))
    log_q = jnp.where(is_finite[:, None], log_q, jnp.nan)
    errors = jax.vmap(error)(log_q, targets)
    slopes = slope(program.pixel_map, program.pixel_map.to_weights(originals))
    frozen = (slopes < FROZEN_SLOPE).mean((1, 2, 3))
    return Synthesis(images, jnp.exp(log_q), errors["kl"], errors["max_error"], carry.steps, frozen)


def _log_outputs(
    measure: jax.tree_util.Partial, images: Float[Array, "n h w c"]
) -> Float[Array, "n k"]:
    """Log-probabilities, image by image for the reason in the module's second paragraph."""
    logits = jax.vmap(lambda image: measure(image[None])[0])(images)
    return jax.nn.log_softmax(logits.astype(images.dtype))


def error(log_p: Float[Array, " k"], target: Float[Array, " k"]) -> dict[str, Float[Array, ""]]:
    """How far an output is from a target: "kl" = KL(target ‖ p) in nats, and "max_error"."""
    kl = (jax.scipy.special.xlogy(target, target) - target * log_p).sum()
    # KL is at least 0; float32 rounding of the two sums can fall a little below.
    return {"kl": jnp.maximum(kl, 0), "max_error": jnp.abs(jnp.exp(log_p) - target).max()}
