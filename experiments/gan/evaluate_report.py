"""Quality of generated images beside real test images, as a table and as a report."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, UInt8

from experiments.pages.charts import histogram
from experiments.pages.confusions import confusion, taken_for
from experiments.pages.html import (
    Fact,
    Picture,
    Section,
    Strip,
    Strips,
    Table,
    write_report,
)
from experiments.pages.statistics import share_of
from experiments.pages.strips import enlarged, image_row
from experiments.pages.verdict import NOT_ASKED, Verdict
from gans.metrics import NEAR_COPY

MEASURES = (
    "frechet", "kernel", "precision", "recall", "density", "coverage", "near_copies",
    "acceptance", "gan_train",
)  # fmt: skip
"""All measures, in the order of the table."""

LOWER_IS_BETTER = ("frechet", "kernel", "near_copies")

IN_PERCENT = ("acceptance", "gan_train", "near_copies")

EXPLANATION = f"""
The name of a measure contains the network that it is taken with, and the number of images. Real
test images are measured in the same way, to show what can be reached. If one set is larger than the
other, a part of it with as many images as the other is measured too, since the Fréchet distance
falls, and recall and coverage rise, with the number of images.

Fréchet and kernel distance are near 0 if the sets are alike. Precision says how realistic the
images are, recall how varied they are; density and coverage are forms of both that depend less on
outliers. Acceptance is the share of images that the classifier assigns to their label (GAN-test). A
near-copy is nearer to a training image than {NEAR_COPY:g} times the usual distance from one
training image to the nearest other one. GAN-train is the accuracy, on the real test images, of a
classifier trained on the generated images only.
"""


@dataclass(frozen=True)
class SetQuality:
    """Quality of one image set.

    Attributes:
        images: Number of images.
        measures: Values by full name, such as `frechet_kono-cnn_5000`: measure, network of the
            classifier, and number of images. Only values of the same full name can be compared.
        acceptance_by_class: Share of each class's images that the classifier assigns to it; None
            for a class without images.
        confusion: Number of images by [label, predicted class].
    """

    images: int
    measures: dict[str, float]
    acceptance_by_class: dict[str, float | None]
    confusion: list[list[int]]


@dataclass(frozen=True)
class GanQuality:
    """Quality of generated images, and of real test images measured in the same way.

    Attributes:
        generated: Quality of the generated images.
        real_test: Quality of the real test images.
        real_train_images: Number of real training images, which both are measured against.
        class_names: Names of the classes, in the order of the labels.
        network: Network of the classifier.
        classifier_sha256: Digest of the classifier.
        features: Length of the classifier's feature vectors.
        neighbours: Number k: an image's neighbourhood reaches to its k-th nearest neighbour.
    """

    generated: SetQuality
    real_test: SetQuality
    real_train_images: int
    class_names: tuple[str, ...]
    network: str
    classifier_sha256: str
    features: int
    neighbours: int

    def measure_name(self, measure: str, images: int) -> str:
        """Full name of a measure that is taken of so many images."""
        return f"{measure}_{self.network}_{images}"

    def to_json(self) -> dict[str, object]:
        """Fields of `result.json`."""
        return {
            "generated": asdict(self.generated),
            "real_test": asdict(self.real_test),
            "real_train": {"images": self.real_train_images},
            "class_names": list(self.class_names),
            "feature_source": {
                "network": self.network,
                "classifier_sha256": self.classifier_sha256,
                "features": self.features,
            },
            "neighbours": self.neighbours,
        }

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> "GanQuality":
        """Reads the fields of `result.json`."""
        return cls(
            SetQuality(**fields["generated"]),
            SetQuality(**fields["real_test"]),
            fields["real_train"]["images"],
            tuple(fields["class_names"]),
            **fields["feature_source"],
            neighbours=fields["neighbours"],
        )


class NearestImages(NamedTuple):
    """Distances to the training images, and the images nearest to them.

    Attributes:
        generated: Generated images nearest to training images, nearest first.
        training: The training image that each of them is nearest to.
        relative: Distances of all generated images (see `gans.metrics.relative_distances`).
        relative_of_test: Distances of all real test images.
    """

    generated: UInt8[np.ndarray, "n h w c"]
    training: UInt8[np.ndarray, "n h w c"]
    relative: Float[np.ndarray, " m"]
    relative_of_test: Float[np.ndarray, " l"]


def print_table(quality: GanQuality) -> None:
    """Prints all measures of generated images beside the measures of real ones."""
    rows = [("", "generated", "real test"), *_rows(quality)]
    width = max(len(name) for name, _, _ in rows)
    for name, generated, test in rows:
        print(f"{name:{width}}  {generated:>10}  {test:>10}")


def _rows(quality: GanQuality) -> list[tuple[str, str, str]]:
    """Name and both values of every measure, as text."""
    generated, test = quality.generated, quality.real_test
    counts = sorted({generated.images, test.images}, reverse=True)
    names = [quality.measure_name(measure, count) for measure in MEASURES for count in counts]
    rows = [(name, _value_text(name, generated), _value_text(name, test)) for name in names]
    return [row for row in rows if any(row[1:])]


def _value_text(name: str, found: SetQuality) -> str:
    """Text of a measure's value; empty if it was not taken of these images."""
    if name not in found.measures:
        return ""
    value = found.measures[name]
    return f"{value:.2%}" if name.startswith(IN_PERCENT) else f"{value:.4g}"


def write_quality_report(
    path: Path,
    quality: GanQuality,
    nearest: NearestImages,
    *,
    title: str,
    footer: Mapping[str, str],
) -> None:
    """Writes the report.

    Args:
        path: Path of the report.
        title: Title of the report.
        quality: The measured quality.
        nearest: Images nearest to training images.
        footer: How to reproduce the run, see `experiments.pages.html.provenance`.
    """
    rows = [(_marked(name), *values) for name, *values in _rows(quality)]
    caption = "All measures; those with ↓ are better where they are lower"
    table = Table(("measure", "generated", "real test"), rows, caption=caption)
    write_report(
        path,
        title=title,
        verdict=_verdict(quality),
        facts=_facts(quality),
        sections=[
            Section("All measures", text=EXPLANATION, tables=(table,)),
            _acceptance_section(quality),
            _nearest_section(nearest),
        ],
        footer=footer,
    )


def _marked(name: str) -> str:
    return f"{name} ↓" if name.startswith(LOWER_IS_BETTER) else name


def _verdict(quality: GanQuality) -> Verdict:
    """What was compared, and how the generated images do beside the real ones."""
    generated, test = (_accepted(found) for found in (quality.generated, quality.real_test))
    trained = _value_text(quality.measure_name("gan_train", quality.generated.images),
                          quality.generated)  # fmt: skip
    alone = (
        f" A classifier trained on them alone gets {trained} of the real test images right (one "
        "training, n = 1)."
    )
    return Verdict(
        f"{quality.generated.images:,} generated and {quality.real_test.images:,} real test images "
        f"were compared with {quality.real_train_images:,} real training images, in the "
        f"{quality.features:,} features of a classifier ({quality.network}).",
        f"That classifier takes {generated} of the generated images for the class asked for, and "
        f"{test} of the real ones for theirs.{alone if trained else ''}",
        NOT_ASKED,
    )


def _accepted(found: SetQuality) -> str:
    matrix = np.array(found.confusion)
    return share_of(int(np.trace(matrix)), int(matrix.sum())).words


def _facts(quality: GanQuality) -> list[Fact]:
    """The measures that say most about the generated images alone."""
    labels = {
        "acceptance": "recognised as asked for",
        "near_copies": "near-copies ↓",
        "gan_train": "GAN-train accuracy",
    }
    found = quality.generated
    texts = {
        label: _value_text(quality.measure_name(measure, found.images), found)
        for measure, label in labels.items()
    }
    basis = f"n = {found.images:,} generated images"
    return [Fact(label, text, basis) for label, text in texts.items() if text]


def _acceptance_section(quality: GanQuality) -> Section:
    sets = (quality.generated, quality.real_test)
    matrix = np.array(quality.generated.confusion)
    rows = [
        (name, f"{count:,}", *(_percent(found.acceptance_by_class[name]) for found in sets))
        for name, count in zip(quality.class_names, matrix.sum(1), strict=True)
    ]
    header = ("class", "generated images", "accepted", "real test images accepted")
    row_label = "class asked for"
    drawn = confusion(matrix, quality.class_names, row_label=row_label)
    shown = Picture(drawn, "Classes asked for and predicted", name="confusion") if drawn else None
    return Section(
        title="Asked for, and recognised",
        text="Share of images that the classifier assigns to their label, which for a generated "
        "image is the class asked for.",
        pictures=[shown] if shown else [],
        tables=(
            Table(header, rows, caption="Accepted images, class by class"),
            taken_for(matrix, quality.class_names, row_label=row_label),
        ),
    )


def _percent(rate: float | None) -> str:
    """Text of a share; a dash for a class without images."""
    return "–" if rate is None else f"{rate:.1%}"


def _nearest_section(nearest: NearestImages) -> Section:
    kinds = {"generated": nearest.relative, "real test": nearest.relative_of_test}
    spread = histogram(kinds, x_label="distance to the nearest training image, relative")
    pairs = zip(nearest.training, nearest.generated, np.sort(nearest.relative), strict=False)
    strips = [
        Strip(f"distance {distance:.2g}", image_row(pair), (), "Training and generated image")
        for *pair, distance in pairs
    ]
    caption = "The generated images nearest to training images, each at the right of its own."
    return Section(
        title="Nearest to training images",
        text="A distance of 1 is usual from one training image to the nearest other one, and below "
        f"{NEAR_COPY:g} an image counts as a near-copy.",
        strips=[Strips(strips, caption, enlarged(nearest.training.shape[2]))],
        pictures=[Picture(spread, "Distances to the nearest training image", name="distances")],
    )
