"""The command `elicit data show`: counts and a contact sheet."""

import numpy as np
import pytest
from PIL import Image

from experiments.data.prepare_cifar10 import PrepareConfig, prepare
from experiments.data.show import ShowConfig, show
from tests.experiments.data.small_cifar10 import batch
from train.data.load import load_images


def test_show_counts_and_draws(tmp_path, cifar10, capsys):
    prepare(PrepareConfig("cifar10", tmp_path / "data", cifar10["python archive"]))
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
