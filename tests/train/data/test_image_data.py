"""Image data read range by range, compared with TFDS and with the whole split in memory."""

import hashlib
import tracemalloc
from typing import Any

import numpy as np
import pytest
import tensorflow_datasets as tfds

import train.data.array_records
import train.data.image_data
from tests.train.data.small_sets import random_columns, write_small_set
from train.data.image_data import ImageData, iter_parts, join_images, reader_of, slice_images
from train.data.load import data_digest, load_images, open_images, read_extras
from train.data.spec import ImageSetSpec
from train.data.write import commit, write_shard

SIZES = {"train": (5, 2, 4), "test": (3,)}
EXTRAS = ("target", "output", "source_id", "kl")
CLASSES = ("cat", "dog's")
RANGES = [(0, 11), (0, 1), (10, 11), (4, 6), (3, 9), (5, 7), (6, 6 + 5)]


def write_set(directory, *, sizes=SIZES, shape=(5, 7, 3), extras=EXTRAS):
    """Writes a set whose shards differ in size from the parts that are read."""
    spec = ImageSetSpec("tiny", CLASSES, shape, extras=extras, splits=tuple(sizes))
    write_small_set(directory, spec, sizes)
    return directory


@pytest.fixture(autouse=True)
def few_at_once(monkeypatch):
    """Reads files and splits in parts of sizes without a common factor."""
    monkeypatch.setattr(train.data.array_records, "RECORDS_AT_ONCE", 3)
    monkeypatch.setattr(train.data.image_data, "PART_IMAGES", 4)


def assert_same(found: ImageData, wanted: ImageData):
    for name, left, right in zip(ImageData._fields, found, wanted, strict=True):
        np.testing.assert_array_equal(left, right, err_msg=name)
        assert getattr(left, "dtype", type(left)) == getattr(right, "dtype", type(right))


@pytest.mark.parametrize("extras", [EXTRAS, (), ("output",)])
def test_any_range_is_that_of_the_whole(tmp_path, extras):
    reader = open_images(write_set(tmp_path, extras=extras))
    whole = load_images(tmp_path)
    assert len(reader) == 11
    assert (reader.class_names, reader.image_shape) == (CLASSES, (5, 7, 3))
    np.testing.assert_array_equal(reader.labels, whole.labels)
    assert tuple(reader.iter_ids()) == whole.ids
    for start, stop in RANGES:
        assert_same(reader.read(start, stop), slice_images(whole, start, stop))
        assert_same(reader_of(whole).read(start, stop), slice_images(whole, start, stop))


def test_ranges_are_what_tfds_reads(tmp_path):
    reader = open_images(write_set(tmp_path))
    builder: Any = tfds.builder_from_directory(tmp_path)
    rows = list(builder.as_data_source("train"))
    for start, stop in RANGES:
        part, wanted = reader.read(start, stop), rows[start:stop]
        assert (part.images.dtype, part.labels.dtype) == (np.uint8, np.int32)
        np.testing.assert_array_equal(part.images, [row["image"] for row in wanted])
        np.testing.assert_array_equal(part.labels, [row["label"] for row in wanted])
        np.testing.assert_array_equal(part.targets, [row["target"] for row in wanted])
        np.testing.assert_array_equal(part.outputs, [row["output"] for row in wanted])
        assert part.ids == tuple(row["id"].decode() for row in wanted)
        assert part.source_ids == tuple(row["source_id"].decode() for row in wanted)
    kl = read_extras(tmp_path, ("kl",))["kl"]
    np.testing.assert_array_equal(kl, [row["kl"] for row in rows])


def test_a_part_of_a_split_is_read_by_ranges_too(tmp_path):
    reader, whole = open_images(write_set(tmp_path), "train[3:9]"), load_images(tmp_path)
    assert len(reader) == 6
    assert_same(reader.read(0, 6), slice_images(whole, 3, 9))
    assert_same(reader.read(2, 5), slice_images(whole, 5, 8))
    assert tuple(reader.iter_ids()) == whole.ids[3:9]


@pytest.mark.parametrize("size", [1, 4, 11, 50])
def test_parts_follow_each_other(tmp_path, size):
    reader = open_images(write_set(tmp_path))
    parts = list(iter_parts(reader, size=size))
    assert [len(part.labels) for part in parts[:-1]] == [size] * (len(parts) - 1)
    assert_same(join_images(parts), load_images(tmp_path))
    inner = list(iter_parts(reader, start=2, stop=9))
    assert [len(part.labels) for part in inner] == [4, 3]
    assert_same(join_images(inner), reader.read(2, 9))


def digest_of_all(data: ImageData) -> str:
    """Computes the digest that manifests hold, from all data at once."""
    head = repr((data.ids, data.class_names, data.images.shape))
    arrays = [a for a in (data.images, data.labels, data.targets, data.outputs) if a is not None]
    return hashlib.sha256(head.encode() + b"".join(a.tobytes() for a in arrays)).hexdigest()


@pytest.mark.parametrize("extras", [EXTRAS, ()])
@pytest.mark.parametrize("split", ["train", "test", "train[:1]", "train[2:7]"])
def test_the_digest_is_that_of_all_at_once(tmp_path, split, extras):
    reader = open_images(write_set(tmp_path, extras=extras), split)
    data = load_images(tmp_path, split)
    assert data_digest(reader) == data_digest(data) == digest_of_all(data)
    turned = data._replace(images=data.images[:, ::-1, ::-1])  # not contiguous
    assert data_digest(turned) == digest_of_all(turned)


def test_digits_are_read_by_ranges_too():
    reader, whole = open_images("digits", "test"), load_images("digits", "test")
    assert_same(reader.read(7, 9), slice_images(whole, 7, 9))
    assert data_digest(reader) == digest_of_all(whole)


def test_an_odd_image_is_found_when_it_is_read(tmp_path):
    shards = []
    specs = [ImageSetSpec("tiny", CLASSES, (5, width, 3)) for width in (7, 8)]
    for index, spec in enumerate(specs):
        part = random_columns(spec, 2, start=2 * index)
        shards.append(write_shard(tmp_path, spec, split="train", index=index, columns=part))
    commit(tmp_path, specs[0], {"train": shards}, manifest={})
    reader = open_images(tmp_path)
    assert reader.read(0, 2).images.shape == (2, 5, 7, 3)
    for read in (lambda: reader.read(1, 3), lambda: data_digest(reader)):
        with pytest.raises(ValueError, match=r"one size, got \(5, 7, 3\) and \(5, 8, 3\)"):
            read()


def peak_bytes(work) -> int:
    """Gives the peak of Python's and NumPy's memory during some work."""
    tracemalloc.start()
    work()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return peak


def test_the_memory_of_reading_does_not_grow_with_the_set(tmp_path, monkeypatch):
    """A file of few large images and a file of many, read in parts of 8."""
    monkeypatch.setattr(train.data.array_records, "RECORDS_AT_ONCE", 8)
    monkeypatch.setattr(train.data.image_data, "PART_IMAGES", 8)
    shape, peaks = (64, 96, 3), {}
    for count in (16, 128):
        place = write_set(tmp_path / str(count), sizes={"train": (count,)}, shape=shape, extras=())
        peaks[count] = peak_bytes(lambda place=place: data_digest(open_images(place)))
    # The number of parts in memory depends on the decoding threads.
    assert peaks[128] - peaks[16] < 0.2 * (128 - 16) * np.prod(shape)
    assert peaks[128] < 50 * np.prod(shape)
