"""`synthesize`: moves a batch of images until the classifier's output for each is its target."""

import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float

from imgopt import updates
from imgopt.classifier import Classify, as_partial, logits_shape
from imgopt.devices import check_devices, make_mesh, place, sharding
from imgopt.errors import InputError
from imgopt.filters import ImageFilter
from imgopt.pixel_maps import PixelMap, arctan_map
from imgopt.rules import sgd
from imgopt.targets import check_targets
from imgopt.updates import Criterion, Program, SharedInputs, Synthesis


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
        images: the originals, floating point in [0, 1]. They are computed in float32, or in
            float64 where JAX's 64-bit types are enabled and the images are float64.
        targets: q*, one row an image, at least 0, each summing to 1.
        optimizer: the update rule; `imgopt.sgd()` by default. Any optax transformation; its state
            is kept per image.
        pixel_map: `imgopt.arctan_map()` by default.
        image_filter: applied between the pixel map and the classifier, and to the finished image;
            none by default.
        steps: number of updates, at least 0. With a tolerance, the most updates.
        tolerance: an image stops before the first update at which its criterion, on the unrounded
            image, is at or below this. None: every image takes exactly `steps` updates, as in the
            paper.
        criterion: "kl" for KL(q* ‖ p) in nats, "max_error" for max |p - q*|. Cross entropy is no
            criterion, since its smallest value is the entropy of q*.
        measure: the classifier that measures the finished images; `classify` by default. Useful
            where `classify` computes in bfloat16 and float32 is to measure.
        devices: how many of this process's devices share the batch, each an equal part of it. The
            result is that of as many smaller batches, each on a device of its own.

    Returns:
        A `Synthesis`.

    Raises:
        InputError: an argument has the wrong shape, type or range; raised before compilation.

    Example:
        >>> import jax.numpy as jnp
        >>> def classify(x):
        ...     brightness = x.mean((1, 2, 3))
        ...     return 9 * jnp.stack([brightness, 1 - brightness], axis=1)
        >>> bright, targets = jnp.full((1, 4, 4, 3), 0.75), jnp.array([[0.3, 0.7]])
        >>> result = synthesize(classify, bright, targets, optimizer=sgd(learning_rate=2.0))
        >>> result.outputs.shape
        (1, 2)
        >>> result.outputs.round(1).tolist() == targets.tolist()
        True
    """
    images, targets = check_inputs(classify, images, targets)
    _check_options(steps, tolerance, criterion)
    program = _make_program(optimizer, pixel_map, image_filter, criterion, devices, len(images))
    images, targets = place((images, targets), program.mesh, by_row=True)
    classify, measure = place(
        (as_partial(classify), as_partial(measure or classify)), program.mesh, by_row=False
    )
    threshold = jnp.float32(-jnp.inf if tolerance is None else tolerance)
    run = updates.run_from_host if updates.loops_on_host() else updates.run_on_device
    shared = SharedInputs(classify, threshold, steps)
    end = run(program, shared, targets, updates.begin(program, None, images))
    return updates.finish(program, measure, (images, targets), end)


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

    JAX keeps the compiled program, so `synthesize` with the same options does not compile it again.

    Args:
        classify: the classifier, as in `synthesize`.
        shape: shape (n, h, w, c) of the images, which are float32.
        optimizer: the update rule, as in `synthesize`.
        pixel_map: the pixel map, as in `synthesize`.
        image_filter: the filter, as in `synthesize`.
        criterion: the stopping criterion, as in `synthesize`.
        devices: number of devices that share the batch.

    Returns:
        The program; its `memory_analysis` is for one device.

    Raises:
        InputError: there are fewer devices, they cannot share n images evenly, or the classifier
            cannot take such images.
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
    carry = row_shapes(jax.eval_shape(functools.partial(updates.begin, program, None), images))
    run: Any = updates.update if updates.loops_on_host() else updates.run_on_device
    shared = SharedInputs(classify, jnp.float32(0), 0)
    return run.lower(program, shared, targets, carry).compile()


def _make_program(
    optimizer: optax.GradientTransformation | None,
    pixel_map: PixelMap | None,
    image_filter: ImageFilter | None,
    criterion: Criterion,
    devices: int,
    count: int,
) -> Program:
    """Checks the devices, and fills in the defaults."""
    check_devices(devices, batch_size=count)
    return Program(
        optimizer or sgd(),
        pixel_map or arctan_map(),
        image_filter or _identity,
        criterion,
        make_mesh(devices),
    )


def check_inputs(
    classify: Classify, images: Any, targets: Any
) -> tuple[Float[Array, "n h w c"], Float[Array, "n k"]]:
    """Checks images and targets against each other and the classifier, and compiles nothing.

    Returns:
        Both as arrays, float32 unless JAX's 64-bit types are enabled and the images are float64.

    Raises:
        InputError: something does not fit; the message says what was expected and what came.
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
    dtype = np.promote_types(jnp.asarray(images).dtype, np.float32)
    return jnp.asarray(images, dtype), jnp.asarray(targets, dtype)


def _check_options(steps: int, tolerance: float | None, criterion: str) -> None:
    if steps < 0:
        raise InputError(f"steps must be at least 0, got {steps}")
    if tolerance is not None and not (math.isfinite(tolerance) and tolerance >= 0):
        raise InputError(f"tolerance must be None or at least 0, got {tolerance}")
    if criterion not in ("kl", "max_error"):
        raise InputError(f'criterion must be "kl" or "max_error", got {criterion!r}')


def _identity(images: Float[Array, "*batch h w c"]) -> Float[Array, "*batch h w c"]:
    return images
