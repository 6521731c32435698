"""Finished batches of an interrupted shard: none is computed again, and the bytes are the same."""

import numpy as np
import pytest

import experiments.synthesis.make_shards
from experiments.data.saved_batches import load_batch, remove_batches, save_batch

SHARDS = [f"synthesised-train.array_record-{i:05d}" for i in range(2)]
BATCH = {"image": np.arange(6, dtype=np.uint8).reshape(2, 3), "kl": np.float32([0.5, np.nan])}
IDENTITY = {"key": 0, "rule": {"name": "sgd"}}


def saved(directory):
    return sorted(path.name for path in directory.glob(".*.batch-*"))


# ---- by themselves


def test_a_batch_comes_back_as_it_was(tmp_path):
    shard = tmp_path / "shard"
    save_batch(shard, 1, BATCH, IDENTITY)
    assert load_batch(shard, 0, IDENTITY) is None
    found = load_batch(shard, 1, IDENTITY)
    assert found.keys() == BATCH.keys()
    for name, column in BATCH.items():
        np.testing.assert_array_equal(found[name], column)
        assert found[name].dtype == column.dtype
    remove_batches(tmp_path / "another")
    assert saved(tmp_path) == [".shard.batch-00001"]
    remove_batches(shard)
    assert saved(tmp_path) == []


def flip(content, place):
    return content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]


@pytest.mark.parametrize(
    ("damage", "saved_as", "identity"),
    [
        *(
            (lambda content, place=place: flip(content, place), 0, IDENTITY)
            for place in (0, 40, 200)
        ),
        *((lambda content, size=size: content[:size], 0, IDENTITY) for size in (0, 10, 100, -1)),
        (lambda content: content, 1, IDENTITY),
        (lambda content: content, 0, {**IDENTITY, "key": 1}),
    ],
)
def test_a_damaged_batch_or_another_one_is_removed_with_a_warning(
    damage, saved_as, identity, tmp_path
):
    shard, path = tmp_path / "shard", tmp_path / ".shard.batch-00000"
    save_batch(shard, saved_as, BATCH, identity)
    (saved_path,) = tmp_path.iterdir()
    path.write_bytes(damage(saved_path.rename(path).read_bytes()))
    with pytest.warns(
        UserWarning,
        match=r"\.shard\.batch-00000 is damaged or of another configuration; it is removed",
    ):
        assert load_batch(shard, 0, IDENTITY) is None
    assert saved(tmp_path) == []


# ---- in a synthesis


@pytest.fixture
def words(data, own_classifier, no_report):
    """A synthesis of 22 images in shards of 12 and 10, which are three batches of 4 each."""
    del no_report
    sizes = "--batch-size 4 --batches-per-shard 3 --stop 22 --steps 4"
    return ["synthesize", "--classifier", own_classifier, "--data", data, *sizes.split()]


@pytest.fixture
def whole(words, tmp_path, elicit):
    assert elicit(*words, "--out", tmp_path / "whole") == 0
    return tmp_path / "whole"


@pytest.fixture
def made_images(monkeypatch):
    """How many images each shard's synthesis begins with."""
    counts = []
    original = experiments.synthesis.make_shards._synthesize

    def count(job, images, targets):
        counts.append(len(images))
        return original(job, images, targets)

    monkeypatch.setattr(experiments.synthesis.make_shards, "_synthesize", count)
    return counts


def interrupt_after(batches, monkeypatch):
    """Ctrl-C once so many batches of all shards are saved."""
    original, done = experiments.synthesis.make_shards.save_batch, []

    def save_and_interrupt(*given):
        original(*given)
        done.append(1)
        if len(done) == batches:
            raise KeyboardInterrupt

    monkeypatch.setattr(experiments.synthesis.make_shards, "save_batch", save_and_interrupt)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("batches", "left", "to_make"),
    [
        (1, [f".{SHARDS[0]}.batch-00000"], [8, 10]),
        (2, [f".{SHARDS[0]}.batch-0000{i}" for i in range(2)], [4, 10]),
        (4, [f".{SHARDS[1]}.batch-0000{i}" for i in range(2)], [2]),
    ],
)
def test_an_interrupted_shard_goes_on_at_the_batch(
    batches, left, to_make, words, whole, tmp_path, elicit, contents, made_images, monkeypatch
):
    out = tmp_path / "set"
    with monkeypatch.context() as patch:
        interrupt_after(batches, patch)
        assert elicit(*words, "--out", out) == 130
    assert saved(out) == left
    made_images.clear()
    assert elicit(*words, "--out", out) == 0
    assert made_images == to_make
    assert contents(out) == contents(whole)
