"""Options of `elicit synthesize`, `elicit exemplars` and `elicit transfer`."""

import ast
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from experiments.console.options import check_unused
from experiments.options.attack import AttackConfig
from experiments.options.tracking import TrackerName
from imgopt.errors import InputError
from train.recipes.options import Mnemonics
from train.recipes.train_options import Precision
from train.storage.runs import ADDED_LATER, check_key

RuleOption = bool | int | float | str | None
"""Value of an option of a rule."""


@dataclass(frozen=True)
class RuleConfig:
    """How the images are optimised."""

    rule: str = "polyak-lbfgs"
    """Update rule: polyak-lbfgs or polyak, which need no learning rate; sgd or momentum, paper
    A's; or the name of any rule of optax or optax.contrib, such as adam."""
    rule_options: tuple[str, ...] = ()
    """Options of the rule as name=value, such as: learning_rate=0.1 form=printed."""
    pixel_map: Literal["arctan", "tanh", "sigmoid"] = "arctan"
    """Map between pixels and weights."""
    margin: float = 1e-3
    """Distance that the map keeps from black and white, above 0 and below 0.5/255."""
    filter: Literal["none", "low-pass", "gaussian"] = "none"
    """Filter between the map and the classifier; it is also applied to the finished image."""
    radius: float = 10.0
    """Radius of the low-pass filter, in cycles an image."""
    sigma: float = 1.0
    """Standard deviation of the Gaussian filter, in pixels."""
    steps: int = 50
    """Largest number of updates; without a tolerance every image takes all of them."""
    tolerance: float | None = 0.01
    """An image stops once its criterion is at or below this, before it is rounded to 8 bits. None:
    never, as in paper A."""
    criterion: Literal["kl", "max_error"] = "kl"
    """Quantity that the tolerance limits: KL(target ‖ output) in nats, or the largest error."""

    def __post_init__(self) -> None:
        """Raises InputError for an option that has no effect without another one."""
        if self.filter != "low-pass":
            check_unused(self, "radius", why="without --filter low-pass")
        if self.filter != "gaussian":
            check_unused(self, "sigma", why="without --filter gaussian")
        if self.tolerance is None:
            check_unused(self, "criterion", why="without --tolerance")

    def describe(self) -> dict[str, object]:
        """Everything that the images depend on: the options in use, with the rule's parsed."""
        filters = {
            "none": {},
            "low-pass": {"radius": self.radius},
            "gaussian": {"sigma": self.sigma},
        }
        stopping = {} if self.tolerance is None else {"criterion": self.criterion}
        return {
            "rule": {"name": self.rule, **parse_options(self.rule_options)},
            "pixel_map": {"name": self.pixel_map, "margin": self.margin},
            "filter": {"name": self.filter, **filters[self.filter]},
            "steps": self.steps,
            "tolerance": self.tolerance,
            **stopping,
        }


PAPER_RULE = RuleConfig(rule="sgd", steps=100, tolerance=None)
"""Paper A's defaults."""


def parse_options(words: tuple[str, ...]) -> dict[str, RuleOption]:
    """Turns ("learning_rate=0.1", "form=printed") into a dict; values are Python literals or text.

    Raises:
        InputError: a word is not of the form name=value, or the value is neither a finite number
            nor True, False, None or a word.
    """
    options = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not (equals and name.isidentifier()):
            raise InputError(f"a rule's option must be name=value, got {word!r}")
        options[name] = _parse_value(value)
    return options


def _parse_value(text: str) -> RuleOption:
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError):
        return text
    if isinstance(value, float) and math.isfinite(value):
        return value
    if value is None or isinstance(value, int | str):  # a bool is an int
        return value
    raise InputError(
        f"a rule's option must be a finite number, True, False, None or a word, got {text!r}"
    )


@dataclass(frozen=True)
class TargetConfig:
    """Options that choose the targets."""

    targets: Literal["two-class", "uniform", "ranked", "file"] = "two-class"
    """two-class: --own for the label, the rest for one other class drawn by key; uniform: the same
    for all classes; ranked: by --ranking and --masses; file: from --targets-file."""
    own: float = 0.9
    """For two-class: probability of the image's label."""
    ranking: tuple[str, ...] = ()
    """For ranked: class names or numbers, the most likely first, such as: ship dog frog."""
    masses: tuple[float, ...] = ()
    """For ranked: probabilities of these classes, such as: 0.5 0.3 0.2. The other classes share the
    rest."""
    targets_file: Path | None = None
    """For file: an .npy matrix of floats, shape (images of the split or of the range, classes)."""

    def __post_init__(self) -> None:
        """Raises InputError for an option of targets of another kind."""
        own_options = {
            "two-class": ("own",),
            "ranked": ("ranking", "masses"),
            "file": ("targets_file",),
        }
        for kind, names in own_options.items():
            if kind != self.targets:
                check_unused(self, *names, why=f"without --targets {kind}")
        if self.targets == "ranked" and not (self.ranking and self.masses):
            raise InputError(
                "--targets ranked needs --ranking and --masses, such as --ranking ship dog frog "
                "--masses 0.5 0.3 0.2"
            )


VIEWS = 4
"""Views of an image by default."""


@dataclass(frozen=True)
class ViewConfig:
    """Random transformations that the outputs have to survive."""

    augmentations: tuple[Literal["flip", "crop"], ...] = ()
    """Random transformations, one after another; the output is the target on average over them.
    flip: left to right; crop: a window of the image padded by --pad-px. Without any, only the image
    itself counts."""
    views: int = VIEWS
    """Random views of an image in every update; it costs as much as that many images. The finished
    image is measured on as many."""
    pad_px: int = 4
    """For crop: black pixels added on each side."""

    def __post_init__(self) -> None:
        """Raises InputError for an option without effect, or a name that is given twice."""
        if not self.augmentations:
            check_unused(self, "views", why="without --augmentations")
        if "crop" not in self.augmentations:
            check_unused(self, "pad_px", why="without --augmentations crop")
        if len(set(self.augmentations)) < len(self.augmentations):
            raise InputError(
                f"augmentations must differ, got {' '.join(self.augmentations)}; give each once"
            )

    def describe(self) -> dict[str, object]:
        """Everything that the images depend on; empty without augmentations."""
        if not self.augmentations:
            return {}
        crop = {"pad_px": self.pad_px} if "crop" in self.augmentations else {}
        return {"augmentations": list(self.augmentations), "count": self.views, **crop}


@dataclass(frozen=True)
class SynthesizeConfig:
    """Makes images that elicit chosen outputs from a classifier (paper A)."""

    classifier: str | tuple[str, ...]
    """A run of `elicit classifier train`, or a callable of your own as package.module:name. With
    several, the mean of their outputs counts."""
    data: str
    """Name of a data set, such as cifar10 or digits, or the directory of an image set."""
    out: Path
    """Directory of the new image set."""
    data_dir: Path | None = None
    """TFDS's data directory, for a data set named by name."""
    split: str = "train"
    """Split to start from."""
    start: int = 0
    """First image of the split."""
    stop: int | None = None
    """End of the range; by default the split's end. A later run with a larger --stop extends the
    set."""
    target: TargetConfig = field(default_factory=TargetConfig)
    rule: RuleConfig = field(default_factory=RuleConfig)
    view: ViewConfig = field(default_factory=ViewConfig)
    attack: AttackConfig = field(default_factory=AttackConfig)
    batch_size: int | None = None
    """Images that a device computes at a time; all of them, if the job has fewer. By default the
    largest power of two that takes at most 60% of the device's memory, up to 2,048, or 256 on CPUs.
    An image does not depend on its batch, except by rounding."""
    batches_per_shard: int = 4
    """Batches in a file of the set; with several devices, best a multiple of their number."""
    precision: Precision = "float32"
    """Precision of the classifier's computation; pixel weights and measured outputs are float32."""
    devices: int = 1
    """Devices of each process that work side by side. The result does not depend on it."""
    track: TrackerName | None = field(default=None, metadata=ADDED_LATER)
    """Also send the means of every batch to TensorBoard (a folder in the set), Weights & Biases or
    Trackio."""
    key: int = 0
    """Seed of the random targets, views and starts of attacks."""

    def __post_init__(self) -> None:
        """Raises InputError for a number outside its range."""
        check_key(self.key)
        for name in ("batch_size", "batches_per_shard"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise InputError(f"{name} must be at least 1, got {value}")
        if self.attack.is_attack:
            check_unused(self, "rule", why=f"with --attack {self.attack.attack}")
        if self.attack.makes_targets:
            check_unused(self, "target", why="with --attack but for --goal output")

    @property
    def classifiers(self) -> tuple[str, ...]:
        """Names of all classifiers."""
        return (self.classifier,) if isinstance(self.classifier, str) else self.classifier


@dataclass(frozen=True)
class ExemplarsConfig:
    """Makes a few images a class for retraining a classifier without forgetting (Mnemonics)."""

    classifier: str
    """A run of `elicit classifier train`, which is retrained."""
    data: str
    """Name of a data set, such as cifar10 or digits, or the directory of an image set."""
    out: Path
    """Directory of the new image set."""
    data_dir: Path | None = None
    """TFDS's data directory, for a data set named by name."""
    split: str = "train"
    """Split that the exemplars stand for, and are drawn from."""
    per_class: int = 10
    """Exemplars of each class."""
    retraining: Mnemonics = field(default_factory=Mnemonics)
    key: int = 0
    """Seed of the draws: of the first exemplars, and of the originals of every update."""

    def __post_init__(self) -> None:
        """Raises InputError for a number outside its range."""
        check_key(self.key)
        if self.per_class < 1:
            raise InputError(f"per_class must be at least 1, got {self.per_class}")


@dataclass(frozen=True)
class TransferConfig:
    """Measures what synthesised images say to other classifiers."""

    images: tuple[Path, ...]
    """Directories of image sets with targets, made by `elicit synthesize` or `elicit exemplars`;
    several are compared side by side."""
    classifier: tuple[str, ...]
    """Runs of `elicit classifier train`, or callables of your own as package.module:name."""
    out: Path
    """Directory of the result: `transfer.json`, `table.md` and `report.html`."""
    batch_size: int = 500
    """Images in one compiled batch."""

    def __post_init__(self) -> None:
        """Raises InputError for a number outside its range, or sets that are none or the same."""
        if self.batch_size < 1:
            raise InputError(f"batch_size must be at least 1, got {self.batch_size}")
        if not self.images:
            raise InputError("expected at least one image set, got none; give --images SET")
        if len({path.resolve() for path in self.images}) < len(self.images):
            given = " ".join(map(str, self.images))
            raise InputError(f"image sets must differ, got {given}; give each once")
