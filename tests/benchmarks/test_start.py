"""The benchmark of commands' starts."""

import subprocess

import pytest
import start

from train.data.load import load_images


def test_its_data_are_read_by_the_commands(tmp_path):
    start.write_images(tmp_path / "data")
    for split in ("train", "test"):
        assert load_images(str(tmp_path / "data"), split).images.shape == (start.IMAGES, 32, 32, 3)
    for words in start.commands("vgg16", tmp_path, tmp_path / "data", 0).values():
        assert str(tmp_path / "data") in words


@pytest.mark.slow
def test_a_start_is_timed_and_a_failure_is_told(tmp_path):
    taken = start.start(["--help"], tmp_path)
    assert taken.cpu > 0
    assert taken.wall > 0
    with pytest.raises(subprocess.CalledProcessError):
        start.start(["synthesise"], tmp_path)
