"""The command `elicit experiment table-b`: paper B's table 2.

From a few CIFAR-10 images of each class a DCGAN and a Stacked GAN are trained, their images are
sorted by a classifier into true and false positives, and classifiers are trained on the real images
with such sets beside them, with and without geometric augmentation (sections 3 and 4).

The paper does not say how long its classifiers train. Every row is trained twice here: for the same
epochs, by which larger sets are trained on for longer, and for the same steps. Beyond the paper are
controls: as many images of the GAN, unsorted; true positives by a classifier trained on all of
CIFAR-10, as section 3.3 has it (it has seen test images among them); and as many more real images.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from experiments.classifier.train import ClassifierTrainConfig
from experiments.data.augment import AugmentConfig
from experiments.data.subset import SubsetConfig
from experiments.gan.sample import GanSampleConfig
from experiments.gan.train import GanTrainConfig
from experiments.papers.engine.experiment import (
    Experiment,
    ExperimentConfig,
    PresetName,
    Source,
    run_experiment,
)
from experiments.papers.engine.plan import Arm, At, Build, Plan, Row
from experiments.papers.engine.records import training_record
from experiments.papers.engine.tables import Baseline, TableWords, write_table_pages
from gans.encoder_training import EncoderConfig
from gans.sampling import Model
from gans.selection import Keep
from train.classifier_training import TrainConfig
from train.data.load import DIGITS
from train.models.networks import NetworkName

GANS: dict[Model, str] = {"dcgan": "DCGAN", "sgan": "SGAN"}
"""What the paper calls them."""

SORTED: dict[str, tuple[str, tuple[str, ...]]] = {
    "fp": ("FP", ("fp",)),
    "tp": ("TP", ("tp",)),
    "fp-tp": ("FP + TP", ("fp-half", "tp-half")),
}
"""What of a GAN's images a row has: its name, and the sets; half as many of each where both."""

CONTROLS = {"random": "unsorted", "tp-all": "TP by a classifier of all images"}
"""Sets of a GAN's images that the paper does not have."""

GEOMETRIC = "geometric"

PAPER = {"real": 61.7, "sgan-tp-geometric": 70.6}
"""Test accuracy in percent, where the paper's text tells it."""

NUM_CLASSES = 10
"""Of CIFAR-10, and of the digits."""


def _gan(model: Model, **options: Any) -> GanTrainConfig:
    """How a GAN is trained; data, directory and key are filled in by the plan."""
    return GanTrainConfig("", Path(), model, **options)


@dataclass(frozen=True)
class TableBSettings:
    """What a preset of table-b decides; the defaults are the paper's where it speaks."""

    dataset: str = "cifar10"
    per_class: int = 500
    """Real training images of each class, and images of each kind put beside them."""
    test_per_class: int = 100
    model: NetworkName = "kono-cnn"
    width: float = 1.0
    """Factor on the classifiers' channel counts."""
    train: TrainConfig = field(default_factory=lambda: TrainConfig(epochs=60, learning_rate=0.02))
    """Of every classifier; kono-cnn has no batch norm, hence the lower rate."""
    all_epochs: int = 30
    """Of the selector that is trained on the whole data set."""
    seeds: int = 5
    crop_px: int = 24
    """Side of the square that geometric augmentation cuts out."""
    dcgan: GanTrainConfig = field(default_factory=lambda: _gan("dcgan"))
    """How it is trained, but for data, directory and key."""
    sgan: GanTrainConfig = field(default_factory=lambda: _gan("sgan"))
    """Ditto."""
    max_tries_per_class: int | None = None
    """Images of a GAN tried of each class and kind; 20 for each one wanted if None."""

    @property
    def steps(self) -> int:
        """Of every training by equal steps: what the epochs are with twice the real images."""
        return 2 * self.per_class * NUM_CLASSES // self.train.batch_size * self.train.epochs


PRESETS: dict[PresetName, TableBSettings] = {
    "paper": TableBSettings(),
    "reduced": TableBSettings(
        width=0.25,
        train=TrainConfig(epochs=4, batch_size=50, learning_rate=0.01),
        all_epochs=2,
        seeds=3,
        dcgan=_gan("dcgan", width=32, epochs=40, grids=2),
        sgan=_gan("sgan", width=32, encoder_width=32, epochs=40, grids=2),
    ),
    "smoke": TableBSettings(
        dataset=DIGITS,
        per_class=40,
        test_per_class=20,
        width=1 / 32,
        train=TrainConfig(epochs=1, batch_size=50, learning_rate=0.02, flip=False, pad_px=2),
        all_epochs=1,
        seeds=2,
        dcgan=_gan("dcgan", width=2, epochs=1, grids=1),
        sgan=_gan(
            "sgan",
            width=2,
            encoder_width=2,
            epochs=1,
            grids=1,
            encoder=EncoderConfig(encoder_epochs=1),
        ),
        max_tries_per_class=80,
    ),
}


@dataclass(frozen=True)
class TableBConfig(ExperimentConfig):
    """Paper B's table 2: accuracy with a GAN's images beside few real ones, sorted or not."""


def table_b(config: TableBConfig) -> dict[str, Any]:
    """Runs the command; see `run_experiment` for what it gives and raises."""
    return run_experiment(TABLE_B, config)


def _source(settings: TableBSettings, data_dir: Path | None) -> Source:
    return Source(settings.dataset, data_dir, ("train", "test"))


def make_plan(settings: TableBSettings, source: Source, key: int) -> Plan:
    """The pieces and arms of the table.

    Args:
        settings: what to do.
        source: the data.
        key: of all that is drawn; the arms' follow it.
    """
    builds = _set_builds(settings, source, key)
    table, arms = tuple(_rows()), []
    for seed in range(key + 1, key + 1 + settings.seeds):
        for budget, train in _budgets(settings).items():
            for row, sets in table:
                name = f"{row.slug}-{budget}-seed-{seed}"
                builds[name] = _training(settings, train, sets, seed)
                arms.append(Arm(row.slug, seed, budget, name))
    return Plan(tuple(row for row, _ in table), tuple(arms), builds)


def _rows() -> Iterator[tuple[Row, tuple[str, ...]]]:
    """The rows of table 2 and the controls, each with the sets beside the real images."""

    def row(slug: str, name: str, *, is_control: bool = False) -> Row:
        return Row(slug, name, PAPER.get(slug), is_control)

    yield row("real", "real"), ()
    yield row(GEOMETRIC, "real + geometric"), (GEOMETRIC,)
    for gan, name in GANS.items():
        for kind, (words, sets) in SORTED.items():
            own = tuple(f"{gan}-{part}" for part in sets)
            slug = f"{gan}-{kind}"
            yield row(slug, f"{name} + {words}"), own
            yield row(f"{slug}-{GEOMETRIC}", f"{name} + {words} + geometric"), (*own, GEOMETRIC)
    for gan, name in GANS.items():
        for kind, words in CONTROLS.items():
            yield row(f"{gan}-{kind}", f"{name} + {words}", is_control=True), (f"{gan}-{kind}",)
    yield row("more-real", "as many more real", is_control=True), ("more-real",)


def _budgets(settings: TableBSettings) -> dict[str, TrainConfig]:
    return {
        "epochs": settings.train,
        "steps": replace(settings.train, steps=settings.steps),
    }


def _training(
    settings: TableBSettings, train: TrainConfig, sets: tuple[str, ...], key: int
) -> Build:
    """A training on the few real images, with sets beside them."""

    def build(at: At, out: Path) -> ClassifierTrainConfig:
        return ClassifierTrainConfig(
            dataset=str(at("real")),
            out=out,
            model=settings.model,
            width=settings.width,
            extra=tuple(at(name) for name in sets),
            key=key,
            train=train,
        )

    return build


def _set_builds(settings: TableBSettings, source: Source, key: int) -> dict[str, Build]:
    """All that the trainings are made from."""

    def subset(out: Path, *, test_per_class: int, skip_per_class: int) -> SubsetConfig:
        return SubsetConfig(
            dataset=source.dataset,
            data_dir=source.data_dir,
            out=out,
            per_class=settings.per_class,
            test_per_class=test_per_class,
            skip_per_class=skip_per_class,
            key=key,
        )

    def selector_of_all(_: At, out: Path) -> ClassifierTrainConfig:
        return ClassifierTrainConfig(
            dataset=source.dataset,
            data_dir=source.data_dir,
            out=out,
            model=settings.model,
            width=settings.width,
            key=key,
            train=replace(settings.train, epochs=settings.all_epochs),
        )

    taken = settings.per_class + settings.test_per_class
    builds: dict[str, Build] = {
        "real": lambda _, out: subset(
            out, test_per_class=settings.test_per_class, skip_per_class=0
        ),
        "more-real": lambda _, out: subset(out, test_per_class=0, skip_per_class=taken),
        GEOMETRIC: lambda at, out: AugmentConfig(
            data=str(at("real")), out=out, crop_px=settings.crop_px, key=key
        ),
        "selector": _training(settings, settings.train, (), key),
        "selector-all": selector_of_all,
    }
    for gan in GANS:
        builds |= _gan_builds(settings, gan, key)
    return builds


def _gan_builds(settings: TableBSettings, gan: Model, key: int) -> dict[str, Build]:
    """A GAN, and the sets that are drawn from it."""
    options = {"dcgan": settings.dcgan, "sgan": settings.sgan}[gan]

    def sampling(
        select: Keep | None, *, selector: str = "selector", per_class: int = settings.per_class
    ) -> Build:
        return lambda at, out: GanSampleConfig(
            gan=str(at(gan)),
            out=out,
            per_class=per_class,
            classifier=str(at(selector)),
            select=select,
            max_tries_per_class=settings.max_tries_per_class if select else None,
            skip_dry_classes=select is not None,
            key=key,
        )

    half = settings.per_class // 2
    return {
        gan: lambda at, out: replace(options, data=str(at("real")), out=out, key=key),
        f"{gan}-tp": sampling("tp"),
        f"{gan}-fp": sampling("fp"),
        f"{gan}-tp-half": sampling("tp", per_class=half),
        f"{gan}-fp-half": sampling("fp", per_class=half),
        f"{gan}-random": sampling(None),
        f"{gan}-tp-all": sampling("tp", selector="selector-all"),
    }


def _write_pages(out: Path, result: dict[str, Any]) -> None:
    settings = result["settings"]
    write_table_pages(
        out,
        result,
        TableWords(
            title="Training with a GAN's images",
            lead=f"Classifiers were trained on {settings['per_class']} real images a class, with "
            "other sets beside them: geometric augmentation, the images of a DCGAN or a Stacked "
            "GAN, true and false positives by a classifier of the same real images, or both, half "
            "as many of each (Kono and Kawamoto, table 2), and controls that the paper lacks.",
            explanation=f"{settings['model']} at {settings['width']:g} of its width, "
            f"{settings['train']['epochs']} epochs, or as many steps as these are of twice the "
            "real images. The paper's column: the accuracies that its text tells.",
            row_heading="trained on",
            baselines=(Baseline("real", "real"), Baseline(GEOMETRIC, "real + geometric")),
        ),
    )


TABLE_B = Experiment(
    name="table-b",
    presets=PRESETS,
    source=_source,
    plan=make_plan,
    record=training_record,
    draw=lambda *_: None,
    write_pages=_write_pages,
)
