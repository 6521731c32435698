"""The outcome of `elicit transfer` as a table and as a page."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from experiments.pages.charts import class_shares, histogram
from experiments.pages.html import Picture, Section, Table, write_report

MAKER = "the images' own classifier"
"""Name of the first row."""

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


@dataclass(frozen=True)
class TransferRow:
    """A classifier's answers in numbers.

    Attributes:
        classifier: its name.
        images: number of images.
        ranking_as_asked: share of images whose output ranks all classes as the target does.
        first_class: share of images whose likeliest class is the one asked for most.
        kl_mean: mean KL(target ‖ output), in nats.
        kl_deviation: its standard deviation over the images.
    """

    classifier: str
    images: int
    ranking_as_asked: float
    first_class: float
    kl_mean: float
    kl_deviation: float

    @classmethod
    def of(cls, answers: ClassifierAnswers) -> "TransferRow":
        """Summarises a classifier's answers."""
        return cls(
            classifier=answers.name,
            images=len(answers.kl),
            ranking_as_asked=float(answers.ranks.mean()),
            first_class=float(answers.is_first.mean()),
            kl_mean=float(answers.kl.mean(dtype=np.float64)),
            kl_deviation=float(answers.kl.std(dtype=np.float64)),
        )


def transfer_table(rows: Sequence[TransferRow]) -> Table:
    """The table: a row a classifier."""
    header = ("classifier", "images", "ranking as asked", "first class as asked", "KL, nats")
    cells = [
        (
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
    answers: Sequence[ClassifierAnswers],
    rows: Sequence[TransferRow],
    *,
    command: str,
) -> None:
    """Writes the page.

    Args:
        path: path of the page.
        answers: answers of all classifiers, the images' own first.
        rows: the same in numbers.
        command: the command that measured them.
    """
    shares = {
        "ranking as asked": np.array([row.ranking_as_asked for row in rows]),
        "first class as asked": np.array([row.first_class for row in rows]),
    }
    bars = class_shares(shares, [row.classifier for row in rows], x_label="share of images")
    drawn = {each.name: each.kl for each in answers[:MOST_HISTOGRAMS]}
    spread = histogram(drawn, x_label="KL(target ‖ output), nats")
    others = rows[1:]
    mean = float(np.mean([row.ranking_as_asked for row in others]))
    write_report(
        path,
        title="What the images say to other classifiers",
        lead=f"{rows[0].images:,} synthesised images, seen by {len(others)} classifiers.",
        facts={
            "ranking as asked, own classifier": f"{rows[0].ranking_as_asked:.1%}",
            "ranking as asked, mean of the others": f"{mean:.1%}",
        },
        sections=[
            Section(
                title="Classifiers",
                text="A ranking is as asked where the output puts all classes in the order of the "
                "target. The first row is what the set records of the classifier that made it. "
                "KL is the mean ± standard deviation over the images.",
                pictures=(Picture(bars, "Outputs as asked, by classifier", name="shares"),),
                tables=(transfer_table(rows),),
            ),
            Section(
                title="All images",
                text="How far the outputs are from the targets.",
                pictures=(Picture(spread, "Distribution of the KL divergence", name="kl"),),
            ),
        ],
        footer={"command": command, "numbers": "transfer.json"},
    )
