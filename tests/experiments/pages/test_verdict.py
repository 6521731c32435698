"""The verdict: what an interval decides, and what it does not."""

import pytest

from experiments.pages.statistics import PairedDifference, share_of
from experiments.pages.verdict import NOT_ASKED, Verdict, help_words, outcome_of


def between(low, high, n=5):
    return PairedDifference((low + high) / 2, 1.0, n, low, high)


@pytest.mark.parametrize(
    ("low", "high", "outcome"),
    [
        (0.1, 2.0, "helps"),
        (-2.0, -0.1, "harms"),
        (-0.4, 0.5, "no difference"),
        (-0.4, 0.6, "not decided"),
        (0.0, 3.0, "not decided"),
        (0.0, 0.0, "not decided"),
        (4.8, 4.8, "not decided"),
    ],
)
def test_an_interval_decides_only_beside_zero(low, high, outcome):
    assert outcome_of(between(low, high), negligible=0.5) == outcome
    mirrored = {"helps": "harms", "harms": "helps"}.get(outcome, outcome)
    assert outcome_of(between(low, high), negligible=0.5, is_lower_better=True) == mirrored


def test_without_a_negligible_difference_none_is_shown_to_be_absent():
    assert outcome_of(between(-0.01, 0.01)) == "not decided"


def test_every_comparison_is_named_with_its_interval_and_n():
    words = help_words({"TP": between(1, 2), "FP": between(-1, 3, n=2)}, against="real")
    assert "Better than real: TP, +1.50 points (95% interval +1.00 to +2.00, n = 5)." in (words)
    assert "Not decided, against real: FP, +1.00 points" in words
    assert "n = 2" in words
    assert "for all 2 together" in words


def test_many_comparisons_are_counted():
    words = help_words({str(n): between(1, 2) for n in range(9)}, against="real")
    assert words.count("95% interval") == 4
    assert "and 5 more" in words
    words = help_words({str(n): between(-1, 1) for n in range(9)}, against="real", together=20)
    assert "Not decided, against real: 0; 1; 2; 3; and 5 more." in words
    assert "for all 20 together" in words


def test_one_training_decides_nothing():
    assert help_words({}, against="real").startswith("Not decided: ")


def test_the_verdict_is_one_paragraph():
    assert Verdict("Made.", "Works.").text == "Made. Works."


def test_what_was_decided_comes_first_and_what_was_not_asked_last():
    assert Verdict("Made.", "Works.", "Better.").text == "Better. Made. Works."
    assert Verdict("Made.", "Works.", NOT_ASKED).text == f"Made. Works. {NOT_ASKED}"


def test_a_share_has_wilson_s_interval():
    """Brown, Cai and DasGupta 2001: (p + z²/2n ± z √(p(1−p)/n + z²/4n²)) / (1 + z²/n)."""
    share, low, high, n = share_of(8, 10)
    z = 1.959964
    middle, half = 0.8 + z**2 / 20, z * (0.8 * 0.2 / 10 + z**2 / 400) ** 0.5
    assert (share, n) == (0.8, 10)
    assert low == pytest.approx((middle - half) / (1 + z**2 / 10), rel=1e-6)
    assert high == pytest.approx((middle + half) / (1 + z**2 / 10), rel=1e-6)
