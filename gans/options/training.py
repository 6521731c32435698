"""Options of a GAN's training, which are read without JAX."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, get_args

from imgopt.errors import InputError
from train.storage.runs import ADDED_LATER

GanKind = Literal["dcgan", "sgan"]

AdversarialForm = Literal["non-saturating", "saturating", "relativistic"]


@dataclass(frozen=True)
class LossWeights:
    """Weights of the three losses of a Stacked GAN's level (its official code)."""

    adversarial: float = 1.0
    """Weight of the adversarial loss."""
    conditional: float = 1.0
    """Weight of the distance between the condition and the features of the generated example."""
    entropy: float = 10.0
    """Weight of the error of Q's estimate of the noise."""

    def __post_init__(self) -> None:
        """Checks the weights.

        Raises:
            InputError: a weight is negative or not finite.
        """
        for name, weight in vars(self).items():
            if not 0 <= weight < float("inf"):
                raise InputError(f"the {name} weight must be at least 0 and finite, got {weight}")


@dataclass(frozen=True)
class GameConfig:
    """How generators and discriminators are trained against each other."""

    generator_steps: Literal["1", "2", "3", "5", "7", "adaptive"] = "1"
    """Generator updates after each discriminator update; adaptive: 1, 3, 5 or 7, by its loss."""
    form: AdversarialForm = "non-saturating"
    """Form of the adversarial loss; relativistic is R3GAN's, for both sides."""
    averaging: float = 0.0
    """Decay of an exponential average of the generator; the average is sampled. 0 for none."""
    r1: float = field(default=0.0, metadata=ADDED_LATER)
    """γ of the penalty γ/2·‖∇D‖² on real examples; 0 for none."""
    r2: float = field(default=0.0, metadata=ADDED_LATER)
    """γ of the penalty γ/2·‖∇D‖² on generated examples; 0 for none."""

    def __post_init__(self) -> None:
        """Raises InputError for a number outside its range."""
        if not 0 <= self.averaging < 1:
            raise InputError(f"averaging must be in [0, 1), got {self.averaging}")
        for name in ("r1", "r2"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise InputError(f"{name} must be at least 0 and finite, got {getattr(self, name)}")


@dataclass(frozen=True)
class EncoderConfig:
    """How a stack's encoder is trained, as a classifier; the paper and its code give no numbers."""

    encoder_epochs: int = 30
    """Passes over the training set."""
    encoder_learning_rate: float = 1e-3
    """Adam's learning rate."""
    encoder_flip: bool = False
    """Mirror images left to right, with probability 1/2."""
    encoder_pad_px: int = 2
    """Pad images by this much and crop a random window of the old size; 0 for no crop."""

    def __post_init__(self) -> None:
        """Raises InputError for a number outside its range."""
        if self.encoder_epochs < 1:
            raise InputError(f"encoder_epochs must be at least 1, got {self.encoder_epochs}")
        if not 0 < self.encoder_learning_rate < float("inf"):
            raise InputError(
                "encoder_learning_rate must be above 0 and finite, got "
                f"{self.encoder_learning_rate}"
            )
        if self.encoder_pad_px < 0:
            raise InputError(f"encoder_pad_px must be at least 0, got {self.encoder_pad_px}")


AugmentationName = Literal["brightness", "saturation", "contrast", "translation", "cut-out"]


def check_augmentations(names: Sequence[str]) -> None:
    """Raises InputError for an unknown name, or one that is given twice."""
    names_of_all = get_args(AugmentationName)
    known = ", ".join(names_of_all)
    unknown = [name for name in names if name not in names_of_all]
    if unknown:
        raise InputError(f"unknown augmentations {', '.join(unknown)}; expected some of {known}")
    if len(set(names)) < len(names):
        raise InputError(f"augmentations must be some of {known}, each once; got {tuple(names)}")


CutPoint = Literal["pool1", "pool2", "fc3"]

CUT_POINTS: tuple[CutPoint, ...] = ("pool1", "pool2", "fc3")

PRESETS: dict[str, tuple[CutPoint, ...]] = {"paper": ("pool2",), "official": ("fc3",)}
"""Cut points of the encoder in paper B, 3.2.3, and in the official code for CIFAR-10."""
