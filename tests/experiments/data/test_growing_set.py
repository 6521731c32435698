"""Sets that are made shard by shard: the same bytes whatever happens on the way, in little memory.

The images are made up: part number n has n % 4 images that depend on n alone.
"""

import tracemalloc
from typing import Any

import numpy as np
import pytest

import experiments.data.growing_set
from experiments.data.columns import in_shards
from experiments.data.growing_set import Part, discard_work, growing_directory, write_parts
from train.data.spec import ImageSetSpec
from train.data.verify import verify
from train.data.write import commit

SPEC = ImageSetSpec("grown", ("ant", "bee"), (5, 7, 3), extras=("key",))
IDENTITY = {"key": 7, "classes": ["ant", "bee"]}


def columns(number: int, count: int, shape=(5, 7, 3)) -> dict[str, Any]:
    random = np.random.default_rng(number)
    return {
        "id": [f"{number}_{i}" for i in range(count)],
        "image": random.integers(0, 256, (count, *shape), np.uint8),
        "label": np.arange(count) % 2,
        "key": [f"{number:08x}"] * count,
    }


def parts_from(state, *, total=14):
    """14 parts with 19 images in all; the state is the next part's number."""
    for number in range(state or 0, total):
        yield Part(number, columns(number, number % 4), number + 1, number + 1 == total)


@pytest.fixture(autouse=True)
def small_shards(monkeypatch):
    """Shards of 5: some part fills more than one, some shard needs more than one part."""
    monkeypatch.setattr(experiments.data.growing_set, "SHARD_IMAGES", 5)


def grow(out, *, identity=IDENTITY, parts_from=parts_from):
    with growing_directory(out, identity) as directory:
        shards, state = write_parts(directory, SPEC, parts_from, split="train")
        commit(directory, SPEC, {"train": shards}, manifest=identity)
    return [record.num_examples for record in shards], state


def test_shards_are_full_but_for_the_last_one(tmp_path):
    assert grow(tmp_path / "set") == ([5, 5, 5, 4], 14)
    assert [path.name for path in tmp_path.iterdir()] == ["set"]
    assert verify(tmp_path / "set") == []


def test_nothing_kept_is_no_shard(tmp_path):
    empty = lambda _: iter([Part(0, columns(0, 0), 9, is_last=True)])  # noqa: E731
    with growing_directory(tmp_path / "set", IDENTITY) as directory:
        assert write_parts(directory, SPEC, empty, split="train") == ([], 9)


@pytest.mark.parametrize("place", ["write_shard", "write_sealed"])
@pytest.mark.parametrize("last", [0, 1, 2, 3])
def test_an_interrupted_set_goes_on_to_the_same_bytes(tmp_path, contents, monkeypatch, place, last):
    grow(tmp_path / "whole")
    original, calls, asked = getattr(experiments.data.growing_set, place), [], []

    def interrupt(*words, **options):
        calls.append(words)
        if len(calls) == last + 1:
            raise KeyboardInterrupt
        return original(*words, **options)

    def ask(state):
        asked.append(state)
        return parts_from(state)

    with monkeypatch.context() as patch:
        patch.setattr(experiments.data.growing_set, place, interrupt)
        with pytest.raises(KeyboardInterrupt):
            grow(tmp_path / "set")
    assert not (tmp_path / "set").exists()
    assert grow(tmp_path / "set", parts_from=ask) == ([5, 5, 5, 4], 14)
    assert contents(tmp_path / "set") == contents(tmp_path / "whole")
    assert asked == [(None, 3, 7, 10)[last]]  # the part in which the last whole shard ends
    assert sorted(path.name for path in tmp_path.iterdir()) == ["set", "whole"]


@pytest.mark.parametrize("name", ["progress.json", "set/grown-train.array_record-00001"])
def test_what_was_damaged_meanwhile_is_named_and_made_again(tmp_path, contents, name):
    def stop_after_three(state):
        for part in parts_from(state):
            if part.before == 12:
                raise KeyboardInterrupt
            yield part

    grow(tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        grow(tmp_path / "set", parts_from=stop_after_three)
    path = tmp_path / ".set.partial" / name
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.warns(UserWarning, match=f"is made again from the beginning: .*{path.name}"):
        grow(tmp_path / "set")
    assert contents(tmp_path / "set") == contents(tmp_path / "whole")


def test_another_configuration_does_not_go_on_with_it(tmp_path, contents):
    def interrupt(_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        grow(tmp_path / "set", parts_from=interrupt)
    before = contents(tmp_path)
    with pytest.raises(ValueError, match=r"\.set\.partial holds .* key was 7, now 8"):
        grow(tmp_path / "set", identity={**IDENTITY, "key": 8})
    assert contents(tmp_path) == before


@pytest.mark.parametrize("error", [ValueError("no image"), FloatingPointError("not finite")])
def test_an_error_that_would_come_again_leaves_nothing(tmp_path, error):
    def fail_after_two(state):
        for part in parts_from(state):
            if part.before == 9:
                raise error
            yield part

    with pytest.raises(type(error), match=str(error)):
        grow(tmp_path / "new" / "set", parts_from=fail_after_two)
    assert list(tmp_path.iterdir()) == []


def test_a_file_is_no_place_for_a_set(tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(ValueError, match=r"expected a directory to make set in.*through a file"):
        grow(tmp_path / "file" / "set")


def test_leftovers_of_a_complete_set_can_be_removed(tmp_path):
    (tmp_path / ".set.partial").mkdir()
    discard_work(tmp_path / "set")
    discard_work(tmp_path / "set")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("sizes", [(5, 5), (3, 0, 14, 1), (1,) * 11, (0,), ()])
def test_parts_are_cut_to_shards(sizes, monkeypatch):
    monkeypatch.setattr("experiments.data.columns.SHARD_IMAGES", 5)
    parts = [columns(number, size) for number, size in enumerate(sizes)]
    shards = list(in_shards(parts))
    total = sum(sizes)
    assert [len(shard["label"]) for shard in shards] == [5] * (total // 5) + [total % 5] * (
        total % 5 > 0
    )
    assert [name for shard in shards for name in shard["id"]] == [
        name for part in parts for name in part["id"]
    ]
    for name in ("image", "label"):
        if total:
            found = np.concatenate([shard[name] for shard in shards])
            np.testing.assert_array_equal(found, np.concatenate([p[name] for p in parts]))


def test_memory_does_not_grow_with_the_set(tmp_path):
    shape = (64, 96, 3)
    spec = ImageSetSpec("grown", ("ant", "bee"), shape, extras=("key",))

    def peak(total: int) -> int:
        def large_parts(state):
            for number in range(state or 0, total):
                yield Part(number, columns(number, 2, shape), number + 1, number + 1 == total)

        tracemalloc.start()
        with growing_directory(tmp_path / str(total), IDENTITY) as directory:
            write_parts(directory, spec, large_parts, split="train")
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    peak(3)  # what is imported and cached
    few, many = peak(8), peak(64)
    assert many - few < 0.1 * (128 - 16) * np.prod(shape)
    assert many < 40 * np.prod(shape)
