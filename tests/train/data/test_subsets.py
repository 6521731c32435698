"""Small data sets: the images that are drawn, and what the draw must not depend on."""

import jax
import numpy as np
import pytest

from train.data.image_data import ImageData
from train.data.subsets import draw_subset, shuffled_classes

KEY = jax.random.key(3)
LABELS = np.repeat(np.int32([0, 1, 2]), (9, 7, 12))
COUNT = len(LABELS)


IMAGES = ImageData(  # whose grey level is their number
    images=np.broadcast_to(np.arange(COUNT, dtype=np.uint8)[:, None, None, None], (COUNT, 2, 3, 1)),
    labels=LABELS,
    ids=tuple(f"image_{row:02d}" for row in range(COUNT)),
    class_names=("cat", "dog", "ship"),
)


def draw(*, key=KEY, **counts):
    return draw_subset(key, IMAGES, **{"per_class": 3, "test_per_class": 2, **counts})


def test_every_class_has_its_numbers_and_no_image_occurs_twice():
    subset = draw()
    assert np.bincount(subset.train.labels).tolist() == [3, 3, 3]
    assert np.bincount(subset.test.labels).tolist() == [2, 2, 2]
    ids = subset.train.ids + subset.test.ids
    assert len(set(ids)) == 15
    for part in subset:
        assert part.ids == tuple(f"image_{image[0, 0, 0]:02d}" for image in part.images)
        np.testing.assert_array_equal(part.labels, LABELS[part.images[:, 0, 0, 0]])
        assert part.class_names == IMAGES.class_names


def test_the_draw_is_the_one_that_is_promised():
    subset = draw()
    for label in range(3):
        own = np.flatnonzero(label == LABELS)
        order = jax.random.permutation(jax.random.fold_in(KEY, label), len(own))
        drawn = [part.images[part.labels == label, 0, 0, 0].tolist() for part in subset]
        assert drawn == [own[order[:3]].tolist(), own[order[3:5]].tolist()]


def test_the_classes_take_turns():
    subset = draw()
    assert subset.train.labels.tolist() == [0, 1, 2] * 3
    assert subset.test.labels.tolist() == [0, 1, 2] * 2


def test_what_is_passed_over_is_what_another_draw_took():
    first, second = draw(), draw(per_class=2, test_per_class=0, skip_per_class=5)
    assert np.bincount(second.train.labels).tolist() == [2, 2, 2]
    assert not {*second.train.ids} & {*first.train.ids, *first.test.ids}
    assert draw(per_class=7, test_per_class=0).train.ids[15:] == second.train.ids


def test_more_images_are_those_and_others():
    assert draw(per_class=5).train.ids[:9] == draw(per_class=3).train.ids
    assert draw(test_per_class=0).test is None
    assert draw(test_per_class=0).train.ids == draw().train.ids


def test_the_key_draws():
    assert draw().train.ids == draw().train.ids
    assert draw(key=jax.random.key(4)).train.ids != draw().train.ids


def test_a_class_is_drawn_whatever_the_others_are():
    alone = shuffled_classes(KEY, np.ones(7, int), num_classes=2)
    together = shuffled_classes(KEY, LABELS, num_classes=3)
    assert len(alone[0]) == 0
    np.testing.assert_array_equal(alone[1] + 9, together[1])


@pytest.mark.parametrize(
    ("counts", "message"),
    [
        ((6, 2), r"at least 6 \+ 2 images of every class, got 7 of dog; ask for fewer"),
        ((5, 5), "got 9 of cat, 7 of dog; "),
    ],
)
def test_more_images_than_there_are_are_refused(counts, message):
    with pytest.raises(ValueError, match=message):
        draw(per_class=counts[0], test_per_class=counts[1])
    draw(per_class=5, test_per_class=2)  # all of the smallest class
