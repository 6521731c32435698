"""Names of classes in pictures: the font that is always there lacks many scripts.

DejaVu Sans comes with matplotlib and has the scripts of Europe and of the Near East. In place of a
name that it cannot write, pictures show the number of the class. Fonts of the machine are not used,
so that equal input gives equal pictures everywhere.
"""

import functools
from collections.abc import Sequence
from pathlib import Path

import matplotlib
from matplotlib.ft2font import FT2Font

FONT_FILE = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"


def drawn_names(class_names: Sequence[str]) -> list[str]:
    """Gives the words that stand for classes in a picture: the name, or else "class 7".

    Args:
        class_names: names of the classes, in the order of their labels.
    """
    return [
        name if _characters().issuperset(filter(str.isprintable, name)) else f"class {label}"
        for label, name in enumerate(class_names)
    ]


def legend(class_names: Sequence[str]) -> str:
    """Says which names the numbers in a picture stand for, such as "class 7: 猫"; may be empty.

    Args:
        class_names: names of the classes, in the order of their labels.
    """
    pairs = zip(drawn_names(class_names), class_names, strict=True)
    return ", ".join(f"{drawn}: {name}" for drawn, name in pairs if drawn != name)


@functools.cache
def _characters() -> frozenset[str]:
    return frozenset(map(chr, FT2Font(str(FONT_FILE)).get_charmap()))
