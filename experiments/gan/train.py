"""The command `elicit gan train`: a run directory with a trained DCGAN or Stacked GAN.

A DCGAN is one stage of training. A Stacked GAN takes several: its encoder, each level apart from
the labels down, and perhaps all levels jointly. The run goes on from the last good checkpoint of
its stage when the same command is repeated.
"""

import functools
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from experiments.console.compilation import counted_compilations, timing
from experiments.gan.stages import Stages
from experiments.gan.train_report import write_gan_report
from gans.augmentation import AugmentationName, check_augmentations
from gans.dcgan import DcganConfig
from gans.encoder_training import EncoderConfig, EncoderLearner
from gans.game import GameConfig, GanData, GanLearner, Variables
from gans.losses import LossWeights
from gans.pairs import DcganPair, LevelPair
from gans.sampling import GENERATOR, SPEC_FILE, Gan, GanSpec, Model, gan_digest
from gans.stacked import PRESETS, CutPoint, StackConfig, stack_levels
from imgopt.errors import InputError
from train.classifiers import Precision, check_precision
from train.data.load import ImageData, data_digest, load_images
from train.loop import Budget, compile_steps
from train.nonfinite import NonFiniteConfig
from train.runtime.memory import Footprint, check_batch_fits, explaining_out_of_memory, footprint
from train.runtime.processes import (
    devices_field,
    first_process_first,
    is_first_process,
    make_training_mesh,
)
from train.storage.checkpoints import CHECKPOINTS, save_checkpoint
from train.storage.runs import (
    ADDED_LATER,
    CONFIG_FILE,
    METRICS_FILE,
    as_json,
    check_key,
    environment,
    open_run,
    read_metrics,
    write_result,
)
from train.storage.strict_json import write_sealed


class Habit(NamedTuple):
    """What an option is where it is not given, by model."""

    epochs: int
    batch_size: int
    learning_rate: float


HABITS: dict[Model, Habit] = {
    "dcgan": Habit(epochs=100, batch_size=64, learning_rate=2e-4),
    "sgan": Habit(epochs=200, batch_size=100, learning_rate=1e-4),
}
"""Epochs by paper B, 3.2; the rest by Radford et al. 2016 and the Stacked GAN's official code. But
a DCGAN's batch is half of theirs: 500 images are then seven steps an epoch, and not three."""

STACK_OPTIONS = ("preset", "cut_points", "encoder_width", "joint_epochs", "weights", "encoder")
"""What a DCGAN has no use for."""

PARTS = (CONFIG_FILE, SPEC_FILE, METRICS_FILE, CHECKPOINTS, GENERATOR, "report.html")
"""What belongs to a run beside its result. The sheets of samples do not: a lost one could only be
drawn again by training from the beginning, and nothing is read from them but the report."""


@dataclass(frozen=True)
class GanTrainConfig:
    """Trains a DCGAN or a Stacked GAN on a small data set."""

    data: str
    """The directory of an image set, "digits", or with --data-dir the name of a data set."""
    out: Path
    """The run's directory."""
    model: Model = "dcgan"
    """dcgan, or sgan: a Stacked GAN."""
    data_dir: Path | None = None
    """TFDS's data directory, for a data set named by name."""
    split: str = "train"
    """Split to train on."""
    per_class: bool = False
    """A DCGAN for each class, all trained at once, instead of one that is told the class."""
    preset: Literal["paper", "official"] = "paper"
    """Where a stack's encoder is cut: at pool2 (paper B) or at fc3 (the official code)."""
    cut_points: tuple[CutPoint, ...] = ()
    """Any cut points instead, from the image up; one more is one more level."""
    width: int | None = None
    """Channels: next to a DCGAN's image (64), in the middle of a stack's generators (128)."""
    encoder_width: int = 64
    """Channels of a stack's encoder's first convolution."""
    epochs: int | None = None
    """Passes over the training set, a level; 100 for dcgan and 200 for sgan if not given."""
    steps: int | None = None
    """Updates (of a level) instead of what the epochs come to; the last epoch is cut short."""
    joint_epochs: int = 0
    """Passes in which all levels of a stack are trained together, at the end."""
    batch_size: int | None = None
    """Images a step; with --per-class of each class. 64 for dcgan and 100 for sgan if not given."""
    learning_rate: float | None = None
    """Of Adam; 2e-4 for dcgan and 1e-4 for sgan if not given."""
    game: GameConfig = field(default_factory=GameConfig)
    weights: LossWeights = field(default_factory=LossWeights)
    encoder: EncoderConfig = field(default_factory=EncoderConfig)
    augmentations: tuple[AugmentationName, ...] = ()
    """Differentiable augmentation of all that the discriminator of images sees."""
    spectral_norm: bool = False
    """Spectral norm on the discriminator, in batch norm's place."""
    precision: Precision = "float32"
    """Of the computation; parameters are always float32."""
    nonfinite: NonFiniteConfig = field(default_factory=NonFiniteConfig, metadata=ADDED_LATER)
    grids: int = 10
    """Sheets of samples of fixed noise, kept at even intervals."""
    devices: int = field(default=1, metadata=ADDED_LATER)
    """How many devices of each process share a batch; another number rounds its sums otherwise."""
    key: int = 0
    """Seed of everything random."""

    def __post_init__(self) -> None:
        """Raises InputError for what can be told from the options alone."""
        check_key(self.key)
        check_augmentations(self.augmentations)
        self._check_options_of_the_other_model()
        if self.joint_epochs < 0:
            raise InputError(f"joint_epochs must be at least 0, got {self.joint_epochs}")
        if self.grids < 1:
            raise InputError(f"grids must be at least 1, got {self.grids}")
        if not 0 < self.rate < float("inf"):
            raise InputError(f"learning_rate must be above 0 and finite, got {self.rate}")
        _ = self.budget

    def _check_options_of_the_other_model(self) -> None:
        if self.model == "sgan":
            if self.per_class:
                raise InputError("--per-class is for dcgan: a Stacked GAN is told the class")
            return
        usual = type(self)(data=self.data, out=self.out, model="sgan")
        for name in STACK_OPTIONS:
            if getattr(self, name) != getattr(usual, name):
                raise InputError(
                    f"{name} is for sgan, got {getattr(self, name)} with dcgan; give --model sgan"
                )

    @property
    def budget(self) -> Budget:
        """How long to train, a level."""
        habit = HABITS[self.model]
        return Budget(
            _or_habit(self.batch_size, habit.batch_size),
            _or_habit(self.epochs, habit.epochs),
            self.steps,
        )

    @property
    def rate(self) -> float:
        """The learning rate."""
        return _or_habit(self.learning_rate, HABITS[self.model].learning_rate)


Groups = dict[str, np.ndarray] | None
"""Rows of each class, where each has a GAN."""

Number = TypeVar("Number", int, float)


def _or_habit(given: Number | None, habit: Number) -> Number:
    return habit if given is None else given


def train_gan(config: GanTrainConfig, *, label: str = "GAN") -> dict[str, Any]:
    """Runs the command.

    Args:
        config: what to train.
        label: in front of the progress.

    Returns:
        The content of `result.json`; nothing in another process than the first.

    Raises:
        InputError: something does not fit, found before anything is compiled or written.
        FloatingPointError: a loss or a parameter is no longer finite, or a discriminator has won.
        LostProcessError: another process of the job has ended.
    """
    data = load_images(config.data, config.split, data_dir=config.data_dir)
    sizes = gan_sizes(config, data.images.shape[1:], num_classes=len(data.class_names))
    spec = GanSpec(config.model, data.class_names, sizes)
    groups = _groups(config, data)
    make_training_mesh(
        config.devices, batch_size=config.budget.batch_size
    )  # refuses what is uneven
    check_precision(config.precision)
    estimate = functools.partial(_footprint, config, spec, data, groups)
    check = functools.partial(check_batch_fits, estimate)
    began = time.monotonic()
    with counted_compilations() as compiled, explaining_out_of_memory(estimate):
        if jax.process_count() > 1:
            check()  # compiles, which all of them have to do together
        with first_process_first():
            result = open_run(config.out, _identity(config, data), check=check)
        if result:
            print(f"{config.out} is complete; nothing to do")
            return result
        if is_first_process():
            write_sealed(config.out / SPEC_FILE, as_json(spec._asdict()))
        generators = _train(config, spec, data, groups, label=label)
    if not is_first_process():
        return {}
    times = timing(began, compiled)
    return _finish(config, Gan(spec, generators), len(data.labels), times)


def _train(
    config: GanTrainConfig, spec: GanSpec, data: ImageData, groups: Groups, *, label: str
) -> Variables:
    """Trains all stages and gives the generators."""
    stages = Stages(
        config.out,
        jax.random.key(config.key),
        GanData(jnp.asarray(data.images), jnp.asarray(data.labels)),
        spec,
        groups=groups,
        grids=config.grids,
        devices=config.devices,
        label=label,
        ids=data.ids,
        max_skipped=config.nonfinite.allowed,
    )
    if isinstance(spec.config, DcganConfig):
        generators = _train_dcgan(config, spec.config, stages)
    else:
        generators = _train_stack(config, spec.config, stages)
    stages.finish()
    return generators


def _footprint(config: GanTrainConfig, spec: GanSpec, data: ImageData, groups: Groups) -> Footprint:
    """Compiles the steps of the largest stage, which training will not do again."""
    constants = None
    if isinstance(spec.config, DcganConfig):
        pairs = (_dcgan_pair(config, spec.config),)
    else:
        pairs = tuple(_level_pairs(config, spec.config))[: None if config.joint_epochs else 1]
        learner = EncoderLearner(spec.config, config.encoder, config.precision)
        constants = jax.eval_shape(learner.initial, jax.random.key(0)).variables
    rows = GanData(jnp.asarray(data.images), jnp.asarray(data.labels))
    learner = GanLearner(pairs, config.game, config.rate)
    program = compile_steps(
        learner, rows, config.budget, groups=groups, constants=constants,
        max_skipped=config.nonfinite.allowed, devices=config.devices,
    )  # fmt: skip
    return footprint(
        program,
        batch_size=config.budget.batch_size,
        fixed=constants,
        beside=rows,
        devices=config.devices,
    )


def gan_sizes(
    config: GanTrainConfig, image_shape: tuple[int, int, int], *, num_classes: int
) -> DcganConfig | StackConfig:
    """The sizes of a GAN's networks.

    Args:
        config: of its training.
        image_shape: height, width, channels.
        num_classes: of the data.

    Raises:
        InputError: the images do not fit the networks.
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
    classes = None if config.per_class else num_classes
    return DcganConfig(image_size=height, channels=channels, num_classes=classes, **given)


def _groups(config: GanTrainConfig, data: ImageData) -> Groups:
    """Rows of each class, where each has a GAN; refuses what is smaller than a batch."""
    if not config.per_class:
        config.budget.steps_per_epoch(len(data.labels))
        return None
    groups = {}
    for label, name in enumerate(data.class_names):
        groups[name] = np.flatnonzero(data.labels == label)
        config.budget.steps_per_epoch(len(groups[name]), of=f"class {name}")
    return groups


def _identity(config: GanTrainConfig, data: ImageData) -> dict[str, Any]:
    """What the run's result depends on, and the data by digest rather than by place."""
    options = as_json(config)
    for name in ("data", "data_dir", "out", "split", "devices"):
        options.pop(name, None)  # the last one is there only if it is not 1
    return {
        **options,
        **devices_field(config.devices),
        "dataset": {
            "name": Path(config.data).name,
            "split": config.split,
            "sha256": data_digest(data),
        },
        "device_kind": jax.devices()[0].device_kind,
        "jax": jax.__version__,
    }


def _train_dcgan(config: GanTrainConfig, sizes: DcganConfig, stages: Stages) -> Variables:
    learner = GanLearner((_dcgan_pair(config, sizes),), config.game, config.rate)
    state = stages.train("gan", learner, config.budget, preview=_generators)
    return _generators(state.variables)


def _dcgan_pair(config: GanTrainConfig, sizes: DcganConfig) -> DcganPair:
    return DcganPair(sizes, config.augmentations, config.spectral_norm, config.precision)


def _level_pairs(config: GanTrainConfig, sizes: StackConfig) -> list[LevelPair]:
    """From the image up."""
    return [
        LevelPair(
            sizes, level, config.weights, config.augmentations, config.spectral_norm,
            config.precision,
        )
        for level in stack_levels(sizes)
    ]  # fmt: skip


def _train_stack(config: GanTrainConfig, sizes: StackConfig, stages: Stages) -> Variables:
    encoder_budget = Budget(config.budget.batch_size, config.encoder.encoder_epochs)
    encoder = stages.train(
        "encoder", EncoderLearner(sizes, config.encoder, config.precision), encoder_budget
    ).variables
    pairs = _level_pairs(config, sizes)
    finished: dict[str, Variables] = {side: {} for side in ("generators", "discriminators")}
    generators: Variables = {}
    for pair in reversed(pairs):
        learner = GanLearner((pair,), config.game, config.rate)
        is_bottom = pair is pairs[0]
        above = dict(generators)
        state = stages.train(
            f"level-{pair.target}", learner, config.budget, constants=encoder,
            preview=(lambda v, above=above: above | _generators(v)) if is_bottom else None,
        )  # fmt: skip
        generators |= _generators(state.variables)
        for side, networks in finished.items():
            networks |= state.variables[side]
    if config.joint_epochs:
        learner = GanLearner(tuple(pairs), config.game, config.rate)
        state = stages.train(
            "joint", learner, Budget(config.budget.batch_size, config.joint_epochs),
            constants=encoder, begin=learner.state_of(**finished), preview=_generators,
        )  # fmt: skip
        generators = _generators(state.variables)
    return generators


def _generators(variables: Variables) -> Variables:
    """The generators to sample: their average, where there is one."""
    return variables.get("average", variables["generators"])


def _finish(
    config: GanTrainConfig, gan: Gan, images: int, times: dict[str, float]
) -> dict[str, Any]:
    """Writes generator, report and result, the result last."""
    gan = Gan(gan.spec, jax.device_get(gan.variables))
    metrics = read_metrics(config.out)
    save_checkpoint(config.out / GENERATOR, metrics[-1]["step"], gan.variables)
    result = {
        "gan_sha256": gan_digest(gan),
        "training_images": images,
        "last": {line["stage"]: line for line in metrics},
        "parameters_of_generators": sum(
            np.size(p)
            for networks in gan.variables.values()
            for p in jax.tree.leaves(networks["params"])
        ),
        "key": config.key,
        "timing": times,
        **environment(),
    }
    write_gan_report(config.out, config.model, metrics, result)
    write_result(config.out, result, of=PARTS)
    print(f"run: {config.out}")
    return result
