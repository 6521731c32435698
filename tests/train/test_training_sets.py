"""Replacement of originals: which images change, and what is refused."""

import jax
import numpy as np
import pytest

from train.data.image_data import ImageData, image_digests, take_images
from train.training_sets import (
    add_images,
    add_second_views,
    keep_original_pixels,
    original_data,
    replace_images,
)

COUNT = 20
RANDOM = np.random.default_rng(4)
KEY = jax.random.key(6)
ORIGINALS = ImageData(
    images=RANDOM.integers(0, 256, (COUNT, 3, 5, 2), np.uint8),
    labels=(np.arange(COUNT) % 3).astype(np.int32),
    ids=tuple(f"train_{i:05d}" for i in range(COUNT)),
    class_names=("cat", "dog", "ship"),
)


def synthesised(sources):
    """A set synthesised from some originals, in the given order."""
    sources = np.asarray(sources)
    return ImageData(
        images=255 - ORIGINALS.images[sources],
        labels=ORIGINALS.labels[sources],
        ids=tuple(f"made_{i}" for i in range(len(sources))),
        class_names=ORIGINALS.class_names,
        targets=np.full((len(sources), 3), 1 / 3, np.float32),
        outputs=np.random.default_rng(1).dirichlet(np.ones(3), COUNT).astype(np.float32)[sources],
        source_ids=tuple(ORIGINALS.ids[i] for i in sources),
        source_digests=image_digests(ORIGINALS.images[sources]),
    )


EVERYTHING = synthesised(RANDOM.permutation(COUNT))
ELSEWHERE = tuple(f"elsewhere_{i}" for i in range(COUNT))


def replace(fraction, made=EVERYTHING, key=KEY):
    return replace_images(key, ORIGINALS, made, fraction=fraction)


@pytest.mark.parametrize(("fraction", "count"), [(0, 0), (0.1, 2), (0.33, 7), (1, COUNT)])
def test_images_are_replaced_at_their_own_indices(fraction, count):
    data = replace(fraction)
    assert data.is_generated.sum() == count
    outputs = dict(zip(EVERYTHING.source_ids, EVERYTHING.outputs, strict=True))
    for i, name in enumerate(ORIGINALS.ids):
        replaced = data.is_generated[i]
        expected = 255 - ORIGINALS.images[i] if replaced else ORIGINALS.images[i]
        np.testing.assert_array_equal(data.images[i], expected)
        np.testing.assert_array_equal(data.teacher_outputs[i], outputs[name] if replaced else 0)
    np.testing.assert_array_equal(data.labels, ORIGINALS.labels)


def test_the_originals_are_left_alone():
    before = ORIGINALS.images.copy()
    replace(1)
    np.testing.assert_array_equal(ORIGINALS.images, before)


def test_the_key_draws_and_a_larger_fraction_adds():
    first, again, larger = replace(0.3), replace(0.3), replace(0.5)
    np.testing.assert_array_equal(first.is_generated, again.is_generated)
    assert (larger.is_generated >= first.is_generated).all()
    other = replace(0.3, key=jax.random.key(7))
    assert (other.is_generated != first.is_generated).any()


def test_the_order_of_the_replacements_does_not_matter():
    for found, expected in zip(replace(0.5, synthesised(range(COUNT))), replace(0.5), strict=True):
        np.testing.assert_array_equal(found, expected)


def test_a_set_of_part_of_the_originals_will_do():
    some = [1, 4, 7, 8, 15]
    data = replace(0.2, synthesised(some))
    assert set(np.flatnonzero(data.is_generated)) < set(some)
    assert data.is_generated.sum() == 4
    all_of_them = replace(0.25, synthesised(some))
    assert np.flatnonzero(all_of_them.is_generated).tolist() == some


@pytest.mark.parametrize(
    ("fraction", "changes", "message"),
    [
        (-0.1, {}, r"fraction must be in \[0, 1\], got -0.1"),
        (1.1, {}, r"fraction must be in \[0, 1\], got 1.1"),
        (float("nan"), {}, r"fraction must be in \[0, 1\], got nan"),
        (0.3, {"source_ids": None}, "no source_id, source_sha256 and output.*elicit synth"),
        (0.3, {"outputs": None}, "no source_id, .* and output"),
        (0.3, {"class_names": ("a", "b", "c")}, "the classes differ: .*'cat'.*'a'"),
        (0.3, {"images": EVERYTHING.images[:, :2]}, r"image shapes differ: .*\(3, 5, 2\).*\(2, 5"),
        (0.3, {"source_digests": None}, r"no source_id, source_sha256.*older versions"),
        (0.3, {"labels": (EVERYTHING.labels + 1) % 3}, "other pixels or another label"),
        (0.3, {"source_ids": ELSEWHERE}, "needs 6 replacements, .* covers 0"),
        (
            0.5,
            {"source_ids": (*EVERYTHING.source_ids[:5], *ELSEWHERE[5:])},
            r"0\.5 of 20 images needs 10 replacements, .* covers 5",
        ),
    ],
)
def test_what_does_not_fit_is_refused(fraction, changes, message):
    with pytest.raises(ValueError, match=message):
        replace(fraction, EVERYTHING._replace(**changes))


def test_a_set_made_from_a_larger_one_serves_its_subsets():
    some = np.array([3, 8, 11, 17])
    data = replace_images(KEY, take_images(ORIGINALS, some), EVERYTHING, fraction=1)
    np.testing.assert_array_equal(data.images, 255 - ORIGINALS.images[some])


@pytest.mark.parametrize("fraction", [0.1, 1])
@pytest.mark.parametrize("others", ["all images", "one image"])
def test_a_set_made_from_other_images_of_the_same_ids_is_refused(others, fraction):
    """Such as those of another split, or of pictures that were changed and imported again."""
    changed = ORIGINALS.images.copy()
    changed[slice(None) if others == "all images" else 7] ^= 1
    names = {"name": "split train of small", "source": "split val of large"}
    message = "made from split train of small, got a set made from split val of large: .*train_000"
    with pytest.raises(ValueError, match=message):
        replace_images(
            KEY, ORIGINALS._replace(images=changed), EVERYTHING, fraction=fraction, **names
        )


@pytest.mark.parametrize("column", ["ids", "source_ids"])
def test_ids_that_repeat_are_refused(column):
    repeated = (ORIGINALS.ids[0], *ORIGINALS.ids[:-1])
    sets = {
        "ids": (ORIGINALS._replace(ids=repeated), EVERYTHING),
        "source_ids": (ORIGINALS, EVERYTHING._replace(source_ids=repeated)),
    }
    with pytest.raises(ValueError, match=r"distinct (source_)?id for every .*such as train_00000"):
        replace_images(KEY, *sets[column], fraction=0.1)


@pytest.mark.parametrize("sources", [range(COUNT), [7, 1, 19], RANDOM.permutation(COUNT)])
def test_outputs_without_the_pixels_change_nothing_but_outputs(sources):
    made = synthesised(sources)
    kept = keep_original_pixels(ORIGINALS, made)
    fraction = len(made.ids) / COUNT
    found, whole = replace(fraction, kept), replace(fraction, made)
    np.testing.assert_array_equal(found.images, ORIGINALS.images)
    assert (whole.images != ORIGINALS.images).any()
    np.testing.assert_array_equal(found.is_generated, whole.is_generated)
    np.testing.assert_array_equal(found.teacher_outputs, whole.teacher_outputs)


def test_outputs_of_images_outside_the_training_set_are_left_out():
    part = take_images(ORIGINALS, np.array([3, 4, 8]))
    kept = keep_original_pixels(part, EVERYTHING)
    assert kept.source_ids == part.ids
    np.testing.assert_array_equal(kept.images, part.images)
    with pytest.raises(ValueError, match="other pixels"):
        keep_original_pixels(part._replace(images=255 - part.images), EVERYTHING)


# Second views


def test_every_original_has_the_image_made_from_it_beside_it():
    data = original_data(ORIGINALS)
    found = add_second_views(data, ORIGINALS, EVERYTHING)
    np.testing.assert_array_equal(found.second_views.images, 255 - ORIGINALS.images)
    outputs = dict(zip(EVERYTHING.source_ids, EVERYTHING.outputs, strict=True))
    expected = [outputs[name] for name in ORIGINALS.ids]
    np.testing.assert_array_equal(found.second_views.outputs, expected)
    assert found._replace(second_views=None) is not data
    for column, before in zip(found[:4], data[:4], strict=True):
        assert column is before


def test_second_views_of_some_originals_alone_are_refused():
    with pytest.raises(ValueError, match=r"made image for every .* lacks 17, such as train_000"):
        add_second_views(original_data(ORIGINALS), ORIGINALS, synthesised([1, 4, 7]))


def test_nothing_is_added_to_a_set_with_second_views():
    data = add_second_views(original_data(ORIGINALS), ORIGINALS, EVERYTHING)
    with pytest.raises(ValueError, match="without second views only"):
        add_images(data, ORIGINALS, {"more": ORIGINALS})
    more = add_images(original_data(ORIGINALS), ORIGINALS, {"more": ORIGINALS})
    with pytest.raises(ValueError, match=f"lacks {COUNT}; synth"):
        add_second_views(more, ORIGINALS, EVERYTHING)
