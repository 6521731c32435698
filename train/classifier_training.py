"""Training a classifier: its configuration, its training set and its step."""

import math
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import jax
import jax.numpy as jnp
import optax
from jax.typing import ArrayLike
from jaxtyping import Array, Int, Key

from imgopt import to_float
from imgopt.errors import InputError
from imgopt.promotion import standard_promotion
from train.augmentation import flip_and_crop
from train.classifiers import ClassifierSpec, Precision, normalise
from train.loop import Budget, TrainState
from train.losses import KlDirection, cross_entropy, mixed_soft_label_loss
from train.nonfinite import NonFiniteConfig
from train.storage.runs import ADDED_LATER
from train.training_sets import TrainData


@dataclass(frozen=True)
class TrainConfig:
    """How a classifier is trained; the defaults are paper A's where it speaks (section 3)."""

    epochs: int = 300
    """Passes over the training set; the last one counts."""
    steps: int | None = None
    """Updates, instead of what the epochs come to; the last epoch is then cut short."""
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
        """How long to train."""
        return Budget(self.batch_size, self.epochs, self.steps)

    @property
    def of_a_step(self) -> "TrainConfig":
        """The same for any length of training, so that all lengths share a compiled program."""
        return replace(self, epochs=1, steps=None, nonfinite=NonFiniteConfig())


def make_optimizer(
    config: TrainConfig, total_steps: Int[Array, ""] | int
) -> optax.GradientTransformation:
    """SGD with Nesterov momentum; the learning rate rises linearly, then falls as a cosine."""

    # Optax's own looks at its lengths while it is traced, and here they are arguments.
    def rate(step: ArrayLike) -> Array:
        step, total = jnp.asarray(step, float), jnp.asarray(total_steps, float)
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
    """A classifier in training, for `train.fit`; its data is a `TrainData`.

    The constant is the number of updates in all, by which the learning rate falls.

    Attributes:
        spec: the classifier to be.
        config: how it is trained; of all lengths, as `TrainConfig.of_a_step` gives it.
    """

    spec: ClassifierSpec
    config: TrainConfig

    def initial(self, key: Key[Array, ""]) -> TrainState:
        """Freshly initialised variables and optimiser state."""
        images = jnp.zeros((1, *self.spec.image_shape))
        variables = self.spec.build().init(key, images, train=False)
        opt_state = make_optimizer(self.config, 1).init(variables["params"])
        return TrainState(dict(variables), opt_state)

    def update(
        self, key: Key[Array, ""], state: TrainState, batch: TrainData, constants: Int[Array, ""]
    ) -> tuple[TrainState, dict[str, Array]]:
        """One update on one batch; gives mean loss in nats and accuracy."""
        images = flip_and_crop(
            key, jnp.asarray(batch.images), flip=self.config.flip, pad_px=self.config.pad_px
        )
        images = normalise(to_float(images), self.spec)
        params = state.variables["params"]
        batch_stats = {name: v for name, v in state.variables.items() if name != "params"}
        gradients, (updated, means) = jax.grad(self._losses, has_aux=True)(
            params, batch_stats, images, batch
        )
        optimizer = make_optimizer(self.config, constants)
        with standard_promotion():
            change, opt_state = optimizer.update(gradients, state.opt_state, params)
        variables = {"params": optax.apply_updates(params, change), **updated}
        return TrainState(variables, opt_state), means

    def _losses(
        self, params: Any, batch_stats: dict[str, Any], images: Array, batch: Any
    ) -> tuple[Array, tuple[dict[str, Any], dict[str, Array]]]:
        """The mean loss, the batch norm's new averages and the means to report."""
        logits, updated = self.spec.build(precision=self.config.precision).apply(
            {"params": params, **batch_stats}, images, train=True, mutable=["batch_stats"]
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
        accuracy = (logits.argmax(1) == batch.labels).mean()
        return loss.mean(), (dict(updated), {"loss": loss.mean(), "accuracy": accuracy})
