"""Report of a GAN's training: samples over time, losses, and what the heads have learnt."""

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from experiments.gan.stages import SAMPLES, SHEET_COLUMNS
from experiments.pages.charts import curves
from experiments.pages.html import Picture, Section, write_report
from gans.sampling import Model

CURVES = {
    "loss": ("loss", "generator_loss", "discriminator_loss"),
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
    model: Model,
    metrics: Sequence[dict[str, Any]],
    training_images: int,
    parameters: int,
    footer: Mapping[str, str],
) -> None:
    """Writes `report.html` into a run's directory.

    Args:
        out: The run's directory, with its sample sheets.
        model: Kind of the GAN.
        metrics: Lines of the run's `metrics.jsonl`.
        training_images: Number of training images.
        parameters: Number of the generators' parameters.
        footer: How to reproduce the run, see `experiments.pages.html.provenance`.
    """
    stages = list(dict.fromkeys(line["stage"] for line in metrics))
    by_stage = {s: [line for line in metrics if line["stage"] == s] for s in stages}
    write_report(
        out / "report.html",
        title=f"A {'DCGAN' if model == 'dcgan' else 'Stacked GAN'}",
        lead=f"Trained on {training_images:,} images. The samples are of fixed noise, drawn with "
        "the running averages of batch norm, as all later samples are.",
        facts={
            "training images": f"{training_images:,}",
            "steps": f"{sum(lines[-1]['step'] for lines in by_stage.values()):,}",
            "generators' parameters": f"{parameters:,}",
        },
        sections=[
            _samples_section(_sheets(out, stages)),
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
