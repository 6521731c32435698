"""What can befall a file: each kind of damage, by its name."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

FLIPS = 2
"""Kinds of damage that flip one bit, each at another random place."""


def flip(path: Path, seed: int) -> None:
    content = bytearray(path.read_bytes())
    random = np.random.default_rng([seed, len(content)])
    if content:  # some of Orbax's files are empty
        content[random.integers(len(content))] ^= 1 << random.integers(8)
    path.write_bytes(bytes(content or b"\0"))


def halve(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2] or b"\0")


def become_a_directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


DAMAGES: dict[str, Callable[[Path], object]] = {
    **{f"flip {i}": lambda path, i=i: flip(path, i) for i in range(FLIPS)},
    "halved": halve,
    "emptied": lambda path: path.write_bytes(b"" if path.stat().st_size else b"\0"),
    "removed": Path.unlink,
    "a directory": become_a_directory,
}
