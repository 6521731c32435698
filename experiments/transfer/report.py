"""The outcome of `elicit transfer` as a table and as a page."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from experiments.pages.charts import class_shares, histogram
from experiments.pages.html import Picture, Section, Table, write_report

MAKER = "own classifier"
"""Name of a set's first row."""

MOST_HISTOGRAMS = 6
"""Classifiers whose divergences are drawn in one picture."""


class ClassifierAnswers(NamedTuple):
    """What a classifier says of every image.

    Attributes:
        name: the classifier's name.
        kl: KL(target ‖ output), in nats.
        ranks: whether the output ranks all classes as the target does.
        is_first: whether the likeliest class is the one asked for most.
    """

    name: str
    kl: Float[np.ndarray, " n"]
    ranks: Bool[np.ndarray, " n"]
    is_first: Bool[np.ndarray, " n"]


class SetAnswers(NamedTuple):
    """What all classifiers say of the images of a set, its own first."""

    name: str
    answers: Sequence[ClassifierAnswers]


@dataclass(frozen=True)
class TransferRow:
    """A classifier's answers for a set, in numbers.

    Attributes:
        image_set: the set's name.
        classifier: the classifier's name.
        images: number of images.
        ranking_as_asked: share of images whose output ranks all classes as the target does.
        first_class: share of images whose likeliest class is the one asked for most.
        kl_mean: mean KL(target ‖ output), in nats.
        kl_deviation: its standard deviation over the images.
    """

    image_set: str
    classifier: str
    images: int
    ranking_as_asked: float
    first_class: float
    kl_mean: float
    kl_deviation: float

    @classmethod
    def of(cls, image_set: str, answers: ClassifierAnswers) -> "TransferRow":
        """Summarises a classifier's answers for a set."""
        return cls(
            image_set=image_set,
            classifier=answers.name,
            images=len(answers.kl),
            ranking_as_asked=float(answers.ranks.mean()),
            first_class=float(answers.is_first.mean()),
            kl_mean=float(answers.kl.mean(dtype=np.float64)),
            kl_deviation=float(answers.kl.std(dtype=np.float64)),
        )


def transfer_table(rows: Sequence[TransferRow]) -> Table:
    """The table: a row a set and classifier."""
    header = (
        "image set",
        "classifier",
        "images",
        "ranking as asked",
        "first class as asked",
        "KL, nats",
    )
    cells = [
        (
            row.image_set,
            row.classifier,
            f"{row.images:,}",
            f"{row.ranking_as_asked:.1%}",
            f"{row.first_class:.1%}",
            f"{row.kl_mean:.4f} ± {row.kl_deviation:.4f}",
        )
        for row in rows
    ]
    return Table(header, cells)


def write_transfer_report(
    path: Path,
    sets: Sequence[SetAnswers],
    rows: Sequence[TransferRow],
    *,
    command: str,
) -> None:
    """Writes the page.

    Args:
        path: path of the page.
        sets: answers of all classifiers for each set.
        rows: the same in numbers.
        command: the command that measured them.
    """
    count, others = len(sets), len(sets[0].answers) - 1
    described = "One image set" if count == 1 else f"{count} image sets"
    write_report(
        path,
        title="What the images say to other classifiers",
        lead=f"{described}, seen by {others} classifiers.",
        facts={
            f"{each.name}: first class as asked, own classifier and others": " · ".join(
                f"{_share(rows, each.name, is_own=is_own):.1%}" for is_own in (True, False)
            )
            for each in sets
        },
        sections=[
            Section(
                title="Classifiers",
                text="A ranking is as asked where the output puts all classes in the order of the "
                "target; the first class is as asked where the likeliest class is one that the "
                "target asks for most. A set's first row is what it records of the classifier "
                "that made it. KL is the mean ± standard deviation over the images.",
                pictures=(
                    _bars(sets, "ranks", "ranking as asked"),
                    _bars(sets, "is_first", "first class as asked"),
                ),
                tables=(transfer_table(rows),),
            ),
            Section(
                title="All images",
                text="How far the outputs are from the targets.",
                pictures=tuple(map(_spread, sets, range(count))),
            ),
        ],
        footer={"command": command, "numbers": "transfer.json"},
    )


def _share(rows: Sequence[TransferRow], name: str, *, is_own: bool) -> float:
    """Share of images whose first class is as asked, by a set's own classifier or the others."""
    own, *others = [row.first_class for row in rows if row.image_set == name]
    return own if is_own else float(np.mean(others))


def _bars(sets: Sequence[SetAnswers], name: str, label: str) -> Picture:
    """Draws the shares of a measure by set and classifier; the fewer of them have the colours."""
    shares = np.array([[getattr(one, name).mean() for one in each.answers] for each in sets])
    rows, colours = [each.name for each in sets], [one.name for one in sets[0].answers]
    if len(rows) < len(colours):
        rows, colours, shares = colours, rows, shares.T
    bars = dict(zip(colours, shares.T, strict=True))
    drawn = class_shares(bars, rows, x_label=f"share of images, {label}")
    return Picture(drawn, f"Share of images with the {label}", name=name)


def _spread(answers: SetAnswers, number: int) -> Picture:
    """Draws how far the outputs for a set are from their targets."""
    kl = {one.name: one.kl for one in answers.answers[:MOST_HISTOGRAMS]}
    drawn = histogram(kl, x_label="KL(target ‖ output), nats")
    return Picture(drawn, f"Distribution of the KL divergence, {answers.name}", name=f"kl-{number}")
