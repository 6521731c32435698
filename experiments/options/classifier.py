"""Options of `elicit classifier …`, and the checks of those that do not fit together."""

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from tyro.conf import Positional, UseAppendAction, arg

from experiments.console.options import check_unused
from experiments.options.tracking import TrackerName
from imgopt.errors import InputError
from train.recipes.train_options import TrainConfig
from train.storage.runs import ADDED_LATER, check_key


def check_training_options(config: Any) -> None:
    """Refuses options of a training that have no effect beside its others.

    Args:
        config: Has `nonfinite`, and `kl` if it has `loss`.

    Raises:
        InputError: Such an option is given.
    """
    if config.nonfinite.allowed is None:
        check_unused(config.nonfinite, "max_skipped", why="without --on-nonfinite skip")
    if getattr(config, "loss", None) == "cross-entropy":
        check_unused(config, "kl", why="without --loss mixed")
    if getattr(config, "optimizer", "sgd") != "sgd":
        check_unused(config, "momentum", why=f"with --optimizer {config.optimizer}")
    recipe = getattr(config, "recipe", None)
    if recipe is not None and not recipe.synthesis.synthesize_every:
        check_unused(recipe, "synthesis", why="without --synthesize-every")


@dataclass(frozen=True)
class ClassifierTrainConfig:
    """Trains a classifier. Images may be replaced by synthesised ones, and extra sets added."""

    data: str
    """Name of a data set, such as cifar10 or digits, or directory of an image set."""
    out: Path
    """The run's directory."""
    model: str = "vgg16"
    """vgg16 (paper A), vgg-small (for CPUs), kono-cnn (paper B), resnet9, wrn-16-4, or a Flax Linen
    module of your own as package.module:name."""
    width: float = 1.0
    """Factor on all channel counts of the model."""
    data_dir: Path | None = None
    """TFDS's data directory, for a data set named by name."""
    split: str = "train"
    """Split to train on."""
    test_split: str = "test"
    """Split to test on; empty for no test."""
    test_data: str | None = None
    """Name or directory of the data set with the test split, if it is another data set."""
    test_also: str | None = field(default=None, metadata=ADDED_LATER)
    """Name or directory of another data set, whose test split is measured too, after the last
    epoch."""
    test_every: int = field(default=1, metadata=ADDED_LATER)
    """Epochs between two tests; the last epoch is always tested."""
    replace: Path | None = None
    """Set made by `elicit synthesize` from the training split; its images replace originals."""
    fraction: float = 0.3
    """With --replace: share of the training images to replace."""
    add: Path | None = field(default=None, metadata=ADDED_LATER)
    """Set made by `elicit synthesize` from the training split; its images are added to it."""
    add_as: Literal["examples", "second-view"] = field(default="examples", metadata=ADDED_LATER)
    """With --add: as further examples, or each in the same batch as the image that it was made
    from."""
    labels_only: bool = field(default=False, metadata=ADDED_LATER)
    """With --replace or --add: keep the originals' pixels and take only the outputs of the set. It
    is the control that tells what the pixels of the made images do."""
    extra: UseAppendAction[tuple[Path, ...]] = ()
    """Set whose split train is added to the training set. For several sets: --extra A --extra B."""
    teacher: tuple[Path, ...] = field(default=(), metadata=ADDED_LATER)
    """Runs of trained classifiers. The mean of their outputs on the augmented image has the share
    --teacher-weight of every target."""
    devices: int = field(default=1, metadata=ADDED_LATER)
    """Number of devices of each process that share a batch; another number rounds differently."""
    track: TrackerName | None = field(default=None, metadata=ADDED_LATER)
    """Also send the metrics to TensorBoard (a folder in the run), Weights & Biases or Trackio."""
    key: int = 0
    """Seed of all randomness."""
    train: TrainConfig = field(default_factory=lambda: TrainConfig(batch_size=None, epochs=None))

    def __post_init__(self) -> None:
        """Raises InputError for options that are invalid for any data."""
        if not 0 <= self.fraction <= 1:
            raise InputError(f"fraction must be in [0, 1], got {self.fraction}")
        if not 0 < self.width < math.inf:
            raise InputError(f"width must be above 0 and finite, got {self.width}")
        check_key(self.key)
        if self.train.loss == "mixed" and not (self.replace or self.add or self._makes_images):
            raise InputError(
                "--loss mixed needs --replace SET, --add SET or --synthesize-every, whose outputs "
                "it learns from"
            )
        if self.replace is None:
            check_unused(self, "fraction", why="without --replace")
        if not self.test_split:
            check_unused(self, "test_data", "test_also", "test_every", why="without --test-split")
        if self.test_every < 1:
            raise InputError(f"test_every must be at least 1, got {self.test_every}")
        check_training_options(self.train)
        self._check_made_images()
        self._check_teacher()

    @property
    def added_examples(self) -> tuple[Path, ...]:
        """Sets whose images are further examples."""
        if self.add is None or self.add_as == "second-view":
            return self.extra
        return (self.add, *self.extra)

    @property
    def _makes_images(self) -> bool:
        """Whether images are made during training."""
        return self.train.recipe.synthesis.synthesize_every > 0

    def _check_made_images(self) -> None:
        """Raises InputError for options of made images that do not fit together."""
        recipe = self.train.recipe
        if self.add is None:
            check_unused(self, "add_as", why="without --add")
        elif self.replace is not None and self.replace.resolve() == self.add.resolve():
            raise InputError(
                f"--add and --replace name the same set, {self.add}; its images can do one of both"
            )
        if not (self.replace or self.add):
            check_unused(self, "labels_only", why="without --replace and --add")
        is_second_view = self.add_as == "second-view"
        if is_second_view and self.extra:
            raise InputError("--extra images have no second view; take --add-as examples")
        if recipe.separate_statistics and not (is_second_view or self._makes_images):
            raise InputError(
                "--separate-statistics needs made images beside the originals; give --add SET "
                "--add-as second-view, or --synthesize-every"
            )
        if not (self.replace or self.add or self.extra or self._makes_images):
            check_unused(recipe, "labels", why="without made images, such as --add SET")

    def _check_teacher(self) -> None:
        """Raises InputError for a teacher that is missing, or of no use."""
        recipe = self.train.recipe
        if recipe.needs_teacher and not self.teacher:
            raise InputError(
                "--labels teacher and --synthesize-from teacher need a teacher, got none; give "
                "--teacher RUN"
            )
        if not self.teacher:
            check_unused(recipe, "teacher_weight", why="without --teacher")
        elif not recipe.teacher_weight and not recipe.needs_teacher:
            raise InputError("--teacher has no effect with --teacher-weight 0; change one of them")


@dataclass(frozen=True)
class ClassifierEvaluateConfig:
    """Measures a trained classifier on a whole split."""

    run: Annotated[Positional[Path], arg(metavar="RUN")]
    """Directory of the classifier's run."""
    data: str | None = None
    """Name or directory of a data set; by default the one that the classifier was trained on."""
    data_dir: Path | None = None
    """TFDS's data directory, for a data set named by name."""
    split: str = "test"
    """Split to measure on."""
    batch_size: int = 500
    """Images in one compiled batch."""

    def __post_init__(self) -> None:
        """Raises InputError for a number outside its range."""
        if self.batch_size < 1:
            raise InputError(f"batch_size must be at least 1, got {self.batch_size}")
