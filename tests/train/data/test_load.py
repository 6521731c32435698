"""Image data in memory, compared with what TFDS and scikit-learn read."""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow_datasets as tfds
from sklearn.datasets import load_digits

from tests.train.data.small_sets import random_columns, write_small_set
from train.data.load import find_directory, list_splits, load_images, open_images, read_extras
from train.data.spec import ImageSetSpec
from train.data.write import commit, write_shard

SPEC = ImageSetSpec(
    "tiny",
    ("cat", "dog"),
    (5, 7, 3),
    extras=("target", "output", "source_id"),
    splits=("train", "test"),
)

SHARD_ROWS = (slice(0, 4), slice(4, 7))


@pytest.fixture
def directory(tmp_path):
    """A set in NAME/VERSION of a data directory; train has two shards, test has one."""
    place = tmp_path / "tiny" / "1.0.0"
    write_small_set(place, SPEC, {"train": (4, 3), "test": (2,)})
    return place


def without_feature(directory: Path, name: str) -> None:
    path = directory / "features.json"
    value = json.loads(path.read_text())
    value["featuresDict"]["features"].pop(name)
    path.write_text(json.dumps(value))


def test_a_name_is_found_in_the_data_directory(directory):
    data_dir = directory.parents[1]
    (directory.parent / "9.0.0").mkdir()  # no data set in it
    for name in ("tiny", "tiny:1.0.0"):
        assert load_images(name, "test", data_dir=data_dir).ids == ("_00000", "é_00001")
    newer = directory.with_name("10.0.0")
    newer.mkdir()
    (newer / "dataset_info.json").write_text("{}")
    assert find_directory("tiny", data_dir=data_dir) == newer


def test_a_directory_is_found_beside_a_data_directory(directory, tmp_path):
    assert find_directory(directory, data_dir=tmp_path) == directory
    named = directory.parent.name
    assert find_directory(named, data_dir=directory.parents[1]) == directory


def test_splits_are_listed_in_order(directory):
    assert list(list_splits(directory).items()) == [("train", 7), ("test", 2)]


def test_images_without_ids_are_numbered_in_the_whole_split(directory):
    (directory / "manifest.json").unlink()
    without_feature(directory, "id")
    assert load_images(directory, "train").ids == tuple(f"train_{i:05d}" for i in range(7))
    assert load_images(directory, "train[3:5]").ids == ("train_00003", "train_00004")


def test_a_set_without_extras_has_none(directory):
    (directory / "manifest.json").unlink()
    for name in ("target", "output", "source_id"):
        without_feature(directory, name)
    data = load_images(directory)
    assert (data.targets, data.outputs, data.source_ids) == (None, None, None)


def test_nothing_is_said_about_opencv(directory, caplog):
    load_images(directory)
    assert "OpenCV" not in caplog.text


def damage(path: Path, position: int) -> None:
    content = bytearray(path.read_bytes())
    content[position] ^= 1
    path.write_bytes(content)


SHARD = "tiny-train.array_record-00001"
INFO, FEATURES = r"dataset_info\.json", r"features\.json"
DAMAGES = {
    "missing shard": (lambda d: (d / SHARD).unlink(), SHARD, SHARD),
    "cut shard": (lambda d: (d / SHARD).write_bytes((d / SHARD).read_bytes()[:999]), SHARD, SHARD),
    "one bit": (lambda d: damage(d / SHARD, 300), SHARD, SHARD),
    "one bit of a padding": (lambda d: damage(d / SHARD, -60_000), SHARD, None),
    "broken info": (lambda d: (d / "dataset_info.json").write_text("{"), INFO, INFO),
    "other info": (lambda d: (d / "dataset_info.json").write_text("[]"), INFO, "TFDS"),
    "broken features": (lambda d: (d / "features.json").write_text("{"), FEATURES, FEATURES),
    "no features": (lambda d: (d / "features.json").unlink(), FEATURES, FEATURES),
    "broken manifest": (lambda d: (d / "manifest.json").write_text("{"), "manifest", None),
    "empty manifest": (lambda d: (d / "manifest.json").write_text("{}"), "manifest", None),
    "no image": (lambda d: without_feature(d, "image"), f"{FEATURES}: damaged", "feature image"),
    "no label": (lambda d: without_feature(d, "label"), f"{FEATURES}: damaged", "feature label"),
    "other classes": (lambda d: damage(d / "label.labels.txt", 0), r"labels\.txt: damaged", None),
}
"""Changes of a set, and their messages with and without its manifest (None: no error)."""


@pytest.mark.parametrize("kind", DAMAGES)
def test_damage_is_named_in_one_line(directory, kind):
    change, *messages = DAMAGES[kind]
    change(directory)
    for message in filter(None, messages):
        with pytest.raises(ValueError, match=message) as caught:
            load_images(directory)
        assert "\n" not in str(caught.value)
        assert "expected" in str(caught.value)
        (directory / "manifest.json").unlink(missing_ok=True)


def test_labels_outside_the_range_are_refused(directory):
    (directory / "manifest.json").unlink()
    (directory / "label.labels.txt").unlink()
    features = directory / "features.json"
    features.write_text(features.read_text().replace('"numClasses": "2"', '"numClasses": "1"'))
    with pytest.raises(ValueError, match=r"labels in \[0, 1\), got 1"):
        load_images(directory)


@pytest.mark.parametrize("rows", [(0, 2), (1, 5)])
def test_an_id_that_repeats_is_refused_within_a_shard_and_across_shards(rows, tmp_path):
    columns = random_columns(SPEC, 7)
    columns["id"][rows[1]] = columns["id"][rows[0]] = "twice"
    parts = [{name: column[s] for name, column in columns.items()} for s in SHARD_ROWS]
    with pytest.MonkeyPatch.context() as patch:  # the writer refuses it within a shard
        patch.setattr("train.data.write.require", lambda *_: None)
        shards = [
            write_shard(tmp_path, SPEC, split="train", index=i, columns=part)
            for i, part in enumerate(parts)
        ]
        commit(tmp_path, SPEC, {"train": shards}, manifest={})
    message = rf"id for every image of 'train' of {tmp_path}, got 1 that .* such as twice"
    with pytest.raises(ValueError, match=message):
        open_images(tmp_path)
    assert len(open_images(tmp_path, "train[:2]")) == 2


@pytest.mark.parametrize("template", ["{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_INDEX}", None])
def test_a_set_that_tfds_converted_in_place_is_read(template, directory):
    """Another format comes first, and ArrayRecord is among the alternatives."""
    wanted = load_images(directory)
    (directory / "manifest.json").unlink()
    info = json.loads((directory / "dataset_info.json").read_text())
    info |= {"fileFormat": "tfrecord", "alternativeFileFormats": ["array_record"]}
    if template is None:  # TFDS's usual names
        for split in info["splits"]:
            del split["filepathTemplate"]
            for path in directory.glob(f"tiny-{split['name']}.array_record-0000?"):
                path.rename(f"{path}-of-{len(split['shardLengths']):05d}")
    (directory / "dataset_info.json").write_text(json.dumps(info))
    data = load_images(directory)
    np.testing.assert_array_equal(data.images, wanted.images)
    assert data.ids == wanted.ids
    for row, target in zip(
        tfds.builder_from_directory(directory).as_data_source("train"), data.targets, strict=True
    ):
        np.testing.assert_array_equal(row["target"], target)
    assert len(read_extras(directory, ["target"])["target"]) == 7


def test_a_split_without_labels_spoils_no_other(tmp_path):
    """As STL-10's `unlabelled`, whose labels are all -1."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("train.data.write.require", lambda *_: None)
        columns = {split: random_columns(SPEC, 3) for split in SPEC.splits}
        columns["test"]["label"] = np.full(3, -1)
        shards = {
            split: [write_shard(tmp_path, SPEC, split=split, index=0, columns=own)]
            for split, own in columns.items()
        }
        commit(tmp_path, SPEC, shards, manifest={})
    assert list_splits(tmp_path) == {"train": 3, "test": 3}
    assert load_images(tmp_path).labels.tolist() == [0, 1, 0]
    with pytest.raises(ValueError, match=r"labels in \[0, 2\), got -1 in 'test'.*all labelled"):
        open_images(tmp_path, "test")


@pytest.mark.parametrize("split", ["validation", "", "train[", "train[:1", "test[2:2]"])
def test_unknown_and_empty_splits_are_refused(directory, split):
    with pytest.raises(ValueError, match="expected"):
        load_images(directory, split)


def test_unknown_names_say_what_to_do(tmp_path, directory):
    with pytest.raises(ValueError, match="elicit data prepare cifar10 --data-dir"):
        load_images("cifar10", data_dir=tmp_path)
    with pytest.raises(ValueError, match="elicit data prepare cifar10 --data-dir"):
        load_images("cifar10")
    with pytest.raises(ValueError, match=r"did you mean .*1\.0\.0"):
        load_images(directory.parent)
    with pytest.raises(ValueError, match="expected a data set's directory"):
        load_images("tiny:2.0.0", data_dir=directory.parents[1])


def test_digits_are_those_of_scikit_learn():
    train, test = load_images("digits"), load_images("digits", "test")
    assert (len(train.labels), len(test.labels)) == (1437, 360)
    assert not set(train.ids) & set(test.ids)
    assert train.class_names == tuple("0123456789")
    bunch: Any = load_digits()
    for data in (train, test):
        assert data.images.shape[1:] == (32, 32, 3)
        indices = [int(name.removeprefix("digits_")) for name in data.ids]
        np.testing.assert_array_equal(data.labels, bunch.target[indices])
        # The mean of 4 x 4 pixels is nearly the pixel that they came from.
        small = data.images[..., 0].reshape(-1, 8, 4, 8, 4).mean(axis=(2, 4)) * 16 / 255
        correlation = np.corrcoef(small.ravel(), bunch.images[indices].ravel())[0, 1]
        assert correlation > 0.97
        np.testing.assert_array_equal(data.images[..., 0], data.images[..., 2])
        assert data.images.max() == 255
    assert np.bincount(test.labels).min() > 20


def test_digits_are_the_same_every_time():
    # From numpy's RandomState(0).permutation(1797), whose stream never changes.
    assert load_images("digits", "test").ids[:4] == tuple(
        f"digits_{i:05d}" for i in np.sort(np.random.RandomState(0).permutation(1797)[1437:])[:4]
    )
    with pytest.raises(ValueError, match="'validation'"):
        load_images("digits", "validation")


@pytest.mark.skipif(
    "ELICIT_TEST_DATA" not in os.environ, reason="ELICIT_TEST_DATA names no TFDS data directory"
)
def test_cifar10_is_what_tfds_reads():
    data_dir = os.environ["ELICIT_TEST_DATA"]
    data = load_images("cifar10", "test", data_dir=data_dir)
    source: Any = tfds.data_source("cifar10", data_dir=data_dir, split="test")
    assert len(data.labels) == len(source)
    for i in range(0, len(source), 99):
        np.testing.assert_array_equal(data.images[i], source[i]["image"])
        assert data.labels[i] == source[i]["label"]
        assert data.ids[i] == source[i]["id"].decode()
    assert data.class_names[8] == "ship"
