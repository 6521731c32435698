"""Options of `elicit gan …` and `elicit select`."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal, NamedTuple, TypeVar

from tyro.conf import arg

from experiments.console.options import check_unused
from experiments.options.classifier import check_training_options
from experiments.options.tracking import TrackerName
from gans.options.selection import NEIGHBOURS, Keep, Thresholds
from gans.options.training import (
    AugmentationName,
    CutPoint,
    EncoderConfig,
    GameConfig,
    GanKind,
    LossWeights,
    check_augmentations,
)
from imgopt.errors import InputError
from train.recipes.train_options import Budget, NonFiniteConfig, Precision, TrainConfig
from train.storage.runs import ADDED_LATER, check_key


class Defaults(NamedTuple):
    """Default options of a model."""

    epochs: int
    batch_size: int
    learning_rate: float


DEFAULTS: dict[GanKind, Defaults] = {
    "dcgan": Defaults(epochs=100, batch_size=64, learning_rate=2e-4),
    "sgan": Defaults(epochs=200, batch_size=100, learning_rate=1e-4),
}
"""Epochs from paper B, 3.2; the rest from Radford et al. 2016 and the Stacked GAN's official code.
Only a DCGAN's batch is half of theirs: 500 images are then seven steps in an epoch, not three."""

STACK_OPTIONS = ("preset", "cut_points", "encoder_width", "joint_epochs", "weights", "encoder")
"""Options that a DCGAN does not have."""

Number = TypeVar("Number", int, float)


@dataclass(frozen=True)
class AcceptanceConfig:
    """Measures during training how many samples a classifier accepts."""

    classifier: str | None = None
    """A run of `elicit classifier train`, or a callable of your own as package.module:name. It
    tells, during training, which share of each class's samples it takes for that class."""
    acceptance_every: int = 5
    """With --classifier: epochs from one measurement to the next; the last epoch counts too."""
    acceptance_images: int = 100
    """With --classifier: samples of each class."""

    def __post_init__(self) -> None:
        """Raises InputError for a number outside its range, or one without effect."""
        for name in ("acceptance_every", "acceptance_images"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.classifier is None:
            check_unused(self, "acceptance_every", "acceptance_images", why="without --classifier")


@dataclass(frozen=True)
class GanTrainConfig:
    """Trains a DCGAN or a Stacked GAN on a small data set."""

    data: str
    """Directory of an image set, "digits", or name of a data set in --data-dir."""
    out: Path
    """The run's directory."""
    model: GanKind = "dcgan"
    """Model: dcgan, or sgan for a Stacked GAN."""
    data_dir: Path | None = None
    """TFDS's data directory, for a data set named by name."""
    split: str = "train"
    """Split to train on."""
    one_per_class: bool = False
    """Train one DCGAN for each class, all at once, instead of one conditioned on the class."""
    preset: Literal["paper", "official"] = "paper"
    """Cut point of a stack's encoder. paper: pool2 (paper B); official: fc3 (the authors' code)."""
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
    track: TrackerName | None = field(default=None, metadata=ADDED_LATER)
    """Also send the metrics to TensorBoard (a folder in the run), Weights & Biases or Trackio."""
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


def check_references(thresholds: Thresholds, train_data: str | None) -> None:
    """Raises InputError unless a least distance and training data are both given, or neither."""
    if thresholds.min_distance is not None and train_data is None:
        raise InputError("--min-distance needs --train-data DIR, the images to lie away from")
    if thresholds.min_distance is None and train_data is not None:
        raise InputError("--train-data is for --min-distance, which is not given")


TRIES_PER_IMAGE = 20
"""Default limit of images tried for each image wanted. It is enough if 1 in 20 is accepted, half of
what chance gives among ten classes."""


@dataclass(frozen=True)
class GanSampleConfig:
    """Draws images of every class, or of chosen ones, from a trained GAN."""

    gan: str
    """A run of `elicit gan train`. Its training data are not needed."""
    out: Path
    """Directory of the new image set."""
    per_class: int = 500
    """Images of each class; with --keep both, of each class and kind. By default paper B's."""
    classes: Annotated[tuple[str, ...], arg(name="class")] = ()
    """Names or numbers of classes, such as: cat dog; all by default."""
    key: int = 0
    """Key by which the images are drawn."""
    classifier: str | None = None
    """A run of `elicit classifier train`, or a callable of your own as package.module:name, whose
    prediction and confidence are kept with every image."""
    keep: Keep | None = None
    """With --classifier: sample until every class has --per-class images that are predicted as
    intended (tp), as another class (fp), or that many of each kind (both)."""
    thresholds: Thresholds = field(default_factory=Thresholds)
    train_data: str | None = None
    """Name or directory of the data set that the images must lie away from, with --min-distance;
    its split train."""
    data_dir: Path | None = None
    """TFDS's data directory, for a data set named by name."""
    max_tries_per_class: int | None = None
    """With --keep: most images tried of each class; by default 20 for each image wanted."""
    skip_dry_classes: bool = False
    """With --keep: leave out a class without an accepted image, instead of stopping."""
    batch_size: int = 256
    """Images in a compiled batch; all that may be tried of a class, if these are fewer."""

    def __post_init__(self) -> None:
        """Raises InputError for options outside their range or that do not fit together."""
        check_key(self.key)
        for name in ("per_class", "max_tries_per_class", "batch_size"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise InputError(f"{name} must be at least 1, got {value}")
        check_references(self.thresholds, self.train_data)
        if self.keep is not None and self.classifier is None:
            raise InputError(f"--keep {self.keep} needs --classifier, which says what is what")
        if self.keep is None and self.thresholds != Thresholds():
            raise InputError("thresholds such as --min-confidence need --keep tp, fp or both")
        for name in ("max_tries_per_class", "skip_dry_classes"):
            if self.keep is None and getattr(self, name):
                raise InputError(f"--{name.replace('_', '-')} needs --keep tp, fp or both")

    @property
    def tries(self) -> int:
        """Most images tried of each class."""
        if self.keep is None:
            return self.per_class
        return self.max_tries_per_class or TRIES_PER_IMAGE * self.per_class

    @property
    def images_at_once(self) -> int:
        """Images in a compiled batch; one number for the whole set."""
        return min(self.batch_size, self.tries)


@dataclass(frozen=True)
class SelectConfig:
    """Keeps the images of a set whose predicted class is, or is not, the one intended."""

    images: str
    """Directory of an image set whose labels are the intended classes."""
    classifier: str
    """A run of `elicit classifier train`, or a callable of your own as package.module:name."""
    out: Path
    """Directory of the new image set."""
    keep: Keep = "tp"
    """tp: predicted as intended; fp: predicted as another class; both: the same number of each."""
    per_class: int | None = None
    """Number of images to keep of each class, the first ones; with both, of each class and kind.
    By default all accepted images."""
    thresholds: Thresholds = field(default_factory=Thresholds)
    train_data: str | None = None
    """Name or directory of the data set that the images must lie away from, with --min-distance;
    its split train."""
    data_dir: Path | None = None
    """TFDS's data directory, for a data set named by name."""
    split: str = "train"
    """Split to select from. The kept images always form a split train."""

    def __post_init__(self) -> None:
        """Raises InputError for options outside their range or that do not fit together."""
        if self.per_class is not None and self.per_class < 1:
            raise InputError(f"per_class must be at least 1, got {self.per_class}")
        check_references(self.thresholds, self.train_data)


@dataclass(frozen=True)
class GanEvaluateConfig:
    """Measures generated images against real ones, as a classifier sees them."""

    images: str
    """Directory of the image set to measure; its labels are the classes asked for."""
    data: str
    """The real data set: its name, such as cifar10 or digits, or the directory of an image set."""
    classifier: str
    """Run of the classifier that gives the features, made by `elicit classifier train`."""
    out: Path
    """The run's directory."""
    split: str = "train"
    """Split of the real data that the generated images should resemble."""
    test_split: str = "test"
    """Split of the real data to measure for comparison, and to test on with --gan-train."""
    neighbours: int = NEIGHBOURS
    """Number k of neighbours that define an image's neighbourhood, for precision, recall, density
    and coverage."""
    gan_train: bool = False
    """Also train a classifier of the same architecture on the generated images alone."""
    key: int = 0
    """Seed of the training with --gan-train."""
    data_dir: Path | None = None
    """TFDS's data directory, for a data set named by name."""
    train: TrainConfig = field(default_factory=TrainConfig)

    def __post_init__(self) -> None:
        """Raises InputError for options that are invalid for any data."""
        check_key(self.key)
        if self.neighbours < 1:
            raise InputError(f"neighbours must be at least 1, got {self.neighbours}")
        if not self.gan_train:
            check_unused(self, "train", why="without --gan-train")
