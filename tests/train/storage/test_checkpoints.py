"""Checkpoints: saved arrays come back, and damage is noticed."""

import resource
import shutil

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


def files(directory, step):
    return sorted(path for path in (directory / str(step)).rglob("*") if path.is_file())


def largest(directory, step):
    return max(files(directory, step), key=lambda path: path.stat().st_size)


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


def test_nothing_there_is_none(tmp_path):
    assert latest_checkpoint(tmp_path) is None
    assert latest_checkpoint(tmp_path / "missing") is None


def test_the_newest_by_number_is_used_and_the_oldest_go(tmp_path):
    for step in (2, 9, 10):
        save_checkpoint(tmp_path, step, state(step), keep=2)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["10", "10.json", "9", "9.json"]
    assert latest_checkpoint(tmp_path).step == 10


def test_a_step_may_be_saved_again(tmp_path):
    save_checkpoint(tmp_path, 1, state(1))
    save_checkpoint(tmp_path, 1, state(2))
    assert latest_checkpoint(tmp_path).state["counts"][0] == 2


def flip_a_byte(directory):
    path = largest(directory, 2)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def cut_off(directory):
    path = largest(directory, 2)
    path.write_bytes(path.read_bytes()[:-1])


def lose_a_file(directory):
    largest(directory, 2).unlink()


def lose_all_files(directory):
    shutil.rmtree(directory / "2")


def add_a_file(directory):
    (directory / "2" / "stray").write_bytes(b"")


def damage_digests(directory):
    (directory / "2.json").write_text("{")


def empty_digests(directory):
    (directory / "2.json").write_text("[]")


DAMAGES = [
    flip_a_byte,
    cut_off,
    lose_a_file,
    lose_all_files,
    add_a_file,
    damage_digests,
    empty_digests,
]


@pytest.fixture(scope="module")
def two_checkpoints(tmp_path_factory):
    directory = tmp_path_factory.mktemp("run")
    for step in (1, 2):
        save_checkpoint(directory, step, state(step))
    return directory


@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_is_noticed_and_the_one_before_is_used(two_checkpoints, tmp_path, damage):
    directory = tmp_path / "run"
    shutil.copytree(two_checkpoints, directory)
    damage(directory)
    with pytest.warns(UserWarning, match=r"checkpoint .*2 is damaged .*trying the one before"):
        restored = latest_checkpoint(directory)
    assert restored is not None
    assert restored.step == 1
    assert restored.state["counts"][0] == 1


@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_is_named(two_checkpoints, tmp_path, damage):
    directory = tmp_path / "run"
    shutil.copytree(two_checkpoints, directory)
    assert damaged_checkpoints(directory) == []
    damage(directory)
    (line,) = damaged_checkpoints(directory)
    assert line.startswith(f"{directory / '2'}: ")
    assert line.endswith(" is damaged")


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_one_is_refused_where_an_older_one_would_be_something_else(
    two_checkpoints, tmp_path, damage
):
    directory = tmp_path / "run"
    shutil.copytree(two_checkpoints, directory)
    assert newest_checkpoint(directory).step == 2
    damage(directory)
    with pytest.raises(ValueError, match=r"checkpoint .*2 is damaged .*repeat the command"):
        newest_checkpoint(directory)


@pytest.mark.parametrize("damage", DAMAGES)
def test_what_is_damaged_can_be_removed(two_checkpoints, tmp_path, damage):
    directory = tmp_path / "run"
    shutil.copytree(two_checkpoints, directory)
    save_checkpoint(directory, 3, state(3), keep=3)
    damage(directory)
    with pytest.warns(UserWarning, match=r"checkpoint .*2 is damaged .*it is removed"):
        remove_damaged(directory)
    assert sorted(path.name for path in directory.iterdir()) == ["1", "1.json", "3", "3.json"]


def test_a_good_one_stays_until_the_next_is_whole(two_checkpoints, tmp_path, monkeypatch):
    """The run fell back to step 1, past a damaged step 3: step 2 is written again, step 1 stays."""
    directory = tmp_path / "run"
    shutil.copytree(two_checkpoints, directory)
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
    assert sorted(path.name for path in directory.iterdir()) == ["1", "1.json", "2", "2.json"]
    assert latest_checkpoint(directory).step == 2


@pytest.fixture
def small_files():
    """Limits files to 20,000 bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.usefixtures("small_files")
def test_many_arrays_that_cannot_be_written_are_one_error_and_nothing_else(tmp_path, capfd):
    arrays = np.random.default_rng(0).normal(size=(40, 1000))
    for step in range(5):  # the first write to fail is not always the same
        with pytest.raises(OSError, match=rf"File too large: .*{step}'"):
            save_checkpoint(tmp_path, step, {str(i): array for i, array in enumerate(arrays)})
    assert capfd.readouterr().err == ""
    assert latest_checkpoint(tmp_path) is None


def test_without_digests_it_is_no_checkpoint(two_checkpoints, tmp_path):
    directory = tmp_path / "run"
    shutil.copytree(two_checkpoints, directory)
    (directory / "2.json").unlink()  # as if killed before the commit
    assert latest_checkpoint(directory).step == 1


def test_when_all_are_damaged_there_is_none(two_checkpoints, tmp_path):
    directory = tmp_path / "run"
    shutil.copytree(two_checkpoints, directory)
    flip_a_byte(directory)
    shutil.rmtree(directory / "1")
    with pytest.warns(UserWarning, match="damaged") as warned:
        assert latest_checkpoint(directory) is None
    assert len(warned) == 2


def test_what_a_killed_writer_left_is_removed_and_the_newest_two_are_kept(
    two_checkpoints, tmp_path
):
    directory = tmp_path / "run"
    shutil.copytree(two_checkpoints, directory)
    shutil.copytree(directory / "1", directory / "0")  # its digests are removed first
    (directory / "3.orbax-checkpoint-tmp").mkdir()
    (directory / ".3.json.partial").touch()
    remove_damaged(directory)
    assert sorted(path.name for path in directory.iterdir()) == ["1", "1.json", "2", "2.json"]
