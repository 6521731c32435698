"""Replacement of originals: which images change, and what is refused."""

import jax
import numpy as np
import pytest

from train.data.load import ImageData
from train.training_sets import replace_images

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
    )


EVERYTHING = synthesised(RANDOM.permutation(COUNT))


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
        (0.3, {"source_ids": None}, "no source_id and output.*elicit synthesize"),
        (0.3, {"outputs": None}, "no source_id and output"),
        (0.3, {"class_names": ("a", "b", "c")}, "the classes differ: .*'cat'.*'a'"),
        (0.3, {"images": EVERYTHING.images[:, :2]}, r"image shapes differ: .*\(3, 5, 2\).*\(2, 5"),
        (1, {"labels": (EVERYTHING.labels + 1) % 3}, "another label in the replacements"),
        (0.3, {"source_ids": ("elsewhere",) * COUNT}, "needs 6 replacements, .* covers 0"),
        (
            0.5,
            {"source_ids": (*ORIGINALS.ids[:5], *("elsewhere",) * 15)},
            r"0\.5 of 20 images needs 10 replacements, .* covers 5",
        ),
    ],
)
def test_what_does_not_fit_is_refused(fraction, changes, message):
    with pytest.raises(ValueError, match=message):
        replace(fraction, EVERYTHING._replace(**changes))
