"""Checkpoints: saved arrays come back, and damage is noticed."""

import shutil
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import train.storage.checkpoints
from train.storage.checkpoints import (
    damaged_checkpoints,
    latest_checkpoint,
    newest_checkpoint,
    remove_damaged,
    save_checkpoint,
)


def state(step):
    return {
        "variables": {"params": {"kernel": jnp.full((3, 5), step + 0.5), "bias": jnp.arange(5.0)}},
        "half": jnp.ones((2,), jnp.bfloat16) * step,
        "counts": [np.int32(step), np.arange(4, dtype=np.uint8)],
        "flag": np.array([True, False]),
    }


def names(directory):
    return sorted(path.name for path in directory.iterdir())


def largest(directory, step):
    files = (path for path in (directory / str(step)).rglob("*") if path.is_file())
    return max(files, key=lambda path: path.stat().st_size)


def test_structure_types_and_bits_come_back(tmp_path):
    save_checkpoint(tmp_path / "new" / "place", 7, state(7))
    restored = latest_checkpoint(tmp_path / "new" / "place")
    assert restored is not None
    assert restored.step == 7
    assert jax.tree.structure(restored.state) == jax.tree.structure(state(7))
    for found, saved in zip(
        jax.tree.leaves(restored.state), jax.tree.leaves(state(7)), strict=True
    ):
        assert found.dtype == saved.dtype
        np.testing.assert_array_equal(found, saved)


@pytest.mark.parametrize("as_given", [str, Path], ids=["text", "path"])
def test_a_place_may_be_relative(as_given, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    save_checkpoint(as_given("new/place"), 7, state(7))
    for restore in (latest_checkpoint, newest_checkpoint):
        assert restore(as_given("new/place")).step == 7
    remove_damaged(as_given("new/place"))
    assert damaged_checkpoints(as_given("new/place")) == []
    assert names(tmp_path / "new" / "place") == ["7", "7.json"]


def test_nothing_there_is_none(tmp_path):
    assert latest_checkpoint(tmp_path) is None
    assert latest_checkpoint(tmp_path / "missing") is None


def test_the_newest_by_number_is_used_and_the_oldest_go(tmp_path):
    for step in (2, 9, 10):
        save_checkpoint(tmp_path, step, state(step), keep=2)
    assert names(tmp_path) == ["10", "10.json", "9", "9.json"]
    assert latest_checkpoint(tmp_path).step == 10


def test_a_step_may_be_saved_again(tmp_path):
    save_checkpoint(tmp_path, 1, state(1))
    save_checkpoint(tmp_path, 1, state(2))
    assert latest_checkpoint(tmp_path).state["counts"][0] == 2


def change(path, how):
    path.write_bytes(how(path.read_bytes()))


def flip_the_middle(content):
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]


DAMAGES = {
    "flipped byte": lambda directory: change(largest(directory, 2), flip_the_middle),
    "cut file": lambda directory: change(largest(directory, 2), lambda content: content[:-1]),
    "lost file": lambda directory: largest(directory, 2).unlink(),
    "lost files": lambda directory: shutil.rmtree(directory / "2"),
    "added file": lambda directory: (directory / "2" / "stray").touch(),
    "damaged digests": lambda directory: (directory / "2.json").write_text("{"),
    "empty digests": lambda directory: (directory / "2.json").write_text("[]"),
}


@pytest.fixture(scope="module")
def two_checkpoints(tmp_path_factory):
    directory = tmp_path_factory.mktemp("run")
    for step in (1, 2):
        save_checkpoint(directory, step, state(step))
    return directory


@pytest.fixture
def directory(two_checkpoints, tmp_path):
    """A copy of the checkpoints, to be changed."""
    return shutil.copytree(two_checkpoints, tmp_path / "run")


@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_is_named_and_the_one_before_is_used_only_to_resume(directory, damage):
    assert damaged_checkpoints(directory) == []
    assert newest_checkpoint(directory).step == 2
    DAMAGES[damage](directory)
    (line,) = damaged_checkpoints(directory)
    assert line.startswith(f"{directory / '2'}: ")
    assert line.endswith(" is damaged")
    with pytest.warns(UserWarning, match=r"checkpoint .*2 is damaged .*trying the one before"):
        restored = latest_checkpoint(directory)
    assert (restored.step, restored.state["counts"][0]) == (1, 1)
    with pytest.raises(ValueError, match=r"checkpoint .*2 is damaged .*repeat the command"):
        newest_checkpoint(directory)


@pytest.mark.parametrize("damage", DAMAGES)
def test_what_is_damaged_can_be_removed(directory, damage):
    save_checkpoint(directory, 3, state(3), keep=3)
    DAMAGES[damage](directory)
    with pytest.warns(UserWarning, match=r"checkpoint .*2 is damaged .*it is removed"):
        remove_damaged(directory)
    assert names(directory) == ["1", "1.json", "3", "3.json"]


def test_a_good_one_stays_until_the_next_is_whole(directory, monkeypatch):
    """The run fell back to step 1, past a damaged step 3: step 2 is written again, step 1 stays."""
    shutil.copytree(directory / "2", directory / "3")
    (directory / "3.json").write_text("{}")

    def interrupt(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(train.storage.checkpoints, "write_json", interrupt)  # before the commit
        with pytest.raises(KeyboardInterrupt):
            save_checkpoint(directory, 2, state(2))
    with pytest.warns(UserWarning, match=r"checkpoint .*3 is damaged"):
        assert latest_checkpoint(directory).step == 1
    save_checkpoint(directory, 2, state(2))
    assert names(directory) == ["1", "1.json", "2", "2.json"]
    assert latest_checkpoint(directory).step == 2


def test_many_arrays_that_cannot_be_written_are_one_error_and_leave_the_last_one(
    tmp_path, capfd, limit_files
):
    limit_files(20_000)
    save_checkpoint(tmp_path, 0, {"step": np.int64(1)})
    arrays = np.random.default_rng(0).normal(size=(40, 1000))
    for step in range(1, 6):  # the first write to fail is not always the same
        with pytest.raises(OSError, match="File too large") as raised:
            save_checkpoint(tmp_path, step, {str(i): array for i, array in enumerate(arrays)})
        assert raised.value.filename == str(tmp_path / f"{step}")
    assert capfd.readouterr().err == ""
    assert latest_checkpoint(tmp_path).step == 0


def test_without_digests_it_is_no_checkpoint(directory):
    (directory / "2.json").unlink()  # as if killed before the commit
    assert latest_checkpoint(directory).step == 1


def test_when_all_are_damaged_there_is_none(directory):
    DAMAGES["flipped byte"](directory)
    shutil.rmtree(directory / "1")
    with pytest.warns(UserWarning, match="damaged") as warned:
        assert latest_checkpoint(directory) is None
    assert len(warned) == 2


def test_what_a_killed_writer_left_is_removed_and_the_newest_two_are_kept(directory):
    shutil.copytree(directory / "1", directory / "0")  # its digests are removed first
    (directory / "3.orbax-checkpoint-tmp").mkdir()
    (directory / ".3.json.partial").touch()
    remove_damaged(directory)
    assert names(directory) == ["1", "1.json", "2", "2.json"]
