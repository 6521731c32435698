"""The command `elicit data import`: Pillow writes the pictures, TFDS reads the set."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image

from experiments.data.import_folder import ImportConfig, import_folder, square
from train.data.load import load_images
from train.data.verify import read_manifest


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
    import_folder(ImportConfig(folder, tmp_path / "set", size=16))
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
    assert listed == ["dog/cut.png", "dog/notes.txt", "readme.txt"]
    assert all(f"unreadable: {name}: " in captured.err for name in listed)
    assert builder.info.name == "my_pictures"


def test_import_twice_gives_the_same_bytes(folder, tmp_path):
    for out in ("one", "two"):
        import_folder(ImportConfig(folder, tmp_path / out, size=8, test_fraction=0.4, key=3))
    for path in (tmp_path / "one").iterdir():
        assert path.read_bytes() == (tmp_path / "two" / path.name).read_bytes()


def test_import_draws_the_test_split_from_every_class_by_key(folder, tmp_path):
    drawn = set()
    for key in range(4):
        out = tmp_path / str(key)
        import_folder(ImportConfig(folder, out, size=8, test_fraction=0.34, key=key))
        train, test = load_images(out), load_images(out, "test")
        assert test.labels.tolist() == [0, 1]
        assert len(set(train.ids) | set(test.ids)) == 6
        drawn.add(test.ids)
    assert len(drawn) > 1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"folder": Path("nowhere")}, "no folder"),
        ({"size": 0}, "--size"),
        ({"test_fraction": 1.0}, "--test-fraction"),
        ({"test_fraction": float("nan")}, "--test-fraction"),
        ({"test_fraction": 0.01}, "draws none"),
        ({"name": "My Set"}, "name of a set"),
    ],
)
def test_import_refuses_bad_options_and_leaves_nothing(folder, tmp_path, changes, message):
    options = {"folder": folder, "out": tmp_path / "new" / "set", **changes}
    with pytest.raises(ValueError, match=message):
        import_folder(ImportConfig(**options))
    assert not (tmp_path / "new").exists()


def test_import_refuses_an_existing_directory_and_empty_classes(folder, tmp_path):
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "mine").touch()
    with pytest.raises(ValueError, match="is there already and is not an image set"):
        import_folder(ImportConfig(folder, tmp_path / "set"))
    (folder / "empty").mkdir()
    with pytest.raises(ValueError, match="empty"):
        import_folder(ImportConfig(folder, tmp_path / "new"))
    (tmp_path / "bare").mkdir()
    with pytest.raises(ValueError, match="one subfolder a class"):
        import_folder(ImportConfig(tmp_path / "bare", tmp_path / "new"))
    assert not (tmp_path / "new").exists()


def test_a_decompression_bomb_is_an_unreadable_file(folder, tmp_path, monkeypatch, capsys):
    Image.new("L", (50, 50)).save(folder / "cat" / "bomb.png")
    Image.new("L", (80, 80)).save(folder / "cat" / "huge.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 2450)
    import_folder(ImportConfig(folder, tmp_path / "set"))
    err = capsys.readouterr().err
    assert "cat/bomb.png: more than 2,450 pixels" in err
    assert "cat/huge.png: more than 2,450 pixels" in err


def test_square_keeps_the_middle():
    pixels = np.zeros((10, 30, 3), np.uint8)
    pixels[:, 10:20] = 200
    np.testing.assert_array_equal(square(Image.fromarray(pixels), 10), np.full((10, 10, 3), 200))


def test_square_is_upright_white_behind_and_of_8_bits(tmp_path):
    pixels = np.zeros((4, 4, 3), np.uint8)
    pixels[0] = 255  # white at the top
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees clockwise
    Image.fromarray(pixels).save(tmp_path / "turned.png", exif=exif)
    with Image.open(tmp_path / "turned.png") as image:
        np.testing.assert_array_equal(square(image, 4), np.rot90(pixels, -1))
    clear = Image.new("RGBA", (4, 4), (10, 20, 30, 0))
    np.testing.assert_array_equal(square(clear, 4), np.full((4, 4, 3), 255))
    deep = np.full((4, 4), 128 * 257, np.uint16)
    Image.fromarray(deep).save(tmp_path / "deep.png")
    with Image.open(tmp_path / "deep.png") as image:
        np.testing.assert_array_equal(square(image, 4), np.full((4, 4, 3), 128))


def test_tensorflow_is_never_imported(folder, tmp_path):
    script = (
        "import sys; from pathlib import Path;"
        "from experiments.data.import_folder import ImportConfig, import_folder;"
        "from experiments.data.show import ShowConfig, show;"
        "import_folder(ImportConfig(Path(sys.argv[1]), Path(sys.argv[2])));"
        "show(ShowConfig(sys.argv[2], out=Path(sys.argv[2]) / 'x.png'));"
        "assert 'tensorflow' not in sys.modules"
    )
    command = [sys.executable, "-c", script, str(folder), str(tmp_path / "set")]
    root = Path(__file__).parents[3]
    result = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert "OpenCV" not in result.stderr
