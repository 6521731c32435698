"""Judging, thresholds and choosing against NumPy, SciPy and scikit-learn."""

import math

import jax
import numpy as np
import pytest
from scipy.special import log_softmax, softmax
from sklearn.metrics import confusion_matrix

from gans.options.selection import Keep, Thresholds
from gans.sampling import keys_from_text, keys_to_text
from gans.selection import (
    Predictions,
    choose,
    quota,
    reaches,
    read_predictions,
    tally,
    wanted_kinds,
)

K = 4


def outputs(count: int = 30) -> np.ndarray:
    return np.random.default_rng(0).normal(0, 3, (count, K))


def answers(count: int = 60) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Labels, predicted classes and acceptance; class 3 occurs in neither of the first two."""
    random = np.random.default_rng(1)
    labels, predicted = random.integers(0, K - 1, (2, count))
    return labels, predicted, random.random(count) < 0.7


def test_predictions_are_softmax_s_two_highest():
    logits = outputs()
    made = read_predictions(log_softmax(logits, axis=1).astype(np.float32))
    ranked = np.sort(softmax(logits, axis=1))[:, ::-1]
    np.testing.assert_array_equal(made.predicted, logits.argmax(1))
    np.testing.assert_allclose(made.confidence, ranked[:, 0], rtol=1e-5)
    np.testing.assert_allclose(made.margin, ranked[:, 0] - ranked[:, 1], atol=1e-6)


def test_predictions_at_the_ends():
    with np.errstate(divide="ignore"):
        made = read_predictions(np.log(np.array([[0, 1, 0], [0.5, 0, 0.5]])))
    np.testing.assert_array_equal(made.predicted, [1, 0])
    np.testing.assert_allclose(made.confidence, [1, 0.5])
    np.testing.assert_allclose(made.margin, [1, 0])


def test_an_output_without_predictions_is_refused():
    broken = outputs(5)
    broken[3, 1] = math.nan
    with pytest.raises(FloatingPointError, match="not finite for 1 of 5 images"):
        read_predictions(broken)
    with pytest.raises(ValueError, match="at least 2 classes, got 1"):
        read_predictions(np.zeros((3, 1)))


def test_probabilities_and_logits_are_no_log_probabilities():
    for wrong in (softmax(outputs(), axis=1), outputs()):
        with pytest.raises(ValueError, match="exponentials of log_p must be probabilities"):
            read_predictions(wrong)


JUDGEMENT = Predictions(
    predicted=np.array([0, 1, 2], np.int32),
    confidence=np.array([0.5, 0.75, 1], np.float32),
    margin=np.array([0.25, 0.5, 1], np.float32),
)


@pytest.mark.parametrize(
    ("thresholds", "reached"),
    [
        (Thresholds(), [True, True, True]),
        (Thresholds(min_confidence=0.75), [False, True, True]),
        (Thresholds(min_margin=0.5), [False, True, True]),
        (Thresholds(min_confidence=1.0, min_margin=1.0), [False, False, True]),
        (Thresholds(min_distance=0.0), [True, True, True]),
        (Thresholds(min_distance=0.5), [True, True, False]),
        (Thresholds(min_confidence=0.6, min_distance=0.5), [False, True, False]),
    ],
)
def test_reaching_a_threshold_exactly_is_enough(thresholds, reached):
    made = reaches(JUDGEMENT, thresholds, distances=np.array([2, 0.5, 0.49]))
    assert made.tolist() == reached


def test_a_distance_is_needed_where_one_is_asked_for():
    with pytest.raises(ValueError, match="min_distance needs the images' distances"):
        reaches(JUDGEMENT, Thresholds(min_distance=0.5))
    assert reaches(JUDGEMENT, Thresholds()).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"min_confidence": -0.1}, r"min_confidence must be in \[0, 1\], got -0.1"),
        ({"min_confidence": math.nan}, "min_confidence.*got nan"),
        ({"min_margin": 1.5}, r"min_margin must be in \[0, 1\], got 1.5"),
        ({"min_distance": -1.0}, "min_distance must be at least 0 and finite, got -1.0"),
        ({"min_distance": math.inf}, "min_distance.*got inf"),
    ],
)
def test_thresholds_outside_their_range_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        Thresholds(**options)


KEEPS: tuple[Keep, ...] = ("tp", "fp", "both")


def first_rows(keep: Keep, count: int, classes=range(K)) -> list[int]:
    """The rows to keep, by sorting each class and kind on its own."""
    labels, predicted, accepted = answers()
    rows = []
    for label in classes:
        for kind in {"tp": [True], "fp": [False], "both": [True, False]}[keep]:
            own = (labels == label) & ((labels == predicted) == kind) & accepted
            rows += np.flatnonzero(own)[:count].tolist()
    return sorted(rows)


@pytest.mark.parametrize("keep", KEEPS)
@pytest.mark.parametrize("count", [1, 3, 99])
def test_the_first_of_each_class_and_kind_are_chosen(keep, count):
    labels, predicted, accepted = answers()
    wanted = quota(np.arange(K), keep=keep, count=count, num_classes=K)
    choice = choose(labels, predicted, accepted, lacking=wanted)
    assert choice.rows.tolist() == first_rows(keep, count)
    taken = tally(labels[choice.rows], predicted[choice.rows], accepted[choice.rows], num_classes=K)
    np.testing.assert_array_equal(wanted - choice.lacking, taken.accepted)


@pytest.mark.parametrize("keep", KEEPS)
def test_classes_that_are_not_wanted_are_left_out(keep):
    wanted = quota(np.array([2]), keep=keep, count=2, num_classes=K)
    assert wanted.sum() == 2 * len(wanted_kinds(keep))
    choice = choose(*answers(), lacking=wanted)
    assert choice.rows.tolist() == first_rows(keep, 2, classes=[2])
    assert not choice.needed[answers()[0] != 2].any()


@pytest.mark.parametrize("cut", [0, 1, 17, 59, 60])
def test_parts_are_chosen_as_the_whole(cut):
    columns = answers()
    wanted = quota(np.arange(K), keep="both", count=3, num_classes=K)
    whole = choose(*columns, lacking=wanted)
    first = choose(*(column[:cut] for column in columns), lacking=wanted)
    second = choose(*(column[cut:] for column in columns), lacking=first.lacking)
    assert [*first.rows, *(second.rows + cut)] == whole.rows.tolist()
    assert [*first.needed, *second.needed] == whole.needed.tolist()
    np.testing.assert_array_equal(second.lacking, whole.lacking)
    assert wanted.min() == 3  # not changed in place


def test_an_image_is_needed_until_its_class_is_complete():
    labels, predicted, accepted = answers()
    wanted = quota(np.arange(K), keep="tp", count=2, num_classes=K)
    choice = choose(labels, predicted, accepted, lacking=wanted)
    for label in range(K - 1):
        own = np.flatnonzero(labels == label)
        last = choice.rows[labels[choice.rows] == label].max()
        np.testing.assert_array_equal(choice.needed[own], own <= last)


def test_a_tally_is_scikit_learn_s_confusion_and_adds_up():
    labels, predicted, accepted = answers()
    whole = tally(labels, predicted, accepted, num_classes=K)
    np.testing.assert_array_equal(
        whole.confusion, confusion_matrix(labels, predicted, labels=range(K))
    )
    np.testing.assert_array_equal(whole.tried, np.bincount(labels, minlength=K))
    for label in range(K):
        own = accepted[labels == label] * 2 + (predicted == labels)[labels == label]
        assert whole.accepted[label].tolist() == [(own == 2).sum(), (own == 3).sum()]
    parts = [
        tally(labels[part], predicted[part], accepted[part], num_classes=K)
        for part in (slice(0, 7), slice(7, None))
    ]
    np.testing.assert_array_equal(parts[0].confusion + parts[1].confusion, whole.confusion)
    np.testing.assert_array_equal(parts[0].accepted + parts[1].accepted, whole.accepted)


def test_keys_survive_as_text():
    keys = jax.random.split(jax.random.key(7), 5)
    texts = keys_to_text(keys)
    assert texts == [
        "".join(f"{word:08x}" for word in data) for data in jax.random.key_data(keys).tolist()
    ]
    again = keys_from_text(texts)
    assert again.dtype == keys.dtype
    np.testing.assert_array_equal(jax.random.key_data(again), jax.random.key_data(keys))
    assert keys_to_text(jax.random.key(5)[None]) == ["0000000000000005"]


@pytest.mark.parametrize("texts", [["00"], ["0000000000000005", "000000000000000G"], []])
def test_text_that_is_no_key_is_refused(texts):
    with pytest.raises(ValueError, match=r"16 hexadecimal digits, at least one, got ('0|none)"):
        keys_from_text(texts)
