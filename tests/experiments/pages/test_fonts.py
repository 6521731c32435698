"""Which names of classes pictures can show."""

import pytest

from experiments.pages.fonts import drawn_names, legend


@pytest.mark.parametrize("name", ["cat", "кот", "γάτα", "קאט", "قطة", "mèo", "a\nb", ""])
def test_a_name_that_the_font_has_is_drawn(name):
    assert drawn_names(["x", name]) == ["x", name]
    assert legend(["x", name]) == ""


@pytest.mark.parametrize("name", ["猫", "แมว", "बिल्ली", "고양이", "ክብ", "black 猫"])
def test_another_name_is_numbered_and_explained(name):
    assert drawn_names(["x", name]) == ["x", "class 1"]
    assert legend(["x", name]) == f"class 1: {name}"
