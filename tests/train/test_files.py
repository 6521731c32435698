"""Writing that fails: the file is named, whoever noticed, and its final name stays untouched."""

import errno
import os
import resource

import numpy as np
import pytest

from train.checkpoints import latest_checkpoint, save_checkpoint
from train.files import atomic_write, naming
from train.image_sets import ImageSetSpec, write_shard
from train.runs import append_metrics

LIMIT_BYTES = 2_000


@pytest.fixture
def limited():
    """No file can grow beyond `LIMIT_BYTES`, as where a disk is full."""
    usual = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (LIMIT_BYTES, usual[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, usual)


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
    images = np.zeros((3, 5, 7, 3), np.uint8)
    columns = {"id": ["a", "b", "c"], "image": images, "label": np.zeros(3, np.int64)}
    with pytest.raises(OSError, match="File too large") as raised:
        write_shard(
            tmp_path, ImageSetSpec("made", ("x",), (5, 7, 3)), split="train", index=0,
            columns=columns,
        )  # fmt: skip
    assert raised.value.filename == str(tmp_path / "made-train.array_record-00000")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("limited")
def test_a_checkpoint_that_cannot_be_written_leaves_the_last_one(tmp_path, capfd):
    save_checkpoint(tmp_path, 1, {"step": np.int64(1)})
    with pytest.raises(OSError, match="File too large") as raised:
        save_checkpoint(tmp_path, 2, {"much": np.random.default_rng(0).random(LIMIT_BYTES)})
    assert raised.value.filename == str(tmp_path / "2")
    last = latest_checkpoint(tmp_path)
    assert last is not None
    assert last.step == 1
    assert "Traceback" not in capfd.readouterr().err


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
