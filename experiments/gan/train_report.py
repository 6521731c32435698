"""Report of a GAN's training: samples over time, losses, and what the heads have learnt."""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from experiments.gan.acceptance import best_epoch, measured, measured_lines
from experiments.gan.stages import SAMPLES, SHEET_COLUMNS
from experiments.pages.charts import curves
from experiments.pages.html import Fact, Picture, Section, Table, write_report
from experiments.pages.image_sheets import GAP_PX
from experiments.pages.strips import sheet_strips
from experiments.pages.svg import Chart
from experiments.pages.verdict import NOT_ASKED, Verdict
from gans.sampling import GanSpec

MAX_DRAWN_CLASSES = 12
"""Most classes whose acceptance has a line of its own."""

CURVES = {
    "loss": ("loss", "generator_loss", "discriminator_loss", "r1_penalty", "r2_penalty"),
    "accuracy": ("accuracy", "discriminator_accuracy"),
    "error of the guessed noise (1/12 is no knowledge)": ("entropy_error",),
    "error of the features": ("feature_error",),
    "generator's updates a step": ("generator_steps",),
}
"""Metrics that are drawn in one picture, by the label of its axis; a stage may lack some.
A metric of a single level has the level's name after it."""


@dataclass(frozen=True)
class TrainedGan:
    """What the report of a GAN's training tells.

    Attributes:
        data: name of the data set.
        key: seed of the training.
        spec: the GAN.
        metrics: lines of the run's `metrics.jsonl`.
        training_images: number of training images.
        parameters: number of the generators' parameters.
        footer: how to reproduce the run, see `experiments.pages.html.provenance`.
        acceptance_images: samples of each class whose acceptance was measured, if it was.
    """

    data: str
    key: int
    spec: GanSpec
    metrics: Sequence[dict[str, Any]]
    training_images: int
    parameters: int
    footer: Mapping[str, str]
    acceptance_images: int

    @property
    def name(self) -> str:
        """The kind of GAN."""
        return "DCGAN" if self.spec.model == "dcgan" else "Stacked GAN"

    @property
    def by_stage(self) -> dict[str, list[dict[str, Any]]]:
        """Lines of metrics by the stages of the training, in their order."""
        stages = dict.fromkeys(line["stage"] for line in self.metrics)
        return {s: [line for line in self.metrics if line["stage"] == s] for s in stages}

    @property
    def budget(self) -> str:
        """Length of the training."""
        steps = sum(lines[-1]["step"] for lines in self.by_stage.values())
        return f"{sum(map(len, self.by_stage.values())):,} epochs, {steps:,} steps"

    @property
    def verdict(self) -> Verdict:
        """What was trained, and what is known of its samples."""
        made = (
            f"A {self.name} was trained on {self.training_images:,} images of "
            f"{self.spec.num_classes} classes, for {self.budget} in all (one training, n = 1)."
        )
        lines = measured_lines(self.metrics)
        if not lines:
            return Verdict(
                made,
                "How good its samples are was not measured: look at them below, measure them with "
                "elicit gan evaluate, or train with --classifier.",
                NOT_ASKED,
            )
        last = measured(lines[-1], images=self.acceptance_images)
        works = (
            f"At the end a classifier takes {last.words} of {last.images:,} samples for their "
            "class; brackets hold the 95% interval for the choice of the samples."
        )
        return Verdict(made, works, NOT_ASKED)


def write_gan_report(out: Path, gan: TrainedGan) -> None:
    """Writes `report.html` into a run's directory.

    Args:
        out: the run's directory, with its sample sheets.
        gan: what it tells.
    """
    names = gan.spec.class_names
    facts = [
        Fact("training images", f"{gan.training_images:,}", f"{len(names)} classes, 1 training"),
        Fact("epochs", f"{sum(map(len, gan.by_stage.values())):,}", gan.budget),
        Fact("parameters", f"{gan.parameters:,}", "of the generators"),
    ]
    if lines := measured_lines(gan.metrics):
        last = measured(lines[-1], images=gan.acceptance_images)
        accepted = Fact("accepted at the end", f"{last.share:.1%}", f"n = {last.images:,} samples")
        facts = [accepted, *facts]
    write_report(
        out / "report.html",
        title=f"A {gan.name} of {gan.data}, seed {gan.key}",
        verdict=gan.verdict,
        facts=facts,
        sections=[
            _samples_section(_sheets(out, list(gan.by_stage)), names),
            *_acceptance_sections(gan.metrics, names, images=gan.acceptance_images),
            *(_stage_section(stage, lines) for stage, lines in gan.by_stage.items()),
        ],
        footer=gan.footer,
    )


def _sheets(out: Path, stages: Sequence[str]) -> list[Path]:
    """All sample sheets in the order of training, which is not the order of their names."""
    places = {path: path.stem.rpartition("-") for path in (out / SAMPLES).glob("*.png")}
    return sorted(places, key=lambda path: (stages.index(places[path][0]), int(places[path][2])))


def _samples_section(sheets: Sequence[Path], class_names: Sequence[str]) -> Section:
    return Section(
        title="Samples",
        text="The samples are of fixed noise, drawn with the running averages of batch norm, as "
        "all later samples are.",
        strips=[
            sheet_strips(
                sheets[-1].read_bytes(),
                class_names,
                caption="At the end.",
                columns=SHEET_COLUMNS,
            ),
            sheet_strips(
                strip(sheets),
                class_names,
                caption=f"The first sample of each class in the course of training: "
                f"{_times(sheets)}.",
            ),
        ],
    )


def _times(sheets: Sequence[Path]) -> str:
    """When the sheets were drawn, such as "epochs 5, 10 of gan"."""
    epochs: dict[str, list[str]] = {}
    for path in sheets:
        stage, _, epoch = path.stem.rpartition("-")
        epochs.setdefault(stage, []).append(str(int(epoch)))
    return "; ".join(f"epochs {', '.join(each)} of {stage}" for stage, each in epochs.items())


def strip(sheets: Sequence[Path]) -> bytes:
    """Draws the first column of every sheet, side by side, as PNG.

    Args:
        sheets: Paths of sheets of one size, each with `SHEET_COLUMNS` columns.
    """
    columns = []
    for path in sheets:
        with Image.open(path, formats=("PNG",)) as image:
            pixels = np.asarray(image)
        columns.append(pixels[:, : -(-pixels.shape[1] // SHEET_COLUMNS)])
    buffer = io.BytesIO()
    joined = np.concatenate(columns, axis=1)[:, :-GAP_PX]
    Image.fromarray(joined).save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def _acceptance_sections(
    metrics: Sequence[dict[str, Any]], class_names: Sequence[str], *, images: int
) -> list[Section]:
    """Acceptance of each class by epoch, and the best epochs; no section if it was not measured."""
    lines = measured_lines(metrics)
    if not lines:
        return []
    best, last = best_epoch(lines, images=images), measured(lines[-1], images=images)
    stages = list(dict.fromkeys(line["stage"] for line in lines))
    option = "--joint-epochs" if best.stage == "joint" else "--epochs"
    return [
        Section(
            title="Acceptance",
            text=(
                "The share of samples that the classifier takes for their class, with running "
                "averages of batch norm and the same noise at every epoch. Best of "
                f"{len(lines)} measurements: epoch {best.epoch} of {best.stage}, {best.words} of "
                f"{best.images:,} samples. At the end: {last.words}. Brackets hold Wilson's 95% "
                "interval; the best of several measurements is likely to lie above its true value. "
                f"With {option} {best.epoch} the same command ends there, in another --out."
            ),
            pictures=[
                Picture(
                    _acceptance_chart(
                        [line for line in lines if line["stage"] == stage], class_names
                    ),
                    f"Acceptance by epoch of {stage}",
                    name=f"acceptance-{stage}",
                )
                for stage in stages
            ],
            tables=[_acceptance_table(lines, class_names, images=images)],
        )
    ]


def _acceptance_chart(lines: Sequence[Mapping[str, Any]], class_names: Sequence[str]) -> Chart:
    """Lines through the measured epochs; of many classes, their lowest and highest share."""
    shares = np.array([line["by_class"]["acceptance"] for line in lines])
    columns = dict(zip(class_names, shares.T, strict=True))
    if len(class_names) > MAX_DRAWN_CLASSES:
        columns = {"lowest of a class": shares.min(1), "highest of a class": shares.max(1)}
    epochs = np.array([line["epoch"] for line in lines])
    every = np.arange(1, epochs[-1] + 1)
    series = {
        name: np.interp(every, epochs, values, left=np.nan).tolist()
        for name, values in {"all classes": shares.mean(1), **columns}.items()
    }
    return curves(series, x_label="epoch", y_label="share accepted")


def _acceptance_table(
    lines: Sequence[Mapping[str, Any]], class_names: Sequence[str], *, images: int
) -> Table:
    rows = []
    for label, name in enumerate(class_names):
        best = best_epoch(lines, images=images, label=label)
        last = measured(lines[-1], images=images, label=label)
        rows.append([name, f"{best.epoch} of {best.stage}", best.words, last.words])
    header = ["class", "its best epoch", "accepted then", "accepted at the end"]
    return Table(header, rows, caption=f"Acceptance by class, {images} samples each")


def _stage_section(stage: str, lines: Sequence[dict[str, Any]]) -> Section:
    """Curves of all metrics of a stage; those of one unit share a picture."""
    pictures = []
    for index, (label, prefixes) in enumerate(CURVES.items()):
        names = [
            name
            for name in lines[0]
            if f"{name}_".startswith(tuple(f"{prefix}_" for prefix in prefixes))
            and _varies(name, lines)
        ]
        if names:
            series = {name.replace("_", " "): [line[name] for line in lines] for name in names}
            drawn = curves(series, x_label="epoch", y_label=label)
            caption = f"{label.capitalize()} by epoch"
            pictures.append(Picture(drawn, caption, name=f"{stage}-{index}"))
    return Section(title=f"Training: {stage}", pictures=pictures)


def _varies(name: str, lines: Sequence[dict[str, Any]]) -> bool:
    """Whether a curve would show something; a fixed number of updates is left out."""
    return name != "generator_steps" or len({line[name] for line in lines}) > 1
