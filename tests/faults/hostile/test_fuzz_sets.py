"""Changed image sets, matrices of targets and files of CIFAR-10."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import strategies as st

from experiments.data.cifar_files import CIFAR10, read_cifar
from experiments.options.synthesis import TargetConfig
from experiments.synthesis.target_options import make_targets
from tests.experiments.data.small_cifar import PER_BATCH, binary_files, trust, write_folder
from tests.faults.hostile.fuzzing import damaged, fuzzed, json_like, outcome, replaced
from tests.train.data.small_sets import change_second_example, write_small_set
from train.data.image_data import ImageData, reader_of
from train.data.load import load_images
from train.data.spec import ImageSetSpec
from train.data.verify import read_manifest, verify
from train.storage.strict_json import read_sealed, write_json

SHAPE = (7, 5, 3)
SHARD = "tiny-train.array_record-00000"


def write_tiny(directory: Path) -> Path:
    spec = ImageSetSpec("tiny", ("ant", "bee", "cow"), SHAPE, extras=("target", "source_id"))
    write_small_set(directory, spec, {"train": (4,)}, note=1)
    manifest = directory / "manifest.json"  # without its digest, which would hide other checks
    write_json(manifest, read_sealed(manifest))
    return directory


@pytest.fixture(scope="module")
def tiny(tmp_path_factory) -> Path:
    return write_tiny(tmp_path_factory.mktemp("tiny") / "set")


@pytest.fixture(scope="module")
def bare(tiny, tmp_path_factory) -> Path:
    """A set without a manifest, as others write them."""
    directory = tmp_path_factory.mktemp("bare") / "set"
    shutil.copytree(tiny, directory)
    (directory / "manifest.json").unlink()
    return directory


def loaded_with(directory: Path, name: str, content: bytes) -> ImageData | None:
    """Loads a set with a changed file, which is restored afterwards."""
    with replaced(directory / name, content):
        return outcome(lambda: load_images(directory), directory)


def assert_same_images(found: ImageData | None, wanted: ImageData) -> None:
    if found is not None:
        np.testing.assert_array_equal(found.images, wanted.images)
        np.testing.assert_array_equal(found.labels, wanted.labels)


@fuzzed
def test_manifests(tiny, data):
    path, wanted = tiny / "manifest.json", load_images(tiny)
    content = data.draw(json_like(path.read_bytes()))
    assert_same_images(loaded_with(tiny, path.name, content), wanted)
    with replaced(path, content):
        outcome(lambda: (read_manifest(tiny), verify(tiny)), tiny)


@pytest.mark.parametrize("name", ["dataset_info.json", "features.json", "label.labels.txt"])
@fuzzed
def test_metadata(bare, name, data):
    content = (bare / name).read_bytes()
    change = damaged(content) if name.endswith(".txt") else json_like(content)
    found, wanted = loaded_with(bare, name, data.draw(change)), load_images(bare)
    if found is not None:
        np.testing.assert_array_equal(found.labels, wanted.labels)
        assert found.images.shape[:3] == wanted.images.shape[:3]
        if found.images.shape == wanted.images.shape:  # features may ask for grey
            np.testing.assert_array_equal(found.images, wanted.images)


@fuzzed
def test_shards_with_a_digest(tiny, data):
    content = (tiny / SHARD).read_bytes()
    other = data.draw(damaged(content))
    found = loaded_with(tiny, SHARD, other)
    assert (found is None) == (other != content)


@fuzzed
def test_shards_of_others(bare, data):
    found = loaded_with(bare, SHARD, data.draw(damaged((bare / SHARD).read_bytes())))
    assert_same_images(found, load_images(bare))


@fuzzed
def test_pngs(bare, tmp_path_factory, data):
    wanted = load_images(bare)

    def change(features: Any) -> None:
        value = features["image"].bytes_list.value
        value[0] = data.draw(damaged(value[0]))

    path = tmp_path_factory.mktemp("png") / SHARD
    change_second_example(bare / SHARD, path, change)
    found = loaded_with(bare, SHARD, path.read_bytes())
    if found is not None:  # a PNG's checksums do not cover all of its bytes
        assert found.images.shape == wanted.images.shape
        np.testing.assert_array_equal(found.images[[0, 2, 3]], wanted.images[[0, 2, 3]])


@fuzzed
def test_examples(bare, tmp_path_factory, data):
    wanted = load_images(bare)
    kind = data.draw(st.sampled_from(["bytes_list", "float_list", "int64_list"]))
    numbers = st.floats(width=32) if kind == "float_list" else st.integers(-(2**63), 2**63 - 1)
    values = st.binary(max_size=9) if kind == "bytes_list" else numbers

    def change(features: Any) -> None:
        name = data.draw(st.sampled_from(["id", "image", "label", "target", "source_id"]))
        features[name].Clear()
        getattr(features[name], kind).value.extend(data.draw(st.lists(values, max_size=4)))

    path = tmp_path_factory.mktemp("example") / SHARD
    change_second_example(bare / SHARD, path, change)
    found = loaded_with(bare, SHARD, path.read_bytes())
    if found is not None:
        assert found.targets is not None
        assert np.isfinite(found.targets).all()
        np.testing.assert_array_equal(found.images, wanted.images)


@fuzzed
def test_targets(bare, tmp_path_factory, data):
    images = reader_of(load_images(bare))
    path = tmp_path_factory.mktemp("targets") / "targets.npy"
    np.save(path, np.full((4, 3), 1 / 3))
    path.write_bytes(data.draw(damaged(path.read_bytes())))
    config = TargetConfig("file", targets_file=path)
    found = outcome(lambda: make_targets(config, images, start=1, stop=3, key=0), path)
    if found is not None:
        assert found.shape == (2, 3)
        np.testing.assert_allclose(found.sum(1), 1, atol=1e-3)


@pytest.fixture(scope="module")
def binary_folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("cifar10") / CIFAR10.binary.folder
    return write_folder(folder, binary_files())


@fuzzed
def test_binary_files_of_cifar10(binary_folder, data):
    """The python archive needs no such test, since only its official bytes are read."""
    path = binary_folder / data.draw(st.sampled_from(sorted(binary_files())))
    content = data.draw(damaged(path.read_bytes()))
    with replaced(path, content), pytest.MonkeyPatch.context() as patch:
        trust(patch)
        found = outcome(lambda: read_cifar("cifar10", binary_folder), binary_folder)
    if found is not None:
        for split, count in (("train", 5), ("test", 1)):
            pixels, labels = found.splits[split]
            assert pixels.shape == (count * PER_BATCH, 3072)
            assert set(labels) <= set(range(len(found.class_names)))
