"""Options of a classifier's training, which are read without JAX."""

import math
from dataclasses import dataclass, field, replace
from typing import Literal

from imgopt.errors import InputError
from train.recipes.options import Recipe
from train.storage.runs import ADDED_LATER

Precision = Literal["float32", "bfloat16"]

KlDirection = Literal["target||model", "model||target"]

OptimizerName = Literal["sgd", "adam", "adamw", "lamb", "lion"]

ScheduleName = Literal["cosine", "one-cycle", "constant"]


@dataclass(frozen=True)
class Budget:
    """How long to train.

    Attributes:
        batch_size: Examples in a step. Examples after the last full batch of an epoch are not used.
        epochs: Passes over the training set.
        steps: Updates in all, instead of `epochs`. The last epoch is then cut short.
    """

    batch_size: int
    epochs: int
    steps: int | None = None

    def __post_init__(self) -> None:
        """Raises InputError for a number outside its range."""
        for name, value in vars(self).items():
            if value is not None and value < 1:
                raise InputError(f"{name} must be at least 1, got {value}")

    def steps_per_epoch(self, count: int, *, of: str = "the training set") -> int:
        """Number of full batches in `count` examples.

        Args:
            count: Number of examples.
            of: Name of the examples in the error message.

        Raises:
            InputError: There is no full batch.
        """
        if count < self.batch_size:
            hint = f"; lower --batch-size to at most {count}" if count else ""
            raise InputError(
                f"{of} has {count} images, less than one batch of {self.batch_size}{hint}"
            )
        return count // self.batch_size

    def total_steps(self, count: int) -> int:
        """Number of updates in all, for a training set of `count` examples."""
        return self.steps or self.steps_per_epoch(count) * self.epochs


@dataclass(frozen=True)
class NonFiniteConfig:
    """What to do with a step whose loss, gradient or new state is not finite."""

    on_nonfinite: Literal["stop", "skip"] = "stop"
    """At a non-finite step: stop, or skip its update and go on."""
    max_skipped: int = 10
    """With --on-nonfinite skip: most steps to skip in all; one more stops the training."""

    def __post_init__(self) -> None:
        """Raises InputError for a number outside its range."""
        if self.max_skipped < 1:
            raise InputError(f"max_skipped must be at least 1, got {self.max_skipped}")

    @property
    def allowed(self) -> int | None:
        """Most steps that `fit` may skip; None if it must stop at the first."""
        return self.max_skipped if self.on_nonfinite == "skip" else None


PAPER_EPOCHS, PAPER_BATCH_SIZE = 300, 128  # paper A, section 3

SGD_LEARNING_RATE = 0.05


@dataclass(frozen=True)
class TrainConfig:
    """How to train a classifier. The defaults are paper A's where it gives them (section 3)."""

    epochs: int | None = PAPER_EPOCHS
    """Passes over the training set; the last one's accuracy is reported. None: chosen by the size
    of the set."""
    steps: int | None = None
    """Updates in all, instead of --epochs; the last epoch is then cut short."""
    batch_size: int | None = PAPER_BATCH_SIZE
    """Images in a step; those after an epoch's last full batch are not used. None: chosen by the
    size of the set."""
    learning_rate: float = SGD_LEARNING_RATE
    """Highest learning rate: it rises linearly from 0, then goes as --schedule says."""
    warmup_fraction: float = 0.05
    """Share of all steps in which the learning rate rises, in [0, 1)."""
    momentum: float = 0.9
    """Nesterov momentum of SGD."""
    weight_decay: float = 5e-4
    """Weight decay: this factor times the parameter is added to the gradient; for adamw, lamb and
    lion it is taken from the parameter, times the learning rate."""
    loss: Literal["cross-entropy", "mixed"] = "cross-entropy"
    """Cross entropy to the label, or the mixed soft-label loss (needs made images)."""
    kl: KlDirection = "target||model"
    """Direction of the mixed loss's KL divergence."""
    flip: bool = True
    """Mirror each image left to right with probability 1/2."""
    pad_px: int = 4
    """Pad by this many pixels, then cut a random window of the image's size; 0 for no cut."""
    precision: Precision = "float32"
    """Precision of the computation; parameters are always float32."""
    nonfinite: NonFiniteConfig = field(default_factory=NonFiniteConfig, metadata=ADDED_LATER)
    optimizer: OptimizerName = field(default="sgd", metadata=ADDED_LATER)
    """Optimiser; all but sgd need a --learning-rate of their own, such as 0.001."""
    schedule: ScheduleName = field(default="cosine", metadata=ADDED_LATER)
    """Course of the learning rate after its rise: half a cosine to 0, linear to 0, or constant."""
    recipe: Recipe = field(default_factory=Recipe, metadata=ADDED_LATER)

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
        if self.optimizer != "sgd" and self.learning_rate == SGD_LEARNING_RATE:
            raise InputError(
                f"optimizer {self.optimizer} needs a learning rate of its own, got that of sgd, "
                f"{SGD_LEARNING_RATE}; give --learning-rate, such as 0.001"
            )
        if self.loss == "mixed" and self.recipe.labels == "class":
            raise InputError(
                "--loss mixed learns from outputs, got --labels class; take set or teacher"
            )

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
