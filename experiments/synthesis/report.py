"""The page of a synthesised set: images of every class, the worst ones, and all divergences."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int

from experiments.pages.charts import histogram
from experiments.pages.html import Fact, Picture, Section, Strips, Table, write_report
from experiments.pages.statistics import share_of
from experiments.pages.strips import MAX_STRIPS, elicited_strips, shown_of
from experiments.pages.verdict import NOT_ASKED, Verdict
from experiments.synthesis.summary import Pair, SetSummary, distributions
from train.data.image_data import join_images, take_images

WORST_IMAGES = 8
"""Images with the largest divergence on a set's page."""


@dataclass(frozen=True)
class ElicitedSet:
    """What the report of a synthesised set tells.

    Attributes:
        title: title of the report.
        summary: the set's measures.
        kl: KL(target ‖ output) of all images of the set, and of their views if there are any, by
            the names of the two.
        shown: the first image of every class that is shown, with their originals.
        worst: the images with the largest divergence, the largest first, with their originals.
        budget: how the images were made, such as "momentum, 100 updates".
        footer: how to make the set again, see `experiments.pages.html.provenance`.
    """

    title: str
    summary: SetSummary
    kl: Mapping[str, Float[np.ndarray, " n"]]
    shown: Pair
    worst: Pair
    budget: str
    footer: Mapping[str, str]


class ShownImages:
    """Rows of a set that a page shows, picked while the set is read part by part."""

    def __init__(self, labels: Int[np.ndarray, " n"], kl: Float[np.ndarray, " n"]) -> None:
        """Chooses the first image of every class, and the worst images of all.

        Args:
            labels: labels of the set's images.
            kl: their divergences.
        """
        _, firsts = np.unique(labels, return_index=True)
        self._firsts = firsts[:MAX_STRIPS]
        self._worst = np.argsort(-kl, kind="stable")[:WORST_IMAGES]
        self._wanted = np.unique([*self._firsts, *self._worst])
        self._pairs: list[Pair] = []

    def watch(self, pairs: Iterable[Pair]) -> Iterator[Pair]:
        """Passes the parts of the whole set on, and keeps the chosen rows of each."""
        done = 0
        for pair in pairs:
            count = len(pair[0].labels)
            own = self._wanted[(self._wanted >= done) & (self._wanted < done + count)] - done
            if len(own):
                self._pairs.append((take_images(pair[0], own), take_images(pair[1], own)))
            done += count
            yield pair

    @property
    def firsts(self) -> Pair:
        """The first image of every class, in the order of the classes."""
        return self._take(self._firsts)

    @property
    def worst(self) -> Pair:
        """The worst images, the worst first."""
        return self._take(self._worst)

    def _take(self, rows: np.ndarray) -> Pair:
        made, originals = (join_images(parts) for parts in zip(*self._pairs, strict=True))
        places = np.searchsorted(self._wanted, rows)
        return take_images(made, places), take_images(originals, places)


def elicited(pair: Pair, *, caption: str) -> Strips:
    """Shows images beside their originals, with the outputs asked for and reached.

    Args:
        pair: the images and their originals.
        caption: what they are.

    Raises:
        InputError: the set has no targets and outputs.
    """
    made, originals = pair
    return elicited_strips(
        originals.images, made.images, *distributions(made), made.labels, made.class_names,
        caption=caption,
    )  # fmt: skip


def write_set_report(path: Path, made: ElicitedSet) -> None:
    """Writes a set's page: images of every class and the worst beside their originals, and all KLs.

    Args:
        path: path of the page.
        made: what it tells.
    """
    summary = made.summary
    shares = {
        "ranking as asked": summary.ranking_as_asked,
        "first class as asked": summary.first_class_as_asked,
        "ranking as asked in views": summary.view_ranking_as_asked,
    }
    count = f"n = {summary.images:,} images"
    spread = histogram(made.kl, x_label="KL(target ‖ output), nats (lower is better)")
    write_report(
        path,
        title=made.title,
        verdict=set_verdict(summary, budget=made.budget),
        facts=[
            Fact("images", f"{summary.images:,}", made.budget),
            Fact("mean KL ↓", f"{summary.kl_mean:.4f} nats", count),
            *(Fact(name, f"{share:.1%}", count) for name, share in shares.items()
              if share is not None),
            Fact("mean change ↓", f"{summary.mean_change_levels:.1f} grey levels", count),
        ],
        sections=[
            *shown_sections(made.shown, made.worst),
            Section(
                "All images",
                "How far the outputs are from their targets.",
                pictures=[Picture(spread, "Distribution of the KL divergence", name="kl")],
                tables=[measures_table(summary)],
            ),
        ],
        footer=made.footer,
    )  # fmt: skip


def shown_sections(firsts: Pair, worst: Pair) -> list[Section]:
    """Sections with an image of every class, and with the worst images.

    Args:
        firsts: images of the classes that are shown, with their originals.
        worst: the worst images, with their originals.
    """
    classes = len(firsts[0].class_names)
    captions = {
        "Images of every class": f"The first image of each class.{shown_of(classes)}",
        "The worst images": "The images whose outputs are farthest from their targets.",
    }
    return [
        Section(title, strips=[elicited(pair, caption=caption)])
        for (title, caption), pair in zip(captions.items(), (firsts, worst), strict=True)
    ]


def set_verdict(summary: SetSummary, *, budget: str, helps: str = NOT_ASKED) -> Verdict:
    """Says what was made and how well it elicits what was asked for.

    Args:
        summary: the set's measures.
        budget: how the images were made.
        helps: whether they help.
    """
    left_out = f" {summary.left_out:,} were not finite and are left out." * bool(summary.left_out)
    asked, share = "rank all classes as asked for", summary.ranking_as_asked
    if summary.first_class_as_asked is not None:
        asked, share = "have the first class asked for", summary.first_class_as_asked
    found = share_of(round(share * summary.images), summary.images)
    return Verdict(
        f"{summary.images:,} images were made {budget}.{left_out}",
        f"After rounding to 8 bits, {found.words} of them {asked}, by the classifier that they "
        f"were made with; the mean divergence from target to output is {summary.kl_mean:.3g} nats.",
        helps,
    )


def measures_table(summary: SetSummary) -> Table:
    """Divergence and error over all images, as a table."""
    rows = [
        ("KL(target ‖ output), nats ↓", f"{summary.kl_mean:.4f}", f"{summary.kl_p95:.4f}"),
        ("largest error of a class ↓", f"{summary.max_error_mean:.4f}",
         f"{summary.max_error_p95:.4f}"),
    ]  # fmt: skip
    return Table(("", "mean", "95th percentile"), rows, f"All {summary.images:,} images")
