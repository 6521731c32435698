"""The command `elicit experiment table-b`: paper B's table 2.

A DCGAN and a Stacked GAN are trained on a few CIFAR-10 images of each class. A classifier sorts
their images into true and false positives. Then classifiers are trained on the real images and such
sets together, with and without geometric augmentation (sections 3 and 4).

The paper does not say how long its classifiers train. Here every row is trained twice: for the same
number of epochs, which means more steps on larger sets, and for the same number of steps. There are
controls that the paper does not have: as many images of the GAN, not sorted; true positives by a
classifier trained on all of CIFAR-10, as section 3.3 says; and as many more real images.

All images come from the split train, so the whole split test is new to every classifier. The paper
measures on 100 images a class that were drawn beside the training images; their accuracy stands in
the table too. The classifier of all images has been trained on these.
"""

import functools
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from experiments.options.classifier import ClassifierTrainConfig
from experiments.options.data import AugmentConfig, SubsetConfig
from experiments.options.gan import GanSampleConfig, GanTrainConfig
from experiments.options.papers import PresetName, TableBConfig
from experiments.papers.engine.accuracy_table import TableWords, write_table_pages
from experiments.papers.engine.experiment import ExperimentResult, PresetExperiment, Source
from experiments.papers.engine.plan import ONLY_THE_LAST, Arm, At, Build, Plan, Row
from experiments.papers.engine.results import training_record
from experiments.papers.engine.run import run_preset
from gans.options.selection import Keep
from gans.options.training import EncoderConfig, GanKind
from train.data import DIGITS
from train.models import NetworkName
from train.recipes.train_options import TrainConfig

GANS: dict[GanKind, str] = {"dcgan": "DCGAN", "sgan": "SGAN"}
"""Names of the GANs in the paper."""

SORTED: dict[str, tuple[str, tuple[str, ...]]] = {
    "fp": ("FP", ("fp",)),
    "tp": ("TP", ("tp",)),
    "fp-tp": ("FP + TP", ("fp-half", "tp-half")),
}
"""Sorted images of a GAN in a row: name, and sets; with both kinds, half as many of each."""

CONTROLS = {"random": "unsorted", "tp-all": "TP by a classifier of all images"}
"""Names of the controls, which are sets of a GAN's images that the paper does not have."""

GEOMETRIC = "geometric"

PAPER = {"real": 61.7, "sgan-tp-geometric": 70.6}
"""Test accuracies in percent that the paper's text gives."""

NUM_CLASSES = 10
"""Classes of CIFAR-10, and of the digits."""


def _gan(model: GanKind, **options: Any) -> GanTrainConfig:
    """Training of a GAN; the plan fills in data, directory and key."""
    return GanTrainConfig("", Path(), model, **options)


@dataclass(frozen=True)
class TableBSettings:
    """Settings of a preset of table-b; the defaults are the paper's where it gives any."""

    dataset: str = "cifar10"
    per_class: int = 500
    """Real training images of each class, and images of each class in every added set."""
    test_per_class: int = 100
    model: NetworkName = "kono-cnn"
    width: float = 1.0
    """Factor on the channel counts of the classifiers."""
    train: TrainConfig = field(default_factory=lambda: TrainConfig(epochs=60, learning_rate=0.02))
    """Training of every classifier; the learning rate is low, since kono-cnn has no batch norm."""
    all_epochs: int = 30
    """Epochs of the classifier that sorts after training on the whole data set."""
    seeds: int = 5
    crop_px: int = 24
    """Side of the square that geometric augmentation cuts out, in pixels."""
    dcgan: GanTrainConfig = field(default_factory=lambda: _gan("dcgan"))
    """Training of the DCGAN, without data, directory and key."""
    sgan: GanTrainConfig = field(default_factory=lambda: _gan("sgan"))
    """Training of the Stacked GAN, without data, directory and key."""
    max_tries_per_class: int | None = None
    """Most images of a GAN to try for each class and kind; None: 20 for each image wanted."""

    @property
    def steps(self) -> int:
        """Steps of every training with equal steps: the epochs' steps on twice the real images."""
        budget = self.train.budget
        return 2 * self.per_class * NUM_CLASSES // budget.batch_size * budget.epochs


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


def table_b(config: TableBConfig) -> ExperimentResult | None:
    """Runs the command; see `run_preset` for results and errors."""
    return run_preset(TABLE_B, config)


def table_b_source(settings: TableBSettings, data_dir: Path | None) -> Source:
    """The data from which the few images are drawn.

    Args:
        settings: settings of the experiment.
        data_dir: TFDS's data directory; None for a data set that needs none.
    """
    return Source(settings.dataset, data_dir, ("train", "test"))


def make_plan(settings: TableBSettings, source: Source, key: int) -> Plan:
    """Makes the plan of the table.

    Args:
        settings: settings of the preset.
        source: the data.
        key: key of GANs and image sets; the arms have the keys after it.
    """
    builds = set_builds(settings, source, key)
    table, arms = tuple(_rows()), []
    for seed in range(key + 1, key + 1 + settings.seeds):
        for budget, train in _budgets(settings).items():
            for row, sets in table:
                name = f"{row.slug}-{budget}-seed-{seed}"
                builds[name] = training_build(settings, source, train, sets, seed)
                arms.append(Arm(row.slug, seed, budget, name))
    return Plan(tuple(row for row, _ in table), tuple(arms), builds)


def _rows() -> Iterator[tuple[Row, tuple[str, ...]]]:
    """Rows of table 2 and the controls, each with the sets that are added to the real images."""

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


def training_build(
    settings: TableBSettings,
    source: Source,
    train: TrainConfig,
    sets: tuple[str, ...],
    key: int,
    *,
    real: str = "real",
) -> Build:
    """Training on the few real images and the sets that are added to them.

    It is measured on the whole split test, and on the test images drawn beside the real ones.

    Args:
        settings: settings of the experiment.
        source: the data, whose test split all trainings are measured on.
        train: options of the training.
        sets: names of the pieces that are added.
        key: key of the training.
        real: name of the piece with the few real images.
    """

    def build(at: At, out: Path) -> ClassifierTrainConfig:
        return ClassifierTrainConfig(
            data=str(at(real)),
            data_dir=source.data_dir,
            test_data=source.dataset,
            test_also=str(at(real)),
            test_every=ONLY_THE_LAST,
            out=out,
            model=settings.model,
            width=settings.width,
            extra=tuple(at(name) for name in sets),
            key=key,
            train=train,
        )

    return build


def set_builds(settings: TableBSettings, source: Source, key: int) -> dict[str, Build]:
    """Image sets, GANs and sorting classifiers, from which the trainings are made, by name.

    Args:
        settings: settings of the experiment.
        source: the data.
        key: key of GANs and image sets.
    """

    def subset(out: Path, *, test_per_class: int, skip_per_class: int) -> SubsetConfig:
        return SubsetConfig(
            data=source.dataset,
            data_dir=source.data_dir,
            out=out,
            split=("train",),
            per_class=settings.per_class,
            test_per_class=test_per_class,
            skip_per_class=skip_per_class,
            key=key,
        )

    def selector_of_all(_: At, out: Path) -> ClassifierTrainConfig:
        return ClassifierTrainConfig(
            data=source.dataset,
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
        "selector": training_build(settings, source, settings.train, (), key),
        "selector-all": selector_of_all,
    }
    for gan in GANS:
        builds |= gan_builds(settings, gan, key)
    return builds


def gan_builds(settings: TableBSettings, gan: GanKind, key: int) -> dict[str, Build]:
    """A GAN, and the sets of its images, by name.

    Args:
        settings: settings of the experiment.
        gan: the kind of GAN, also the name of its piece.
        key: key of the GAN and of its images.
    """
    options = {"dcgan": settings.dcgan, "sgan": settings.sgan}[gan]
    half = settings.per_class // 2
    sampling = functools.partial(sampling_build, settings, gan, key)
    return {
        gan: gan_build(options, key),
        f"{gan}-tp": sampling("tp"),
        f"{gan}-fp": sampling("fp"),
        f"{gan}-tp-half": sampling("tp", per_class=half),
        f"{gan}-fp-half": sampling("fp", per_class=half),
        f"{gan}-random": sampling(None),
        f"{gan}-tp-all": sampling("tp", selector="selector-all"),
    }


def gan_build(options: GanTrainConfig, key: int) -> Build:
    """Training of a GAN on the few real images.

    Args:
        options: its training, without data, directory and key.
        key: key of the training.
    """
    return lambda at, out: replace(options, data=str(at("real")), out=out, key=key)


def sampling_build(
    settings: TableBSettings,
    gan: str,
    key: int,
    select: Keep | None,
    *,
    selector: str = "selector",
    per_class: int | None = None,
) -> Build:
    """Images of a GAN, sorted by a classifier or not.

    Args:
        settings: settings of the experiment.
        gan: name of the GAN's piece.
        key: key of the images.
        select: true or false positives; None for all.
        selector: name of the piece of the classifier that sorts.
        per_class: images of each class; None for as many as there are real ones.
    """
    return lambda at, out: GanSampleConfig(
        gan=str(at(gan)),
        out=out,
        per_class=settings.per_class if per_class is None else per_class,
        classifier=str(at(selector)),
        keep=select,
        max_tries_per_class=settings.max_tries_per_class if select else None,
        skip_dry_classes=select is not None,
        key=key,
    )


def _write_pages(out: Path, result: ExperimentResult) -> None:
    settings = result.settings
    write_table_pages(
        out,
        result,
        TableWords(
            title="Training with a GAN's images",
            lead=f"Classifiers were trained on {settings['per_class']} real images a class and "
            "added sets: geometric augmentation; images of a DCGAN or a Stacked GAN that are true "
            "or false positives by a classifier trained on the same real images, or half as many "
            "of each (Kono and Kawamoto, table 2); and controls that the paper does not have.",
            explanation=f"{settings['model']} at {settings['width']:g} of its width, "
            f"{settings['train']['epochs']} epochs, or as many steps as these epochs have on "
            "twice the real images. The paper's column: the accuracies that its text gives.",
            row_heading="trained on",
            baselines={"real": "real", GEOMETRIC: "real + geometric"},
        ),
    )


TABLE_B = PresetExperiment(
    name="table-b",
    about="paper B's table 2: accuracy with a GAN's images beside few real ones, sorted or not",
    presets=PRESETS,
    source=table_b_source,
    plan=make_plan,
    record=training_record,
    write_pages=_write_pages,
)
