"""Options of `elicit experiment …` and `elicit report`."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, arg

from experiments.options.classifier import ClassifierTrainConfig
from experiments.options.gan import GanSampleConfig
from experiments.options.synthesis import VIEWS, ViewConfig
from imgopt.errors import InputError
from train.models import NetworkName
from train.recipes.train_options import Precision, TrainConfig
from train.storage.files import check_directory_name
from train.storage.runs import check_key

PresetName = Literal["paper", "reduced", "smoke"]

PIECES = "pieces"
"""Name of the directory of pieces in the results' directory."""


@dataclass(frozen=True, kw_only=True)
class ExperimentConfig:
    """Options of all experiments: how much to run, and where."""

    out: Path
    """Directory of the results. Repeat the command, and it goes on where it stopped."""
    pieces: Path | None = None
    """Directory of the classifiers, GANs and image sets that the experiment makes; OUT/pieces by
    default. Experiments with the same directory share what they have in common."""
    only: tuple[str, ...] = ()
    """Rows to run, each as ROW,SEED; * stands for any row or any seed. All by default."""
    shard: str | None = None
    """Share of the rows and seeds to run, such as 2/8 for the second of eight machines."""
    merge: tuple[Path, ...] = ()
    """Directories of results to put together, instead of running anything."""
    dry_run: bool = False
    """Print the rows, what they cost and about how long they take, and run nothing."""
    key: int = 0
    """Seed of everything random; the trainings that are compared have the keys after it."""

    def __post_init__(self) -> None:
        """Raises InputError for what the options alone show to be wrong."""
        check_key(self.key)
        _ = self.share
        if self.merge and (self.only or self.shard or self.dry_run):
            raise InputError("--merge runs nothing, so it takes no --only, --shard or --dry-run")

    @property
    def share(self) -> tuple[int, int]:
        """Number of the share, from 0, and number of shares."""
        if self.shard is None:
            return 0, 1
        number, _, count = self.shard.partition("/")
        if not (number.isdecimal() and count.isdecimal() and 1 <= int(number) <= int(count)):
            raise InputError(
                f"--shard must be NUMBER/COUNT, such as 2/8 of eight shares, got {self.shard!r}"
            )
        return int(number) - 1, int(count)

    @property
    def root(self) -> Path:
        """Directory of the pieces."""
        return self.pieces or self.out / PIECES


@dataclass(frozen=True, kw_only=True)
class PresetConfig(ExperimentConfig):
    """Options of an experiment of the papers, whose settings are presets."""

    preset: PresetName = "paper"
    """paper: everything, for a GPU or TPU; reduced: some hours on two CPU cores; smoke: minutes, on
    handwritten digits, which measures nothing."""
    data_dir: Path | None = None
    """TFDS's data directory with cifar10; smoke needs none."""
    precision: Precision = "float32"
    """Precision of all networks' computation; parameters and measurements are float32."""


@dataclass(frozen=True)
class TableAConfig(PresetConfig):
    """Paper A's table 1: accuracy with 0 to 50% of the training images replaced."""


@dataclass(frozen=True)
class TableBConfig(PresetConfig):
    """Paper B's table 2: accuracy with a GAN's images beside few real ones, sorted or not."""


@dataclass(frozen=True)
class FiguresAConfig(PresetConfig):
    """Paper A's figures 1 and 3 to 5: its update rules side by side, with numbers."""


@dataclass(frozen=True)
class FiguresBConfig(PresetConfig):
    """Paper B's figure 3: a GAN's images, sorted, beside geometric augmentation."""


Question = Literal["samples", "ratio", "images", "levels"]


@dataclass(frozen=True)
class QuestionsBConfig(PresetConfig):
    """What paper B leaves open: number of samples, mixing, fewer images, more levels."""

    question: Question = "samples"
    """samples: how many images of a GAN help; ratio: mixed with geometric augmentation; images:
    with fewer real images; levels: Stacked GANs of two, three and four levels."""


STEPS = 2_000
"""Steps of every training: 51 epochs of paper B's 5,000 images. The paper gives no number."""


@dataclass(frozen=True)
class SameStepsConfig(TrainConfig):
    """Training of every classifier, with the same number of steps for every set."""

    steps: int = STEPS
    """Updates of every training; the last epoch is cut short."""
    learning_rate: float = 0.02
    """Peak of the schedule. kono-cnn has no batch norm: with 0.05, at a quarter of its width, one
    of 18 trainings never left chance."""


@dataclass(frozen=True, kw_only=True)
class ClosedLoopConfig(ExperimentConfig):
    """Trains with and without a GAN's images, sorted and unsorted, and compares."""

    data: str
    """The real data set: its name, such as cifar10 or digits, or the directory of an image set. Its
    split test is what is measured on."""
    gan: str
    """A run of `elicit gan train` on its split train."""
    per_class: int = 500
    """Images of each class in each generated set; the default is paper B's."""
    seeds: int = 3
    """Trainings of each kind, at least 2 for a standard deviation; they have the keys after
    --key."""
    model: NetworkName = "kono-cnn"
    """Architecture of all classifiers; kono-cnn is paper B's."""
    width: float = 1.0
    """Factor on all its channel counts."""
    classifier: str | None = None
    """A run of `elicit classifier train`, or a callable as package.module:name, that sorts the
    images. By default a classifier is trained like the other ones, on the real images alone."""
    max_tries_per_class: int | None = None
    """Most images to try for each class; 20 for each image wanted by default."""
    crop_px: int = 24
    """Side of the square that geometric augmentation cuts out, in pixels; paper B cuts 24 of 32."""
    data_dir: Path | None = None
    """TFDS's data directory, for a data set named by name."""
    train: SameStepsConfig = field(default_factory=SameStepsConfig)

    def __post_init__(self) -> None:
        """Raises InputError for what the options alone show to be wrong."""
        super().__post_init__()
        if self.seeds < 2:
            raise InputError(f"seeds must be at least 2, got {self.seeds}")
        if self.train.loss != "cross-entropy":
            raise InputError(
                f"loss must be cross-entropy, got {self.train.loss}: a GAN's images have labels "
                "and no outputs to learn from"
            )
        if self.train.epochs != TrainConfig.epochs:
            raise InputError(
                "all arms train for the same number of steps, and the length of an epoch differs "
                "between them; give --steps and not --epochs"
            )
        # Raises InputError for a key or a number out of range.
        ClassifierTrainConfig(
            "", Path(), self.model, self.width, key=self.key + self.seeds, train=self.train
        )
        GanSampleConfig(
            "", Path(), self.per_class, classifier="", keep="tp",
            max_tries_per_class=self.max_tries_per_class,
        )  # fmt: skip
        if self.max_tries_per_class is not None and self.max_tries_per_class < self.per_class:
            raise InputError(
                f"max_tries_per_class must be at least per_class, which is {self.per_class}, got "
                f"{self.max_tries_per_class}"
            )


EPOCHS = 60
"""Passes of the base over its images."""

UPDATES = 20
"""Updates of an image: enough for a mean KL below 0.05 by the default rule (`benchmarks/RULES.md`),
and with four views of each image they cost less than two trainings of the base."""


@dataclass(frozen=True)
class BaseTraining(TrainConfig):
    """Training of the base; the arms add to it."""

    epochs: int | None = EPOCHS
    """Passes of the base over its images; the other arms have as many updates, or as much
    compute."""
    batch_size: int | None = None
    """Images in a step, 128 or fewer by default, by the size of the set."""


@dataclass(frozen=True, kw_only=True)
class DoesItHelpConfig(ExperimentConfig):
    """Trains classifiers on few images with and without made images, and says what helps."""

    data: str
    """Name of a data set, such as cifar10 or digits, or directory of an image set, with the splits
    train and test. Subsets are drawn from train; the whole of test is what is measured on."""
    data_dir: Path | None = None
    """TFDS's data directory, for a data set named by name."""
    per_class: int = 500
    """Images of each class to train on, drawn again for every seed."""
    arms: tuple[str, ...] = ()
    """Arms to train, such as: survives cutmix; the base and matched controls come with them. By
    default all that the data set has images for."""
    seeds: int = 12
    """Seeds of the main arms, at least 2 for an interval; they are the keys after --key."""
    other_seeds: int = 5
    """Seeds of the other arms, at least 2 and at most --seeds."""
    model: str = "resnet9"
    """Architecture of all classifiers, as for elicit classifier train."""
    width: float = 1.0
    """Factor on its channel counts."""
    teachers: int = 1
    """Teachers of each subset, whose mean output counts."""
    updates: int = UPDATES
    """Updates of every image in the making of image sets."""
    views: int = VIEWS
    """Random views of an image in every update of the synthesis of images that survive --flip and
    --pad-px."""
    gan_epochs: int = 100
    """Epochs of the GAN whose true positives are added; paper B's by default."""
    gan_width: int | None = None
    """Channels of that GAN's first layer, which all others scale with; paper B's by default."""
    train: BaseTraining = field(default_factory=BaseTraining)

    def __post_init__(self) -> None:
        """Raises InputError for what the options alone show to be wrong."""
        super().__post_init__()
        for name in ("per_class", "teachers", "updates", "views", "gan_epochs", "gan_width"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise InputError(f"{name} must be at least 1, got {value}")
        for name in ("seeds", "other_seeds"):
            if getattr(self, name) < 2:
                raise InputError(
                    f"{name} must be at least 2, since one training gives no interval, got "
                    f"{getattr(self, name)}"
                )
        if self.other_seeds > self.seeds:
            raise InputError(
                f"other_seeds must be at most seeds, which is {self.seeds}, got {self.other_seeds}"
            )
        if not self.view.augmentations:
            raise InputError(
                "expected an augmentation for images to survive, got --no-flip with --pad-px 0"
            )
        recipe = self.train.recipe
        if self.train.loss != "cross-entropy" or recipe.labels or recipe.synthesis.synthesize_every:
            raise InputError(
                "--loss, --labels and --synthesize-every belong to arms of the experiment; leave "
                "them out"
            )

    @property
    def view(self) -> ViewConfig:
        """The augmentations of the training, which images are made to survive."""
        names: tuple[Literal["flip", "crop"], ...] = ("flip",) if self.train.flip else ()
        if not self.train.pad_px:
            return ViewConfig(names, self.views) if names else ViewConfig()
        return ViewConfig((*names, "crop"), self.views, self.train.pad_px)


COMPARISON_FILE = "comparison.md"


@dataclass(frozen=True)
class ReportConfig:
    """Makes an experiment's table and report again from its files, or compares two results."""

    results: Annotated[Positional[Path], arg(metavar="RESULTS")]
    """Directory of an experiment's results."""
    other: Annotated[Positional[Path | None], arg(metavar="[OTHER]")] = None
    """Directory of other results of the same experiment, to compare with the first."""
    out: Path | None = None
    """Directory in which the comparison is written as comparison.md."""

    def __post_init__(self) -> None:
        """Raises InputError for --out without a comparison, or with the name of a file."""
        if self.out is not None and self.other is None:
            raise InputError("--out is for comparisons; give two directories of results, got one")
        if self.out is not None:
            check_directory_name(self.out, of=COMPARISON_FILE)


@dataclass(frozen=True)
class ListConfig:
    """Lists the experiments and their presets; needs no data."""
