"""Every format of `elicit export` gives back what went in; only a part is in memory at a time."""

import csv
import json
import shutil
import sys
import weakref
from pathlib import Path

import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image

from experiments.share import columns, parquet
from experiments.share.columns import open_set
from experiments.share.command import WRITERS
from experiments.share.folder import class_folders
from experiments.share.import_export import OPENERS
from tests.experiments.bad_files import flip_byte
from tests.experiments.share.conftest import COUNTS, HARD_NAMES
from train.data.load import load_images
from train.data.spec import EXTRAS
from train.data.verify import verify
from train.storage.files import sha256_of
from train.storage.strict_json import read_json, read_sealed, write_sealed

FORMATS = sorted(WRITERS)


@pytest.fixture
def small_parts(monkeypatch):
    """Parts of two images, and Parquet files of two parts."""
    monkeypatch.setattr(columns, "PART_BYTES", 2 * 5 * 7 * 3)
    monkeypatch.setattr(parquet, "FILE_BYTES", 4 * 5 * 7 * 3)


@pytest.fixture
def export(elicit, tmp_path):
    def run(source, form, *words, out="out", status=0):
        given = ("export", source, "--to", form, "--out", tmp_path / out, *words)
        assert elicit(*given) == status
        return tmp_path / out

    return run


def assert_equal(one, other):
    """Compares two sets row by row, as TFDS reads them."""
    first, second = tfds.builder_from_directory(one), tfds.builder_from_directory(other)
    assert first.info.features["label"].names == second.info.features["label"].names
    assert list(first.info.splits) == list(second.info.splits)
    for split in first.info.splits:
        rows = list(first.as_data_source(split)), list(second.as_data_source(split))
        assert len(rows[0]) == len(rows[1]) > 0
        by_id = [sorted(own, key=lambda row: row["id"]) for own in rows]
        for before, after in zip(*by_id, strict=True):
            assert before.keys() == after.keys()
            for name in before:
                np.testing.assert_array_equal(before[name], after[name], name)


def test_every_format_can_be_read():
    assert OPENERS.keys() == WRITERS.keys()


@pytest.mark.usefixtures("small_parts")
@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("form", FORMATS)
def test_an_exported_and_imported_set_is_equal(form, channels, full_set, export, elicit, tmp_path):
    source = full_set(channels)
    out = export(source, form)
    assert elicit("data", "import", out, "--out", tmp_path / "back") == 0
    assert_equal(source, tmp_path / "back")
    assert set(EXTRAS) < set(tfds.builder_from_directory(tmp_path / "back").info.features)
    assert verify(tmp_path / "back") == []
    manifest = read_json(tmp_path / "back" / "manifest.json")
    assert manifest["exported_from"]["made_up"] is True


@pytest.mark.usefixtures("small_parts")
@pytest.mark.parametrize("form", FORMATS)
def test_the_same_bytes_every_time_and_a_resumed_import(
    form, full_set, export, elicit, tmp_path, contents, capsys
):
    first, second = (export(full_set(), form, out=out) for out in ("one", "two"))
    assert contents(first) == contents(second)
    back = tmp_path / "back"
    assert elicit("data", "import", first, "--out", back) == 0
    before = contents(back)
    for name in ("manifest.json", "made_up-train.array_record-00002-of-00007"):
        (back / name).unlink()
    assert elicit("data", "import", first, "--out", back) == 0
    assert contents(back) == before
    assert elicit("data", "import", first, "--out", back) == 0
    assert "complete; nothing to do" in capsys.readouterr().out


@pytest.mark.usefixtures("small_parts")
@pytest.mark.parametrize("form", FORMATS)
def test_two_parts_at_most_are_in_memory(form, full_set, tmp_path):
    told, read = open_set(str(full_set()), form=form, licence="unknown")
    alive, most = weakref.WeakSet(), 0

    class Tracked(np.ndarray):
        """An array that can be looked for."""

        __hash__ = object.__hash__

    def parts(split):
        nonlocal most
        for start in columns.iter_starts(told, split):
            stop = min(start + told.part_images, told.count(split))
            part = read(split, start, stop)
            part["image"] = part["image"].view(Tracked)
            alive.add(part["image"])
            most = max(most, len({id(each) for each in alive}))
            yield part

    WRITERS[form](tmp_path, told, parts)
    assert 1 <= most <= 2


def test_a_card_may_be_edited(full_set, export, elicit, tmp_path):
    out = export(full_set(), "huggingface")
    (out / "README.md").write_text("A better card.\n")
    assert elicit("data", "import", out, "--out", tmp_path / "back") == 0
    assert_equal(full_set(), tmp_path / "back")


@pytest.mark.parametrize("form", FORMATS)
def test_some_splits_and_a_licence(form, full_set, export):
    out = export(full_set(), form, "--split", "test", "--licence", "cc-by-4.0")
    told = read_sealed(out / "export.json")
    assert (told["splits"], told["counts"], told["licence"]) == (["test"], [7], "cc-by-4.0")
    assert told["extras"] == list(EXTRAS)
    assert told["files"]


def test_digits_are_exported_by_name(elicit, tmp_path):
    assert (
        elicit("export", "digits", "--to", "npz", "--out", tmp_path / "out", "--split", "test") == 0
    )
    with np.load(tmp_path / "out" / "test.npz") as arrays:
        np.testing.assert_array_equal(arrays["image"], load_images("digits", "test").images)
    assert read_sealed(tmp_path / "out" / "export.json")["made_by"] == {}


@pytest.mark.usefixtures("small_parts")
def test_npz_holds_plain_arrays(full_set, export):
    out = export(full_set(), "npz")
    source = tfds.builder_from_directory(full_set()).as_data_source("test")
    with np.load(out / "test.npz", allow_pickle=False) as arrays:
        assert set(arrays) == {"id", "image", "label", "class_names", *EXTRAS}
        assert arrays["class_names"].tolist() == list(HARD_NAMES)
        assert arrays["image"].dtype == np.uint8
        assert arrays["image"].shape == (7, 5, 7, 3)
        np.testing.assert_array_equal(arrays["image"], [row["image"] for row in source])
        np.testing.assert_array_equal(arrays["target"], [row["target"] for row in source])
        assert arrays["id"].tolist() == [row["id"].decode() for row in source]


def test_a_folder_holds_a_picture_an_image_and_a_table(full_set, export):
    out = export(full_set(), "folder")
    source = list(tfds.builder_from_directory(full_set()).as_data_source("train"))
    with (out / "train" / "metadata.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == COUNTS["train"] == len(list((out / "train").rglob("*.png")))
    for row, wanted in zip(rows, source, strict=True):
        with Image.open(out / "train" / row["file_name"]) as image:
            np.testing.assert_array_equal(np.asarray(image), wanted["image"])
        assert row["id"] == wanted["id"].decode()
        assert row["class"] == HARD_NAMES[int(row["label"])]
        assert np.float32(row["kl"]) == wanted["kl"]
        np.testing.assert_array_equal(np.float32(json.loads(row["output"])), wanted["output"])


@pytest.mark.parametrize(
    ("names", "folders"),
    [
        (("cat", "hot dog"), ("cat", "hot dog")),
        (("A", "a", "b"), ("000_A", "001_a", "b")),
        (("a/b", "a?b", "..", "-", " x"), ("000_a_b", "001_a_b", "002", "003_-", "004_ x")),
    ],
)
def test_folders_of_classes_are_distinct_names(names, folders):
    assert class_folders(names) == folders
    assert len({name.lower() for name in folders}) == len(names)


def test_paths_of_this_machine_are_left_out():
    found = columns.without_paths({"source": "/somebody/pictures", "of": ["/x/y", "a/b", 3]})
    assert found == {"source": "pictures", "of": ["y", "a/b", 3]}


# Wrong input


@pytest.fixture(scope="module")
def exported(tmp_path_factory, full_set, elicit):
    """The set in every format, once."""
    root = tmp_path_factory.mktemp("exported")
    for form in FORMATS:
        assert elicit("export", full_set(), "--to", form, "--out", root / form) == 0
    return root


DAMAGES = {
    "a flipped byte of Parquet": ("huggingface", "data/train-00000-of-00001.parquet", "damaged"),
    "a flipped byte of npz": ("npz", "test.npz", "damaged"),
    "a flipped byte of a table": ("folder", "test/metadata.csv", "damaged"),
    "a flipped byte of a picture": ("folder", "test/*/000001.png", "PNG|another in"),
    "a flipped byte of a description": ("npz", "export.json", "is damaged|something else"),
}


@pytest.mark.parametrize(("form", "file", "message"), DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_export_is_refused(form, file, message, exported, tmp_path, check_refusal):
    broken = tmp_path / "broken"
    shutil.copytree(exported / form, broken)
    flip_byte(next(broken.glob(file)))
    check_refusal(("data", "import", broken, "--out", tmp_path / "out"), message, tmp_path)


@pytest.mark.parametrize("form", FORMATS)
def test_a_lost_file_is_named(form, exported, tmp_path, check_refusal):
    broken = tmp_path / "broken"
    shutil.copytree(exported / form, broken)
    lost = max(
        path for path in broken.rglob("*.[pn]*") if path.suffix in (".png", ".npz", ".parquet")
    )
    lost.unlink()
    message = f"{lost.name}.*(missing|no such file)"
    check_refusal(("data", "import", broken, "--out", tmp_path / "out"), message, tmp_path)


CHANGES = {
    "another format": ({"format": "rows"}, "expected a format among .*'rows'"),
    "no class": ({"class_names": []}, "does not describe an exported set.*class names"),
    "counts": ({"counts": [13]}, "expected a number of images for each split"),
    "a path out": ({"files": {"../x": "0" * 64}}, "expected plain names of files"),
    "a field more": ({"more": 1}, "does not describe an exported set: expected the fields"),
    "more images": ({"counts": [14, 7]}, "14 rows"),
    "other columns": ({"extras": ["kl", "steps"], "class_names": ["a"]}, "expected labels in"),
}


@pytest.mark.parametrize(("fields", "message"), CHANGES.values(), ids=CHANGES)
def test_a_description_that_anyone_wrote_is_checked(
    fields, message, exported, tmp_path, check_refusal
):
    broken = tmp_path / "broken"
    shutil.copytree(exported / "npz", broken)
    write_sealed(broken / "export.json", {**read_sealed(broken / "export.json"), **fields})
    check_refusal(("data", "import", broken, "--out", tmp_path / "out"), message, tmp_path)


def test_a_table_that_leads_out_of_the_folder_is_refused(exported, tmp_path, check_refusal):
    broken = tmp_path / "broken"
    shutil.copytree(exported / "folder", broken)
    table = broken / "test" / "metadata.csv"
    table.write_text(table.read_text().replace('"000_Ant_bee/000000.png"', '"../../x.png"'))
    told = read_sealed(broken / "export.json")
    told["files"]["test/metadata.csv"] = sha256_of(table)
    write_sealed(broken / "export.json", told)
    check_refusal(("data", "import", broken, "--out", tmp_path / "out"), "a file below", tmp_path)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("export plain --to npz --out new", "expected a data set's directory"),
        ("export nothing --to folder --out new", "expected a data set's directory"),
        ("export run --to npz --out new", "which is a run; export it with --to jax"),
        ("export data --to npz --out plain", "expected a new directory as --out, got plain"),
        ("export data --to npz --out file/new", "passes through a file"),
        ("export data --to zarr --out new", "must be one of huggingface, folder, npz, jax"),
        ("export data --to npz --out new --split val", "expected a split among .*'val'"),
        ("export data --to npz --out new --split test test", "splits must be distinct"),
        ("export data --to npz --out new --licence ''", "licence must be a name in one line"),
        ("export flipped --to folder --out new", "made_up-train.array_record-00000: damaged"),
        ("export missing --to huggingface --out new", "made_up-train.array_record-00000: missing"),
        ("export data --to jax --out new", "which is an image set; export it with --to hugg"),
        ("export plain --to jax --out new", "neither a run nor an image set"),
        ("export run --to jax --out new --split test", "--split test has no effect with --to j"),
    ],
)
def test_wrong_input_is_one_message(words, message, check_wrong_input):
    check_wrong_input(words, message)


@pytest.mark.parametrize("words", ["--size 16", "--test-share 0.5", "--key 3", "--fit pad"])
def test_options_for_pictures_have_no_effect_on_an_export(words, exported, tmp_path, check_refusal):
    given = ("data", "import", exported / "npz", "--out", tmp_path / "out", *words.split())
    check_refusal(given, f"{words} has no effect on a set that elicit exported", tmp_path)


@pytest.mark.parametrize("form", ["huggingface", "jax"])
def test_a_missing_package_is_named(form, full_set, run, tmp_path, check_refusal, monkeypatch):
    for name in ("pyarrow", "safetensors", "safetensors.numpy"):
        monkeypatch.setitem(sys.modules, name, None)
    source = run if form == "jax" else full_set()
    given = ("export", source, "--to", form, "--out", tmp_path / "out")
    check_refusal(given, r"pip install 'elicit-jax\[share\]'", tmp_path)


def test_nothing_is_left_of_an_export_that_fails(full_set, export, monkeypatch):
    def fail(*_):
        raise OSError(28, "No space left on device", "out")

    monkeypatch.setattr("experiments.share.npz._write_text", fail)
    out: Path = export(full_set(), "npz", out="below/out", status=2)
    assert not out.parent.exists()
