"""Image sets of others: nothing is imported for them, nothing outside their directory is read."""

import json
import re
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
import tensorflow_datasets as tfds

import train.runtime.memory
from tests.train.data.small_sets import write_small_set
from train.data.load import list_splits, load_images, read_extras
from train.data.spec import ImageSetSpec
from train.data.verify import verify
from train.storage.runs import read_result, result_problems
from train.storage.strict_json import write_sealed

SHAPE = (7, 5, 3)
SHARD = "tiny-train.array_record-00000"


@pytest.fixture
def tiny(tmp_path) -> Path:
    directory = tmp_path / "tiny"
    spec = ImageSetSpec("tiny", ("ant", "bee", "cow"), SHAPE, extras=("kl",))
    write_small_set(directory, spec, {"train": (3,)})
    # Without digests of the other files, which would hide the checks that are tested here.
    rewrite(directory / "manifest.json", lambda manifest: manifest.pop("files"))
    return directory


def rewrite(path: Path, change: Any) -> None:
    """Changes a JSON file and removes its own digest, as an attacker could."""
    value = json.loads(path.read_text())
    value.pop("sha256", None)
    change(value)
    path.write_text(json.dumps(value))


# --- metadata of sets -----------------------------------------------------------------------------

EVIL = "planted_by_others.Feature"
EVIL_FEATURE: dict[str, Any] = {"pythonClassName": EVIL, "text": {}}
FEATURES = {
    "protobuf's name": lambda f: f["featuresDict"]["features"].update(x=EVIL_FEATURE),
    "its other name": lambda f: f["featuresDict"]["features"].update(
        x={"python_class_name": EVIL, "text": {}}
    ),
    "the older way": lambda f: f.update(
        type="tensorflow_datasets.core.features.features_dict.FeaturesDict",
        content={"x": {"type": EVIL, "content": {}}},
    ),
    "JSON within JSON": lambda f: f["featuresDict"]["features"].update(
        x={
            "pythonClassName": "tensorflow_datasets.core.features.features_dict.FeaturesDict",
            "jsonFeature": {"json": json.dumps({"x": {"type": EVIL, "content": {}}})},
        }
    ),
    "on top": lambda f: f.update(pythonClassName=EVIL),
}  # fmt: skip


@pytest.fixture
def planted(tmp_path, monkeypatch) -> Path:
    """A module that Python can import, and that then leaves a trace."""
    trace = tmp_path / "trace"
    modules = tmp_path / "modules"
    modules.mkdir()
    (modules / "planted_by_others.py").write_text(f"open({str(trace)!r}, 'w').close()\n")
    monkeypatch.syspath_prepend(modules)
    yield trace
    sys.modules.pop("planted_by_others", None)


@pytest.mark.parametrize("kind", FEATURES)
def test_no_module_is_imported_because_a_set_names_it(kind, tiny, planted):
    rewrite(tiny / "features.json", FEATURES[kind])
    for use in (load_images, list_splits, lambda d: read_extras(d, ["kl"])):
        with pytest.raises(ValueError, match=rf"TFDS's own types in .*features\.json, got '{EVIL}"):
            use(tiny)
    assert not planted.exists()


@pytest.mark.parametrize("kind", FEATURES)
def test_tfds_itself_would_import_it(kind, tiny, planted):
    """The reason for the test before. If TFDS no longer does this, our check may go."""
    rewrite(tiny / "features.json", FEATURES[kind])
    with pytest.raises(ValueError, match="Unrecognized FeatureConnector type"):
        tfds.builder_from_directory(tiny)
    assert planted.exists()


def test_features_in_the_other_file_are_looked_at_too(tiny, planted):
    rewrite(tiny / "dataset_info.json", lambda info: info.update(features=EVIL_FEATURE))
    with pytest.raises(ValueError, match=rf"TFDS's own types in .*dataset_info\.json.*{EVIL}"):
        load_images(tiny)
    assert not planted.exists()


def change_split(name: str, value: Any):
    return lambda info: info["splits"][0].update({name: value})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (change_split("filepathTemplate", "../{DATASET}-{SPLIT}"), "template of plain names"),
        (change_split("filepathTemplate", "/etc/passwd"), "template of plain names"),
        (change_split("filepathTemplate", "{DATASET:>999999999}"), "template of plain names"),
        (change_split("filepathTemplate", "{SPLIT.__class__}"), "template of plain names"),
        (change_split("filepath_template", "a/b"), "template of plain names"),
        (change_split("name", "../train"), "plain name of the set and of each split"),
        (change_split("name", 3), "plain name of the set and of each split"),
        (change_split("shardLengths", ["-3"]), "numbers of examples of at least 0"),
        (change_split("shardLengths", ["4"]), f"expected 4 examples in .*{SHARD}, got 3"),
        (lambda info: info.update(name="../tiny"), "plain name of the set"),
        (lambda info: info.update(splits={"train": 3}), "list of splits"),
    ],
)
def test_metadata_that_lead_elsewhere_are_refused(tiny, change, message):
    (tiny / "manifest.json").unlink()
    rewrite(tiny / "dataset_info.json", change)
    with pytest.raises(ValueError, match=message) as caught:
        load_images(tiny)
    assert str(tiny) in str(caught.value)


def label_of(features: Any) -> Any:
    return features["featuresDict"]["features"]["label"]["classLabel"]


@pytest.mark.parametrize(
    ("names", "count", "message"),
    [
        ("ant\nbee\n", "3", "expected 3 distinct names of classes in .*labels.txt, got 2"),
        ("ant\nbee\nbee\n", "3", "expected 3 distinct names"),
        ("ant\n\xff", "3", "UTF-8 in .*label.labels.txt"),
        (None, "9000000000000000000", "1 to 100,000 classes, got 9000000000000000000"),
        (None, "-1", "1 to 100,000 classes"),
    ],
)
def test_classes_and_their_names_agree(names, count, message, tiny):
    """TFDS itself silently drops names that it cannot use."""
    path = tiny / "label.labels.txt"
    path.unlink() if names is None else path.write_bytes(names.encode("latin1"))
    rewrite(tiny / "features.json", lambda f: label_of(f).update(numClasses=count))
    with pytest.raises(ValueError, match=message):
        load_images(tiny)


# --- manifests ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"file": "../x"}, "plain name of a file"),
        ({"file": "/etc/passwd"}, "plain name of a file"),
        ({"file": ".."}, "plain name of a file"),
        ({"file": "a/b"}, "plain name of a file"),
        ({"file": "a\0"}, "plain name of a file"),
        ({"file": None}, "plain name of a file"),
        ({"split": 3}, "name of a split"),
        ({"num_examples": -1}, "at least 0 as num_examples"),
        ({"num_examples": True}, "at least 0 as num_examples"),
        ({"num_bytes": "3"}, "at least 0 as num_bytes"),
        ({"num_bytes": 3.0}, "at least 0 as num_bytes"),
        ({"sha256": "0" * 63}, "64 hexadecimal digits"),
        ({"sha256": "g" * 64}, "64 hexadecimal digits"),
        ({"sha256": 0}, "64 hexadecimal digits"),
    ],
)
def test_entries_of_a_manifest_are_checked(fields, message, tiny):
    rewrite(tiny / "manifest.json", lambda m: m["shards"][0].update(fields))
    for use in (load_images, verify):
        with pytest.raises(ValueError, match=rf"{message}.* in entry 0 .*tiny/manifest\.json"):
            use(tiny)


@pytest.mark.parametrize(
    "files",
    [[], {"../features.json": 64 * "0"}, {"/etc/passwd": 64 * "0"}, {"features.json": None},
     {"features.json": "0"}, {"": 64 * "0"}],
)  # fmt: skip
def test_digests_of_other_files_are_checked_too(files, tiny):
    rewrite(tiny / "manifest.json", lambda m: m.update(files=files))
    for use in (load_images, verify):
        with pytest.raises(
            ValueError, match=r"expected .*digits? .*in .*manifest\.json|digests by"
        ):
            use(tiny)


@pytest.mark.parametrize("name", ["../a", "/a", "a/../b", ""])
def test_a_result_names_no_file_outside_its_run(name, tmp_path):
    write_sealed(tmp_path / "result.json", {"files": {name: 64 * "0"}})
    with pytest.raises(ValueError, match=r"plain names of files .*result\.json"):
        read_result(tmp_path)
    assert len(result_problems(tmp_path)) == 1


def test_a_shard_listed_twice_is_refused(tiny):
    rewrite(tiny / "manifest.json", lambda m: m["shards"].append(m["shards"][0]))
    with pytest.raises(ValueError, match=r"each shard once in .*manifest\.json"):
        verify(tiny)


@pytest.mark.parametrize("has_manifest", [True, False])
def test_a_link_out_of_the_set_is_not_followed(has_manifest, tiny, tmp_path):
    shutil.move(tiny / SHARD, tmp_path / "elsewhere")
    (tiny / SHARD).symlink_to(tmp_path / "elsewhere")
    if not has_manifest:
        (tiny / "manifest.json").unlink()
    with pytest.raises(ValueError, match=rf"expected a file in .*{SHARD}, a link to .*elsewhere"):
        load_images(tiny)


def test_a_link_within_the_set_is(tiny):
    (tiny / SHARD).rename(tiny / "other")
    (tiny / SHARD).symlink_to("other")
    assert len(load_images(tiny).labels) == 3
    assert verify(tiny) == []


def test_more_than_memory_holds_is_not_begun(tiny, monkeypatch):
    monkeypatch.setattr(train.runtime.memory, "machine_memory_bytes", lambda: 300)
    with pytest.raises(ValueError, match=re.escape(f"3 images of shape {SHAPE} in 'train' of ")):
        load_images(tiny)
    assert len(load_images(tiny, "train[:2]").labels) == 2
