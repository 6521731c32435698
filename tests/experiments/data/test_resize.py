"""`elicit data resize`: the same images in another size, split by split."""

import numpy as np
import pytest
from PIL import Image

import experiments.data.resize
from train.data.image_data import image_digests
from train.data.load import list_splits, load_images


@pytest.fixture
def resize(data, tmp_path, elicit):
    def run(*words, out="out", status=0):
        assert elicit("data", "resize", "--data", data, "--out", tmp_path / out, *words) == status
        return tmp_path / out

    return run


@pytest.mark.parametrize(
    ("size", "shape"), [((8,), (8, 8)), ((20, 12), (20, 12)), ((16,), (16, 16))]
)
def test_every_image_is_scaled_and_keeps_the_rest(size, shape, data, resize, monkeypatch):
    monkeypatch.setattr(experiments.data.resize, "SHARD_IMAGES", 20)
    out = resize("--size", *size)
    assert list_splits(out) == {"train": 48, "test": 21}
    for split in ("train", "test"):
        source, found = load_images(data, split), load_images(out, split)
        expected = [
            np.asarray(Image.fromarray(image).resize(shape[::-1], Image.Resampling.BICUBIC))
            for image in source.images
        ]
        np.testing.assert_array_equal(found.images, expected)
        np.testing.assert_array_equal(found.labels, source.labels)
        assert found.ids == found.source_ids == source.ids
        assert found.source_digests == image_digests(source.images)
        assert found.class_names == source.class_names


def test_grey_and_transparent_images_are_scaled_too():
    for channels in (1, 4):
        image = np.full((6, 4, channels), 200, np.uint8)
        found = experiments.data.resize.scale(image, (9, 5))
        np.testing.assert_array_equal(found, np.full((9, 5, channels), 200))


def test_some_splits_and_the_same_command_again(resize, contents, capsys):
    out = resize("--size", 8, "--split", "test")
    assert list_splits(out) == {"test": 21}
    before = contents(out)
    resize("--size", 8, "--split", "test")
    assert "complete; nothing to do" in capsys.readouterr().out
    assert contents(out) == before
    resize("--size", 9, "--split", "test", status=2)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--size", 0), "one or two numbers of pixels from 1 to 4096, got 0"),
        (("--size", 8, 8, 3), "one or two numbers of pixels.*got 8 8 3"),
        (("--size", 8, "--split", "test", "test"), "splits must be distinct, got test test"),
        (("--size", 8, "--split", "val"), "expected a split among .*'val'"),
    ],
)
def test_what_does_not_fit_is_refused(words, message, data, tmp_path, check_refusal):
    given = ("data", "resize", "--data", data, "--out", tmp_path / "out", *words)
    check_refusal(given, message, tmp_path)
