"""The command `elicit data show`: counts and a contact sheet."""

import io
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from experiments.data.prepare_cifar import prepare
from experiments.data.show import show
from experiments.options.data import PrepareConfig, ShowConfig
from imgopt.errors import InputError
from tests.experiments.data.small_cifar import batch
from tests.experiments.pages.pictures import decoded
from tests.experiments.pages.reports import assert_is_report
from tests.train.data.small_sets import change_second_example, write_small_set
from train.data.load import load_images
from train.data.spec import ImageSetSpec


def test_show_counts_and_draws(tmp_path, cifar10, capsys):
    prepare(PrepareConfig("cifar10", tmp_path / "data", cifar10["python archive"]))
    out = tmp_path / "shown"
    show(ShowConfig("cifar10", tmp_path / "data", out, columns=3))
    printed = capsys.readouterr().out
    assert "32 x 32" in printed
    labels = np.concatenate([batch(i)[b"labels"] for i in range(5)])
    row = next(line for line in printed.splitlines() if line.startswith("ship"))
    in_test = batch(5)[b"labels"].count(8)
    assert row.split() == ["ship", str((labels == 8).sum()), str(in_test)]
    with Image.open(out / "contact_sheet.png") as sheet:
        assert sheet.height == 10 * 66
        data = load_images("cifar10", data_dir=tmp_path / "data")
        first = data.images[np.flatnonzero(data.labels == 4)[0]]
        left = sheet.width - 3 * 66
        corner = np.asarray(sheet)[4 * 66 : 4 * 66 + 64, left : left + 64]
        np.testing.assert_array_equal(corner[::2, 1::2], first)
        assert np.asarray(sheet)[:, :left].min() < 50  # the names


def test_show_draws_the_digits(tmp_path, capsys):
    show(ShowConfig("digits", out=tmp_path / "new" / "digits"))
    assert "1,437" in capsys.readouterr().out


def odd_set(directory: Path, change: Callable[[Any], None]) -> Path:
    """Writes a set whose split odd has an example that was changed, as others write sets."""
    spec = ImageSetSpec("tiny", ("cat", "猫"), (6, 4, 3), splits=("odd", "train"))
    write_small_set(directory, spec, {"odd": (3,), "train": (5,)})
    shard = directory / "tiny-odd.array_record-00000"
    change_second_example(shard, shard, change)
    (directory / "manifest.json").unlink()
    return directory


def test_a_split_is_chosen_and_one_without_labels_is_left_out(tmp_path, capsys):
    def unlabel(features: Any) -> None:
        features["label"].int64_list.value[:] = [-1]

    directory, out = str(odd_set(tmp_path / "set", unlabel)), tmp_path / "shown"
    show(ShowConfig(directory, out=out))
    printed = capsys.readouterr()
    assert "split odd is left out: expected labels in [0, 2), got -1" in printed.err
    assert printed.out.splitlines()[1] == "split train: 5 images"
    show(ShowConfig(directory, split="train[:2]", out=out))
    assert (
        f"contact sheet of train[:2]: {out}/contact_sheet.png and {out}/report.html\n"
        in capsys.readouterr().out
    )
    with pytest.raises(InputError, match="got -1"):
        show(ShowConfig(directory, split="odd", out=out))


def test_images_of_several_sizes_are_drawn(tmp_path, capsys):
    def enlarge(features: Any) -> None:
        buffer = io.BytesIO()
        Image.new("RGB", (90, 30), "red").save(buffer, "JPEG")
        features["image"].bytes_list.value[:] = [buffer.getvalue()]

    directory, out = odd_set(tmp_path / "set", enlarge), tmp_path / "shown"
    features = (directory / "features.json").read_text()
    (directory / "features.json").write_text(re.sub(r'"[46]"', '"-1"', features))
    show(ShowConfig(str(directory), split="odd", out=out))
    assert "several sizes" in capsys.readouterr().out
    sheet = decoded((out / "contact_sheet.png").read_bytes()).astype(int)
    is_red = (sheet[130:] - [254, 0, 0]).__abs__().max(2) < 5
    assert abs(int(is_red.sum()) - 128 * 43) < 300


def test_names_that_the_font_lacks_are_numbered_or_text_of_a_page(tmp_path, capsys):
    directory = str(odd_set(tmp_path / "set", lambda _: None))
    show(ShowConfig(directory, out=tmp_path / "shown"))
    assert "on the sheet, class 1: 猫" in capsys.readouterr().out
    assert_is_report(tmp_path / "shown" / "report.html")
    page = (tmp_path / "shown" / "report.html").read_text()
    assert "<figcaption>猫</figcaption>" in page
    assert page.count("<img") == 2


def test_show_refuses_bad_options(tmp_path):
    with pytest.raises(InputError, match="--columns"):
        show(ShowConfig("digits", columns=0))
    (tmp_path / "file").touch()
    for out in (tmp_path / "sheet.png", tmp_path / "file" / "shown"):
        with pytest.raises(InputError, match="--out"):
            show(ShowConfig("digits", out=out))
