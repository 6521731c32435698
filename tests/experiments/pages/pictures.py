"""What all tests of pictures share: hostile names, and the laws that every picture obeys."""

import io
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable

import numpy as np
import PIL.Image

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


def assert_is_picture(drawn: Chart) -> None:
    for data in (drawn.file, drawn.inline.encode()):
        root = ElementTree.fromstring(data)  # noqa: S314 - we made this SVG
        assert root.tag.endswith("svg")
        assert root.attrib["aria-label"].strip()
        assert b"<script" not in data
        assert b"nan" not in data
        assert b"viewBox" not in data.partition(b">")[0]  # as wide as the page
    assert re.search(r"\d", drawn.alt)  # what the chart shows, in numbers


def assert_same_bytes_every_time(draw: Callable[[], Chart]) -> None:
    first = draw()
    assert_is_picture(first)
    assert draw() == first
