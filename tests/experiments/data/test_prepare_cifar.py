"""The command `elicit data prepare`, with TFDS as the reader."""

import io
import urllib.error
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow_datasets as tfds
from tensorflow_datasets.core import hashing

from experiments.data.prepare_cifar import prepare, tfds_order
from experiments.options.data import PrepareConfig
from imgopt.errors import InputError
from tests.experiments.data.small_cifar import (
    FINE_NAMES,
    NAMES,
    PER_BATCH,
    batch,
    fine_batch,
    fine_python_files,
    trust,
    write_folder,
)
from train.data.load import load_images
from train.data.verify import verify


def config(tmp_path: Path, archive: Path | None) -> PrepareConfig:
    return PrepareConfig("cifar10", tmp_path / "data", archive)


def test_tfds_reads_the_prepared_cifar10(tmp_path, cifar10, capsys):
    prepare(config(tmp_path, cifar10["python archive"]))
    sources: Any = tfds.data_source("cifar10", data_dir=tmp_path / "data")
    assert len(sources["train"]) == 5 * PER_BATCH
    for split, numbers in (("train", range(5)), ("test", (5,))):
        pixels = np.concatenate([batch(i)[b"data"] for i in numbers])
        labels = np.concatenate([batch(i)[b"labels"] for i in numbers])
        for row in sources[split]:
            prefix, _, index = row["id"].decode().rpartition("_")
            assert prefix == split
            assert len(index) == 5
            planes = pixels[int(index)].reshape(3, 32, 32)  # red, green, blue, each row by row
            np.testing.assert_array_equal(row["image"][:, :, 2], planes[2])
            np.testing.assert_array_equal(row["image"][:, :, 0], planes[0])
            assert row["label"] == labels[int(index)]
    info: Any = tfds.builder("cifar10", data_dir=tmp_path / "data").info
    assert info.features["label"].names == NAMES
    assert "60 train, 12 test" in capsys.readouterr().out
    directory = tmp_path / "data" / "cifar10" / "3.0.2"
    assert verify(directory) == []
    assert sorted(path.name for path in directory.iterdir() if "array" in path.name) == [
        "cifar10-test.array_record-00000-of-00001",
        "cifar10-train.array_record-00000-of-00001",
    ]


def test_tfds_reads_the_prepared_cifar100(tmp_path, monkeypatch):
    trust(monkeypatch)
    folder = write_folder(tmp_path / "cifar-100-python", fine_python_files())
    prepare(PrepareConfig("cifar100", tmp_path / "data", folder))
    sources: Any = tfds.data_source("cifar100", data_dir=tmp_path / "data")
    for number, split in enumerate(("train", "test")):
        wanted = fine_batch(number)
        rows = list(sources[split])
        assert len(rows) == PER_BATCH
        for row in rows:
            index = int(row["id"].decode().removeprefix(f"{split}_"))
            assert row["label"] == wanted[b"fine_labels"][index]
            planes = wanted[b"data"][index].reshape(3, 32, 32)
            np.testing.assert_array_equal(row["image"], planes.transpose(1, 2, 0))
    info: Any = tfds.builder("cifar100", data_dir=tmp_path / "data").info
    assert info.features["label"].names == FINE_NAMES
    assert info.full_name == "cifar100/3.0.2"


def test_the_order_is_that_of_tfds():
    # The first five examples of cifar10/3.0.2 as TFDS's catalogue shows them.
    first = tfds_order("train", 50_000)[:5].tolist()
    assert first == [16399, 1680, 47917, 17307, 27051]
    wanted = sorted(range(100), key=hashing.Hasher("test").hash_key)
    assert tfds_order("test", 100).tolist() == wanted


@pytest.mark.parametrize("source", ["python folder", "binary archive", "binary folder"])
def test_all_forms_become_the_same_set(source, tmp_path, cifar10):
    contents = []
    for name in ("python archive", source):
        prepare(PrepareConfig("cifar10", tmp_path / name, cifar10[name]))
        (directory,) = tmp_path.glob(f"{name}/cifar10/3.0.2")
        contents.append({p.name: p.read_bytes() for p in directory.iterdir()})
        for file in ("config.json", "manifest.json"):  # they name the source
            assert b"sha256" in contents[-1].pop(file)
    assert contents[0] == contents[1]


def test_a_refusal_leaves_nothing(tmp_path, cifar10):
    (cifar10["python folder"] / "test_batch").write_bytes(b"")
    cifar10["binary archive"].write_text("not an archive")
    for name in ("python folder", "binary archive"):
        with pytest.raises(InputError, match="expected"):
            prepare(config(tmp_path, cifar10[name]))
        assert not (tmp_path / "data").exists()


def test_an_existing_directory_is_refused(tmp_path, cifar10):
    prepare(config(tmp_path, cifar10["python archive"]))
    with pytest.raises(InputError, match="exists already"):
        prepare(config(tmp_path, cifar10["python archive"]))
    assert len(load_images("cifar10", data_dir=tmp_path / "data").labels) == 60


def test_without_a_network_it_says_what_to_do(tmp_path, monkeypatch):
    def fail(*_args, **_options):
        raise urllib.error.URLError("no network")

    monkeypatch.setattr("urllib.request.urlopen", fail)
    with pytest.raises(InputError, match="--archive FILE"):
        prepare(config(tmp_path, None))
    assert not (tmp_path / "data").exists()


class Answer(io.BytesIO):
    def __init__(self, content: bytes) -> None:
        super().__init__(content)
        self.headers = {"Content-Length": str(len(content))}


def test_a_download_shows_its_progress_and_is_verified(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("urllib.request.urlopen", lambda *_a, **_o: Answer(bytes(25 * 2**20)))
    with pytest.raises(InputError, match="sha256"):
        prepare(config(tmp_path, None))
    assert capsys.readouterr().out.splitlines() == [
        "downloaded 10 of 25 MB",
        "downloaded 20 of 25 MB",
    ]
