"""The command `elicit experiment table-a`: paper A's table 1.

A classifier is trained and frozen. Every training image is optimised until the classifier's output
is 0.9 for the image's own class and 0.1 for another class. Then 10% to 50% of the training images
are replaced by the images made from them, and classifiers are trained from scratch with the mixed
loss (section 3). The paper says nothing about the optimiser of the trainings: it is the optimiser
of `TrainConfig`. Everything else is as in the paper.

There are two controls that the paper does not have. Both keep all originals: one learns the outputs
of the made images from the pixels of the originals, and the other smooths all labels. So they tell
what the pixels of the made images do, and what soft labels do by themselves.
"""

from dataclasses import dataclass, replace
from pathlib import Path

from experiments.options.classifier import ClassifierTrainConfig
from experiments.options.papers import PresetName, TableAConfig
from experiments.options.synthesis import PAPER_RULE, RuleConfig, SynthesizeConfig
from experiments.papers.engine.accuracy_table import TableWords, write_table_pages
from experiments.papers.engine.experiment import ExperimentResult, PresetExperiment, Source
from experiments.papers.engine.plan import Arm, At, Build, Plan, Row
from experiments.papers.engine.results import training_record
from experiments.papers.engine.run import run_preset
from experiments.papers.teacher import TeacherSettings, teacher_config, teacher_source
from train.data import DIGITS
from train.recipes.train_options import Precision, TrainConfig

PAPER = {0: 92.476, 10: 92.364, 20: 92.348, 30: 92.560, 40: 92.346, 50: 92.222}
"""Test accuracy in percent, by the percentage of replaced images (table 1)."""


OUTPUTS_ONLY, SMOOTHING = "outputs", "smoothing"
"""Slugs of the controls."""


@dataclass(frozen=True)
class TableASettings(TeacherSettings):
    """Settings of a preset of table-a; the defaults are the paper's.

    The arms are trained like the teacher, except for the loss.
    """

    rule: RuleConfig = PAPER_RULE
    percentages: tuple[int, ...] = tuple(PAPER)
    """Percentages of the training images to replace, one for each row."""
    control_percentage: int | None = 30
    """Percentage of the training images to which the first control gives outputs; the default is
    the paper's best. None: no controls."""
    seeds: int = 5
    batch_size: int = 5000
    """Images in one batch of the synthesis."""
    precision: Precision = "float32"
    """Precision of the classifier's computation in the synthesis."""


PRESETS: dict[PresetName, TableASettings] = {
    "paper": TableASettings(),
    "reduced": TableASettings(
        train_split="train[:10000]",
        model="vgg-small",
        width=0.25,
        train=TrainConfig(epochs=20, batch_size=64),
        batch_size=250,
    ),
    "smoke": TableASettings(
        dataset=DIGITS,
        model="vgg-small",
        width=1 / 32,
        train=TrainConfig(epochs=1, flip=False, pad_px=2),
        rule=replace(PAPER_RULE, steps=3),
        percentages=(0, 30),
        seeds=2,
        batch_size=479,
    ),
}


def table_a(config: TableAConfig) -> ExperimentResult | None:
    """Runs the command; see `run_preset` for results and errors."""
    return run_preset(TABLE_A, config)


def _smoothing(percentage: int) -> float:
    """Label smoothing ε that takes as much from an image's class as outputs of made images do.

    The target of such an image is (output + label)/2, about 0.95 for its own class. Smoothing of
    ten classes leaves 1 − 0.9 ε.
    """
    return (1 - 0.95) * percentage / 100 / 0.9


def make_plan(settings: TableASettings, source: Source, key: int) -> Plan:
    """Makes the plan of the table.

    Args:
        settings: settings of the preset.
        source: the data.
        key: key of the teacher and the targets; the arms have the keys after it.
    """

    def images(at: At, out: Path) -> SynthesizeConfig:
        return SynthesizeConfig(
            classifier=str(at("teacher")),
            data=source.dataset,
            data_dir=source.data_dir,
            split=settings.train_split,
            out=out,
            rule=settings.rule,
            batch_size=settings.batch_size,
            precision=settings.precision,
            key=key,
        )

    def training(percentage: int, seed: int, *, labels_only: bool = False) -> Build:
        def build(at: At, out: Path) -> ClassifierTrainConfig:
            plain = teacher_config(settings, source, seed, out)
            if percentage == 0:
                return plain
            return replace(
                plain,
                replace=at("images"),
                fraction=percentage / 100,
                labels_only=labels_only,
                train=replace(settings.train, loss="mixed"),
            )

        return build

    def smoothed(percentage: int, seed: int) -> Build:
        recipe = replace(settings.train.recipe, label_smoothing=_smoothing(percentage))
        return lambda _, out: replace(
            teacher_config(settings, source, seed, out),
            train=replace(settings.train, recipe=recipe),
        )

    builds: dict[str, Build] = {
        "teacher": lambda _, out: teacher_config(settings, source, key, out),
        "images": images,
    }
    arms = []
    for seed in range(key + 1, key + 1 + settings.seeds):
        for percentage in settings.percentages:
            name = f"replaced-{percentage}-seed-{seed}"
            builds[name] = training(percentage, seed)
            arms.append(Arm(str(percentage), seed, "epochs", name))
        if settings.control_percentage is not None:
            controls = {
                OUTPUTS_ONLY: training(settings.control_percentage, seed, labels_only=True),
                SMOOTHING: smoothed(settings.control_percentage, seed),
            }
            builds |= {f"{slug}-seed-{seed}": build for slug, build in controls.items()}
            arms += [Arm(slug, seed, "epochs", f"{slug}-seed-{seed}") for slug in controls]
    rows = [Row(str(p), f"{p}% replaced", PAPER.get(p)) for p in settings.percentages]
    if (given := settings.control_percentage) is not None:
        rows += [
            Row(OUTPUTS_ONLY, f"{given}% with outputs, no pixels", is_control=True),
            Row(SMOOTHING, f"label smoothing {_smoothing(given):.3f}", is_control=True),
        ]
    return Plan(tuple(rows), tuple(arms), builds)


def _write_pages(out: Path, result: ExperimentResult) -> None:
    settings = result.settings
    write_table_pages(
        out,
        result,
        TableWords(
            title="Training with replaced images",
            lead="A part of the training images was replaced by images made from them, which "
            "elicit 0.9 for the own class and 0.1 for another class from a frozen classifier. Then "
            "classifiers were trained from scratch (Hirano, Iwamura and Kise, table 1).",
            explanation=f"{settings['model']} at {settings['width']:g} of its width, "
            f"{settings['train']['epochs']} epochs. The paper's column: VGG16, 300 epochs, mean "
            "of 5. Its teacher had 92.27%.",
            row_heading="training set",
            baselines={"0": "none replaced", OUTPUTS_ONLY: "outputs, no pixels"},
        ),
    )


TABLE_A = PresetExperiment(
    name="table-a",
    about="paper A's table 1: accuracy with 0 to 50% of the training images replaced",
    presets=PRESETS,
    source=teacher_source,
    plan=make_plan,
    record=training_record,
    write_pages=_write_pages,
)
