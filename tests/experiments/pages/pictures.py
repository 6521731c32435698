"""What all tests of pictures share: hostile names, and the laws that every picture obeys."""

import io
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable

import matplotlib as mpl
import numpy as np
import PIL.Image

from experiments.pages.style import SHEET_WIDTH_PX
from experiments.pages.svg import Chart

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


def assert_is_picture(drawn: bytes | Chart) -> None:
    if isinstance(drawn, bytes):
        height, width, _ = decoded(drawn).shape
        assert 400 <= width <= 2 * SHEET_WIDTH_PX
        assert 100 <= height <= 3000
        return
    for data in (drawn.file, drawn.inline.encode()):
        root = ElementTree.fromstring(data)  # noqa: S314 - we made this SVG
        assert root.tag.endswith("svg")
        assert root.attrib["aria-label"].strip()
        assert b"<script" not in data
        assert b"nan" not in data
        assert b"viewBox" not in data.partition(b">")[0]  # as wide as the page
    assert re.search(r"\d", drawn.alt)  # what the chart shows, in numbers


def assert_same_bytes_every_time(draw: Callable[[], bytes | Chart]) -> None:
    first = draw()
    assert_is_picture(first)
    with mpl.rc_context({"axes.facecolor": "red", "font.size": 30, "svg.hashsalt": None}):
        assert draw() == first  # the user's own settings don't leak in
