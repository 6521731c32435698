"""What all tests of pictures share: hostile names, and the laws that every picture obeys."""

import io
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable

import matplotlib as mpl
import numpy as np
import PIL.Image

from experiments.pages.style import SHEET_WIDTH_PX

HOSTILE = [
    "$\\frac{",
    "<script>alert(1)</script>",
    "a&b\n\x00c",
    "\udcff",
    "猫🐈",
    "x" * 500,
    "_x",
    "",
]
"""Names that must be drawn as plain text."""


def decoded(png: bytes) -> np.ndarray:
    return np.asarray(PIL.Image.open(io.BytesIO(png)).convert("RGB"))


def assert_is_picture(data: bytes) -> None:
    if data.startswith(b"\x89PNG"):
        height, width, _ = decoded(data).shape
        assert 400 <= width <= 2 * SHEET_WIDTH_PX
        assert 100 <= height <= 3000
    else:
        root = ElementTree.fromstring(data)  # noqa: S314 - we made this SVG
        assert root.tag == "{http://www.w3.org/2000/svg}svg"
        assert b"<script" not in data


def assert_same_bytes_every_time(draw: Callable[[], bytes]) -> None:
    first = draw()
    assert_is_picture(first)
    with mpl.rc_context({"axes.facecolor": "red", "font.size": 30, "svg.hashsalt": None}):
        assert draw() == first  # the user's own settings don't leak in
