"""Reading a split more than once, and reading some of its images."""

import dataclasses

import numpy as np
import pytest

import train.data.image_data
from tests.train.data.small_sets import random_images
from train.data.image_data import ImageData, decode_once, read_rows, reader_of, take_images

COUNT = 23


@pytest.fixture
def data() -> ImageData:
    return random_images(COUNT, shape=(5, 7, 3), has_outputs=True)


@pytest.fixture
def reader(data):
    """A reader, and the list of the ranges that were read."""
    plain, ranges = reader_of(data), []

    def read(start, stop):
        ranges.append((start, stop))
        return plain.read(start, stop)

    return dataclasses.replace(plain, read=read), ranges


def assert_equal(found: ImageData, wanted: ImageData) -> None:
    for one, other in zip(found, wanted, strict=True):
        np.testing.assert_array_equal(one, other)


def test_what_fits_in_memory_is_read_once(reader, data):
    plain, ranges = reader
    once = decode_once(plain)
    assert ranges == []
    for start, stop in [(3, 8), (0, COUNT), (22, 23), (5, 5)]:
        assert_equal(once.read(start, stop), take_images(data, np.arange(start, stop)))
    assert ranges == [(0, COUNT)]
    assert tuple(once.iter_ids()) == data.ids


@pytest.mark.parametrize(("room", "fits"), [(4 * 23 * 105, True), (4 * 23 * 105 - 1, False)])
def test_a_quarter_of_the_free_memory_is_the_limit(room, fits, reader, monkeypatch):
    monkeypatch.setattr(train.data.image_data, "machine_memory_bytes", lambda: room)
    plain, _ = reader
    assert (decode_once(plain) is not plain) == fits


@pytest.mark.parametrize("rows", [[0], [22], [3, 4, 9, 10, 11, 22], range(COUNT)])
def test_rows_are_read_by_parts(rows, reader, data, monkeypatch):
    monkeypatch.setattr(train.data.image_data, "PART_IMAGES", 5)
    plain, ranges = reader
    assert_equal(read_rows(plain, np.array(rows)), take_images(data, np.array(rows)))
    assert all(0 < stop - start <= 5 for start, stop in ranges)
    assert len(ranges) == len({row // 5 for row in rows})
