"""Image sets on disk, with TFDS itself as the reader."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow_datasets as tfds

from tests.train.data.small_sets import random_columns, write_small_set
from train.data.spec import EXTRAS, ImageSetSpec, shard_path
from train.data.verify import read_manifest, verify
from train.data.write import commit, uncommit, write_shard
from train.storage.files import building_directory, replacing, sha256_of

SPEC = ImageSetSpec("tiny", ("cat", "dog"), (5, 7, 3), extras=tuple(EXTRAS))
ROOT = Path(__file__).parents[3]


def columns(size: int = 3, *, start: int = 0) -> dict:
    return random_columns(SPEC, size, start=start)


def make_set(directory: Path) -> list:
    return write_small_set(directory, SPEC, {"train": (3, 3)}, key=5)["train"]


def read_with_tfds(directory: Path, split: str = "train") -> list[dict]:
    builder: Any = tfds.builder_from_directory(directory)
    return list(builder.as_data_source(split=split))


def test_tfds_reads_every_feature_of_every_shard(tmp_path):
    make_set(tmp_path)
    rows = read_with_tfds(tmp_path)
    wanted = [columns(3, start=0), columns(3, start=3)]
    assert len(rows) == 6
    for i, row in enumerate(rows):
        part = wanted[i // 3]
        assert row.keys() == part.keys()
        for name, column in part.items():
            value = row[name].decode() if isinstance(row[name], bytes) else row[name]
            np.testing.assert_array_equal(value, column[i % 3], err_msg=name)


def test_tfds_knows_classes_types_and_splits(tmp_path):
    spec = ImageSetSpec("tiny", ("cat", "hot dog"), (5, 7, 3), splits=("train", "test"))
    shards = {
        split: [
            write_shard(
                tmp_path, spec, split=split, index=i, columns=random_columns(spec, 2), num_shards=2
            )
            for i in range(2)
        ]
        for split in spec.splits
    }
    commit(tmp_path, spec, shards, manifest={})
    builder: Any = tfds.builder_from_directory(tmp_path)
    info = builder.info
    assert list(info.splits) == ["train", "test"]
    assert info.splits["test"].num_examples == 4
    assert info.features["label"].names == ["cat", "hot dog"]
    assert info.features["image"].shape == (5, 7, 3)
    assert (tmp_path / "tiny-test.array_record-00001-of-00002").is_file()
    assert len(read_with_tfds(tmp_path, "test")) == 4


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_every_number_of_channels_comes_back(tmp_path, channels):
    spec = ImageSetSpec("tiny", ("cat", "dog"), (5, 7, channels))
    write_small_set(tmp_path, spec, {"train": (2,)})
    images = random_columns(spec, 2)["image"]
    for row, image in zip(read_with_tfds(tmp_path), images, strict=True):
        np.testing.assert_array_equal(row["image"], image)


SCRIPT = """
import runpy, sys
from pathlib import Path
runpy.run_path(sys.argv[1])["make_set"](Path(sys.argv[2]))
assert "tensorflow" not in sys.modules
"""


@pytest.mark.slow
def test_two_processes_write_the_same_bytes(tmp_path):
    for seed in ("1", "2"):
        environment = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(ROOT)}
        command = [sys.executable, "-c", SCRIPT, __file__, str(tmp_path / seed)]
        subprocess.run(command, env=environment, cwd=ROOT, check=True)
    files = sorted(path.name for path in (tmp_path / "1").iterdir())
    assert len(files) == 6
    for name in files:
        assert (tmp_path / "1" / name).read_bytes() == (tmp_path / "2" / name).read_bytes(), name


def test_a_set_grows_without_renaming(tmp_path):
    first, second = make_set(tmp_path)
    uncommit(tmp_path)
    assert read_manifest(tmp_path) is None
    assert sorted(path.name for path in tmp_path.iterdir()) == [first.file, second.file]
    third = write_shard(tmp_path, SPEC, split="train", index=2, columns=columns(1, start=6))
    commit(tmp_path, SPEC, {"train": [first, second, third]}, manifest={})
    assert [row["id"].decode() for row in read_with_tfds(tmp_path)][5:] == ["éé_00005", "_00006"]


def test_the_manifest_says_how_the_set_was_made(tmp_path):
    first, _ = make_set(tmp_path)
    text = (tmp_path / "manifest.json").read_text()
    manifest = json.loads(text)
    assert manifest["key"] == 5
    assert manifest["shards"][0] == {"split": "train", **first._asdict()}
    assert first.sha256 == sha256_of(tmp_path / first.file)
    assert {"elicit", "jax", "numpy", "tensorflow-datasets"} <= manifest["versions"].keys()
    assert text == json.dumps(manifest, sort_keys=True, indent=2) + "\n"


def test_verify_names_what_is_damaged_or_missing(tmp_path):
    first, second = make_set(tmp_path)
    assert verify(tmp_path) == []
    content = bytearray((tmp_path / first.file).read_bytes())
    content[-60_000] ^= 1  # in the padding, which ArrayRecord does not check
    (tmp_path / first.file).write_bytes(content)
    (tmp_path / second.file).unlink()
    damaged, missing = verify(tmp_path)
    assert first.file in damaged
    assert "damaged" in damaged
    assert second.file in missing
    assert "missing" in missing


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"image": np.zeros((3, 5, 7, 3), np.float32)}, "uint8"),
        ({"image": np.zeros((3, 7, 5, 3), np.uint8)}, r"\(n, 5, 7, 3\)"),
        ({"image": np.zeros((0, 5, 7, 3), np.uint8)}, "n > 0"),
        ({"label": [0, 1, 2]}, r"\[0, 2\)"),
        ({"label": [0, -1, 1]}, r"\[-1\]"),
        ({"label": [0, 1]}, "3 integers"),
        ({"id": ["a", "a", "b"]}, "distinct"),
        ({"id": [1, 2, 3]}, "3 strings"),
        ({"target": np.zeros((3, 3), np.float32)}, r"\(3, 2\) as target"),
        ({"output": np.zeros((3, 2))}, "float32"),
        ({"kl": np.full(3, np.nan, np.float32)}, "finite numbers as kl"),
        ({"colour": [1, 2, 3]}, "colour"),
    ],
)
def test_wrong_columns_are_refused_before_anything_is_written(tmp_path, changes, message):
    target = tmp_path / "set"
    with pytest.raises(ValueError, match=message):
        write_shard(target, SPEC, split="train", index=0, columns={**columns(), **changes})
    assert not target.exists()


@pytest.mark.parametrize(
    "changes",
    [
        {"name": "My Set"},
        {"class_names": ("cat", "cat")},
        {"class_names": ("cat\n", "dog")},
        {"class_names": ()},
        {"image_shape": (5, 7, 2)},
        {"extras": ("colour",)},
        {"splits": ("a/b",)},
        {"version": "1"},
    ],
)
def test_a_spec_that_tfds_could_not_read_is_refused(changes):
    with pytest.raises(ValueError, match=r"expected .*, got "):
        ImageSetSpec(
            **{"name": "tiny", "class_names": ("a", "b"), "image_shape": (5, 7, 3), **changes}
        )


def test_shard_path_refuses_what_is_not_in_the_set(tmp_path):
    with pytest.raises(ValueError, match="validation"):
        shard_path(tmp_path, SPEC, split="validation", index=0)
    with pytest.raises(ValueError, match=r"\[0, 2\)"):
        shard_path(tmp_path, SPEC, split="train", index=2, num_shards=2)


def test_commit_refuses_gaps_and_absent_shards(tmp_path):
    first, second = make_set(tmp_path)
    uncommit(tmp_path)
    with pytest.raises(ValueError, match="without gaps"):
        commit(tmp_path, SPEC, {"train": [second]}, manifest={})
    with pytest.raises(ValueError, match="at least one shard"):
        commit(tmp_path, SPEC, {"train": []}, manifest={})
    (tmp_path / second.file).unlink()
    with pytest.raises(ValueError, match=second.file):
        commit(tmp_path, SPEC, {"train": [first, second]}, manifest={})
    assert [path.name for path in tmp_path.iterdir()] == [first.file]


def test_a_manifest_with_nan_leaves_the_set_uncommitted(tmp_path):
    record = write_shard(tmp_path, SPEC, split="train", index=0, columns=columns())
    with pytest.raises(ValueError, match="JSON"):
        commit(tmp_path, SPEC, {"train": [record]}, manifest={"loss": float("nan")})
    assert [path.name for path in tmp_path.iterdir()] == [record.file]


def test_an_interrupted_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "file"
    path.write_text("old")

    def write_half() -> None:
        with replacing(path) as partial:
            partial.write_text("ne")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_half()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_an_interrupted_directory_leaves_nothing(tmp_path):
    def build_half() -> None:
        with building_directory(tmp_path / "a" / "b") as partial:
            (partial / "file").write_text("x")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build_half()
    assert list(tmp_path.iterdir()) == []
