"""Sets that are written shard by shard: the same bytes whatever happens, in little memory.

The images are made up. Round number n has n % 4 images, which depend on n alone.
"""

from functools import partial
from typing import Any

import numpy as np
import pytest

import experiments.data.resumable_set
import experiments.gan.rounds
from experiments.data.resumable_set import ResumableSet
from experiments.gan.rounds import Round, write_rounds
from imgopt.errors import InputError
from train.data.load import load_images
from train.data.spec import ImageSetSpec
from train.data.verify import verify
from train.data.write import commit, write_shard

SPEC = ImageSetSpec("grown", ("ant", "bee"), (5, 7, 3), extras=("key",))
IDENTITY = {"key": 7, "classes": ["ant", "bee"]}
SHARD = "grown-train.array_record-00001"


def columns(number: int, count: int, shape=(5, 7, 3)) -> dict[str, Any]:
    random = np.random.default_rng(number)
    return {
        "id": [f"{number}_{i}" for i in range(count)],
        "image": random.integers(0, 256, (count, *shape), np.uint8),
        "label": np.arange(count) % 2,
        "key": [f"{number:08x}"] * count,
    }


def rounds_from(state, *, total=14):
    """14 rounds with 19 images in all; the state is the number of the next round."""
    for number in range(state or 0, total):
        yield Round(number, columns(number, number % 4), number + 1, number + 1 == total)


@pytest.fixture(autouse=True)
def small_shards(monkeypatch):
    """Shards of 5: a round may fill more than one, and a shard may need more than one."""
    monkeypatch.setattr(experiments.gan.rounds, "SHARD_IMAGES", 5)


def by_rounds(out, *, identity=IDENTITY, rounds_from=rounds_from):
    """Writes a set from rounds; gives the sizes of the shards and the last state."""
    image_set = ResumableSet(out, SPEC, identity)
    with image_set.open_for_writing():
        shards, state = write_rounds(image_set, "train", rounds_from)
        image_set.commit({"train": shards})
    return [shard.record.num_examples for shard in shards], state


def by_shards(out, *, identity=IDENTITY, made=None):
    """Writes a set of three shards that do not depend on each other; notes which were made."""

    def make(number):
        if made is not None:
            made.append(number)
        return columns(number, 3 + number)

    image_set = ResumableSet(out, SPEC, identity)
    if not image_set.is_complete():
        with image_set.open_for_writing():
            image_set.write_shards({"train": [partial(make, number) for number in range(3)]})
    return out


def interrupt_at(monkeypatch, place: str, *, call: int) -> None:
    original, calls = getattr(experiments.data.resumable_set, place), []

    def interrupt(*words, **options):
        calls.append(words)
        if len(calls) == call:
            raise KeyboardInterrupt
        return original(*words, **options)

    monkeypatch.setattr(experiments.data.resumable_set, place, interrupt)


def names(directory) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


# ---- from shards that do not depend on each other


def test_a_complete_set_is_left_alone(tmp_path, contents, capsys):
    out, made = by_shards(tmp_path / "set"), []
    assert verify(out) == []
    assert names(out) == [
        "config.json", "dataset_info.json", "features.json",
        *(f"grown-train.array_record-0000{i}-of-00003" for i in range(3)),
        "label.labels.txt", "manifest.json",
    ]  # fmt: skip
    before = contents(out)
    by_shards(out, made=made)
    assert made == []
    assert contents(out) == before
    assert capsys.readouterr().out == f"{out} is complete; nothing to do\n"


@pytest.mark.parametrize(
    ("place", "call", "to_make"),
    [
        ("write_shard", 1, [0, 1, 2]),
        ("write_shard", 3, [2]),
        ("write_sealed", 2, [1, 2]),  # the shard is there, but not its digest
        ("commit", 1, []),
    ],
)
def test_only_missing_shards_are_made(place, call, to_make, tmp_path, contents, monkeypatch):
    whole, out, made = by_shards(tmp_path / "whole"), tmp_path / "set", []
    with monkeypatch.context() as patch:
        interrupt_at(patch, place, call=call)
        with pytest.raises(KeyboardInterrupt):
            by_shards(out)
    with pytest.raises(InputError, match=r"dataset_info\.json"):
        load_images(out)
    by_shards(out, made=made)
    assert made == to_make
    assert contents(out) == contents(whole)


@pytest.mark.filterwarnings("default:made again")
@pytest.mark.parametrize(
    ("name", "to_make"),
    [
        ("grown-train.array_record-00001-of-00003", [1]),
        ("features.json", []),
        ("manifest.json", [0, 1, 2]),
    ],
)
def test_damage_is_named_and_made_again(name, to_make, tmp_path, contents):
    out, made = by_shards(tmp_path / "set"), []
    before = contents(out)
    (out / name).write_bytes((out / name).read_bytes()[:-9])
    with pytest.warns(UserWarning, match=f"is damaged; made again: .*{name}"):
        by_shards(out, made=made)
    assert made == to_make
    assert contents(out) == before


def test_a_manifest_that_has_lost_its_digest_is_damaged(tmp_path, contents):
    out = by_shards(tmp_path / "set")
    before, path = contents(out), out / "manifest.json"
    path.write_text(path.read_text().replace('\n  "sha256": ', '\n  "rha256": '))
    with pytest.warns(UserWarning, match=r"manifest\.json: damaged"):
        by_shards(out)
    assert contents(out) == before


def test_a_complete_set_of_an_older_version_has_no_config(tmp_path, contents, capsys):
    out = tmp_path / "set"
    records = [
        write_shard(out, SPEC, split="train", index=i, columns=columns(i, 3 + i), num_shards=3)
        for i in range(3)
    ]
    commit(out, SPEC, {"train": records}, manifest=IDENTITY)
    by_shards(out)
    assert "nothing to do" in capsys.readouterr().out
    assert contents(out) == contents(by_shards(tmp_path / "new"))
    (out / "config.json").unlink()
    with pytest.raises(InputError, match="set of another configuration: key was 7, now 8"):
        by_shards(out, identity={**IDENTITY, "key": 8})
    (out / "manifest.json").rename(tmp_path / "kept")
    with pytest.raises(InputError, match="is there already and is not an image set"):
        by_shards(out)
    (tmp_path / "kept").rename(out / "manifest.json")
    (out / "features.json").unlink()
    with pytest.warns(UserWarning, match=r"features\.json: missing"):
        by_shards(out)
    assert contents(out) == contents(by_shards(tmp_path / "new"))


def test_a_side_file_belongs_to_the_complete_set(tmp_path):
    out = by_shards(tmp_path / "set")
    image_set = ResumableSet(out, SPEC, IDENTITY, side_files=("page",))
    assert not image_set.is_complete()
    (out / "page").touch()
    assert image_set.is_complete()


def test_wrong_input_leaves_a_set_that_was_complete(tmp_path):
    out = by_shards(tmp_path / "set")
    before = names(out)
    image_set = ResumableSet(out, SPEC, IDENTITY)
    with pytest.raises(InputError, match="no room"), image_set.open_for_writing():
        raise InputError("no room")
    assert set(before) - set(names(out)) <= {
        "dataset_info.json", "features.json", "label.labels.txt", "manifest.json",
    }  # fmt: skip
    made = []
    by_shards(out, made=made)
    assert made == []
    assert names(out) == before


# ---- from rounds


def test_shards_are_full_but_for_the_last_one(tmp_path):
    assert by_rounds(tmp_path / "set") == ([5, 5, 5, 4], 14)
    assert names(tmp_path) == ["set"]
    assert verify(tmp_path / "set") == []
    ids = [name for number in range(14) for name in columns(number, number % 4)["id"]]
    assert load_images(tmp_path / "set").ids == tuple(ids)


def test_rounds_without_an_image_give_no_shard(tmp_path):
    image_set = ResumableSet(tmp_path / "set", SPEC, IDENTITY)
    empty = lambda _: iter([Round(0, columns(0, 0), 9, is_last=True)])  # noqa: E731
    with image_set.open_for_writing():
        assert write_rounds(image_set, "train", empty) == ([], 9)


@pytest.mark.parametrize("place", ["write_shard", "write_sealed"])
@pytest.mark.parametrize("last", [0, 1, 2, 3])
def test_an_interrupted_set_goes_on_to_the_same_bytes(tmp_path, contents, monkeypatch, place, last):
    asked = []

    def ask(state):
        asked.append(state)
        return rounds_from(state)

    by_rounds(tmp_path / "whole")
    with monkeypatch.context() as patch:
        interrupt_at(patch, place, call=last + 1)
        with pytest.raises(KeyboardInterrupt):
            by_rounds(tmp_path / "set")
    assert not (tmp_path / "set" / "manifest.json").exists()
    assert by_rounds(tmp_path / "set", rounds_from=ask) == ([5, 5, 5, 4], 14)
    assert contents(tmp_path / "set") == contents(tmp_path / "whole")
    assert asked == [(None, 3, 7, 10)[last]]  # the round in which the last whole shard ends
    assert names(tmp_path) == ["set", "whole"]


@pytest.mark.parametrize("error", [InputError("no image"), FloatingPointError("not finite")])
def test_an_error_that_would_come_again_leaves_nothing(tmp_path, error):
    def fail_after_two(state):
        for each in rounds_from(state):
            if each.before == 9:
                raise error
            yield each

    with pytest.raises(type(error), match=str(error)):
        by_rounds(tmp_path / "new" / "set", rounds_from=fail_after_two)
    assert list(tmp_path.iterdir()) == []


def test_a_file_is_no_place_for_a_set(tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(InputError, match="passes through a file"):
        by_rounds(tmp_path / "file" / "set")
    with pytest.raises(InputError, match="file is there already and is not an image set"):
        by_rounds(tmp_path / "file")


def test_leftovers_of_a_complete_set_are_removed(tmp_path, contents):
    out = by_shards(tmp_path / "set")
    before = contents(out)
    for name in (".grown-train.array_record-00000.partial", ".x.batch-00000", "x.note.json"):
        (out / name).write_text("{}")
    with pytest.warns(UserWarning, match=r"made again: the shard of .*x\.note\.json"):
        by_shards(out)
    assert contents(out) == before
