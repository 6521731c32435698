"""Report of a GAN's training: samples over time, losses, and what the heads have learnt."""

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from experiments.gan.acceptance import best_epoch, measured, measured_lines
from experiments.gan.stages import SAMPLES, SHEET_COLUMNS
from experiments.pages.charts import MAX_WRITTEN_CLASSES, curves
from experiments.pages.html import Picture, Section, Table, write_report
from gans.sampling import GanSpec

CURVES = {
    "loss": ("loss", "generator_loss", "discriminator_loss", "r1_penalty", "r2_penalty"),
    "accuracy": ("accuracy", "discriminator_accuracy"),
    "error of the guessed noise (1/12 is no knowledge)": ("entropy_error",),
    "error of the features": ("feature_error",),
    "generator's updates a step": ("generator_steps",),
}
"""Metrics that are drawn in one picture, by the label of its axis; a stage may lack some.
A metric of a single level has the level's name after it."""


def write_gan_report(
    out: Path,
    *,
    spec: GanSpec,
    metrics: Sequence[dict[str, Any]],
    training_images: int,
    parameters: int,
    footer: Mapping[str, str],
    acceptance_images: int,
) -> None:
    """Writes `report.html` into a run's directory.

    Args:
        out: The run's directory, with its sample sheets.
        spec: The GAN.
        metrics: Lines of the run's `metrics.jsonl`.
        training_images: Number of training images.
        parameters: Number of the generators' parameters.
        footer: How to reproduce the run, see `experiments.pages.html.provenance`.
        acceptance_images: Samples of each class whose acceptance was measured, if it was.
    """
    stages = list(dict.fromkeys(line["stage"] for line in metrics))
    by_stage = {s: [line for line in metrics if line["stage"] == s] for s in stages}
    write_report(
        out / "report.html",
        title=f"A {'DCGAN' if spec.model == 'dcgan' else 'Stacked GAN'}",
        lead=f"Trained on {training_images:,} images. The samples are of fixed noise, drawn with "
        "the running averages of batch norm, as all later samples are.",
        facts={
            "training images": f"{training_images:,}",
            "steps": f"{sum(lines[-1]['step'] for lines in by_stage.values()):,}",
            "generators' parameters": f"{parameters:,}",
        },
        sections=[
            _samples_section(_sheets(out, stages)),
            *_acceptance_sections(metrics, spec.class_names, images=acceptance_images),
            *(_stage_section(stage, lines) for stage, lines in by_stage.items()),
        ],
        footer=dict(footer),
    )


def _sheets(out: Path, stages: Sequence[str]) -> list[Path]:
    """All sample sheets in the order of training, which is not the order of their names."""
    places = {path: path.stem.rpartition("-") for path in (out / SAMPLES).glob("*.png")}
    return sorted(places, key=lambda path: (stages.index(places[path][0]), int(places[path][2])))


def _samples_section(sheets: Sequence[Path]) -> Section:
    return Section(
        title="Samples",
        text="One row for each class.",
        pictures=(
            Picture(sheets[-1].read_bytes(), "At the end", name="samples"),
            Picture(
                strip(sheets),
                f"The first column, sheet by sheet: {_times(sheets)}",
                name="progress",
            ),
        ),
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
    Image.fromarray(np.concatenate(columns, axis=1)).save(buffer, "PNG", optimize=True)
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


def _acceptance_chart(lines: Sequence[Mapping[str, Any]], class_names: Sequence[str]) -> bytes:
    """Lines through the measured epochs; of many classes, their lowest and highest share."""
    shares = np.array([line["by_class"]["acceptance"] for line in lines])
    columns = dict(zip(class_names, shares.T, strict=True))
    if len(class_names) > MAX_WRITTEN_CLASSES:
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
    return Table(["class", "its best epoch", "accepted then", "accepted at the end"], rows)


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
