"""Files with anything in them: a clear message that names the file, or a right answer.

With ELICIT_SOAK=1 fifty times as many, from a seed that is printed; ELICIT_SOAK_SEED repeats one.
"""

import copy
import gzip
import io
import json
import math
import os
import pickle
import random
import resource
import shutil
import tarfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from array_record.python import array_record_module  # pyright: ignore[reportAttributeAccessIssue]
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st
from hypothesis.configuration import set_hypothesis_home_dir
from tensorflow_datasets.proto import tf_example_pb2

from experiments.data.prepare_cifar10 import CIFAR10_MEMBERS, CIFAR10_META, _read_cifar10
from experiments.papers.report import ReportConfig, report
from experiments.synthesis.target_options import TargetConfig, make_targets
from gans.dcgan import DcganConfig
from gans.sampling import _read_spec
from tests.soaking import SOAK
from train.classifiers import ClassifierSpec, load_spec
from train.data.array_records import iter_records
from train.data.image_data import ImageData, reader_of
from train.data.load import load_images
from train.data.spec import ImageSetSpec
from train.data.verify import read_manifest, verify
from train.data.write import commit, write_shard
from train.storage.checkpoints import _digests, latest_checkpoint, save_checkpoint
from train.storage.runs import as_json, read_metrics
from train.storage.strict_json import read_json, read_sealed, write_json

SEED = int(os.environ.get("ELICIT_SOAK_SEED", random.SystemRandom().randrange(2**32)))
EXAMPLES = 1000 if SOAK else 20
LIMIT_SECONDS = 30.0  # a thousand times what an example takes; for a machine that does much else
LIMIT_BYTES = 2**29
SHAPE = (7, 5, 3)
SHARD = "tiny-train.array_record-00000"


@pytest.fixture(scope="module", autouse=True)
def place(tmp_path_factory) -> None:
    set_hypothesis_home_dir(tmp_path_factory.mktemp("hypothesis"))
    if SOAK:
        print(f"ELICIT_SOAK_SEED={SEED}")


def fuzzed(test: Callable[..., None]) -> Callable[..., None]:
    """Runs a test on examples: the same ones every time, or in the soak new ones."""
    options = settings(
        max_examples=EXAMPLES,
        derandomize=not SOAK,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    return options(seed(SEED)(test) if SOAK else test)


def outcome(load: Callable[[], Any], path: Path) -> Any:
    """What a file gives, or None after an error that names it; neither takes long nor much."""
    start, before = time.monotonic(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    try:
        return load()
    except (ValueError, OSError) as error:
        if path.name not in str(error):
            pytest.fail(f"{path} is not named in: {error}")
        return None
    finally:
        assert time.monotonic() - start < LIMIT_SECONDS
        grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
        assert grown * 1024 < LIMIT_BYTES


# --- what is done to a file -----------------------------------------------------------------------


@st.composite
def damaged(draw: Any, content: bytes) -> bytes:
    """Bytes with some flipped, cut off, taken out, doubled or put in."""
    first, last = sorted(draw(st.lists(st.integers(0, len(content)), min_size=2, max_size=2)))
    way = draw(st.sampled_from(["flip", "cut", "drop", "double", "insert", "replace"]))
    if way == "flip":
        changed = bytearray(content)
        for place in draw(st.lists(st.integers(0, len(content) - 1), min_size=1, max_size=4)):
            changed[place] ^= 1 << draw(st.integers(0, 7))
        return bytes(changed)
    if way == "cut":
        return content[:first]
    between = {
        "drop": b"",
        "double": content[first:last] * 2,
        "insert": content[first:last] + draw(st.binary(max_size=20)),
        "replace": draw(st.binary(max_size=20)),
    }[way]
    return content[:first] + between + content[last:]


HOSTILE = st.one_of(
    st.none(),
    st.booleans(),
    st.sampled_from([-1, 0, 1, 2, 255, 2**31, 2**53, 2**63 - 1, 2**64, 10**400, 0.5, -0.0, 1e308]),
    st.sampled_from([math.nan, math.inf]),
    st.sampled_from(["", ".", "..", "../../etc/passwd", "/etc/passwd", "a/b", "\0", "\ud800", "ü"]),
    st.sampled_from(["os.path", "{DATASET:>999999999}", "{SPLIT.__class__}", "train", "x" * 9999]),
    st.sampled_from([[], {}, [[]], [None] * 9, {"": {}}, {"file": "x"}, [-1], ["1", "2", "3"]]),
    st.text(max_size=8),
)


def places(value: Any, prefix: tuple = ()) -> list[tuple]:
    """Where the values in a JSON value lie, itself last."""
    items = list(value.items()) if isinstance(value, dict) else []
    items = list(enumerate(value)) if isinstance(value, list) else items
    inner = [place for name, item in items for place in places(item, (*prefix, name))]
    return [*inner, prefix]


@st.composite
def changed(draw: Any, value: Any) -> Any:
    """A JSON value with one to three others in it, or some less."""
    root = {"root": copy.deepcopy(value)}
    for _ in range(draw(st.integers(1, 3))):
        *way, last = draw(st.sampled_from(places(root)[:-1]))
        target: Any = root
        for name in way:
            target = target[name]
        if draw(st.booleans()) and last != "root":
            del target[last]
        else:
            target[last] = copy.deepcopy(draw(HOSTILE))
    return root.get("root")


def json_like(content: bytes) -> st.SearchStrategy[bytes]:
    """A JSON file's bytes, damaged or with other values in it."""
    others = changed(json.loads(content)).map(lambda value: json.dumps(value).encode())
    return st.one_of(others, others, damaged(content))


# --- image sets -----------------------------------------------------------------------------------


def write_tiny(directory: Path) -> Path:
    spec = ImageSetSpec("tiny", ("ant", "bee", "cow"), SHAPE, extras=("target", "source_id"))
    rng = np.random.default_rng(0)
    columns = {
        "id": [f"i{i}" for i in range(4)],
        "image": rng.integers(0, 256, (4, *SHAPE), np.uint8),
        "label": np.array([0, 1, 2, 1]),
        "target": np.full((4, 3), 1 / 3, np.float32),
        "source_id": ["a", "b", "c", "d"],
    }
    shard = write_shard(directory, spec, split="train", index=0, columns=columns)
    commit(directory, spec, {"train": [shard]}, manifest={"note": 1})
    manifest = directory / "manifest.json"  # its own digest would stop what is to be tried
    write_json(manifest, read_sealed(manifest))
    return directory


@pytest.fixture(scope="module")
def tiny(tmp_path_factory) -> Path:
    return write_tiny(tmp_path_factory.mktemp("tiny") / "set")


@pytest.fixture(scope="module")
def bare(tiny, tmp_path_factory) -> Path:
    """A set of others, without a manifest."""
    directory = tmp_path_factory.mktemp("bare") / "set"
    shutil.copytree(tiny, directory)
    (directory / "manifest.json").unlink()
    return directory


def loaded_with(directory: Path, name: str, content: bytes) -> ImageData | None:
    """A set with another content of one file, which is put back."""
    path = directory / name
    whole = path.read_bytes()
    path.write_bytes(content)
    try:
        return outcome(lambda: load_images(directory), directory)
    finally:
        path.write_bytes(whole)


def assert_same_images(found: ImageData | None, wanted: ImageData) -> None:
    if found is not None:
        np.testing.assert_array_equal(found.images, wanted.images)
        np.testing.assert_array_equal(found.labels, wanted.labels)


@fuzzed
@given(data=st.data())
def test_manifests(tiny, data):
    path, wanted = tiny / "manifest.json", load_images(tiny)
    whole = path.read_bytes()
    content = data.draw(json_like(whole))
    assert_same_images(loaded_with(tiny, path.name, content), wanted)
    path.write_bytes(content)
    try:
        outcome(lambda: (read_manifest(tiny), verify(tiny)), tiny)
    finally:
        path.write_bytes(whole)


@pytest.mark.parametrize("name", ["dataset_info.json", "features.json", "label.labels.txt"])
@fuzzed
@given(data=st.data())
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
@given(data=st.data())
def test_shards_with_a_digest(tiny, data):
    content = (tiny / SHARD).read_bytes()
    other = data.draw(damaged(content))
    found = loaded_with(tiny, SHARD, other)
    assert (found is None) == (other != content)


@fuzzed
@given(data=st.data())
def test_shards_of_others(bare, data):
    found = loaded_with(bare, SHARD, data.draw(damaged((bare / SHARD).read_bytes())))
    assert_same_images(found, load_images(bare))


def with_example(directory: Path, path: Path, change: Callable[[Any], None]) -> None:
    """Writes a shard whose second example is another one."""
    (records,) = iter_records(directory / SHARD)
    example = tf_example_pb2.Example.FromString(records[1])  # pyright: ignore[reportAttributeAccessIssue]
    change(example.features.feature)
    writer = array_record_module.ArrayRecordWriter(str(path), "group_size:1")
    for record in (records[0], example.SerializeToString(), *records[2:]):
        writer.write(record)
    writer.close()


@fuzzed
@given(data=st.data())
def test_pngs(bare, tmp_path_factory, data):
    wanted = load_images(bare)

    def change(features: Any) -> None:
        value = features["image"].bytes_list.value
        value[0] = data.draw(damaged(value[0]))

    path = tmp_path_factory.mktemp("png") / SHARD
    with_example(bare, path, change)
    found = loaded_with(bare, SHARD, path.read_bytes())
    if found is not None:  # not all of a PNG is under its checksums' guard
        assert found.images.shape == wanted.images.shape
        np.testing.assert_array_equal(found.images[[0, 2, 3]], wanted.images[[0, 2, 3]])


@fuzzed
@given(data=st.data())
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
    with_example(bare, path, change)
    found = loaded_with(bare, SHARD, path.read_bytes())
    if found is not None:
        assert found.targets is not None
        assert np.isfinite(found.targets).all()
        np.testing.assert_array_equal(found.images, wanted.images)


# --- runs -----------------------------------------------------------------------------------------


STATE = {"variables": {"w": np.arange(12, dtype=np.float32).reshape(3, 4)}, "step": np.int32(4)}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory) -> Path:
    directory = tmp_path_factory.mktemp("run") / "checkpoints"
    save_checkpoint(directory, 4, STATE)
    return directory


# Reading several arrays of which one is broken, TensorStore reports the others to a closed loop.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("is_digested", [False, True], ids=["damaged", "of others"])
@fuzzed
@given(data=st.data())
def test_checkpoints(checkpoint, is_digested, data):
    digests = checkpoint / "4.json"
    files = sorted(path for path in checkpoint.rglob("*") if path.is_file() and path.stat().st_size)
    path = data.draw(
        st.sampled_from([path for path in files if path != digests or not is_digested])
    )
    whole, digests_before = path.read_bytes(), digests.read_bytes()
    is_json = path.suffix == ".json" or path.name.endswith("METADATA")
    path.write_bytes(data.draw(json_like(whole) if is_json else damaged(whole)))
    try:
        if is_digested:
            write_json(digests, _digests(checkpoint / "4"))
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "checkpoint .* is damaged")
            found = outcome(lambda: latest_checkpoint(checkpoint), checkpoint)
        if found is not None and not is_digested:
            np.testing.assert_array_equal(found.state["variables"]["w"], STATE["variables"]["w"])
    finally:
        path.write_bytes(whole)
        digests.write_bytes(digests_before)


SPECS = {
    "classifier.json": ClassifierSpec(
        "vgg-small", 0.5, ("a", "b"), (32, 32, 3), (0.5, 0.5, 0.5), (0.2, 0.2, 0.2)
    )._asdict(),
    "gan.json": {
        "model": "dcgan", "class_names": ["a", "b"], "config": as_json(DcganConfig(num_classes=2))
    },
}  # fmt: skip


@pytest.mark.parametrize("name", SPECS)
@fuzzed
@given(data=st.data())
def test_specs(tmp_path_factory, name, data):
    path = tmp_path_factory.mktemp("specs") / name
    path.write_bytes(data.draw(json_like(json.dumps(SPECS[name]).encode())))
    if name == "gan.json":
        outcome(lambda: hash(_read_spec(path)), path)  # it is an argument of compiled programs
    else:
        outcome(lambda: hash(load_spec(path.parent)), path)


RESULT = {
    "experiment": "table-a", "preset": "smoke", "key": 0, "missing": [], "pieces": {},
    "rows": [{"slug": "0", "name": "0% replaced", "paper": 92.476, "is_control": False}],
    "arms": [
        {
            "row": "0", "seed": 1, "budget": "epochs", "piece": "p", "classifier_sha256": "0",
            "device": "cpu", "epoch": 2, "step": 20, "test_accuracy": 0.5, "test_images": 360,
            "train_images": 1437,
            "timing": {"seconds_of_last_session": 1.0, "peak_memory_mib": 100.0},
        }
    ],
    "settings": {"model": "vgg-small", "width": 0.25, "train": {"epochs": 2}},
    "data": {"name": "digits", "sha256": {"train": "1", "test": "2"}},
    "device": "1 × cpu", "device_kind": "cpu", "versions": {"jax": "0.10.2"}, "command": "elicit",
}  # fmt: skip


@fuzzed
@given(data=st.data())
def test_results(tmp_path_factory, data):
    out = tmp_path_factory.mktemp("results")
    (out / "result.json").write_text(json.dumps(RESULT))
    other = tmp_path_factory.mktemp("other")
    (other / "result.json").write_bytes(data.draw(json_like(json.dumps(RESULT).encode())))
    outcome(lambda: report(ReportConfig(out, other, other / "both.md")), other)


@fuzzed
@given(data=st.data())
def test_json(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("json") / "any.json"
    path.write_bytes(data.draw(json_like(json.dumps(RESULT).encode())))
    found = outcome(lambda: read_json(path), path)
    assert found is None or found == json.loads(path.read_bytes())


@fuzzed
@given(data=st.data())
def test_metrics(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("metrics") / "metrics.jsonl"
    whole = b'{"epoch": 1, "train_loss": 2.5}\n' * 3
    path.write_bytes(data.draw(damaged(whole)))
    outcome(lambda: read_metrics(path.parent), path)


# --- matrices and archives ------------------------------------------------------------------------


@fuzzed
@given(data=st.data())
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


def tar_of(members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def cifar10() -> dict[str, bytes]:
    rng = np.random.default_rng(0)
    return {
        CIFAR10_META: pickle.dumps({b"label_names": [b"ant", b"bee"]}, protocol=2),
        **{
            name: pickle.dumps(
                {b"data": rng.integers(0, 256, (1, 3072), np.uint8), b"labels": [1]}, protocol=2
            )
            for names in CIFAR10_MEMBERS.values()
            for name in names
        },
    }


@pytest.mark.parametrize("layer", ["gzip", "tar", "pickle"])
@fuzzed
@given(data=st.data())
def test_archives(tmp_path_factory, layer, data):
    path, members = tmp_path_factory.mktemp("archives") / "archive.tar.gz", cifar10()
    path.write_bytes(gzip.compress(tar_of(members)))
    wanted, _ = _read_cifar10(path)
    if layer == "pickle":
        name = data.draw(st.sampled_from(sorted(members)))
        members[name] = data.draw(damaged(members[name]))
    content = tar_of(members)
    content = gzip.compress(data.draw(damaged(content)) if layer == "tar" else content)
    path.write_bytes(data.draw(damaged(content)) if layer == "gzip" else content)
    found = outcome(lambda: _read_cifar10(path), path)
    if found is not None:
        (splits, spec) = found
        for split, columns in splits.items():
            assert columns["image"].shape == (len(columns["label"]), 32, 32, 3)
            assert set(columns["label"]) <= set(range(len(spec.class_names)))
            if layer == "gzip":  # of the three, only this one has checksums
                np.testing.assert_array_equal(columns["image"], wanted[split]["image"])
