"""Targets: what every row holds, and what it depends on."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from imgopt import InputError, check_targets, ranked_targets, two_class_targets, uniform_targets

KEY = jax.random.key(3)
NUM_CLASSES = 5
LABELS = np.arange(2000) % NUM_CLASSES


def test_two_classes_share_the_mass():
    targets = np.asarray(two_class_targets(KEY, LABELS, num_classes=NUM_CLASSES, own=0.7))
    assert targets.dtype == np.float32
    assert targets.shape == (2000, NUM_CLASSES)
    np.testing.assert_allclose(targets.sum(1), 1, atol=1e-6)
    np.testing.assert_array_equal(targets[np.arange(2000), LABELS], np.float32(0.7))
    np.testing.assert_array_equal(np.sort(targets, 1)[:, :-2], 0)
    np.testing.assert_allclose(np.sort(targets, 1)[:, -2], 0.3, atol=1e-6)


def test_the_papers_share_is_the_default():
    targets = two_class_targets(KEY, LABELS, num_classes=NUM_CLASSES)
    np.testing.assert_allclose(targets.max(1), 0.9)


def test_every_other_class_is_as_likely():
    targets = np.array(two_class_targets(KEY, LABELS, num_classes=NUM_CLASSES))
    targets[np.arange(2000), LABELS] = 0
    counts = np.zeros((NUM_CLASSES, NUM_CLASSES), int)
    np.add.at(counts, (LABELS, targets.argmax(1)), 1)
    assert (np.diag(counts) == 0).all()
    others = counts[~np.eye(NUM_CLASSES, dtype=bool)]
    # 400 images a label fall on 4 classes: 100 each, standard deviation 8.7.
    assert others.min() > 100 - 5 * 8.7
    assert others.max() < 100 + 5 * 8.7


def test_a_row_depends_on_its_index_and_label_alone():
    whole = np.asarray(two_class_targets(KEY, LABELS, num_classes=NUM_CLASSES))
    chosen = np.random.default_rng(0).integers(0, 2000, 2000)
    part = two_class_targets(KEY, LABELS[chosen], num_classes=NUM_CLASSES, indices=chosen)
    np.testing.assert_array_equal(part, whole[chosen])


def test_the_key_draws_the_other_class():
    def draw(key):
        return np.asarray(two_class_targets(key, LABELS, num_classes=NUM_CLASSES))

    np.testing.assert_array_equal(draw(KEY), draw(KEY))
    assert (draw(KEY) != draw(jax.random.key(4))).any()


@pytest.mark.parametrize("own", [0, 0.5, 1])
def test_two_classes_in_all_leave_no_choice(own):
    labels = np.array([0, 1, 1])
    targets = two_class_targets(KEY, labels, num_classes=2, own=own)
    np.testing.assert_allclose(targets, np.where(labels[:, None] == [0, 1], own, 1 - own))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_classes": 1}, "at least 2 classes, got 1"),
        ({"own": 1.1}, r"in \[0, 1\], got 1.1"),
        ({"own": -0.1}, r"in \[0, 1\], got -0.1"),
        ({"own": float("nan")}, r"in \[0, 1\], got nan"),
        ({"labels": np.array([0, 5])}, r"\[0, 5\), got 5 at position 1"),
        ({"labels": np.array([-1, 4])}, r"\[0, 5\), got -1 at position 0"),
        ({"labels": np.array([0.0, 1.0])}, "must be integers, got float64"),
        ({"labels": np.zeros((2, 1), int)}, r"shape \(n,\), got \(2, 1\)"),
        ({"labels": 1}, r"shape \(n,\), got \(\)"),
        ({"indices": np.arange(3)}, r"shape \(n,\), got \(2,\), \(3,\)"),
        ({"indices": np.arange(2.0)}, "indices must be integers, got float64"),
        ({"own": "a"}, r"in \[0, 1\], got 'a'"),
        ({"own": np.ones(2)}, r"in \[0, 1\], got array"),
        ({"num_classes": 5.5}, "at least 2 classes, got 5.5"),
        ({"key": 1}, r"expected a key, such as jax.random.key\(0\), got 1"),
        ({"key": jax.random.split(KEY)}, "expected one key, got 2"),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_wrong_input_of_two_classes_is_refused(changes, message):
    options = {"labels": np.array([0, 1]), "num_classes": NUM_CLASSES, **changes}
    with pytest.raises(ValueError, match=message):
        two_class_targets(options.pop("key", KEY), options.pop("labels"), **options)


@pytest.mark.usefixtures("unchecked")
def test_keys_of_both_kinds_are_taken():
    old, new = (
        two_class_targets(key(3), LABELS, num_classes=5)
        for key in (jax.random.PRNGKey, jax.random.key)
    )
    np.testing.assert_array_equal(old, new)


@pytest.mark.parametrize(
    "make", [uniform_targets, partial(ranked_targets, ranking=[0], masses=[1])]
)
@pytest.mark.parametrize(
    ("count", "num_classes", "message"),
    [
        (3, 0, "num_classes must be an integer of at least 1, got 0"),
        (3, 2.5, "num_classes must be an integer of at least 1, got 2.5"),
        (3, "a", "num_classes must be an integer of at least 1, got 'a'"),
        (-1, 3, "count must be an integer of at least 0, got -1"),
        (None, 3, "count must be an integer of at least 0, got None"),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_wrong_sizes_are_refused(make, count, num_classes, message):
    with pytest.raises(InputError, match=message):
        make(count, num_classes=num_classes)


def test_uniform_is_uniform():
    np.testing.assert_allclose(uniform_targets(3, num_classes=7), np.full((3, 7), 1 / 7))


def test_a_ranking_is_the_same_row_for_all_images():
    targets = ranked_targets(3, ranking=[4, 0, 2], masses=[0.5, 0.3, 0.1], num_classes=5)
    np.testing.assert_allclose(targets, [[0.3, 0.05, 0.1, 0.05, 0.5]] * 3, atol=1e-7)
    assert targets.dtype == jnp.float32


def test_a_ranking_of_all_classes_leaves_nothing():
    targets = ranked_targets(1, ranking=[1, 2, 0], masses=[0.5, 0.3, 0.2], num_classes=3)
    np.testing.assert_allclose(targets, [[0.2, 0.5, 0.3]], atol=1e-7)


@pytest.mark.parametrize(
    ("ranking", "masses", "message"),
    [
        ([], [], r"one length, at least 1; got \[\] and \[\]"),
        ([1, 2], [0.5], r"got \[1, 2\] and \[0.5\]"),
        (1, 0.5, "two lists of one length, at least 1; got 1 and 0.5"),
        ("ship", [0.5], r"two lists .*got 'ship' and \[0.5\]"),
        (["ship"], [0.5], r"by their numbers in \[0, 3\), got \['ship'\]"),
        ([1.0], [0.5], r"by their numbers in \[0, 3\), got \[1.0\]"),
        ([0], ["a"], "at least 0"),
        ([1, 1], [0.5, 0.4], r"different classes .*\[0, 3\), got \[1, 1\]"),
        ([1, 3], [0.5, 0.4], r"different classes .*\[0, 3\), got \[1, 3\]"),
        ([-1], [0.5], r"different classes .*\[0, 3\), got \[-1\]"),
        ([0, 1], [0.6, 0.5], "sum to at most 1"),
        ([0, 1], [0.6, -0.1], "at least 0"),
        ([0], [float("nan")], "at least 0"),
        ([0, 1], [0.3, 0.5], "must descend"),
        ([0, 1, 2], [0.5, 0.3, 0.1], "of all 3 classes must sum to 1"),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_wrong_rankings_are_refused(ranking, masses, message):
    with pytest.raises(ValueError, match=message):
        ranked_targets(2, ranking=ranking, masses=masses, num_classes=3)


def test_good_targets_pass_as_float32():
    given = np.array([[0.9, 0.1, 0], [1 / 3, 1 / 3, 1 / 3]])
    checked = check_targets(given, count=2, num_classes=3)
    assert checked.dtype == np.float32
    np.testing.assert_allclose(checked, given, atol=1e-7)
    np.testing.assert_array_equal(check_targets(given.tolist(), count=2), checked)


@pytest.mark.parametrize(
    ("targets", "message"),
    [
        ([0.9, 0.1, 0.0], r"shape \(2, 3\), got \(3,\)"),
        ([[0.9, 0.1, 0.0]], r"shape \(2, 3\), got \(1, 3\)"),
        ([[0.9, 0.1]] * 2, r"shape \(2, 3\), got \(2, 2\)"),
        ([[1, 0, 0]] * 2, "floating-point probabilities, got int64"),
        ([[0.9, 0.1, 0.0], [0.9, 0.2, 0.0]], r"must sum to 1; row 1 is \[0.9, 0.2"),
        ([[0.9, 0.1, 0.0], [1.1, -0.1, 0.0]], "must not be negative; row 1"),
        ([[np.nan, 0.1, 0.9], [0.9, 0.1, 0.0]], "must be finite; row 0"),
        ([[np.inf, 0.1, 0.9], [0.9, 0.1, 0.0]], "must be finite; row 0"),
    ],
)
def test_wrong_targets_are_refused(targets, message):
    with pytest.raises(ValueError, match=message):
        check_targets(np.array(targets), count=2, num_classes=3)


def test_rows_of_several_lengths_are_refused():
    with pytest.raises(InputError, match=r"targets must have shape \(2, 3\)"):
        check_targets([[0.9, 0.1, 0.0], [0.9, 0.1]], count=2, num_classes=3)
