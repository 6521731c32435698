"""Files: an error of writing names the file, and a change in a sealed file is noticed."""

import errno
import os

import pytest

from tests.train.data.small_sets import random_columns
from train.data.spec import ImageSetSpec
from train.data.write import write_shard
from train.storage.files import atomic_write, naming
from train.storage.runs import append_metrics
from train.storage.strict_json import read_sealed, write_json, write_sealed

LIMIT_BYTES = 2_000


@pytest.fixture
def limited(limit_files):
    limit_files(LIMIT_BYTES)


@pytest.mark.usefixtures("limited")
def test_a_file_that_cannot_be_written_stays_as_it_was(tmp_path):
    path = tmp_path / "file"
    atomic_write(path, b"old")
    with pytest.raises(OSError, match="File too large") as raised:
        atomic_write(path, bytes(LIMIT_BYTES + 1))
    assert (raised.value.errno, raised.value.filename) == (errno.EFBIG, str(path))
    assert [file.read_bytes() for file in tmp_path.iterdir()] == [b"old"]


@pytest.mark.usefixtures("limited")
def test_a_line_of_metrics_that_cannot_be_written_names_its_file(tmp_path):
    with pytest.raises(OSError, match="File too large") as raised:
        append_metrics(tmp_path, {"much": "x" * LIMIT_BYTES})
    assert raised.value.filename == str(tmp_path / "metrics.jsonl")


@pytest.mark.usefixtures("limited")
def test_a_shard_that_cannot_be_written_is_named_and_not_there(tmp_path):
    spec = ImageSetSpec("tiny", ("x",), (5, 7, 3))
    columns = random_columns(spec, 3)
    with pytest.raises(OSError, match="File too large") as raised:
        write_shard(tmp_path, spec, split="train", index=0, columns=columns)
    assert raised.value.filename == str(tmp_path / "tiny-train.array_record-00000")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", [RuntimeError, ValueError])
def test_an_error_of_another_kind_is_known_by_the_system_s_words(kind, tmp_path):
    with pytest.raises(OSError, match="No space left on device") as raised, naming(tmp_path):
        raise kind(f"write() failed: {os.strerror(errno.ENOSPC)}; at byte 7")
    assert (raised.value.errno, raised.value.filename) == (errno.ENOSPC, str(tmp_path))


@pytest.mark.parametrize("error", [RuntimeError("odd"), ValueError("odd"), OSError("odd")])
def test_an_error_that_is_not_the_system_s_stays_what_it_is(error, tmp_path):
    with pytest.raises(type(error)) as raised, naming(tmp_path):
        raise error
    assert raised.value is error


def test_what_is_sealed_comes_back_and_no_digit_changes_unseen(tmp_path):
    path, value = tmp_path / "a.json", {"accuracy": 0.75, "names": ["ä", "b"], "keys": (1, 2)}
    write_sealed(path, value)
    assert read_sealed(path) == {**value, "keys": [1, 2]}
    path.write_text(path.read_text().replace("0.75", "0.85"))
    with pytest.raises(ValueError, match=r"a\.json is damaged: its content differs"):
        read_sealed(path)


def test_json_of_another_hand_has_no_seal(tmp_path):
    for value in ({"accuracy": 0.75}, [1, 2]):
        write_json(tmp_path / "a.json", value)
        assert read_sealed(tmp_path / "a.json") == value


def test_the_seal_s_field_is_nobody_else_s(tmp_path):
    with pytest.raises(ValueError, match=r"a\.json must have a field sha256 of its own, got 'x'"):
        write_sealed(tmp_path / "a.json", {"sha256": "x"})
    assert not (tmp_path / "a.json").exists()
