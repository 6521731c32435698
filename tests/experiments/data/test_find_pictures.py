"""Which folders are splits and which are classes."""

from pathlib import Path

import pytest

from experiments.data.find_pictures import find_pictures
from imgopt.errors import InputError


def make(folder: Path, *places: str) -> Path:
    for place in places:
        (folder / place).mkdir(parents=True)
    return folder


@pytest.mark.parametrize(
    ("places", "splits", "classes"),
    [
        (("cat", "dog"), ["train"], ("cat", "dog")),
        (("train/cat", "train/dog", "val/cat"), ["train", "val"], ("cat", "dog")),
        (("TEST/cat", "Training/cat", "valid/cat"), ["train", "valid", "test"], ("cat",)),
        (("validation/b", "train/b", "train/a"), ["train", "validation"], ("a", "b")),
        (("train/cat",), ["train"], ("cat",)),
        (("train", "test"), ["train"], ("test", "train")),  # vehicles and examinations
        (("train", "car", "plane"), ["train"], ("car", "plane", "train")),
        ((".cache", "cat"), ["train"], ("cat",)),
    ],
)
def test_folders_are_splits_or_classes(places, splits, classes, tmp_path):
    found = find_pictures(make(tmp_path, *places))
    assert list(found.splits) == splits
    assert found.class_names == classes
    assert all(classes[each.label] == each.path.name for each in found.classes)


@pytest.mark.parametrize(
    ("places", "message"),
    [
        ((), "one subfolder a class in"),
        (("train/cat", "test"), r"one subfolder a class in .*test, got none"),
        (("train/cat", "val/dog"), r"the classes of .*train in every split, got .*val/dog"),
        (("train/cat", "training/cat"), "one folder for each split in .*, got train, training"),
    ],
)
def test_other_folders_are_refused(places, message, tmp_path):
    with pytest.raises(InputError, match=message):
        find_pictures(make(tmp_path, *places))
    with pytest.raises(InputError, match="no folder"):
        find_pictures(tmp_path / "nowhere")
