"""`synthesize`: moves a batch of images until the classifier's output for each is its target.

The method itself is in `imgopt.method`. Here it is checked, compiled and run: for one batch, for
any number of batches, or update by update.
"""

import warnings
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, Unpack, cast

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Bool, Float, UInt8

from imgopt.classifier import Classify, SplitClassifier, one_image, split_classifier
from imgopt.errors import InputError
from imgopt.job import Job, SynthesisPrograms, check_options, loops_on_host, prepare
from imgopt.method import Options, State, Synthesis, transform
from imgopt.pixel_maps import check_images, to_float
from imgopt.programs import Devices, check_device_count
from imgopt.targets import check_targets

STEPS = 100
"""Updates by default, as in paper A."""


def synthesize(
    classify: Classify,
    images: Any,
    targets: Float[Any, "n k"],
    *,
    steps: int | Array = STEPS,
    indices: Any = None,
    devices: int = 1,
    **options: Unpack[Options],
) -> Synthesis:
    """Optimises images until the classifier's whole softmax is the distribution asked for.

    For each image, on its weights w, with x = filter(map(w)) and p = softmax(classify(x)), the
    rule descends `L(w) = KL(q* ‖ p)`, the cross entropy `-Σ q* log p` less a constant (A, 2.1).

    Under `jax.jit`, `jax.grad` and `jax.vmap` it is a plain function: what only concrete values
    show is not checked, and `devices` has no effect.

    Args:
        classify: any JAX function from images in [0, 1] to logits, in evaluation mode. It is used
            with the weights that it has at the moment of the call, wherever it keeps them.
        images: the originals, floating point in [0, 1]; or a pytree of such arrays, which
            `classify` takes. They are computed in float32, or in float64 where JAX's 64-bit types
            are enabled and the images are float64.
        targets: `q*`, one row an image, at least 0, each summing to 1.
        steps: number of updates, at least 0. With a tolerance, the most updates.
        indices: the images' indices in the whole data set, 0 to n - 1 by default; for rules that
            draw random numbers.
        devices: how many of this process's devices share the batch, each an equal part of it. The
            result is the same as for as many smaller batches, each on a device of its own.
        **options: `optimizer`, `pixel_map`, `image_filter`, `tolerance`, `criterion` and `measure`;
            see `Options`.

    Returns:
        A `Synthesis`.

    Raises:
        InputError: an argument has the wrong shape, type or range; raised before compilation.

    Example:
        >>> def classify(x):
        ...     brightness = x.mean((1, 2, 3))
        ...     return 9 * jnp.stack([brightness, 1 - brightness], axis=1)
        >>> bright, targets = jnp.full((1, 4, 4, 3), 0.75), jnp.array([[0.3, 0.7]])
        >>> result = synthesize(classify, bright, targets, steps=10)
        >>> result.outputs.shape
        (1, 2)
        >>> result.outputs.round(1).tolist() == targets.tolist()
        True
    """
    split, images, targets = check_inputs(classify, images, targets)
    checked = check_options(split, classify, one_image(images), options)
    known = split.arrays, images, targets, steps, options.get("tolerance")
    if _is_traced((known, checked.held)):
        init, update, finish = transform(classify, targets, **options)
        state = jax.lax.fori_loop(0, steps, lambda _, state: update(state), init(images, indices))
        return finish(state)
    _check_steps(steps)
    indices = _check_indices(indices, len(targets))
    job = prepare(checked, images, devices)
    result, is_probability = job.finish(job.run(job.begin(images, targets, indices), steps))
    _warn_of_probabilities(is_probability)
    return result


def iterate(
    classify: Classify,
    images: Any,
    targets: Float[Any, "n k"],
    *,
    steps: int | Array = STEPS,
    indices: Any = None,
    **options: Unpack[Options],
) -> Iterator[Synthesis]:
    """Gives the images before the first update and after every one, each time measured.

    Args:
        classify: the classifier, as in `synthesize`.
        images: the originals, as in `synthesize`.
        targets: the targets, as in `synthesize`.
        steps: most updates. With a tolerance, the iterator ends once every image has met it.
        indices: the images' indices in the whole data set, as in `synthesize`.
        **options: as in `synthesize`.

    Raises:
        InputError: as in `synthesize`.

    Example:
        >>> def classify(x):
        ...     return 9 * jnp.stack([x.mean((1, 2, 3)), 1 - x.mean((1, 2, 3))], axis=1)
        >>> bright, targets = jnp.full((1, 4, 4, 3), 0.75), jnp.array([[0.3, 0.7]])
        >>> kl = [result.kl[0] for result in iterate(classify, bright, targets, steps=2)]
        >>> len(kl), bool(kl[0] > kl[1] > kl[2])
        (3, True)
    """
    split, images, targets = check_inputs(classify, images, targets)
    checked = check_options(split, classify, one_image(images), options)
    known = split.arrays, images, targets, steps, options.get("tolerance"), indices
    if _is_traced((known, checked.held)):
        raise InputError(
            "iterate needs concrete values, got traced ones; under jax.jit, grad or vmap take "
            "imgopt.transform or imgopt.synthesize"
        )
    _check_steps(steps)
    indices = _check_indices(indices, len(targets))
    job = prepare(checked, images, devices=1)
    return _iterate(job, job.begin(images, targets, indices), steps)


def _iterate(job: Job, state: State, steps: Any) -> Iterator[Synthesis]:
    result, is_probability = job.finish(state)
    _warn_of_probabilities(is_probability)
    yield result
    for step in range(1, int(steps) + 1):
        state = job.update(state)
        if not (state.steps == step).any():  # every image had met the tolerance before
            return
        yield job.finish(state)[0]


def synthesize_in_batches(
    classify: Classify,
    images: UInt8[np.ndarray, "n h w c"],
    targets: Float[np.ndarray, "n k"],
    *,
    batch_size: int,
    steps: int | Array = STEPS,
    devices: int = 1,
    **options: Any,
) -> Iterator[Synthesis]:
    """Synthesises images batch by batch; a batch is computed while the caller uses the last one.

    On CPUs a batch is given before the next one begins. There Python calls every update, so
    holding a batch back gains nothing, and an interruption would lose it.

    Each device computes `batch_size` images at a time, however many devices there are. The last
    batch is filled up with copies of the last image, which are dropped. So there is one
    compilation, and an image's bits do not depend on the images that share its batch, nor on the
    number of devices of one kind.

    Args:
        classify: the classifier, as in `synthesize`; its weights are those of the first batch.
        images: 8-bit originals.
        targets: the targets, as in `synthesize`.
        batch_size: images that a device computes at a time, at least 1.
        steps: number of updates, as in `synthesize`.
        devices: number of this process's devices that work side by side.
        **options: `indices`, and the other options of `synthesize`.

    Returns:
        An iterator over the batches in order, each a `Synthesis` of NumPy arrays.

    Raises:
        InputError: as in `synthesize`; also where `batch_size` is below 1 or the images are not
            uint8. All are raised at once, before the first batch.

    Example:
        >>> images, targets = np.full((3, 4, 4, 3), 128, np.uint8), np.full((3, 3), 1 / 3)
        >>> batches = synthesize_in_batches(lambda x: x.mean((1, 2)), images, targets, batch_size=2)
        >>> [len(batch.images) for batch in batches]
        [2, 1]
    """
    if not isinstance(batch_size, int | np.integer) or batch_size < 1:
        raise InputError(f"batch_size must be an integer of at least 1, got {batch_size!r}")
    check_device_count(devices)
    if np.asarray(images).dtype != np.uint8:
        raise InputError(f"images must be uint8 grey levels, got {np.asarray(images).dtype}")
    targets = check_targets(targets, count=len(images))
    _check_steps(steps)
    indices = _check_indices(options.pop("indices", None), len(images))
    if not len(images):
        return iter(())
    at_once = batch_size * devices
    like = jax.ShapeDtypeStruct((at_once, *images.shape[1:]), jnp.float32)
    split = split_classifier(classify, one_image(like))
    checked = check_options(split, classify, one_image(like), cast(Options, options))
    job = prepare(checked, like, devices)
    check_targets(targets, count=len(images), num_classes=split.num_classes)

    def start(first: int) -> tuple[Any, int]:
        rows = np.arange(first, min(first + at_once, len(images)))
        padded = np.pad(rows, (0, at_once - len(rows)), mode="edge")
        arrays = to_float(images[padded]), targets[padded], indices[padded]
        return job.finish(job.run(job.begin(*arrays), steps)), len(rows)

    return _in_batches(start, range(0, len(images), at_once), batch_size)


def _in_batches(
    start: Callable[[int], tuple[Any, int]], firsts: range, batch_size: int
) -> Iterator[Synthesis]:
    """Splits the devices' results into batches, and warns of probabilities once."""
    warned = False
    for (result, is_probability), count in _one_ahead(start, firsts):
        warned = warned or _warn_of_probabilities(is_probability)
        for first in range(0, count, batch_size):
            rows = slice(first, min(first + batch_size, count))
            yield jax.tree.map(lambda leaf, rows=rows: leaf[rows], result)


def _one_ahead(start: Callable[[int], tuple[Any, int]], firsts: range) -> Iterator[tuple[Any, int]]:
    """Fetches results as NumPy arrays; on devices the next batch starts before that."""
    pending: tuple[Any, int] | None = None
    for first in firsts:
        if pending and loops_on_host():
            yield jax.device_get(pending)
            pending = None
        running = start(first)
        if pending:
            yield jax.device_get(pending)
        pending = running
    if pending:
        yield jax.device_get(pending)


def compile_updates(
    classify: Classify,
    shape: tuple[int, int, int, int],
    *,
    devices: Devices = 1,
    **options: Unpack[Options],
) -> jax.stages.Compiled:
    """Compiles the part of `synthesize` that takes the most time and memory, and runs nothing.

    JAX keeps the compiled program, so `synthesize` with the same options does not compile it again.

    Args:
        classify: the classifier, as in `synthesize`.
        shape: shape (n, h, w, c) of the images, which are float32.
        devices: number of this process's devices that share the batch, or the devices themselves.
            Devices that are only described, as by `jax.experimental.topologies`, are allowed.
        **options: as in `synthesize`.

    Returns:
        The program; its `memory_analysis` is for one device.

    Raises:
        InputError: there are fewer devices, they cannot share n images evenly, or the classifier
            cannot take such images.

    Example:
        >>> program = compile_updates(lambda x: x.mean((1, 2)), (2, 4, 4, 3))
        >>> program.memory_analysis().argument_size_in_bytes > 0
        True
    """
    return _prepare_for(classify, shape, options, devices).lower_updates(shape).compile()


def lower_synthesis(
    classify: Classify,
    shape: tuple[int, int, int, int],
    *,
    devices: Devices = 1,
    **options: Unpack[Options],
) -> SynthesisPrograms:
    """Lowers every program of `synthesize`, to read or to compile it; runs nothing.

    Args:
        classify: the classifier, as in `synthesize`.
        shape: shape (n, h, w, c) of the images, which are float32.
        devices: as in `compile_updates`.
        **options: as in `synthesize`.

    Raises:
        InputError: as in `compile_updates`.

    Example:
        >>> lower_synthesis(lambda x: x.mean((1, 2)), (2, 4, 4, 3))._fields
        ('begin', 'updates', 'finish')
    """
    return _prepare_for(classify, shape, options, devices).lower(shape)


def _prepare_for(
    classify: Classify, shape: tuple[int, ...], options: Options, devices: Devices
) -> Job:
    like = jax.ShapeDtypeStruct(shape, jnp.float32)
    split = split_classifier(classify, one_image(like))
    checked = check_options(split, classify, one_image(like), options, devices=devices)
    return prepare(checked, like, devices)


class CheckedInputs(NamedTuple):
    """A classifier, split, with images and targets that fit it."""

    classify: SplitClassifier
    images: Any
    targets: Float[Array, "n k"]


def check_inputs(classify: Classify, images: Any, targets: Any) -> CheckedInputs:
    """Checks images and targets against each other and the classifier, and compiles nothing.

    What only concrete values show is left out under `jax.jit`.

    Returns:
        All three; images and targets as arrays, float32 unless JAX's 64-bit types are enabled and
        the images are float64.

    Raises:
        InputError: something does not fit; the message says what was expected and what came.

    Example:
        >>> checked = check_inputs(lambda x: x.mean((1, 2)), np.ones((1, 4, 4, 3)), [[0.3, 0.7, 0]])
        >>> checked.images.dtype, checked.targets.shape
        (dtype('float32'), (1, 3))
    """
    leaves = jax.tree.leaves(images)
    if not leaves:
        raise InputError("images must hold at least one array, got none")
    for leaf in leaves:
        _check_originals(leaf, is_alone=leaf is images)
    counts = sorted({np.shape(leaf)[0] for leaf in leaves})
    if len(counts) > 1:
        raise InputError(f"all arrays of images must have one row an image, got {counts} rows")
    images = jax.tree.map(
        lambda leaf: jnp.asarray(leaf, np.promote_types(jnp.asarray(leaf).dtype, np.float32)),
        images,
    )
    split = split_classifier(classify, one_image(images))
    expected = (counts[0], split.num_classes)
    if not _is_traced(targets):
        targets = check_targets(targets, count=expected[0], num_classes=expected[1])
    elif targets.shape != expected:
        raise InputError(f"targets must have shape {expected}, got {targets.shape}")
    return CheckedInputs(split, images, jnp.asarray(targets, jax.tree.leaves(images)[0].dtype))


def _check_originals(images: Any, *, is_alone: bool) -> None:
    shape = np.shape(images)
    if 0 in shape or len(shape) < 1 or (is_alone and len(shape) != 4):
        raise InputError(f"images must have shape (n, h, w, c), none of them 0; got {shape}")
    check_images(images)
    if not _is_traced(images) and np.isnan(images).any():
        raise InputError("images must be in [0, 1], got NaN")


def _check_steps(steps: Any) -> None:
    if isinstance(steps, bool) or not isinstance(steps, int | np.integer):
        raise InputError(f"steps must be an integer, got {steps!r}")
    if steps < 0:
        raise InputError(f"steps must be at least 0, got {steps}")


def _check_indices(indices: Any, count: int) -> np.ndarray:
    """The images' indices, 0 to n - 1 by default; integers of 32 bits, one for each image."""
    known = np.arange(count) if indices is None else np.asarray(indices)
    if known.shape != (count,) or not np.issubdtype(known.dtype, np.integer):
        raise InputError(
            f"indices must be {count} integers, one for each image; got {known.dtype} of shape "
            f"{known.shape}"
        )
    if count and not 0 <= known.min() <= known.max() < 2**31:
        raise InputError(f"indices must be in [0, 2**31), got {known.min()} to {known.max()}")
    return known


def _is_traced(tree: Any) -> bool:
    return any(isinstance(leaf, Tracer) for leaf in jax.tree.leaves(tree))


def _warn_of_probabilities(is_probability: Bool[Any, " n"]) -> bool:
    """Warns if a classifier's outputs for all images look like probabilities, and says so."""
    looks_so = bool(np.all(is_probability))
    if looks_so:
        warnings.warn(
            "the classifier's outputs look like probabilities: every row is at least 0 and sums to "
            "1. It must return logits, the numbers before the softmax",
            stacklevel=3,
        )
    return looks_so
