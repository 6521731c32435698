"""The outcome of `elicit transfer` as a table and as a page."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from experiments.pages.charts import class_shares, histogram
from experiments.pages.html import Fact, Picture, Section, Table, write_report
from experiments.pages.statistics import share_of
from experiments.pages.verdict import NOT_ASKED, Verdict

MAKER = "own classifier"
"""Name of a set's first row."""

MOST_FACTS = 6
"""Most pairs of a set and a classifier whose share is shown large."""

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
        "KL, nats ↓",
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
    footer: Mapping[str, str],
) -> None:
    """Writes the page.

    Args:
        path: path of the page.
        sets: answers of all classifiers for each set.
        rows: the same in numbers.
        footer: how to make the page again, see `experiments.pages.html.provenance`.
    """
    others = [row for row in rows if row.classifier != MAKER]
    names = ", ".join(Path(each.name).name for each in sets)
    write_report(
        path,
        title=f"What {names} say to {len(sets[0].answers) - 1} other classifiers",
        verdict=_verdict(sets, rows),
        facts=[
            Fact(f"{Path(row.image_set).name}, seen by {Path(row.classifier).name}",
                 f"{row.first_class:.1%}", f"first class as asked, n = {row.images:,} images")
            for row in others[:MOST_FACTS]
        ],
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
                text="How far the outputs are from the targets: lower is better.",
                pictures=tuple(map(_spread, sets, range(len(sets)))),
            ),
        ],
        footer=footer,
    )  # fmt: skip


def _verdict(sets: Sequence[SetAnswers], rows: Sequence[TransferRow]) -> Verdict:
    """Whether the images say to others what they say to the classifier that made them."""
    parts = []
    for each in sets:
        own, *others = [row for row in rows if row.image_set == each.name]
        worst = min(others, key=lambda row: row.first_class)
        right = share_of(round(worst.first_class * worst.images), worst.images)
        parts.append(
            f"of {Path(each.name).name}, {own.first_class:.1%} have the first class asked for by "
            f"their own classifier, and at least {right.words} by each of the others"
        )
    count = len(sets[0].answers) - 1
    return Verdict(
        f"{sum(len(each.answers[0].kl) for each in sets):,} images of {len(sets)} "
        f"{'set' if len(sets) == 1 else 'sets'} were shown to {count} other "
        f"{'classifier' if count == 1 else 'classifiers'}.",
        f"{'; '.join(parts)[:1].upper()}{'; '.join(parts)[1:]}. The intervals hold for "
        "other images, not for other classifiers.",
        NOT_ASKED,
    )


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
