"""Comparisons of the arms, with intervals that hold for all comparisons of a kind together."""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from experiments.pages.statistics import PairedDifference, paired_difference
from experiments.pages.verdict import Outcome, help_words, outcome_of
from experiments.papers.does_it_help.arms import ARMS, BASE
from experiments.papers.engine.accuracy_table import RowResult

CONFIDENCE = 0.95
"""Probability that all intervals of a kind, in one budget, hold together (Bonferroni)."""

NO_DIFFERENCE = 0.5
"""Points: an interval within ± this shows that an arm makes no difference of importance."""


class Comparison(NamedTuple):
    """One arm against another.

    Attributes:
        arm: slug of the arm.
        against: slug of the arm that it is compared with.
        difference: accuracy of the arm minus accuracy of the other one, in points, over the common
            seeds; its interval is corrected for the number of comparisons of its kind.
    """

    arm: str
    against: str
    difference: PairedDifference

    @property
    def outcome(self) -> Outcome:
        """What the interval shows."""
        return outcome_of(self.difference, negligible=NO_DIFFERENCE)


def to_controls(rows: Sequence[RowResult]) -> list[Comparison]:
    """Every arm of made images against its matched control.

    Args:
        rows: measured rows of one budget.
    """
    return _compare(rows, {slug: arm.control for slug, arm in ARMS.items() if arm.control})


def to_base(rows: Sequence[RowResult]) -> list[Comparison]:
    """Every other arm against the base.

    Args:
        rows: measured rows of one budget.
    """
    return _compare(rows, {slug: BASE for slug in ARMS if slug != BASE})


def _compare(rows: Sequence[RowResult], pairs: Mapping[str, str]) -> list[Comparison]:
    by_slug = {row.slug: row for row in rows}
    seeds = dict(_common_seeds(by_slug, pairs))
    confidence = 1 - (1 - CONFIDENCE) / max(len(seeds), 1)
    return [
        Comparison(arm, pairs[arm], _difference(by_slug[arm], by_slug[pairs[arm]], own, confidence))
        for arm, own in seeds.items()
    ]


def _common_seeds(
    rows: Mapping[str, RowResult], pairs: Mapping[str, str]
) -> Iterator[tuple[str, list[int]]]:
    """The seeds that an arm and its partner have, where there are at least two."""
    for arm, against in pairs.items():
        if arm in rows and against in rows:
            seeds = [seed for seed in rows[arm].accuracies if seed in rows[against].accuracies]
            if len(seeds) > 1:
                yield arm, seeds


def _difference(
    arm: RowResult, against: RowResult, seeds: Sequence[int], confidence: float
) -> PairedDifference:
    return paired_difference(
        [arm.accuracies[seed] for seed in seeds],
        [against.accuracies[seed] for seed in seeds],
        confidence=confidence,
    )


def verdict(rows: Sequence[RowResult]) -> str:
    """Says in a few sentences what is shown about made images, and what is not.

    First they are compared with their matched controls, then with the base: pixels may help and
    still not be worth their compute.

    Args:
        rows: measured rows of one budget.
    """
    controls, base = to_controls(rows), to_base(rows)
    lead = f"{_lead(controls, base)} " if controls else ""
    partners = {"their matched controls": controls}
    made = [each for each in base if ARMS[each.arm].control not in (None, BASE)]
    if made:
        partners["the base"] = made
    return lead + " ".join(
        help_words(
            {ARMS[each.arm].name: each.difference for each in comparisons},
            against=against,
            together=len(base) if comparisons is made else None,
            negligible=NO_DIFFERENCE,
        )
        for against, comparisons in partners.items()
    )


def _lead(controls: Sequence[Comparison], base: Sequence[Comparison]) -> str:
    """Counts the arms of made images that are shown to be better, in one sentence."""
    arms = [each.arm for each in controls]
    better = [
        sum(each.outcome == "helps" for each in comparisons if each.arm in arms)
        for comparisons in (controls, base)
    ]
    own, plain = (f"{count or 'none'} {'are' if count > 1 else 'is'}" for count in better)
    return (
        f"Of {len(arms)} ways to use made images, {own} shown to be better than the matched "
        f"control, and {plain} shown to be better than the base."
    )
