"""`elicit augment`: squares of the images, enlarged, with labels and sources kept."""

import shutil

import jax
import numpy as np
import pytest

from train.augmentation import crop_and_zoom
from train.data.load import load_images
from train.data.verify import read_manifest, verify


@pytest.fixture
def augment(tmp_path, elicit):
    def run(data, *words, name="cropped"):
        out = tmp_path / name
        given = ("--data", data, "--method", "crop-zoom", "--crop-px", 12, "--out", out)
        assert elicit("augment", *given, *words) == 0
        return out

    return run


def test_labels_and_sources_are_kept(augment, data, capsys):
    out = augment(data, "--copies", 2, "--key", 3)
    assert f"{out}: 96 train, 2 of each of 48 images" in capsys.readouterr().out
    source, made = load_images(data), load_images(out)
    assert made.class_names == source.class_names
    assert made.source_ids == source.ids * 2
    np.testing.assert_array_equal(made.labels, np.tile(source.labels, 2))
    assert made.ids[:1] == (f"crop-zoom_0_{source.ids[0]}",)
    assert made.ids[48:49] == (f"crop-zoom_1_{source.ids[0]}",)
    for copy, images in enumerate(np.split(made.images, 2)):
        key = jax.random.fold_in(jax.random.key(3), copy)
        np.testing.assert_array_equal(images, crop_and_zoom(key, source.images, crop_px=12))
    assert (made.images[:48] != made.images[48:]).any()
    manifest = read_manifest(out)
    assert verify(out) == []
    assert [manifest[name] for name in ("method", "copies", "key", "crop_px")] == [
        "crop-zoom", 2, 3, 12,
    ]  # fmt: skip


def test_the_sources_of_a_made_set_are_kept(augment, data):
    first = augment(data)
    again = load_images(augment(first, name="again"))
    assert again.source_ids == load_images(data).ids
    assert again.ids[0] == f"crop-zoom_0_{load_images(first).ids[0]}"


def test_more_copies_and_another_split(augment, data):
    one = load_images(augment(data, "--split", "test", name="one"))
    two = load_images(augment(data, "--split", "test", "--copies", 2, name="two"))
    assert one.ids == two.ids[:21]
    np.testing.assert_array_equal(one.images, two.images[:21])
    assert one.source_ids == load_images(data, "test").ids


def test_the_same_command_again(augment, data, elicit, contents, tmp_path, capsys):
    out = augment(data)
    before = contents(out)
    augment(data)
    assert "complete; nothing to do" in capsys.readouterr().out
    shutil.copytree(data, tmp_path / "data" / data.name / "1.0.0")
    by_name = ("--data", data.name, "--data-dir", tmp_path / "data")
    assert contents(augment(data, *by_name, name="again")) == before
    assert elicit("augment", "--data", data, "--crop-px", 11, "--out", out) == 2
    assert "set of another configuration: crop_px was 12, now 11" in capsys.readouterr().err
    assert contents(out) == before
