"""The verdict that a report begins with: what was made, whether it works, whether it helps.

Whether something helps is decided by an interval of a difference: it helps where the whole interval
lies on the better side of 0, harms where it lies on the other, and else nothing is decided. One
training decides nothing.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from experiments.pages.statistics import PairedDifference, difference_sign

MAX_NAMED = 4
"""Most comparisons of one outcome that a verdict names."""

MAX_UNDECIDED = 2
"""Most comparisons without a decision whose numbers a verdict tells; charts tell all."""

NOT_ASKED = (
    "Whether they help a classifier is not measured here, but by elicit experiment does-it-help."
)

Outcome = Literal["helps", "harms", "no difference", "not decided"]


@dataclass(frozen=True)
class Verdict:
    """The first sentences of a report.

    Attributes:
        made: what was made or measured, and of how many images or trainings.
        works: how well, in the number that matters most, with its interval or n.
        helps: whether it helps and how sure that is; empty where the report is of no made images.
    """

    made: str
    works: str
    helps: str = ""

    @property
    def text(self) -> str:
        """All of it as one paragraph, which begins with what was decided."""
        parts = [self.made, self.works]
        parts.insert(len(parts) if self.helps == NOT_ASKED else 0, self.helps)
        return " ".join(part for part in parts if part)


def outcome_of(
    difference: PairedDifference, *, negligible: float = 0, is_lower_better: bool = False
) -> Outcome:
    """What an interval shows.

    Args:
        difference: the difference with its interval.
        negligible: an interval within ± this shows that there is no difference of importance.
        is_lower_better: whether negative differences are the good ones.
    """
    sign = difference_sign(difference)
    if sign:
        return "helps" if (sign > 0) != is_lower_better else "harms"
    largest = max(abs(difference.low), abs(difference.high))
    is_narrow = difference.low < difference.high and largest <= negligible
    return "no difference" if is_narrow else "not decided"


def help_words(
    comparisons: Mapping[str, PairedDifference],
    *,
    against: str,
    together: int | None = None,
    negligible: float = 0,
    unit: str = "points",
) -> str:
    """Says what some comparisons show about what was made, and what they do not.

    Args:
        comparisons: differences by the names of what was made.
        against: what all are compared with.
        together: number of intervals that hold together; None for the number of comparisons.
        negligible: see `outcome_of`.
        unit: unit of the differences.
    """
    if not comparisons:
        return f"Not decided: that takes two trainings of each, and of {against}, with equal seeds."
    heads: dict[Outcome, str] = {
        "helps": f"Better than {against}",
        "harms": f"Worse than {against}",
        "no difference": f"Within {negligible:g} {unit} of {against}",
        "not decided": f"Not decided, against {against}",
    }
    sentences = []
    for outcome, head in heads.items():
        found = {
            name: f", {_in_words(difference, unit)}"
            for name, difference in comparisons.items()
            if outcome_of(difference, negligible=negligible) == outcome
        }
        is_told = outcome != "not decided" or len(found) <= MAX_UNDECIDED
        if found:
            named = [f"{name}{words * is_told}" for name, words in found.items()]
            sentences.append(f"{head}: {_listed(named)}.")
    together = together or len(comparisons)
    sure = f" The intervals hold for all {together} together." if together > 1 else ""
    return f"{' '.join(sentences)}{sure}"


def _in_words(difference: PairedDifference, unit: str) -> str:
    mean, _, n, low, high = difference
    return f"{mean:+.2f} {unit} (95% interval {low:+.2f} to {high:+.2f}, n = {n})"


def _listed(names: Sequence[str]) -> str:
    more = len(names) - MAX_NAMED
    return "; ".join(names[:MAX_NAMED]) + (f"; and {more} more" if more > 0 else "")
