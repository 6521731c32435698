"""Options of a training beside flip and crop, with the checks of their ranges."""

import math
from dataclasses import dataclass, field
from typing import Any, Literal

from imgopt.errors import InputError

MadeLabels = Literal["class", "set", "teacher"]


@dataclass(frozen=True)
class TrainingSynthesis:
    """Images made during training, from the images of the batch, and added to it."""

    synthesize_every: int = 0
    """Make images in every K-th step and add them to its batch; 0: never."""
    synthesize_from: Literal["network", "average", "teacher"] = "network"
    """Classifier from which the images are made: the one in training, its average, or the
    teacher."""
    synthesize_rule: str = "polyak-lbfgs"
    """Update rule, by name, with its default options."""
    synthesize_updates: int = 5
    """Updates of every image."""
    synthesize_own: float = 0.9
    """Probability asked for the image's class; another class, drawn by key, gets the rest."""

    def __post_init__(self) -> None:
        """Raises InputError for a number outside its range, or an unknown rule."""
        if self.synthesize_every < 0:
            raise InputError(f"synthesize_every must be at least 0, got {self.synthesize_every}")
        if self.synthesize_updates < 1:
            raise InputError(
                f"synthesize_updates must be at least 1, got {self.synthesize_updates}"
            )
        _check_range("synthesize_own", self.synthesize_own, 0, 1)
        if self.synthesize_every:
            from imgopt import rule_by_name

            rule_by_name(self.synthesize_rule)


@dataclass(frozen=True)
class Recipe:
    """Changes of images, targets and parameters in training, beside flip, crop and update."""

    mixup: float = 0.0
    """Mix pairs of images and of their targets, with a share from Beta(α, α); 0: no mixing."""
    cutmix: float = 0.0
    """Paste a rectangle of another image, whose share of the area is from Beta(α, α); 0: none. With
    --mixup too, each batch has one of the two, with probability 1/2 each."""
    cutout: int = 0
    """Side in pixels of a square of the mean colour that covers a random place; 0: none."""
    label_smoothing: float = 0.0
    """Share of a label that is spread evenly over all classes, in [0, 1)."""
    teacher_weight: float = 0.5
    """With --teacher: its share of every target, in [0, 1]; the label has the rest."""
    labels: MadeLabels | None = None
    """Target of made images: their class, the set's outputs, or the teacher's outputs on the
    augmented view. None: the class, and for --loss mixed the set's outputs."""
    average: float = 0.0
    """Decay of the moving average of parameters and statistics, which is then evaluated and saved,
    such as 0.999; 0: none."""
    separate_statistics: bool = False
    """Keep batch norm's statistics of made images apart; evaluation uses the originals'."""
    synthesis: TrainingSynthesis = field(default_factory=TrainingSynthesis)

    def __post_init__(self) -> None:
        """Raises InputError for a number outside its range."""
        for name in ("mixup", "cutmix", "cutout"):
            _check_range(name, getattr(self, name), 0, math.inf)
        for name in ("label_smoothing", "average"):
            _check_range(name, getattr(self, name), 0, 1)
        if not 0 <= self.teacher_weight <= 1:
            raise InputError(f"teacher_weight must be in [0, 1], got {self.teacher_weight}")
        if self.synthesis.synthesize_from == "average" and not self.average:
            raise InputError("--synthesize-from average needs --average, such as 0.999")

    @property
    def mixes(self) -> bool:
        """Whether images are mixed with others."""
        return self.mixup > 0 or self.cutmix > 0

    @property
    def keeps_state(self) -> bool:
        """Whether a training keeps more than the classifier and its optimiser's state."""
        return bool(self.average or self.separate_statistics or self.synthesis.synthesize_every)

    @property
    def needs_teacher(self) -> bool:
        """Whether an option asks a teacher."""
        return "teacher" in (self.labels, self.synthesis.synthesize_from)


def _check_range(name: str, value: float, low: float, high: float) -> None:
    """Raises InputError unless the value is in [low, high)."""
    if not low <= value < high:
        limits = f"in [{low:g}, {high:g})" if math.isfinite(high) else f"at least {low:g}, finite"
        raise InputError(f"{name} must be {limits}, got {value}")


@dataclass(frozen=True)
class Mnemonics:
    """Settings of the exemplars and of the retraining."""

    retrain_steps: int = 5
    """Steps of gradient descent on all exemplars, from the trained parameters."""
    retrain_rate: float = 0.05
    """Learning rate of the retraining."""
    steps: int = 200
    """Updates of the exemplars."""
    originals_per_step: int = 256
    """Originals on which an update's loss is computed, drawn by key; all, if there are fewer."""
    rule: str = "adam"
    """Update rule of the exemplars, by name; sgd is the rule of eq. 13."""
    learning_rate: float = 0.01
    """Learning rate of the exemplars, which are in [0, 1] and clipped to it."""

    def __post_init__(self) -> None:
        """Raises InputError for a number outside its range, or an unknown rule."""
        for name, least in (("retrain_steps", 1), ("steps", 0), ("originals_per_step", 1)):
            if getattr(self, name) < least:
                raise InputError(f"{name} must be at least {least}, got {getattr(self, name)}")
        for name in ("retrain_rate", "learning_rate"):
            if not 0 < getattr(self, name) < math.inf:
                raise InputError(f"{name} must be above 0 and finite, got {getattr(self, name)}")
        if self.rule != "adam":  # only then, since it needs JAX
            self.make_rule()

    def make_rule(self) -> Any:
        """Makes the update rule of the exemplars, a transformation of optax."""
        from imgopt import rule_by_name

        # Paper A's rules pull weights to mid-grey, but pixels to black; eq. 13 has no such decay.
        decay = {"weight_decay": 0.0} if self.rule in ("sgd", "momentum") else {}
        return rule_by_name(self.rule, learning_rate=self.learning_rate, **decay)
