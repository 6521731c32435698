"""Combined image sets: order, counts, and sets that do not fit together."""

import jax
import numpy as np
import pytest

from tests.train.data.small_sets import random_images
from train.data.combine import check_alike, count_sources, describe_classes, pool_by_id
from train.data.image_data import image_digests, take_images
from train.training_sets import add_images, original_data

REAL = random_images(6)
EXTRAS = {
    "b": random_images(4, seed=1),
    "c": random_images(1, seed=2, has_outputs=True),
    "d": random_images(3, seed=3),
}


def test_extra_images_come_after_the_real_ones():
    real = original_data(REAL)
    real.is_generated[2] = True  # a replaced one
    real.teacher_outputs[2] = 0.3, 0.7
    combined = add_images(real, REAL, EXTRAS)
    parts = [REAL, *EXTRAS.values()]
    np.testing.assert_array_equal(combined.images, np.concatenate([part.images for part in parts]))
    np.testing.assert_array_equal(combined.labels, np.concatenate([part.labels for part in parts]))
    assert np.flatnonzero(combined.is_generated).tolist() == [2, 10]
    np.testing.assert_array_equal(combined.teacher_outputs[2], np.float32([0.3, 0.7]))
    np.testing.assert_array_equal(combined.teacher_outputs[10], EXTRAS["c"].outputs[0])
    assert not combined.teacher_outputs[~combined.is_generated].any()
    types = [[column.dtype for column in jax.tree.leaves(data)] for data in (combined, real)]
    assert types[0] == types[1]


def test_nothing_extra_is_the_real_set():
    found = add_images(original_data(REAL), REAL, {})
    for column, wanted in zip(found, original_data(REAL), strict=True):
        np.testing.assert_array_equal(column, wanted)


def test_every_difference_is_named():
    wrong = {
        "b": EXTRAS["b"],
        "c": random_images(1, class_names=("cat", "cow")),
        "d": random_images(1, shape=(5, 3, 1), class_names=("cat", "dog", "cow"), seed=4),
    }
    with pytest.raises(ValueError, match="expected sets of the same classes") as caught:
        add_images(original_data(REAL), REAL, wrong)
    message = str(caught.value)
    assert message.count("the classes differ") == 2
    assert "('cat', 'dog') in the training set, ('cat', 'cow') in c;" in message
    assert "('cat', 'dog', 'cow') in d;" in message
    assert "image shapes differ: (3, 5, 1) in the training set, (5, 3, 1) in d;" in message
    assert " in b" not in message
    check_alike(REAL, EXTRAS)


def test_of_a_thousand_classes_those_that_differ_are_named():
    names = tuple(f"class {i}" for i in range(1000))
    other = (*names[:700], "other", *names[701:])
    assert describe_classes(names[:12]) == repr(names[:12])
    found = describe_classes(names, other=other)
    assert found == "1,000 names, such as 'class 700', 'class 701', 'class 702' from number 700 on"
    assert "'other'" in describe_classes(other, other=names)
    assert "from number 900 on" in describe_classes(names, other=names[:900])


def test_images_made_of_held_out_ones_are_counted():
    test = random_images(3, seed=8, prefix="test")
    made = random_images(4)._replace(source_ids=("test_1", "train_1", "test_2", "test_1"))
    assert count_sources(made, test) == 3
    assert count_sources(made._replace(source_ids=None), test) == 0
    assert count_sources(test, test) == 3
    assert count_sources(test._replace(ids=("a", "b", "c")), test) == 3


def test_images_of_equal_ids_are_told_apart_by_their_pixels():
    test = random_images(3, seed=8, prefix="test")
    made = random_images(4)._replace(source_ids=("test_1", "train_1", "test_2", "test_1"))
    others = image_digests(random_images(4, seed=9).images)
    assert count_sources(made._replace(source_digests=others), test) == 0
    digests = (*others[:3], *image_digests(test.images[1:2]))
    assert count_sources(made._replace(source_digests=digests), test) == 1
    assert count_sources(random_images(3, prefix="test", seed=9), test) == 0


def test_a_pool_lies_in_the_order_of_its_ids():
    parts = {
        "train": random_images(11, has_outputs=True),
        "test": random_images(4, seed=5, prefix="a"),
    }
    pool = pool_by_id(parts)
    assert pool.ids == tuple(sorted(parts["train"].ids + parts["test"].ids))
    for part in parts.values():
        for image, label, name in zip(part.images, part.labels, part.ids, strict=True):
            place = pool.ids.index(name)
            np.testing.assert_array_equal(pool.images[place], image)
            assert pool.labels[place] == label
    assert pool.outputs is None
    assert pool_by_id(dict(reversed(parts.items()))).ids == pool.ids


WRONG_POOLS = {
    "a common image": (
        take_images(REAL, np.array([REAL.ids.index("image_0"), 3])),
        "without a common image, got 2 images that several of train, test .* such as image_",
    ),
    "another shape": (
        random_images(2, prefix="b", shape=(4, 5, 1)),
        r"\(3, 5, 1\) in split train, \(4, 5, 1\) in spl",
    ),
    "an id that repeats": (
        random_images(3, prefix="b")._replace(ids=("7", "8", "7")),
        "distinct id for every image of split test, got 1 that .* such as 7",
    ),
}


@pytest.mark.parametrize("case", WRONG_POOLS)
def test_splits_that_make_no_pool_are_refused(case):
    test, message = WRONG_POOLS[case]
    with pytest.raises(ValueError, match=message):
        pool_by_id({"train": REAL, "test": test})


def test_ids_that_several_splits_use_are_put_after_their_names():
    train, test = (
        random_images(count, seed=seed)._replace(ids=tuple(map(str, range(count))))
        for seed, count in enumerate((11, 4))
    )
    pool = pool_by_id({"train": train, "test": test})
    assert len(set(pool.ids)) == len(pool.ids) == 15
    for split, data in {"train": train, "test": test}.items():
        for image, name in zip(data.images, data.ids, strict=True):
            np.testing.assert_array_equal(pool.images[pool.ids.index(f"{split}/{name}")], image)
