"""Strips of images as files, for pages that are made again when the images are gone.

Each strip is a PNG, enlarged so that a Markdown page can show it as it is. A JSON file beside them
holds the words.
"""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import PIL.Image

from experiments.pages.html import Strip, Strips
from imgopt.errors import InputError
from train.storage.files import atomic_write
from train.storage.strict_json import read_json, write_json
from train.storage.typed_json import from_json


class _Words(NamedTuple):
    """A strip without its images: the number and the caption of its group, and its own words."""

    group: int
    caption: str
    label: str
    notes: tuple[str, ...]
    alt: str


def save_strips(directory: Path, name: str, groups: Sequence[Strips]) -> None:
    """Writes groups of strips, the words last.

    Args:
        directory: directory of the files, which exists.
        name: name of the files.
        groups: the groups.
    """
    words = []
    for number, group in enumerate(groups):
        for index, (label, png, notes, alt) in enumerate(group.strips):
            file = strip_file(f"{name}-{number}", index)
            atomic_write(directory / file, _enlarge(png, group.scale))
            words.append(_Words(number, group.caption, label, tuple(notes), alt)._asdict())
    write_json(directory / f"{name}.json", words)


def read_strips(directory: Path, name: str) -> list[Strips]:
    """Reads groups of strips that `save_strips` wrote.

    Args:
        directory: directory of the files.
        name: name of the files.

    Raises:
        InputError: a file is missing or damaged.
    """
    content = read_json(_present(directory / f"{name}.json"))
    if not isinstance(content, list):
        raise InputError(f"expected a list in {directory / name}.json, got {content!r:.60}")
    groups: dict[int, list[_Words]] = {}
    for fields in content:
        words = from_json(_Words, fields)
        groups.setdefault(words.group, []).append(words)
    return [_read_group(directory, f"{name}-{number}", own) for number, own in groups.items()]


def _read_group(directory: Path, name: str, words: Sequence[_Words]) -> Strips:
    strips = [
        Strip(each.label, _present(directory / file).read_bytes(), each.notes, each.alt)
        for each, file in zip(words, (strip_file(name, i) for i in range(len(words))), strict=True)
    ]
    return Strips(strips, words[0].caption, scale=1, name=name)


def strip_file(group: str, index: int) -> str:
    """Name of a strip's file.

    Args:
        group: name of its group, see `Strips.name`.
        index: its number in the group.
    """
    return f"{group}-{index:02d}.png"


def _present(path: Path) -> Path:
    if not path.is_file():
        raise InputError(
            f"expected the file {path}, which is missing; repeat the command that made the "
            "results, and it is drawn again"
        )
    return path


def _enlarge(png: bytes, scale: int) -> bytes:
    """A PNG with each pixel as a square of a size."""
    with PIL.Image.open(io.BytesIO(png), formats=("PNG",)) as image:
        size = (image.width * scale, image.height * scale)
        large = image.resize(size, PIL.Image.Resampling.NEAREST)
    buffer = io.BytesIO()
    large.save(buffer, "PNG", optimize=True)
    return buffer.getvalue()
