"""Finds a user's own pictures: a folder with one subfolder a class, perhaps below one a split."""

from pathlib import Path
from typing import NamedTuple

from imgopt.errors import InputError

TRAIN, TEST = "train", "test"
SPLIT_NAMES = {
    "train": TRAIN,
    "training": TRAIN,
    "val": "val",
    "valid": "valid",
    "validation": "validation",
    "test": TEST,
    "testing": TEST,
}
"""Splits by the names of folders that are taken for splits."""


class ClassFolder(NamedTuple):
    """A folder with the pictures of one class in one split.

    Attributes:
        path: the folder.
        split: name of the split.
        label: number of the class.
    """

    path: Path
    split: str
    label: int


class PictureFolders(NamedTuple):
    """The folders of a user's pictures.

    Attributes:
        splits: folders of the splits, train first; the whole folder if it has no splits.
        class_names: names of the classes, sorted.
        classes: folders of the classes, in the order of the splits and of the classes.
        strays: files that lie outside the folders of the classes.
    """

    splits: dict[str, Path]
    class_names: tuple[str, ...]
    classes: list[ClassFolder]
    strays: list[Path]


def find_pictures(folder: Path) -> PictureFolders:
    """Finds the splits and classes of a folder; no picture is opened.

    Subfolders are splits if all of them have names such as train, val and test, and train has
    subfolders of its own. Otherwise they are classes.

    Args:
        folder: the folder.

    Raises:
        InputError: there is no such folder; a split has no class, or one that train lacks.
    """
    if not folder.is_dir():
        raise InputError(
            f"expected a folder with one subfolder a class, got {folder}, which is no "
            "folder; check the path"
        )
    splits = _own_splits(folder) or {TRAIN: folder}
    by_split = {split: subfolders(place) for split, place in splits.items()}
    for split, found in by_split.items():
        if not found:
            raise InputError(
                f"expected one subfolder a class in {splits[split]}, got none; "
                "put the pictures of each class into a folder of its name"
            )
    names = tuple(path.name for path in by_split[TRAIN])
    for path in (path for found in by_split.values() for path in found):
        if path.name not in names:
            raise InputError(
                f"expected the classes of {splits[TRAIN]} in every split, got {path}; add pictures "
                "of this class to both, or remove the folder"
            )
    return PictureFolders(
        splits=splits,
        class_names=names,
        classes=[
            ClassFolder(path, split, names.index(path.name))
            for split, found in by_split.items()
            for path in found
        ],
        strays=[
            path
            for place in dict.fromkeys([folder, *splits.values()])
            for path in visible(place)
            if not path.is_dir()
        ],
    )


def visible(folder: Path) -> list[Path]:
    """Lists a folder by name, without the hidden files that file managers leave in it.

    Args:
        folder: the folder.
    """
    return sorted(path for path in folder.iterdir() if not path.name.startswith("."))


def subfolders(folder: Path) -> list[Path]:
    """Lists the visible folders in a folder, by name.

    Args:
        folder: the folder.
    """
    return [path for path in visible(folder) if path.is_dir()]


def _own_splits(folder: Path) -> dict[str, Path]:
    """Gives the folders that are splits, in the usual order; none if they are classes."""
    places = subfolders(folder)
    names = [SPLIT_NAMES.get(path.name.lower()) for path in places]
    if TRAIN not in names or None in names or not subfolders(places[names.index(TRAIN)]):
        return {}
    if len(set(names)) < len(names):
        raise InputError(
            f"expected one folder for each split in {folder}, got "
            f"{', '.join(path.name for path in places)}; join those of one split"
        )
    order = list(dict.fromkeys(SPLIT_NAMES.values()))
    found = {str(name): path for name, path in zip(names, places, strict=True)}
    return {name: found[name] for name in order if name in found}
