"""A synthesised set beside its originals: what belongs together, and what does not."""

import numpy as np
import pytest

from experiments.synthesis.summary import pairs_in_parts
from tests.train.data.small_sets import random_images
from train.data.image_data import image_digests, reader_of, slice_images, take_images

ORIGINALS = random_images(9, shape=(3, 5, 3))
ROWS = np.array([2, 3, 5, 6])  # one of the originals 2 to 6 has no image


def made():
    sources = take_images(ORIGINALS, ROWS)
    return sources._replace(
        images=255 - sources.images,
        ids=tuple(f"made_{name}" for name in sources.ids),
        source_ids=sources.ids,
        source_digests=image_digests(sources.images),
    )


def pairs(synthesised, originals=ORIGINALS):
    return list(pairs_in_parts(reader_of(synthesised), reader_of(originals), range(2, 7)))


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("part", [2, 1000])
def test_every_image_stands_beside_its_original(part, known, monkeypatch):
    monkeypatch.setattr("experiments.synthesis.summary.MEASURED_BYTES", part * 45 + 44)
    synthesised = made() if known else made()._replace(source_digests=None)
    found = pairs(synthesised)
    assert [len(own.labels) for own, _ in found] == ([4] if part == 1000 else [2, 1, 1])
    for own, sources in found:
        np.testing.assert_array_equal(own.images, 255 - sources.images)


@pytest.mark.parametrize(
    "originals",
    [
        ORIGINALS._replace(images=ORIGINALS.images ^ 1),
        ORIGINALS._replace(ids=ORIGINALS.ids[::-1]),
        slice_images(ORIGINALS, 1, 9),
    ],
)
def test_another_set_of_originals_is_refused(originals):
    with pytest.raises(ValueError, match="whose image 0 is of another"):
        pairs(made(), originals)
