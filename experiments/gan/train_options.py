"""Options of `elicit gan train`, and the networks that follow from them."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, NamedTuple, TypeVar

from experiments.console.options import check_unused
from experiments.gan.acceptance import AcceptanceConfig
from experiments.training.run import check_training_options
from gans.augmentation import AugmentationName, check_augmentations
from gans.dcgan import DcganConfig
from gans.encoder_training import EncoderConfig
from gans.game import GameConfig
from gans.losses import LossWeights
from gans.pairs import DcganPair, LevelPair
from gans.sampling import Model
from gans.stacked import PRESETS, CutPoint, StackConfig, stack_levels
from imgopt.errors import InputError
from train.classifiers import Precision
from train.loop import Budget
from train.nonfinite import NonFiniteConfig
from train.storage.runs import ADDED_LATER, check_key


class Defaults(NamedTuple):
    """Default options of a model."""

    epochs: int
    batch_size: int
    learning_rate: float


DEFAULTS: dict[Model, Defaults] = {
    "dcgan": Defaults(epochs=100, batch_size=64, learning_rate=2e-4),
    "sgan": Defaults(epochs=200, batch_size=100, learning_rate=1e-4),
}
"""Epochs from paper B, 3.2; the rest from Radford et al. 2016 and the Stacked GAN's official code.
Only a DCGAN's batch is half of theirs: 500 images are then seven steps in an epoch, not three."""

STACK_OPTIONS = ("preset", "cut_points", "encoder_width", "joint_epochs", "weights", "encoder")
"""Options that a DCGAN does not have."""

Number = TypeVar("Number", int, float)


@dataclass(frozen=True)
class GanTrainConfig:
    """Trains a DCGAN or a Stacked GAN on a small data set."""

    data: str
    """Directory of an image set, "digits", or name of a data set in --data-dir."""
    out: Path
    """The run's directory."""
    model: Model = "dcgan"
    """Model: dcgan, or sgan for a Stacked GAN."""
    data_dir: Path | None = None
    """TFDS's data directory, for a data set named by name."""
    split: str = "train"
    """Split to train on."""
    one_per_class: bool = False
    """Train one DCGAN for each class, all at once, instead of one conditioned on the class."""
    preset: Literal["paper", "official"] = "paper"
    """Cut point of a stack's encoder: pool2 (paper B) or fc3 (the official code)."""
    cut_points: tuple[CutPoint, ...] = ()
    """Cut points instead of a preset, from the image up; each one adds a level."""
    width: int | None = None
    """Channels next to a DCGAN's image (default 64), or inside a stack's generators (128)."""
    encoder_width: int = 64
    """Channels of the first convolution of a stack's encoder."""
    epochs: int | None = None
    """Passes over the training set for each level; by default 100 for dcgan, 200 for sgan."""
    steps: int | None = None
    """Updates of each level, instead of --epochs; the last epoch is then cut short."""
    joint_epochs: int = 0
    """Passes at the end, in which all levels of a stack are trained jointly."""
    batch_size: int | None = None
    """Images in a step, with --one-per-class of each class; by default 64 for dcgan, 100 for
    sgan."""
    learning_rate: float | None = None
    """Learning rate of Adam; by default 2e-4 for dcgan, 1e-4 for sgan."""
    game: GameConfig = field(default_factory=GameConfig)
    weights: LossWeights = field(default_factory=LossWeights)
    encoder: EncoderConfig = field(default_factory=EncoderConfig)
    augmentations: tuple[AugmentationName, ...] = ()
    """Differentiable augmentations of all images that the discriminator receives."""
    spectral_norm: bool = False
    """Use spectral norm in the discriminator, instead of batch norm."""
    precision: Precision = "float32"
    """Precision of the computation; parameters are always float32."""
    nonfinite: NonFiniteConfig = field(default_factory=NonFiniteConfig, metadata=ADDED_LATER)
    grids: int = 10
    """Number of sample sheets of fixed noise, kept at even intervals."""
    acceptance: AcceptanceConfig = field(default_factory=AcceptanceConfig, metadata=ADDED_LATER)
    devices: int = field(default=1, metadata=ADDED_LATER)
    """Number of devices of each process that share a batch; another number rounds differently."""
    key: int = 0
    """Seed of all randomness."""

    def __post_init__(self) -> None:
        """Raises InputError for options that are invalid for any data."""
        check_key(self.key)
        check_augmentations(self.augmentations)
        self._check_options_of_the_other_model()
        check_training_options(self)
        if self.joint_epochs < 0:
            raise InputError(f"joint_epochs must be at least 0, got {self.joint_epochs}")
        if self.grids < 1:
            raise InputError(f"grids must be at least 1, got {self.grids}")
        if not 0 < self.rate < float("inf"):
            raise InputError(f"learning_rate must be above 0 and finite, got {self.rate}")
        _ = self.budget

    def _check_options_of_the_other_model(self) -> None:
        if self.model == "sgan":
            if self.one_per_class:
                raise InputError(
                    "--one-per-class is for dcgan; a Stacked GAN is conditioned on the class"
                )
            if self.cut_points:
                check_unused(self, "preset", why="with --cut-points")
            return
        check_unused(self, *STACK_OPTIONS, why="without --model sgan")

    @property
    def budget(self) -> Budget:
        """How long to train each level."""
        default = DEFAULTS[self.model]
        return Budget(
            _given_or(default.batch_size, self.batch_size),
            _given_or(default.epochs, self.epochs),
            self.steps,
        )

    @property
    def rate(self) -> float:
        """The learning rate."""
        return _given_or(DEFAULTS[self.model].learning_rate, self.learning_rate)


def _given_or(default: Number, given: Number | None) -> Number:
    return default if given is None else given


def gan_sizes(
    config: GanTrainConfig, image_shape: tuple[int, int, int], *, num_classes: int
) -> DcganConfig | StackConfig:
    """Sizes of a GAN's networks.

    Args:
        config: Configuration of the training.
        image_shape: Height, width, channels.
        num_classes: Number of classes of the data.

    Raises:
        InputError: The images do not fit the networks.
    """
    height, width, channels = image_shape
    given = {} if config.width is None else {"width": config.width}
    if config.model == "sgan":
        return StackConfig(
            image_shape=image_shape,
            num_classes=num_classes,
            cut_points=config.cut_points or PRESETS[config.preset],
            encoder_width=config.encoder_width,
            **given,
        )
    if height != width:
        raise InputError(f"a DCGAN takes square images, got {height}×{width}")
    classes = None if config.one_per_class else num_classes
    return DcganConfig(image_size=height, channels=channels, num_classes=classes, **given)


def network_pairs(
    config: GanTrainConfig, sizes: DcganConfig | StackConfig
) -> tuple[DcganPair] | tuple[LevelPair, ...]:
    """The generator and discriminator of a DCGAN, or those of each level, from the image up.

    Args:
        config: Configuration of the training.
        sizes: Sizes of the networks.
    """
    options = config.augmentations, config.spectral_norm, config.precision
    if isinstance(sizes, DcganConfig):
        return (DcganPair(sizes, *options),)
    levels = stack_levels(sizes)
    return tuple(LevelPair(sizes, level, config.weights, *options) for level in levels)
