"""The command `elicit quickstart`: synthesis and training on handwritten digits, with a report.

It trains a small classifier, synthesises an image from every training digit, trains again with and
without 30% of the digits replaced by these images, and compares. Each step is the ordinary command
with a directory of its own, so an interrupted quickstart goes on where it stopped.
"""

import time
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple, cast

import numpy as np

from experiments.classifier.train import train_classifier
from experiments.options.classifier import ClassifierTrainConfig
from experiments.options.quickstart import QuickstartConfig
from experiments.options.synthesis import RuleConfig, SynthesizeConfig
from experiments.pages.charts import comparison, curves, draw_differences, histogram
from experiments.pages.html import (
    Fact,
    Picture,
    Section,
    Table,
    digest_words,
    provenance,
    write_report,
)
from experiments.pages.statistics import (
    PairedDifference,
    difference_words,
    mean_words,
    paired_difference,
)
from experiments.pages.verdict import help_words
from experiments.quickstart.gan import CAUTION, quickstart_gan
from experiments.synthesis.command import synthesize_set
from experiments.synthesis.report import (
    ShownImages,
    measures_table,
    set_verdict,
    shown_sections,
)
from experiments.synthesis.summary import SetSummary
from train.data import DIGITS
from train.data.image_data import take_images
from train.data.load import load_images, read_extras
from train.recipes.train_options import TrainConfig
from train.storage.runs import (
    CONFIG_FILE,
    environment,
    open_run,
    read_metrics,
    read_result,
    write_result,
)

WIDTH = 0.25
"""Width of vgg-small: enough for digits, and quick on two cores."""

TRAINING = TrainConfig(epochs=8, batch_size=64, flip=False, pad_px=2)
"""Digits must not be mirrored. They fill the image, and a shift by 2 pixels keeps them whole."""

RULE = RuleConfig()
"""How the images are optimised: as `elicit synthesize` does by default."""


class _Outcome(NamedTuple):
    """Runs and measures that the quickstart has made.

    Attributes:
        teacher: run of the classifier that the images were synthesised with.
        synthesis: measures of the images.
        arms: runs of the trainings that are compared, originals only first.
    """

    teacher: Path
    synthesis: SetSummary
    arms: dict[str, list[Path]]

    @property
    def accuracies(self) -> dict[str, list[float]]:
        """Test accuracies of the trainings."""
        return {name: [_test_accuracy(run) for run in runs] for name, runs in self.arms.items()}

    @property
    def difference(self) -> PairedDifference:
        """What replacing changed in the accuracy."""
        plain, replaced = self.accuracies.values()
        return paired_difference(replaced, plain)

    @property
    def difference_points(self) -> PairedDifference:
        """The same in percentage points."""
        mean, deviation, n, low, high = self.difference
        return PairedDifference(100 * mean, 100 * deviation, n, 100 * low, 100 * high)

    def as_json(self, *, key: int) -> dict[str, object]:
        """The content of `result.json`."""
        return {
            "accuracies": self.accuracies,
            "difference": self.difference._asdict(),
            "runs": {name: [run.name for run in runs] for name, runs in self.arms.items()},
            "synthesis": self.synthesis.as_json(),
            "key": key,
            "teacher": _test_accuracy(self.teacher),
            **environment(),
        }


def _test_accuracy(run: Path) -> float:
    return read_result(run)["test_accuracy"]


def quickstart(config: QuickstartConfig) -> None:
    """Runs the command, and prints the report's path last.

    Raises:
        InputError: the directory holds something else.
    """
    if config.gan:
        quickstart_gan(config.directory, seeds=config.seeds, key=config.key)
        return
    began = time.monotonic()
    options = {"gan": False, "fraction": config.fraction, "seeds": config.seeds, "key": config.key}
    open_run(config.directory, options)
    teacher = ClassifierTrainConfig(
        data=DIGITS,
        out=config.directory / "teacher",
        model="vgg-small",
        width=WIDTH,
        key=config.key,
        train=TRAINING,
    )
    train_classifier(teacher, label=f"{_step(1, config)}: training the classifier")
    images = config.directory / "images"
    synthesised, _, _ = synthesize_set(
        SynthesizeConfig(
            classifier=str(teacher.out), data=DIGITS, out=images, rule=RULE, key=config.key
        ),
        label=f"{_step(2, config)}: synthesising images",
    )
    measures = cast(SetSummary, synthesised)  # this is the only process
    outcome = _Outcome(teacher.out, measures, _train_arms(config, teacher, images))
    _write_report(config, outcome, seconds=time.monotonic() - began)
    # The report holds times.
    write_result(config.directory, outcome.as_json(key=config.key), of=(CONFIG_FILE,))
    print(config.directory / "report.html")


def _step(number: int, config: QuickstartConfig) -> str:
    """A step's name: after classifier and images, each seed has two trainings."""
    return f"step {number} of {2 + 2 * config.seeds}"


def _train_arms(
    config: QuickstartConfig, teacher: ClassifierTrainConfig, images: Path
) -> dict[str, list[Path]]:
    """Trains with and without replacement with the same seeds; returns the runs of each arm."""
    replaced = f"{config.fraction:.0%} replaced"
    arms: dict[str, list[Path]] = {"originals only": [], replaced: []}
    step = 2
    for seed in range(config.key + 1, config.key + 1 + config.seeds):
        plain = replace(teacher, key=seed, out=config.directory / f"originals-{seed}")
        mixed = replace(
            plain,
            out=config.directory / f"replaced-{seed}",
            replace=images,
            fraction=config.fraction,
            train=replace(TRAINING, loss="mixed"),
        )
        for name, arm in (("originals only", plain), (replaced, mixed)):
            step += 1
            train_classifier(arm, label=f"{_step(step, config)}: seed {seed}, {name}")
            arms[name].append(arm.out)
    return arms


def _write_report(config: QuickstartConfig, outcome: _Outcome, *, seconds: float) -> None:
    synthesis, images = outcome.synthesis, config.directory / "images"
    teacher = read_result(outcome.teacher)
    plain, replaced = outcome.accuracies
    helps = help_words({replaced: outcome.difference_points}, against=plain)
    print(helps)
    count = f"n = {synthesis.images:,} images, at most {RULE.steps} updates"
    trainings = f"n = {config.seeds} trainings, {TRAINING.epochs} epochs"
    tested = f"n = {teacher['test_images']:,} images, 1 training"
    write_report(
        config.directory / "report.html",
        title=f"Images that elicit a chosen output: digits, {replaced}, key {config.key}",
        verdict=set_verdict(
            synthesis,
            budget="from handwritten digits, to be 0.9 the digit that they are and 0.1 another",
            helps=helps,
        ),
        facts=[
            Fact("digits classified right", f"{_test_accuracy(outcome.teacher):.1%}", tested),
            Fact("ranking as asked", f"{synthesis.ranking_as_asked:.1%}", count),
            Fact("mean largest error ↓", f"{synthesis.max_error_mean:.3f}", count),
            Fact("mean change ↓", f"{synthesis.mean_change_levels:.1f} grey levels", count),
            *(
                Fact(name, f"{mean_words([100 * value for value in values])} %", trainings)
                for name, values in outcome.accuracies.items()
            ),
        ],
        sections=[
            _comparison_section(outcome),
            *_images_sections(images),
            _outputs_section(images, synthesis),
            _curves_section(outcome.arms),
        ],
        footer=provenance(
            {**environment(), "key": config.key},
            data=f"{DIGITS}, {synthesis.images:,} for training, {teacher['test_images']:,} for "
            "the test",
            classifier=f"vgg-small at {WIDTH:g} of its width, "
            f"{digest_words(teacher['classifier_sha256'])}",
        )
        | {"time": f"{seconds:.0f} s in this session"},
    )


def _images_sections(images: Path) -> list[Section]:
    """Sections with the first image of each class, and with the worst ones."""
    made, originals = load_images(images), load_images(DIGITS)
    row_of = {name: row for row, name in enumerate(originals.ids)}
    sources = np.array([row_of[name] for name in made.source_ids or ()])
    shown = ShownImages(made.labels, read_extras(images, ("kl",))["kl"])
    for _ in shown.watch([(made, take_images(originals, sources))]):
        pass
    return shown_sections(shown.firsts, shown.worst)


def _outputs_section(images: Path, synthesis: SetSummary) -> Section:
    kl = read_extras(images, ("kl",))["kl"]
    spread = histogram({"images": kl}, x_label="KL(target ‖ output), nats (lower is better)")
    return Section(
        title="All synthesised images",
        text=f"{synthesis.images:,} images, at most {RULE.steps} updates each. They differ "
        f"from their originals by {synthesis.mean_change_levels:.1f} of 255 grey levels on "
        "average; "
        f"{synthesis.frozen_pixels:.0%} of the originals' pixels are black or white and can "
        "hardly change.",
        pictures=(
            Picture(spread, "How far the outputs are from their targets", name="kl"),
        ),
        tables=(measures_table(synthesis),),
    )  # fmt: skip


def _comparison_section(outcome: _Outcome) -> Section:
    percent = {
        name: [100 * value for value in values] for name, values in outcome.accuracies.items()
    }
    found, (plain, replaced) = outcome.difference_points, percent
    rows = [(name, mean_words(values), str(len(values))) for name, values in percent.items()]
    drawn = comparison(percent, y_label="test accuracy, %")
    paired = draw_differences({f"{replaced} – {plain}": found}, x_label="difference, points")
    return Section(
        title="Do they help?",
        text=f"The difference is {difference_words(found)} percentage points over {found.n} pairs "
        "of trainings with the same seed: mean ± standard deviation, and the 95% interval of the "
        f"mean. {CAUTION}",
        pictures=(
            Picture(drawn, "Every training, and means", name="comparison"),
            Picture(paired, "Difference within pairs, with its interval", name="difference"),
        ),
        tables=(Table(header=("training set", "test accuracy, %", "n"), rows=rows),),
    )


def _curves_section(arms: dict[str, list[Path]]) -> Section:
    means, deviations = {}, {}
    for name, runs in arms.items():
        lines = [read_metrics(run) for run in runs]
        by_epoch = 100 * np.array([[line["test_accuracy"] for line in run] for run in lines])
        means[name] = by_epoch.mean(0).tolist()
        deviations[name] = by_epoch.std(0, ddof=1).tolist()
    drawn = curves(means, x_label="epoch", y_label="test accuracy, %", spread=deviations)
    return Section(
        title="How they learn",
        text="Test accuracy after each epoch, mean ± standard deviation. The last epoch counts.",
        pictures=(Picture(drawn, "Test accuracy by epoch", name="curves"),),
    )
