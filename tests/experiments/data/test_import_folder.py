"""The command `elicit data import`: Pillow writes the pictures, TFDS reads the set."""

import errno
import io
import os
import subprocess
import sys
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image

from experiments.data import import_folder as module
from experiments.data.import_folder import import_folder
from experiments.options.data import ImportConfig
from imgopt.errors import InputError
from train.data.load import list_splits, load_images
from train.data.verify import read_manifest


def save_pictures(folder: Path, count: int, *, size_px: int = 8) -> None:
    folder.mkdir(parents=True)
    for number in range(count):
        Image.new("RGB", (size_px, size_px), (number, 7, 7)).save(folder / f"{number:03}.png")


@pytest.fixture
def folder(tmp_path):
    """Six pictures of two classes, and files that are none."""
    place = tmp_path / "My pictures"
    for name in ("cat", "dog"):
        (place / name).mkdir(parents=True)
    gradient = np.arange(40 * 60 * 3).reshape(40, 60, 3) % 251
    picture = Image.fromarray(gradient.astype(np.uint8))
    picture.save(place / "cat" / "b.png")
    picture.save(place / "cat" / "a.jpg")
    picture.convert("L").save(place / "cat" / "grey.jpeg")
    picture.convert("P").save(place / "dog" / "palette.png")
    picture.save(place / "dog" / "x.png")
    picture.convert("CMYK").save(place / "dog" / "y.jpg")
    whole = (place / "cat" / "b.png").read_bytes()
    (place / "dog" / "cut.png").write_bytes(whole[: len(whole) // 2])
    (place / "dog" / "notes.txt").write_text("no picture")
    (place / "dog" / ".hidden").write_text("of no interest")
    (place / "readme.txt").write_text("outside")
    return place


def test_import_makes_a_set_and_lists_what_it_cannot_read(folder, tmp_path, capsys):
    import_folder(ImportConfig(folder, tmp_path / "set", size=16, test_share=0))
    builder: Any = tfds.builder_from_directory(tmp_path / "set")
    rows = list(builder.as_data_source(split="train"))
    ids = ["cat/a.jpg", "cat/b.png", "cat/grey.jpeg", "dog/palette.png", "dog/x.png", "dog/y.jpg"]
    assert [row["id"].decode() for row in rows] == ids
    assert [row["label"] for row in rows] == [0, 0, 0, 1, 1, 1]
    assert {row["image"].shape for row in rows} == {(16, 16, 3)}
    captured = capsys.readouterr()
    assert "6 train, 2 classes, 3 unreadable files" in captured.out
    manifest = read_manifest(tmp_path / "set")
    assert manifest is not None
    listed = [entry["file"] for entry in manifest["unreadable"]]
    assert listed == ["readme.txt", "dog/cut.png", "dog/notes.txt"]
    assert all(f"unreadable: {name}: " in captured.err for name in listed)
    assert builder.info.name == "my_pictures"


def test_import_twice_gives_the_same_bytes(folder, tmp_path):
    for out in ("one", "two"):
        import_folder(ImportConfig(folder, tmp_path / out, size=8, test_share=0.4, key=3))
    for path in (tmp_path / "one").iterdir():
        assert path.read_bytes() == (tmp_path / "two" / path.name).read_bytes()


def test_import_draws_the_test_split_from_every_class_by_key(folder, tmp_path):
    drawn = set()
    for key in range(4):
        out = tmp_path / str(key)
        import_folder(ImportConfig(folder, out, size=8, key=key))
        train, test = load_images(out), load_images(out, "test")
        assert test.labels.tolist() == [0, 1]
        assert len(set(train.ids) | set(test.ids)) == 6
        drawn.add(test.ids)
    assert len(drawn) > 1


@pytest.mark.parametrize(("share", "counts"), [(0.01, [1, 1]), (0.5, [5, 1]), (0.99, [9, 1])])
def test_the_share_is_that_of_every_class(share, counts, tmp_path):
    for name, count in (("cat", 10), ("dog", 2), ("eel", 1)):
        save_pictures(tmp_path / "in" / name, count)
    import_folder(ImportConfig(tmp_path / "in", tmp_path / "set", test_share=share))
    test, train = load_images(tmp_path / "set", "test"), load_images(tmp_path / "set")
    assert np.bincount(test.labels).tolist() == counts
    assert set(train.labels) == {0, 1, 2}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"folder": Path("nowhere")}, "no folder"),
        ({"size": 0}, "--size"),
        ({"key": -1}, "key"),
        ({"size": 10**9}, "--size of 1 to 8,192 pixels, got 1000000000"),
        ({"test_share": 1.0}, "--test-share"),
        ({"test_share": float("nan")}, "--test-share"),
        ({"name": "My Set"}, "name of a set"),
    ],
)
def test_import_refuses_bad_options_and_leaves_nothing(folder, tmp_path, changes, message):
    options = {"folder": folder, "out": tmp_path / "new" / "set", **changes}
    with pytest.raises(InputError, match=message):
        import_folder(ImportConfig(**options))
    assert not (tmp_path / "new").exists()


def test_a_single_picture_of_each_class_needs_an_option(tmp_path):
    save_pictures(tmp_path / "in" / "cat", 1)
    with pytest.raises(InputError, match="add pictures, or give --test-share 0"):
        import_folder(ImportConfig(tmp_path / "in", tmp_path / "set"))
    import_folder(ImportConfig(tmp_path / "in", tmp_path / "set", test_share=0))
    assert list_splits(tmp_path / "set") == {"train": 1}
    with pytest.raises(InputError, match="a split test is made by elicit data import --test-share"):
        load_images(tmp_path / "set", "test")


def test_the_set_is_not_made_among_the_pictures(folder):
    with pytest.raises(InputError, match="--out outside the folder of the pictures"):
        import_folder(ImportConfig(folder, folder / "set"))


def test_import_refuses_an_existing_directory_and_empty_classes(folder, tmp_path):
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "mine").touch()
    with pytest.raises(InputError, match="is there already and is not an image set"):
        import_folder(ImportConfig(folder, tmp_path / "set"))
    (folder / "empty").mkdir()
    with pytest.raises(InputError, match="empty"):
        import_folder(ImportConfig(folder, tmp_path / "new"))
    (tmp_path / "bare").mkdir()
    with pytest.raises(InputError, match="one subfolder a class"):
        import_folder(ImportConfig(tmp_path / "bare", tmp_path / "new"))
    assert not (tmp_path / "new").exists()


def test_memory_does_not_grow_with_the_number_of_pictures(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "SHARD_BYTES", 2**18)
    monkeypatch.setattr("experiments.data.picture_spool.IN_MEMORY_BYTES", 2**18)
    save_pictures(tmp_path / "in" / "cat", 80, size_px=4)
    image_bytes = 3 * 256**2
    tracemalloc.start()
    try:
        import_folder(ImportConfig(tmp_path / "in", tmp_path / "set", size=256))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 80 * image_bytes / 4
    assert len(list((tmp_path / "set").glob("*train*"))) == 64


def test_folders_of_splits_become_splits(tmp_path, capsys):
    for split, count in (("Train", 3), ("val", 2), ("test", 1)):
        for name in ("cat", "dog"):
            save_pictures(tmp_path / "in" / split / name, count)
    (tmp_path / "in" / "val" / "list.txt").touch()
    import_folder(ImportConfig(tmp_path / "in", tmp_path / "set"))
    assert list_splits(tmp_path / "set") == {"train": 6, "val": 4, "test": 2}
    val = load_images(tmp_path / "set", "val")
    assert val.class_names == ("cat", "dog")
    assert val.ids == ("val/cat/000.png", "val/cat/001.png", "val/dog/000.png", "val/dog/001.png")
    assert "unreadable: val/list.txt: outside" in capsys.readouterr().err
    with pytest.raises(InputError, match=r"no --test-share with the split .*test, got 0\.3"):
        import_folder(ImportConfig(tmp_path / "in", tmp_path / "new", test_share=0.3))


def test_an_empty_class_says_why(tmp_path):
    save_pictures(tmp_path / "in" / "cat", 2)
    (tmp_path / "in" / "dog" / "inner").mkdir(parents=True)
    (tmp_path / "in" / "dog" / "a.heic").write_text("of a telephone")
    os.mkfifo(tmp_path / "in" / "dog" / "pipe")
    message = r"none that can be read in .*dog \(dog/a\.heic: no PNG.*; dog/inner: a folder.*pipe"
    with pytest.raises(InputError, match=message):
        import_folder(ImportConfig(tmp_path / "in", tmp_path / "set"))
    assert not (tmp_path / "set").exists()


def test_only_the_first_of_many_files_are_printed(tmp_path, capsys):
    save_pictures(tmp_path / "in" / "cat", 2)
    for number in range(30):
        (tmp_path / "in" / "cat" / f"{number}.txt").touch()
    import_folder(ImportConfig(tmp_path / "in", tmp_path / "set"))
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 21
    assert lines[-1] == "unreadable: and 10 more, all listed in manifest.json"
    assert len((read_manifest(tmp_path / "set") or {})["unreadable"]) == 30


def test_a_full_disk_is_named(folder, tmp_path, monkeypatch):
    class Full(io.BytesIO):
        def write(self, *_):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("tempfile.SpooledTemporaryFile", lambda *_, **__: Full())
    with pytest.raises(OSError, match="space") as caught:
        import_folder(ImportConfig(folder, tmp_path / "set"))
    assert caught.value.filename == str(tmp_path / "set")


@pytest.mark.slow
def test_tensorflow_is_never_imported(folder, tmp_path):
    script = (
        "import sys; from pathlib import Path;"
        "from experiments.data.import_folder import ImportConfig, import_folder;"
        "from experiments.data.show import ShowConfig, show;"
        "import_folder(ImportConfig(Path(sys.argv[1]), Path(sys.argv[2])));"
        "show(ShowConfig(sys.argv[2], out=Path(sys.argv[2] + '-shown')));"
        "assert 'tensorflow' not in sys.modules"
    )
    command = [sys.executable, "-c", script, str(folder), str(tmp_path / "set")]
    root = Path(__file__).parents[3]
    result = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert "OpenCV" not in result.stderr
