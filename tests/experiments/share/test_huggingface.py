"""The Parquet export, read by others: pyarrow, PyYAML, mlcroissant; and the words of its card."""

import io
import json
import re

import numpy as np
import pytest
import tensorflow_datasets as tfds
import yaml
from PIL import Image

from experiments.options.export import UNKNOWN
from experiments.share import columns, parquet
from experiments.share.card import COLUMNS, card
from tests.experiments.share.conftest import COUNTS, HARD_NAMES
from train.data.spec import EXTRAS
from train.storage.files import sha256_of
from train.storage.strict_json import read_json

arrow = pytest.importorskip("pyarrow.parquet", reason="pyarrow is not installed")


@pytest.fixture(scope="module")
def exported(tmp_path_factory, full_set, elicit):
    """The set in several files a split."""
    out = tmp_path_factory.mktemp("huggingface") / "out"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(columns, "PART_BYTES", 2 * 5 * 7 * 3)
        patch.setattr(parquet, "FILE_BYTES", 4 * 5 * 7 * 3)
        words = ("--to", "huggingface", "--out", out, "--licence", "CC BY 4.0 (Ann)")
        assert elicit("export", full_set(), *words) == 0
    return out


def head(text):
    return yaml.safe_load(re.match(r"---\n(.*?)\n---\n", text, re.DOTALL)[1])


def test_parquet_holds_all_columns(exported, full_set):
    paths = sorted((exported / "data").glob("train-*"))
    assert [path.name for path in paths] == [f"train-{i:05d}-of-00004.parquet" for i in range(4)]
    rows = [row for path in paths for row in arrow.read_table(path).to_pylist()]
    source = list(tfds.builder_from_directory(full_set()).as_data_source("train"))
    for number, (row, wanted) in enumerate(zip(rows, source, strict=True)):
        assert row["image"]["path"] == f"{number:06d}.png"
        with Image.open(io.BytesIO(row["image"]["bytes"])) as image:
            np.testing.assert_array_equal(np.asarray(image), wanted["image"])
        assert row["label"] == wanted["label"]
        assert row["id"] == wanted["id"].decode()
        assert row["source_id"] == wanted["source_id"].decode()
        np.testing.assert_array_equal(np.float32(row["target"]), wanted["target"])
        assert np.float32(row["kl"]) == wanted["kl"]


def test_the_files_describe_the_features(exported):
    schema = arrow.read_schema(exported / "data" / "test-00000-of-00002.parquet")
    features = json.loads(schema.metadata[b"huggingface"])["info"]["features"]
    assert list(features["label"]["names"]) == list(HARD_NAMES)
    assert features["label"]["_type"] == "ClassLabel"
    assert features["image"]["_type"] == "Image"
    assert set(features) == set(schema.names) == {"id", "image", "label", *EXTRAS}


def test_the_head_of_the_card_describes_the_set(exported):
    told = head((exported / "README.md").read_text())
    assert (told["license"], told["license_name"]) == ("other", "CC BY 4.0 (Ann)")
    info = told["dataset_info"]
    assert {each["name"]: each["num_examples"] for each in info["splits"]} == COUNTS
    sizes = [path.stat().st_size for path in (exported / "data").iterdir()]
    assert info["download_size"] == sum(sizes)
    assert info["dataset_size"] == sum(each["num_bytes"] for each in info["splits"]) > 0
    features = {each.pop("name"): each for each in info["features"]}
    names = features["label"]["dtype"]["class_label"]["names"]
    assert list(names.values()) == list(HARD_NAMES)
    assert list(names) == ["0", "1", "2"]
    assert features["target"] == {"sequence": "float32"}
    assert features["steps"] == {"dtype": "int32"}
    patterns = told["configs"][0]["data_files"]
    for each in patterns:
        assert list(exported.glob(each["path"]))
    assert [each["split"] for each in patterns] == list(COUNTS)


def test_every_column_has_words():
    assert set(COLUMNS) == {"id", "image", "label", *EXTRAS}


def test_the_card_of_a_synthesised_set_says_how_it_was_made(made, run, elicit, tmp_path):
    assert elicit("export", made, "--to", "huggingface", "--out", tmp_path / "out") == 0
    text = (tmp_path / "out" / "README.md").read_text()
    assert head(text)["license"] == UNKNOWN
    assert "licence of the original images is unknown" in text
    manifest = read_json(made / "manifest.json")
    for fact in (
        manifest["classifier"]["sha256"],
        manifest["dataset"]["sha256"],
        f"jax {manifest['versions']['jax']}",
        "- key: `0`",
        '"kind": "two-class"',
        f"elicit export {made.name} --to huggingface --out DIR",
    ):
        assert fact in text
    assert read_json(run / "result.json")["classifier_sha256"] in text
    assert str(made.parent) not in text


def test_a_set_without_a_manifest_says_so(full_set):
    told, _ = columns.open_set(str(full_set()), form="huggingface", licence=UNKNOWN)
    without = columns.ExportDescription(**{**vars(told), "made_by": {}})
    text = card(without, table_bytes=dict.fromkeys(COUNTS, 1), file_bytes=1)
    assert "no record of how it was made" in text


def test_croissant_names_every_file_and_where_it_came_from(exported):
    told = read_json(exported / "croissant.json")
    files = {each["contentUrl"]: each for each in told["distribution"] if "contentUrl" in each}
    assert set(files) == {f"data/{path.name}" for path in (exported / "data").iterdir()}
    for name, each in files.items():
        assert each["sha256"] == sha256_of(exported / name)
    assert "made_up" in told["prov:wasGeneratedBy"]
    assert "CC BY 4.0 (Ann)" in told["rai:dataCollection"]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_croissant_is_valid_and_gives_the_images(exported, full_set):
    croissant = pytest.importorskip("mlcroissant", reason="mlcroissant is not installed")
    data = croissant.Dataset(exported / "croissant.json")
    assert not data.metadata.ctx.issues.errors
    source = list(tfds.builder_from_directory(full_set()).as_data_source("test"))
    records = list(data.records("test"))
    assert len(records) == len(source)
    for record, wanted in zip(records, source, strict=True):
        np.testing.assert_array_equal(np.asarray(record["test/image"]), wanted["image"])
        assert record["test/id"] == wanted["id"]
        np.testing.assert_array_equal(np.float32(record["test/target"]), wanted["target"])
    assert [row["class-names/name"] for row in data.records("class-names")]
