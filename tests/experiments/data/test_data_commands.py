"""The data commands, with TFDS as the reader and Pillow as the writer of pictures."""

import hashlib
import io
import os
import pickle
import subprocess
import sys
import tarfile
import urllib.error
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow_datasets as tfds
import tyro
from PIL import Image
from tensorflow_datasets.core import hashing

from experiments.data import prepare_cifar10 as data_commands  # CHECK
from experiments.data.import_folder import ImportConfig, import_folder, square
from experiments.data.plain_pickle import read_plain_pickle
from experiments.data.prepare_cifar10 import PrepareConfig, prepare
from experiments.data.show import ShowConfig, show
from train.data.load import load_images
from train.data.verify import read_manifest, verify

NAMES = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
BATCHES = [f"data_batch_{i}" for i in range(1, 6)] + ["test_batch"]
PER_BATCH = 12


def batch(number: int) -> dict:
    random = np.random.default_rng(number)
    return {
        b"data": random.integers(0, 256, (PER_BATCH, 3072), np.uint8),
        b"labels": random.integers(0, 10, PER_BATCH).tolist(),
    }


def members(protocol: int = 2) -> dict[str, bytes]:
    contents = {name: batch(i) for i, name in enumerate(BATCHES)}
    contents["batches.meta"] = {b"label_names": [name.encode() for name in NAMES]}
    return {name: pickle.dumps(value, protocol=protocol) for name, value in contents.items()}


def write_archive(path: Path, contents: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w:gz") as tar:
        for name, content in contents.items():
            info = tarfile.TarInfo(f"cifar-10-batches-py/{name}")
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path


@pytest.fixture
def archive(tmp_path):
    return write_archive(tmp_path / "archive.tar.gz", members())


def config(tmp_path: Path, archive: Path | None, *, verify: bool = False) -> PrepareConfig:
    return PrepareConfig("cifar10", tmp_path / "data", archive, verify)


def test_tfds_reads_the_prepared_cifar10(tmp_path, archive, capsys):
    prepare(config(tmp_path, archive))
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
    assert directory.stat().st_mode & 0o055 == 0o055 & ~umask()


def umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_the_order_is_that_of_tfds():
    # The first five examples of cifar10/3.0.2 as TFDS's catalogue shows them.
    first = data_commands._tfds_order("train", 50_000)[:5].tolist()
    assert first == [16399, 1680, 47917, 17307, 27051]
    wanted = sorted(range(100), key=hashing.Hasher("test").hash_key)
    assert data_commands._tfds_order("test", 100).tolist() == wanted


@pytest.mark.parametrize("protocol", [0, 5])
def test_arrays_of_any_protocol_or_a_refusal(protocol):
    value = {b"data": np.arange(6, dtype=np.uint8).reshape(2, 3)}
    content = pickle.dumps(value, protocol=protocol)
    if protocol == 5:  # needs a further function, which no official archive does
        with pytest.raises(ValueError, match="not admitted"):
            read_plain_pickle(content)
    else:
        np.testing.assert_array_equal(read_plain_pickle(content)[b"data"], value[b"data"])


# What cPickle of Python 2 with numpy 1 wrote, as in the official archive: {'data': uint8 [[1, 2]]}.
PYTHON2_PICKLE = (
    b"\x80\x02}q\x01U\x04dataq\x02cnumpy.core.multiarray\n_reconstruct\nq\x03cnumpy\nndarray\n"
    b"q\x04K\x00\x85U\x01b\x87Rq\x05(K\x01K\x01K\x02\x86cnumpy\ndtype\nq\x06U\x02u1K\x00K\x01\x87R"
    b"q\x07(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89U\x02\x01\x02tbs."
)


def test_a_pickle_of_python_2_is_read():
    np.testing.assert_array_equal(read_plain_pickle(PYTHON2_PICKLE)[b"data"], [[1, 2]])


class Hostile:
    def __reduce__(self):
        return (os.mkdir, ("hostile",))


def test_a_hostile_pickle_is_not_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    contents = {**members(), "data_batch_3": pickle.dumps(Hostile(), protocol=2)}
    archive = write_archive(tmp_path / "a.tar.gz", contents)
    with pytest.raises(ValueError, match="mkdir is not admitted"):
        prepare(config(tmp_path, archive))
    assert [path.name for path in tmp_path.iterdir()] == ["a.tar.gz"]


def write_broken_archives(tmp_path: Path) -> None:
    whole = write_archive(tmp_path / "whole.tar.gz", members())
    (tmp_path / "half.tar.gz").write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    (tmp_path / "text.tar.gz").write_text("not an archive")
    contents = members()
    contents.pop("data_batch_2")
    write_archive(tmp_path / "lacking.tar.gz", contents)
    short = {**members(), "test_batch": pickle.dumps({b"data": np.zeros((2, 5)), b"labels": [1]})}
    write_archive(tmp_path / "short.tar.gz", short)
    cut = {**members(), "test_batch": members()["test_batch"][:500]}
    write_archive(tmp_path / "cut.tar.gz", cut)
    label = {b"data": batch(0)[b"data"], b"labels": [10] * PER_BATCH}
    label_archive = {**members(), "test_batch": pickle.dumps(label, protocol=2)}
    write_archive(tmp_path / "label.tar.gz", label_archive)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("half", "expected a whole .tar.gz"),
        ("text", "expected a whole .tar.gz"),
        ("lacking", "data_batch_2"),
        ("short", "expected the batches of CIFAR-10"),
        ("cut", "expected the batches of CIFAR-10"),
        ("label", r"labels in \[0, 10\)"),
        ("none", "no file"),
    ],
)
def test_broken_archives_leave_nothing(tmp_path, name, message):
    write_broken_archives(tmp_path)
    with pytest.raises(ValueError, match=message):
        prepare(config(tmp_path, tmp_path / f"{name}.tar.gz"))
    assert not (tmp_path / "data").exists()


def test_another_archive_is_refused_by_its_checksum(tmp_path, archive):
    digest = hashlib.sha256(archive.read_bytes()).hexdigest()
    with pytest.raises(ValueError, match=digest):
        prepare(config(tmp_path, archive, verify=True))
    assert not (tmp_path / "data").exists()


def test_an_existing_directory_is_refused(tmp_path, archive):
    prepare(config(tmp_path, archive))
    with pytest.raises(ValueError, match="exists already"):
        prepare(config(tmp_path, archive))
    assert len(load_images("cifar10", data_dir=tmp_path / "data").labels) == 60


def test_without_a_network_it_says_what_to_do(tmp_path, monkeypatch):
    def fail(*_args, **_options):
        raise urllib.error.URLError("no network")

    monkeypatch.setattr("urllib.request.urlopen", fail)
    with pytest.raises(ValueError, match="--archive FILE"):
        prepare(config(tmp_path, None))
    assert not (tmp_path / "data").exists()


class Answer(io.BytesIO):
    def __init__(self, content: bytes) -> None:
        super().__init__(content)
        self.headers = {"Content-Length": str(len(content))}


def test_a_download_shows_its_progress_and_is_verified(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("urllib.request.urlopen", lambda *_a, **_o: Answer(bytes(25 * 2**20)))
    with pytest.raises(ValueError, match="sha256"):
        prepare(config(tmp_path, None, verify=True))
    assert capsys.readouterr().out.splitlines() == [
        "downloaded 10 of 25 MB",
        "downloaded 20 of 25 MB",
    ]


def test_show_counts_and_draws(tmp_path, archive, capsys):
    prepare(config(tmp_path, archive))
    out = tmp_path / "sheet.png"
    show(ShowConfig("cifar10", tmp_path / "data", out, columns=3))
    printed = capsys.readouterr().out
    assert "32 x 32" in printed
    labels = np.concatenate([batch(i)[b"labels"] for i in range(5)])
    row = next(line for line in printed.splitlines() if line.startswith("ship"))
    in_test = batch(5)[b"labels"].count(8)
    assert row.split() == ["ship", str((labels == 8).sum()), str(in_test)]
    with Image.open(out) as sheet:
        assert sheet.height == 10 * 66
        data = load_images("cifar10", data_dir=tmp_path / "data")
        first = data.images[np.flatnonzero(data.labels == 4)[0]]
        left = sheet.width - 3 * 66
        corner = np.asarray(sheet)[4 * 66 : 4 * 66 + 64, left : left + 64]
        np.testing.assert_array_equal(corner[::2, 1::2], first)
        assert np.asarray(sheet)[:, :left].min() < 50  # the names


def test_show_draws_the_digits(tmp_path, capsys):
    show(ShowConfig("digits", out=tmp_path / "digits.png"))
    assert "1,437" in capsys.readouterr().out


def test_show_refuses_bad_options(tmp_path):
    with pytest.raises(ValueError, match="--columns"):
        show(ShowConfig("digits", columns=0))
    for out in (tmp_path / "sheet.txt", tmp_path / "none" / "sheet.png"):
        with pytest.raises(ValueError, match="--out"):
            show(ShowConfig("digits", out=out))


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


def test_the_command_line_is_made_of_the_configs():
    made = tyro.cli(PrepareConfig, args=["cifar10", "--data-dir", "d", "--no-verify"])
    assert made == PrepareConfig("cifar10", Path("d"), None, False)
    assert tyro.cli(ShowConfig, args=["digits", "--columns", "4"]) == ShowConfig(
        "digits", columns=4
    )
    assert tyro.cli(ImportConfig, args=["f", "--out", "o", "--size", "8"]) == ImportConfig(
        Path("f"), Path("o"), 8
    )


def test_tensorflow_is_never_imported(folder, tmp_path):
    script = (
        "import sys; from pathlib import Path; from experiments.data.prepare_cifar10 import *;"
        "import_folder(ImportConfig(Path(sys.argv[1]), Path(sys.argv[2])));"
        "show(ShowConfig(sys.argv[2], out=Path(sys.argv[2]) / 'x.png'));"
        "assert 'tensorflow' not in sys.modules"
    )
    command = [sys.executable, "-c", script, str(folder), str(tmp_path / "set")]
    root = Path(__file__).parents[3]
    result = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert "OpenCV" not in result.stderr
