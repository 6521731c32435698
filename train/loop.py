"""Training a classifier: one jitted step, scanned over the steps of an epoch.

The whole data set lies on the device as uint8; shuffling and augmentation happen there. All
randomness is folded from one key: initialisation from (key, 0), the order of epoch e from
(key, 1, e), the augmentation of step s from (key, 2, s). So training goes on from a checkpoint as
if it had never stopped.
"""

import functools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Bool, Float, Int, Key, UInt8

from imgopt import to_float
from train.augmentation import flip_and_crop
from train.classifiers import ClassifierSpec, Precision, normalise
from train.datasets import ImageData
from train.losses import KlDirection, cross_entropy, mixed_soft_label_loss


@dataclass(frozen=True)
class TrainConfig:
    """How a classifier is trained; the defaults are paper A's where it speaks (section 3)."""

    epochs: int = 300
    """Passes over the training set; the last one counts."""
    batch_size: int = 128
    """Images a step; what is left of an epoch's order after the last full batch is not used."""
    learning_rate: float = 0.05
    """Peak of the schedule: a linear rise from 0, then half a cosine down to 0."""
    warmup_fraction: float = 0.05
    """Share of all steps that the rise takes, in [0, 1)."""
    momentum: float = 0.9
    """Nesterov momentum of SGD."""
    weight_decay: float = 5e-4
    """Added to the gradient, times the parameter."""
    loss: Literal["cross-entropy", "mixed"] = "cross-entropy"
    """Plain cross entropy to the label, or the mixed soft-label loss with --replace."""
    kl: KlDirection = "target||model"
    """Direction of the mixed loss's KL divergence."""
    flip: bool = True
    """Mirror left to right, with probability 1/2."""
    pad_px: int = 4
    """Pad by this much and cut a random window of the image's size; 0 for no cut."""
    precision: Precision = "float32"
    """Of the computation; parameters are always float32."""

    def __post_init__(self) -> None:
        """Raises ValueError for a number outside its range."""
        for name in ("epochs", "batch_size"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if not 0 < self.learning_rate < math.inf:
            raise ValueError(f"learning_rate must be above 0 and finite, got {self.learning_rate}")
        for name in ("warmup_fraction", "momentum"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name} must be in [0, 1), got {getattr(self, name)}")
        for name in ("weight_decay", "pad_px"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ValueError(f"{name} must be at least 0 and finite, got {getattr(self, name)}")


class TrainData(NamedTuple):
    """A training set, ready for the device.

    Attributes:
        images: grey levels.
        labels: true classes, in [0, k).
        teacher_outputs: q, read where `is_generated`.
        is_generated: which images are synthesised.
    """

    images: UInt8[Array | np.ndarray, "n h w c"]
    labels: Int[Array | np.ndarray, " n"]
    teacher_outputs: Float[Array | np.ndarray, "n k"]
    is_generated: Bool[Array | np.ndarray, " n"]


class TrainState(NamedTuple):
    """All that changes in training; `step` counts from 0."""

    variables: dict[str, Any]
    opt_state: optax.OptState
    step: Int[Array, ""]


class EpochResult(NamedTuple):
    """What an epoch leaves behind; loss in nats and accuracy are means over its training images.

    The state's buffers are used again by the next epoch: copy what is to outlive it.
    """

    epoch: int
    state: TrainState
    loss: float
    accuracy: float


def original_data(data: ImageData) -> TrainData:
    """A training set of originals alone, in fresh arrays."""
    count = len(data.labels)
    return TrainData(
        images=data.images.copy(),
        labels=np.asarray(data.labels, np.int32),
        teacher_outputs=np.zeros((count, len(data.class_names)), np.float32),
        is_generated=np.zeros(count, bool),
    )


def steps_per_epoch(config: TrainConfig, count: int) -> int:
    """Full batches in an epoch.

    Raises:
        ValueError: the training set is smaller than a batch.
    """
    if count < config.batch_size:
        raise ValueError(
            f"the training set has {count} images, less than one batch of {config.batch_size}; "
            "lower --batch-size"
        )
    return count // config.batch_size


def make_optimizer(config: TrainConfig, total_steps: int) -> optax.GradientTransformation:
    """SGD with Nesterov momentum; the learning rate rises linearly, then falls as a cosine."""
    schedule = optax.warmup_cosine_decay_schedule(
        init_value=0.0,
        peak_value=config.learning_rate,
        warmup_steps=round(config.warmup_fraction * total_steps),
        decay_steps=total_steps,
    )
    return optax.chain(
        optax.add_decayed_weights(config.weight_decay),
        optax.sgd(schedule, momentum=config.momentum, nesterov=True),
    )


def initial_state(
    key: Key[Array, ""], spec: ClassifierSpec, config: TrainConfig, total_steps: int
) -> TrainState:
    """Freshly initialised variables and optimiser state."""
    variables = _make_init(spec)(jax.random.fold_in(key, 0), jnp.zeros((1, *spec.image_shape)))
    opt_state = make_optimizer(config, total_steps).init(variables["params"])
    return TrainState(variables, opt_state, jnp.int32(0))


@functools.lru_cache(maxsize=8)  # compiling it takes longer than many a training step
def _make_init(spec: ClassifierSpec) -> Callable:
    return jax.jit(functools.partial(spec.build().init, train=False))


def fit(
    key: Key[Array, ""],
    spec: ClassifierSpec,
    data: TrainData,
    config: TrainConfig,
    *,
    resume: TrainState | None = None,
    on_progress: Callable[[int, int], None] | None = None,
    steps_per_call: int = 20,
) -> Iterator[EpochResult]:
    """Trains, an epoch at a time.

    Args:
        key: all randomness comes from it.
        spec: the classifier to be.
        data: the training set.
        config: how.
        resume: the state after some epoch of the same training; None to begin.
        on_progress: called with (steps done, steps in all) after every call to the device.
        steps_per_call: steps between two such calls; no influence on the result.

    Yields:
        An `EpochResult` after every epoch that is still to do.

    Raises:
        ValueError: the training set is smaller than a batch.
        FloatingPointError: the loss or a parameter is no longer finite; the message names the step.
    """
    steps = steps_per_epoch(config, len(data.labels))
    total = steps * config.epochs
    run_steps = _make_run_steps(spec, config, total)
    state = resume or initial_state(key, spec, config, total)
    data = jax.device_put(data)
    for epoch in range(int(state.step) // steps, config.epochs):
        sums = jnp.zeros(2)
        order = _epoch_order(
            jax.random.fold_in(jax.random.fold_in(key, 1), epoch), len(data.labels)
        )
        for start in range(0, steps, steps_per_call):
            stop = min(start + steps_per_call, steps)
            state, sums, bad_step = run_steps(state, sums, data, key, order, start, stop)
            if bad_step >= 0:
                raise FloatingPointError(
                    f"the loss is not finite at step {int(bad_step)} (epoch {epoch + 1}); a lower "
                    "--learning-rate may help. The last checkpoint is kept"
                )
            if on_progress:
                on_progress(epoch * steps + stop, total)
        if not _is_finite(state.variables):  # the loss is that before the last update
            raise FloatingPointError(
                f"the parameters are not finite after step {int(state.step) - 1} (epoch "
                f"{epoch + 1}); a lower --learning-rate may help. The last checkpoint is kept"
            )
        loss, accuracy = (float(value) / (steps * config.batch_size) for value in sums)
        yield EpochResult(epoch + 1, state, loss, accuracy)


@jax.jit
def _is_finite(tree: Any) -> Bool[Array, ""]:
    return jax.tree.reduce(
        jnp.logical_and, jax.tree.map(lambda leaf: jnp.isfinite(leaf).all(), tree)
    )


@functools.partial(jax.jit, static_argnums=1)
def _epoch_order(key: Key[Array, ""], count: int) -> Int[Array, " n"]:
    return jax.random.permutation(key, count)


@functools.lru_cache(maxsize=8)  # several seeds of one configuration share the compiled program
def _make_run_steps(spec: ClassifierSpec, config: TrainConfig, total_steps: int) -> Callable:
    """The compiled program: steps `start` to `stop` of an epoch, in one call.

    The bounds are arguments, so any number of steps is the same program.
    """
    step = _make_step(spec, config, make_optimizer(config, total_steps))

    @functools.partial(jax.jit, donate_argnums=(0, 1))
    def run_steps(state, sums, data, key, order, start, stop):
        def body(index, carry):
            state, sums, bad_step = carry
            rows = jax.lax.dynamic_slice_in_dim(order, index * config.batch_size, config.batch_size)
            batch = jax.tree.map(lambda column: column[rows], data)
            new_state, step_sums = step(jax.random.fold_in(key, 2), state, batch)
            is_first_bad = (bad_step < 0) & ~jnp.isfinite(step_sums[0])
            return new_state, sums + step_sums, jnp.where(is_first_bad, state.step, bad_step)

        return jax.lax.fori_loop(start, stop, body, (state, sums, jnp.int32(-1)))

    return run_steps


def _make_step(
    spec: ClassifierSpec, config: TrainConfig, optimizer: optax.GradientTransformation
) -> Callable:
    """One update on one batch: (key, state, batch) → (state, [sum of losses, number right])."""
    network = spec.build(precision=config.precision)

    def losses(params, batch_stats, images, batch):
        logits, updated = network.apply(
            {"params": params, **batch_stats}, images, train=True, mutable=["batch_stats"]
        )
        if config.loss == "mixed":
            loss = mixed_soft_label_loss(
                logits, batch.labels, batch.teacher_outputs, batch.is_generated, kl=config.kl
            )
        else:
            loss = cross_entropy(logits, batch.labels)
        right = (logits.argmax(1) == batch.labels).sum()
        return loss.mean(), (updated, jnp.array([loss.sum(), right]))

    def step(key, state: TrainState, batch: TrainData):
        images = flip_and_crop(
            jax.random.fold_in(key, state.step),
            jnp.asarray(batch.images),
            flip=config.flip,
            pad_px=config.pad_px,
        )
        params = state.variables["params"]
        batch_stats = {name: v for name, v in state.variables.items() if name != "params"}
        gradients, (updated, sums) = jax.grad(losses, has_aux=True)(
            params, batch_stats, normalise(to_float(images), spec), batch
        )
        change, opt_state = optimizer.update(gradients, state.opt_state, params)
        variables = {"params": optax.apply_updates(params, change), **updated}
        return TrainState(variables, opt_state, state.step + 1), sums

    return step
