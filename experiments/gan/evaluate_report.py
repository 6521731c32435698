"""How good generated images are, as a table and as a page."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, UInt8

from experiments.pages.charts import confusion, histogram
from experiments.pages.html import Picture, Section, Table, provenance, write_report
from experiments.pages.image_sheets import rules_grid
from gans.metrics import NEAR_COPY

MEASURES = (
    "frechet", "kernel", "precision", "recall", "density", "coverage", "near_copies",
    "acceptance", "gan_train",
)  # fmt: skip
"""In the order of the table."""

IN_PERCENT = ("acceptance", "gan_train", "near_copies")

EXPLANATION = f"""
Each measure has the network that it is taken with, and the number of images, in its name. Real test
images are measured in the same way: what they reach is what there is to reach. Of the larger set as
many images as the other has are measured too, since the Fréchet distance falls, and recall and
coverage rise, with the number of images.

Fréchet and kernel distance are near 0 where sets are alike. Precision says how real images look,
recall how varied they are; density and coverage are forms of both that outliers move less.
Acceptance is the share of images that the classifier assigns to their label (GAN-test). A near-copy
is nearer to a training image than {NEAR_COPY:g} times the distance that is usual from one training
image to the nearest other one. GAN-train is the accuracy on the real test images of a classifier
trained on the generated images alone.
"""


class NearestImages(NamedTuple):
    """How near images come to the training images.

    Attributes:
        generated: the nearest ones, at most 16, the nearest first.
        training: the training image that each is nearest to.
        relative: distances of all generated images (see `gans.metrics.relative_distances`).
        relative_of_test: of all real test images.
    """

    generated: UInt8[np.ndarray, "n h w c"]
    training: UInt8[np.ndarray, "n h w c"]
    relative: Float[np.ndarray, " m"]
    relative_of_test: Float[np.ndarray, " l"]


def print_table(result: Mapping[str, Any]) -> None:
    """Prints all measures of generated images beside those of real ones.

    Args:
        result: the content of `result.json`.
    """
    rows = [("", "generated", "real test"), *_rows(result)]
    width = max(len(name) for name, _, _ in rows)
    for name, generated, test in rows:
        print(f"{name:{width}}  {generated:>10}  {test:>10}")


def _rows(result: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """Name and both values of every measure, as words."""
    generated, test = result["generated"], result["real_test"]
    counts = sorted({generated["images"], test["images"]}, reverse=True)
    names = [
        f"{measure}_{result['feature_source']['network']}_{count}"
        for measure in MEASURES
        for count in counts
    ]
    pairs = [(name, _written(name, generated), _written(name, test)) for name in names]
    return [row for row in pairs if any(row[1:])]


def _written(name: str, found: Mapping[str, Any]) -> str:
    """A measure's value; nothing where it was not taken of these images."""
    if name not in found["measures"]:
        return ""
    value = found["measures"][name]
    return f"{value:.2%}" if name.startswith(IN_PERCENT) else f"{value:.4g}"


def write_quality_report(path: Path, result: Mapping[str, Any], nearest: NearestImages) -> None:
    """Writes the page.

    Args:
        path: the file to make or replace.
        result: the content of `result.json`.
        nearest: what it does not hold.
    """
    generated, source = result["generated"], result["feature_source"]
    sets = Table(("measure", "generated", "real test"), _rows(result))
    write_report(
        path,
        title="Generated images beside real ones",
        lead=f"{generated['images']:,} generated and {result['real_test']['images']:,} real test "
        f"images against {result['real_train']['images']:,} real training images, in the "
        f"{source['features']:,} features of a classifier ({source['network']}).",
        facts=_facts(result),
        sections=[
            Section("All measures", text=EXPLANATION, tables=(sets,)),
            _acceptance_section(result),
            _nearest_section(nearest),
        ],
        footer={**provenance(dict(result)), "classifier": source["classifier_sha256"]},
    )


def _facts(result: Mapping[str, Any]) -> dict[str, str]:
    """What says most about the generated images by itself, without the real ones beside it."""
    network, count = result["feature_source"]["network"], result["generated"]["images"]
    labels = {
        "acceptance": "recognised as asked for",
        "near_copies": "near-copies",
        "gan_train": "GAN-train accuracy",
    }
    written = {
        label: _written(f"{measure}_{network}_{count}", result["generated"])
        for measure, label in labels.items()
    }
    return {label: value for label, value in written.items() if value}


def _acceptance_section(result: Mapping[str, Any]) -> Section:
    by_class = [result[name]["acceptance_by_class"] for name in ("generated", "real_test")]
    matrix = np.array(result["generated"]["confusion"])
    classes = result["class_names"]
    rows = [
        (name, f"{count:,}", *(_percent(rates[name]) for rates in by_class))
        for name, count in zip(classes, matrix.sum(1), strict=True)
    ]
    header = ("class", "generated images", "accepted", "real test images accepted")
    drawn = confusion(matrix, classes, row_label="class asked for")
    return Section(
        title="Asked for, and recognised",
        text="Share of images that the classifier assigns to their label, which for a generated "
        "image is the class asked for.",
        pictures=(Picture(drawn, "Classes asked for and predicted", name="confusion"),),
        tables=(Table(header, rows),),
    )


def _percent(rate: float | None) -> str:
    """A class without images has no rate."""
    return "–" if rate is None else f"{rate:.1%}"


def _nearest_section(nearest: NearestImages) -> Section:
    rows = rules_grid(nearest.training, {"generated": nearest.generated}, captions={})
    kinds = {"generated": nearest.relative, "real test": nearest.relative_of_test}
    spread = histogram(kinds, x_label="distance to the nearest training image, relative")
    shown = ", ".join(
        f"{value:.2g}" for value in np.sort(nearest.relative)[: len(nearest.generated)]
    )
    return Section(
        title="Nearest to training images",
        text="Below each training image (original) the generated image that is nearest to one. "
        f"Their relative distances are {shown}: 1 is usual from one training image to the nearest "
        f"other, and below {NEAR_COPY:g} an image counts as a near-copy.",
        pictures=(
            Picture(
                rows, "Training images, and the generated images nearest to them", name="nearest"
            ),
            Picture(spread, "Distances to the nearest training image", name="distances"),
        ),
    )
