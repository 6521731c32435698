"""`elicit data subset`: drawn by key, the same from any disk, and TFDS reads it."""

from typing import Any

import numpy as np
import pytest
import tensorflow_datasets as tfds

from tests.experiments.conftest import write_columns
from train.data.image_data import image_digests, take_images
from train.data.load import data_digest, load_images
from train.data.verify import read_manifest, verify

COUNTS = ("--per-class", 12, "--test-per-class", 5, "--key", 4)


@pytest.fixture(scope="module")
def subset(tmp_path_factory, data, elicit):
    out = tmp_path_factory.mktemp("subset") / "small"
    assert elicit("data", "subset", "--data", data, "--out", out, *COUNTS) == 0
    return out


def rewritten(data, out):
    """The same images in another order, in two shards."""
    splits = {}
    for split in ("train", "test"):
        part = load_images(data, split)
        part = take_images(part, np.random.default_rng(0).permutation(len(part.ids)))
        splits[split] = {"id": part.ids, "image": part.images, "label": part.labels}
    return write_columns(out, splits, shards=2)


def test_tfds_reads_every_image_with_its_source(subset, data):
    sources = {}
    for split in ("train", "test"):
        part = load_images(data, split)
        sources |= dict(zip(part.ids, zip(part.images, part.labels, strict=True), strict=True))
    builder: Any = tfds.builder_from_directory(subset)
    seen = []
    for split, count in (("train", 12), ("test", 5)):
        rows = list(builder.as_data_source(split))
        assert np.bincount([row["label"] for row in rows]).tolist() == [count] * 3
        for row in rows:
            name = row["source_id"].decode()
            assert row["id"].decode() == name
            image, label = sources[name]
            np.testing.assert_array_equal(row["image"], image)
            assert row["label"] == label
            seen.append(name)
    assert len(seen) == len(set(seen)) == 51
    # 69 images, 48 of them for training: both splits have some of either.
    for part in (seen[:36], seen[36:]):
        assert len({name.partition("_")[0] for name in part}) == 2


def test_the_manifest_says_how_it_was_made(subset):
    manifest = read_manifest(subset)
    assert verify(subset) == []
    assert manifest["key"] == 4
    assert (manifest["per_class"], manifest["test_per_class"]) == (12, 5)
    assert manifest["dataset"]["splits"] == ["test", "train"]
    assert len(manifest["dataset"]["sha256"]) == 64


def test_the_order_on_disk_does_not_matter(subset, data, tmp_path, elicit, contents):
    other = rewritten(data, tmp_path / data.name)
    assert load_images(other).ids != load_images(data).ids
    out = tmp_path / "small"
    words = ("--out", out, "--split", "test", "train")
    assert elicit("data", "subset", "--data", other, *words, *COUNTS) == 0
    assert contents(out) == contents(subset)


def test_without_test_images(data, tmp_path, elicit, capsys):
    out = tmp_path / "small"
    words = ("--per-class", 20, "--test-per-class", 0, "--key", 4)
    assert elicit("data", "subset", "--data", data, "--out", out, *words) == 0
    assert f"{out}: 60 train, 3 classes" in capsys.readouterr().out
    builder: Any = tfds.builder_from_directory(out)
    assert list(builder.info.splits) == ["train"]


def test_the_same_command_again_does_nothing(subset, data, elicit, contents, capsys):
    before = contents(subset)
    assert elicit("data", "subset", "--data", data, "--out", subset, *COUNTS) == 0
    assert "complete; nothing to do" in capsys.readouterr().out
    assert contents(subset) == before


def test_splits_may_use_the_same_ids(data, tmp_path, elicit):
    """Such as numbers from 0 on in each."""
    numbered = {}
    for split in ("train", "test"):
        part = load_images(data, split)
        ids = [str(i) for i in range(len(part.ids))]
        numbered[split] = {"id": ids, "image": part.images, "label": part.labels}
    place, out = write_columns(tmp_path / "numbered", numbered), tmp_path / "small"
    assert elicit("data", "subset", "--data", place, "--out", out, *COUNTS) == 0
    for split in ("train", "test"):
        found = load_images(out, split)
        for name, image in zip(found.ids, found.images, strict=True):
            origin, _, number = name.partition("/")
            np.testing.assert_array_equal(numbered[origin]["image"][int(number)], image)


def test_digits_by_name(tmp_path, elicit):
    out = tmp_path / "digits"
    words = ("--per-class", 2, "--test-per-class", 1)
    assert elicit("data", "subset", "--data", "digits", "--out", out, *words) == 0
    train = load_images(out)
    assert train.source_ids == train.ids
    assert train.source_digests == image_digests(train.images)
    assert len(data_digest(train)) == 64
    assert len(train.ids) == 20
