"""Training of a classifier: configuration, optimiser and step."""

import math
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.typing import ArrayLike
from jaxtyping import Array, Int, Key

from imgopt import to_float
from imgopt.errors import InputError
from imgopt.promotion import standard_promotion
from train.augmentation import flip_and_crop
from train.checks import check_grey_levels, check_labels
from train.classifiers import ClassifierSpec, Precision, normalise
from train.loop import Budget, TrainState
from train.losses import (
    KlDirection,
    accuracy,
    check_teacher,
    cross_entropy,
    mixed_soft_label_loss,
)
from train.nonfinite import NonFiniteConfig
from train.storage.runs import ADDED_LATER
from train.training_sets import TrainData

PAPER_EPOCHS, PAPER_BATCH_SIZE = 300, 128  # paper A, section 3

DROPOUT_STREAM = 2
"""Folded into a step's key for what the network draws; the augmentation uses 0 and 1."""


@dataclass(frozen=True)
class TrainConfig:
    """How to train a classifier. The defaults are paper A's where it gives them (section 3)."""

    epochs: int | None = PAPER_EPOCHS
    """Passes over the training set; the last one's accuracy is reported. None: by its size."""
    steps: int | None = None
    """Updates in all, instead of --epochs; the last epoch is then cut short."""
    batch_size: int | None = PAPER_BATCH_SIZE
    """Images in a step; those after an epoch's last full batch are not used. None: by size."""
    learning_rate: float = 0.05
    """Highest learning rate: it rises linearly from 0, then falls to 0 as half a cosine."""
    warmup_fraction: float = 0.05
    """Share of all steps in which the learning rate rises, in [0, 1)."""
    momentum: float = 0.9
    """Nesterov momentum of SGD."""
    weight_decay: float = 5e-4
    """Weight decay: this factor times the parameter is added to the gradient."""
    loss: Literal["cross-entropy", "mixed"] = "cross-entropy"
    """Cross entropy to the label, or the mixed soft-label loss (needs --replace)."""
    kl: KlDirection = "target||model"
    """Direction of the mixed loss's KL divergence."""
    flip: bool = True
    """Mirror each image left to right with probability 1/2."""
    pad_px: int = 4
    """Pad by this many pixels, then cut a random window of the image's size; 0 for no cut."""
    precision: Precision = "float32"
    """Precision of the computation; parameters are always float32."""
    nonfinite: NonFiniteConfig = field(default_factory=NonFiniteConfig, metadata=ADDED_LATER)

    def __post_init__(self) -> None:
        """Raises InputError for a number outside its range."""
        _ = self.budget
        if not 0 < self.learning_rate < math.inf:
            raise InputError(f"learning_rate must be above 0 and finite, got {self.learning_rate}")
        for name in ("warmup_fraction", "momentum"):
            if not 0 <= getattr(self, name) < 1:
                raise InputError(f"{name} must be in [0, 1), got {getattr(self, name)}")
        for name in ("weight_decay", "pad_px"):
            if not 0 <= getattr(self, name) < math.inf:
                raise InputError(f"{name} must be at least 0 and finite, got {getattr(self, name)}")

    @property
    def budget(self) -> Budget:
        """How long to train: as long as in paper A where nothing is given."""
        batch_size = PAPER_BATCH_SIZE if self.batch_size is None else self.batch_size
        epochs = PAPER_EPOCHS if self.epochs is None else self.epochs
        return Budget(batch_size, epochs, self.steps)

    @property
    def step_config(self) -> "TrainConfig":
        """The options of one step: equal for all lengths of training, which share a program."""
        return replace(self, epochs=1, steps=None, nonfinite=NonFiniteConfig())


def make_optimizer(
    config: TrainConfig, total_steps: Int[Array, ""] | int
) -> optax.GradientTransformation:
    """SGD with Nesterov momentum; the learning rate rises linearly, then falls as half a cosine.

    Args:
        config: How to train.
        total_steps: Number of updates in all; it may be traced.
    """

    # Optax's own schedule needs its lengths while tracing; here they are arguments of the program.
    def rate(step: ArrayLike) -> Array:
        step, total = jnp.asarray(step, jnp.float32), jnp.asarray(total_steps, jnp.float32)
        rise = jnp.round(config.warmup_fraction * total)
        fallen = (step - rise) / (total - rise)
        cosine = 0.5 * (1 + jnp.cos(jnp.pi * fallen))
        return config.learning_rate * jnp.where(step < rise, step / jnp.maximum(rise, 1), cosine)

    return optax.chain(
        optax.add_decayed_weights(config.weight_decay),
        optax.sgd(rate, momentum=config.momentum, nesterov=True),
    )


@dataclass(frozen=True)
class ClassifierLearner:
    """A classifier in training, for `train.fit` with a `TrainData`.

    The constants of its update are the number of updates in all, which the learning rate depends
    on; `fit` asks `constants` for it.

    Attributes:
        spec: The classifier to train.
        config: How to train it; `TrainConfig.step_config` lets all lengths share a program.
    """

    spec: ClassifierSpec
    config: TrainConfig

    def initial(self, key: Key[Array, ""]) -> TrainState:
        """Draws the initial variables and makes the optimiser's initial state."""
        images = jnp.zeros((1, *self.spec.image_shape), jnp.float32)
        variables = self.spec.build().init(key, images, train=False)
        opt_state = make_optimizer(self.config, 1).init(variables["params"])
        return TrainState(dict(variables), opt_state)

    def check(self, data: TrainData) -> None:
        """Raises InputError for images, labels or teacher's outputs that do not fit the network."""
        check_grey_levels(data.images)
        if data.images.shape[1:] != self.spec.image_shape:
            raise InputError(
                f"images must have the classifier's shape {self.spec.image_shape}, got "
                f"{data.images.shape[1:]}"
            )
        count, num_classes = len(data.images), len(self.spec.class_names)
        check_labels(data.labels, count=count, num_classes=num_classes)
        if self.config.loss == "mixed":
            shape = (count, num_classes)
            check_teacher(data.teacher_outputs, data.is_generated, shape=shape)

    def constants(self, total_steps: int) -> Int[np.ndarray, ""]:
        """The number of updates in all, as an array."""
        return np.asarray(total_steps, np.int32)

    def update(
        self, key: Key[Array, ""], state: TrainState, batch: TrainData, constants: Int[Array, ""]
    ) -> tuple[TrainState, dict[str, Array]]:
        """Makes one update on one batch; the scalars are mean loss in nats and accuracy."""
        images = flip_and_crop(
            key, jnp.asarray(batch.images), flip=self.config.flip, pad_px=self.config.pad_px
        )
        images = normalise(to_float(images), self.spec)
        params = state.variables["params"]
        batch_stats = {name: v for name, v in state.variables.items() if name != "params"}
        rngs = jax.random.fold_in(key, DROPOUT_STREAM)
        gradients, (updated, means) = jax.grad(self._losses, has_aux=True)(
            params, batch_stats, images, batch, rngs
        )
        optimizer = make_optimizer(self.config, constants)
        with standard_promotion():
            change, opt_state = optimizer.update(gradients, state.opt_state, params)
        variables = {"params": optax.apply_updates(params, change), **updated}
        return TrainState(variables, opt_state), means

    def _losses(
        self, params: Any, batch_stats: dict[str, Any], images: Array, batch: Any, rngs: Array
    ) -> tuple[Array, tuple[dict[str, Any], dict[str, Array]]]:
        """Mean loss, the new averages of batch norm, and the scalars to report."""
        logits, updated = self.spec.build(precision=self.config.precision).apply(
            {"params": params, **batch_stats},
            images,
            train=True,
            mutable=list(batch_stats),
            rngs=rngs,
        )
        if self.config.loss == "mixed":
            loss = mixed_soft_label_loss(
                logits,
                batch.labels,
                batch.teacher_outputs,
                batch.is_generated,
                kl=self.config.kl,
            )
        else:
            loss = cross_entropy(logits, batch.labels)
        means = {"loss": loss.mean(), "accuracy": accuracy(logits, batch.labels)}
        return means["loss"], (dict(updated), means)
