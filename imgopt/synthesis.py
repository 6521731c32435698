"""`synthesize`: moves a batch of images, all at once, until each elicits its target.

The gradient is taken image by image and mapped over the batch with `jax.vmap`, optimiser state
included. So an image never depends on its neighbours, not even if the classifier or the update
rule would look at the whole batch.
"""

import functools
import math
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh
from jaxtyping import Array, Bool, Float, Int

from imgopt.devices import check_devices, make_mesh, on_each_device, place, sharding
from imgopt.errors import InputError
from imgopt.filters import ImageFilter
from imgopt.pixel_maps import PixelMap, arctan_map, slope, to_float, to_uint8
from imgopt.rules import sgd
from imgopt.targets import check_targets

Classify = Callable[[Float[Array, "n h w c"]], Float[Array, "n k"]]
"""From float32 images in [0, 1] to logits; normalisation and evaluation mode are inside."""

Criterion = Literal["kl", "max_error"]

FROZEN_SLOPE = 1e-5
"""A pixel whose d image / d weight is below this cannot move."""


class Synthesis(NamedTuple):
    """What `synthesize` returns, a row an image.

    `outputs`, `kl` and `max_error` are measured on the finished image after rounding to uint8:
    they hold for the file, not for floats that no file keeps. They are NaN where the image is not
    finite.

    Attributes:
        images: the finished images before rounding, in [0, 1], filtered where a filter was given.
        outputs: the classifier's softmax q.
        kl: KL(q* ‖ q) in nats, q* the target.
        max_error: max |q - q*| over the classes.
        steps: updates that the image took.
        frozen: share of the original's pixels that could not move (slope below 1e-5), in [0, 1].
    """

    images: Float[Array, "n h w c"]
    outputs: Float[Array, "n k"]
    kl: Float[Array, " n"]
    max_error: Float[Array, " n"]
    steps: Int[Array, " n"]
    frozen: Float[Array, " n"]


def synthesize(
    classify: Classify,
    images: Float[Any, "n h w c"],
    targets: Float[Any, "n k"],
    *,
    optimizer: optax.GradientTransformation | None = None,
    pixel_map: PixelMap | None = None,
    image_filter: ImageFilter | None = None,
    steps: int = 100,
    tolerance: float | None = None,
    criterion: Criterion = "kl",
    measure: Classify | None = None,
    devices: int = 1,
) -> Synthesis:
    """Optimises images until the classifier's whole softmax is the distribution asked for.

    For each image, on its weights w, with x = filter(map(w)) and p = softmax(classify(x)), the
    rule descends L(w) = -Σ q* log p (A, section 2.1; cross entropy with a dense target).

    Args:
        classify: any JAX function from images in [0, 1] to logits. Wrapped as
            `jax.tree_util.Partial(function, params)`, the parameters are arguments of the compiled
            program rather than constants inside it.
        images: the originals, floating point in [0, 1]; computed in float32, or in float64 where
            JAX's 64-bit types are enabled and the images are float64.
        targets: q*, a row an image, at least 0, each summing to 1.
        optimizer: the update rule; `imgopt.sgd()` by default. Any optax transformation; its state
            is kept per image.
        pixel_map: `imgopt.arctan_map()` by default.
        image_filter: stands between the map and the classifier, and on the finished image; none
            by default.
        steps: the number of updates, at least 0; with a tolerance, at most as many.
        tolerance: an image stops before the first update at which its criterion, on the unrounded
            image, is at or below this. None: every image takes exactly `steps` updates, as in the
            paper.
        criterion: "kl" for KL(q* ‖ p) in nats, "max_error" for max |p - q*|. Cross entropy itself
            cannot tell: it bottoms out at the entropy of q*.
        measure: the classifier that measures the finished images, where it is not `classify`
            itself (a float32 one beside a bfloat16 one).
        devices: how many of this process's devices share the batch, each an equal part of it. The
            result is that of so many smaller batches, each on a device of its own.

    Returns:
        A `Synthesis`.

    Raises:
        InputError: an argument has the wrong shape, type or range; raised before compilation.

    Example:
        >>> import jax.numpy as jnp
        >>> classify = lambda x: jnp.stack([x.mean((1, 2, 3)), 1 - x.mean((1, 2, 3))], 1) * 9
        >>> result = synthesize(classify, jnp.full((1, 4, 4, 3), 0.9), jnp.array([[0.3, 0.7]]))
        >>> result.outputs.shape
        (1, 2)
    """
    images, targets = check_inputs(classify, images, targets)
    _check_options(steps, tolerance, criterion)
    program = _make_program(optimizer, pixel_map, image_filter, criterion, devices, len(images))
    images, targets = place((images, targets), program.mesh, by_row=True)
    classify, measure = place(
        (as_partial(classify), as_partial(measure or classify)), program.mesh, by_row=False
    )
    threshold = jnp.float32(-jnp.inf if tolerance is None else tolerance)
    run = _run_from_host if loops_on_host() else _run_on_device
    end = run(program, (classify, threshold, steps), targets, _begin(program, None, images))
    return _finish(program, measure, (images, targets), end)


def compile_updates(
    classify: Classify,
    shape: tuple[int, int, int, int],
    *,
    optimizer: optax.GradientTransformation | None = None,
    pixel_map: PixelMap | None = None,
    image_filter: ImageFilter | None = None,
    criterion: Criterion = "kl",
    devices: int = 1,
) -> jax.stages.Compiled:
    """Compiles the part of `synthesize` that takes the most time and memory, and runs nothing.

    JAX keeps what is compiled: `synthesize` with the same options does not compile it again.

    Args:
        classify: as for `synthesize`, as is all that is not said here.
        shape: of the images, (n, h, w, c); they are float32.
        optimizer: ditto.
        pixel_map: ditto.
        image_filter: ditto.
        criterion: ditto.
        devices: ditto.

    Returns:
        The program, whose `memory_analysis` is for one device.

    Raises:
        InputError: the devices are too many or do not share n evenly, or the classifier cannot take
            such images.
    """
    program = _make_program(optimizer, pixel_map, image_filter, criterion, devices, shape[0])
    classify = place(as_partial(classify), program.mesh, by_row=False)

    def row_shapes(tree: Any) -> Any:
        placed = sharding(program.mesh, by_row=True)
        return jax.tree.map(
            lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=placed), tree
        )

    logits = logits_shape(classify, shape)
    targets = row_shapes(jax.ShapeDtypeStruct(logits, jnp.float32))
    images = jax.ShapeDtypeStruct(shape, jnp.float32)
    carry = row_shapes(jax.eval_shape(functools.partial(_begin, program, None), images))
    updates: Any = _update if loops_on_host() else _run_on_device
    return updates.lower(program, (classify, jnp.float32(0), 0), targets, carry).compile()


def _make_program(
    optimizer: optax.GradientTransformation | None,
    pixel_map: PixelMap | None,
    image_filter: ImageFilter | None,
    criterion: Criterion,
    devices: int,
    count: int,
) -> "_Program":
    """Checks the devices, and fills in what is not given."""
    check_devices(devices, batch_size=count)
    return _Program(
        optimizer or sgd(),
        pixel_map or arctan_map(),
        image_filter or _identity,
        criterion,
        make_mesh(devices),
    )


def as_partial(classify: Classify) -> jax.tree_util.Partial:
    """Wraps a classifier as a pytree that a compiled function takes as an argument."""
    if isinstance(classify, jax.tree_util.Partial):
        return classify
    return jax.tree_util.Partial(classify)


def check_inputs(
    classify: Classify, images: Any, targets: Any
) -> tuple[Float[Array, "n h w c"], Float[Array, "n k"]]:
    """Checks images and targets against each other and the classifier, compiling nothing.

    Returns:
        Both as arrays, float32 unless JAX's 64-bit types are enabled and the images are float64.

    Raises:
        InputError: something does not fit; the message names what was expected and what came.
    """
    shape, dtype = np.shape(images), np.asarray(images).dtype
    if len(shape) != 4 or 0 in shape:
        raise InputError(f"images must have shape (n, h, w, c), none of them 0; got {shape}")
    if not jnp.issubdtype(dtype, jnp.floating):
        raise InputError(
            f"images must be floating point in [0, 1], got {dtype}; divide 8-bit images by 255"
        )
    low, high = float(np.min(images)), float(np.max(images))
    if not (low >= 0 and high <= 1):  # also refuses NaN
        hint = "; divide grey levels by 255" if high > 2 else ""
        raise InputError(f"images must be in [0, 1], got values from {low:g} to {high:g}{hint}")
    logits = logits_shape(classify, shape)
    targets = check_targets(targets, count=shape[0], num_classes=logits[1])
    # float32, but for a caller who has enabled JAX's 64-bit types and gives float64.
    dtype = jnp.promote_types(jnp.asarray(images).dtype, jnp.float32)
    return jnp.asarray(images, dtype), jnp.asarray(targets, dtype)


def logits_shape(classify: Classify, shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape of a classifier's logits (n, k) for images of a shape (n, h, w, c).

    Raises:
        InputError: the classifier cannot take such images, or returns something else.
    """
    try:
        logits = jax.eval_shape(classify, jax.ShapeDtypeStruct(shape, jnp.float32))
    except Exception as error:  # every library has errors of its own for a wrong shape
        raise InputError(f"classify cannot take images of shape {shape}: {error}") from error
    if getattr(logits, "ndim", None) != 2 or logits.shape[0] != shape[0]:
        raise InputError(
            f"classify must return logits of shape ({shape[0]}, number of classes) for images of "
            f"shape {shape}, got {getattr(logits, 'shape', type(logits).__name__)}"
        )
    return logits.shape


def _check_options(steps: int, tolerance: float | None, criterion: str) -> None:
    if steps < 0:
        raise InputError(f"steps must be at least 0, got {steps}")
    if tolerance is not None and not (math.isfinite(tolerance) and tolerance >= 0):
        raise InputError(f"tolerance must be None or at least 0, got {tolerance}")
    if criterion not in ("kl", "max_error"):
        raise InputError(f'criterion must be "kl" or "max_error", got {criterion!r}')


def _identity(images: Float[Array, "*batch h w c"]) -> Float[Array, "*batch h w c"]:
    return images


class _Program(NamedTuple):
    """What is compiled in: everything that is not an array."""

    optimizer: optax.GradientTransformation
    pixel_map: PixelMap
    image_filter: ImageFilter
    criterion: Criterion
    mesh: Mesh | None

    def render(self, weights: Float[Array, "*n h w c"]) -> Float[Array, "*n h w c"]:
        """The image that the classifier sees."""
        return self.image_filter(self.pixel_map.to_image(weights))


class _Carry(NamedTuple):
    """What changes from update to update; `steps` counts an image's updates."""

    weights: Float[Array, "n h w c"]
    opt_state: optax.OptState
    steps: Int[Array, " n"]
    active: Bool[Array, " n"]


def loops_on_host() -> bool:
    """Whether the host calls every update, instead of one program that loops on the device.

    XLA's CPU backend runs the gradients of ordinary convolutions 20 to 30 times slower inside a
    compiled loop than outside, and there a call costs nothing beside an update.
    """
    return jax.default_backend() == "cpu"


def _compiled(function: Callable, **options: Any) -> Callable:
    """Compiles function(program, shared, *rows), for each device of the program's on its rows."""

    @functools.wraps(function)
    def run(program: _Program, shared: Any, *rows: Any) -> Any:
        return on_each_device(functools.partial(function, program), program.mesh)(shared, *rows)

    return jax.jit(run, static_argnums=0, **options)


@_compiled
def _begin(program: _Program, shared: None, images: Float[Array, "n h w c"]) -> _Carry:
    del shared
    weights = program.pixel_map.to_weights(images)
    opt_state = jax.vmap(program.optimizer.init)(weights)
    count = len(images)
    return _Carry(weights, opt_state, jnp.zeros(count, jnp.int32), jnp.ones(count, bool))


Shared = tuple[jax.tree_util.Partial, Float[Array, ""], Any]
"""What all images have in common: classifier, tolerance, and the number of updates at most."""


@functools.partial(_compiled, donate_argnums=3)  # the carry
def _update(
    program: _Program, shared: Shared, targets: Float[Array, "n k"], carry: _Carry
) -> _Carry:
    """One update of every active image; an image that has met the tolerance is active no more."""
    classify, tolerance, _ = shared

    def loss(weights: Float[Array, "h w c"], target: Float[Array, " k"]):
        logits = classify(program.render(weights)[None])[0]
        log_p = jax.nn.log_softmax(logits.astype(weights.dtype))
        return -(target * log_p).sum(), log_p

    def update(target: Float[Array, " k"], carry: _Carry) -> _Carry:
        gradient, log_p = jax.grad(loss, has_aux=True)(carry.weights, target)
        active = carry.active & ~(error(log_p, target)[program.criterion] <= tolerance)
        change, new_state = program.optimizer.update(gradient, carry.opt_state, carry.weights)
        new = optax.apply_updates(carry.weights, change), new_state
        old = carry.weights, carry.opt_state
        weights, opt_state = jax.tree.map(lambda n, o: jnp.where(active, n, o), new, old)
        return _Carry(weights, opt_state, carry.steps + active, active)

    return jax.vmap(update)(targets, carry)


def _run_from_host(program: _Program, shared: Shared, targets: Array, carry: _Carry) -> _Carry:
    _, tolerance, max_steps = shared
    may_stop = bool(tolerance >= 0)
    for _ in range(max_steps):
        carry = _update(program, shared, targets, carry)
        if may_stop and not carry.active.any():
            break
    return carry


@_compiled
def _run_on_device(program: _Program, shared: Shared, targets: Array, carry: _Carry) -> _Carry:
    def goes_on(carry: _Carry) -> Bool[Array, ""]:
        # An active image has taken every step so far, so the largest count is the loop's.
        return carry.active.any() & (carry.steps.max() < shared[2])

    on_this_device = program._replace(mesh=None)
    body = functools.partial(_update, on_this_device, shared, targets)
    return jax.lax.while_loop(goes_on, body, carry)


@_compiled
def _finish(
    program: _Program,
    measure: jax.tree_util.Partial,
    asked: tuple[Float[Array, "n h w c"], Float[Array, "n k"]],
    carry: _Carry,
) -> Synthesis:
    """Measures the finished images as an 8-bit file will hold them."""
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
    """Log-probabilities, image by image for the reason in the module's first paragraph."""
    logits = jax.vmap(lambda image: measure(image[None])[0])(images)
    return jax.nn.log_softmax(logits.astype(images.dtype))


def error(log_p: Float[Array, " k"], target: Float[Array, " k"]) -> dict[str, Float[Array, ""]]:
    """How far an output is from a target: "kl" = KL(target ‖ p) in nats, and "max_error"."""
    kl = (jax.scipy.special.xlogy(target, target) - target * log_p).sum()
    # KL is at least 0; float32 rounding of the two sums can fall a little below.
    return {"kl": jnp.maximum(kl, 0), "max_error": jnp.abs(jnp.exp(log_p) - target).max()}
