"""Which classes were taken for which: the matrix, and the commonest mistakes in a table."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Integer

from experiments.pages.charts import told
from experiments.pages.html import Table
from experiments.pages.svg import Chart, element, escaped, rect, text

MAX_DRAWN_CLASSES = 30
"""Most classes of a drawn matrix; of more, the table tells the commonest mistakes."""

MAX_WRITTEN_CLASSES = 12
"""Most classes for which the cells hold numbers."""

MAX_WRITTEN_COUNT = 999
"""Largest count that fits a cell of a narrow page; beyond, cells hold percentages of the row."""

MAX_NAME_CHARACTERS = 11
"""Most characters of a class's name at the matrix."""

MAX_ROWS = 30
"""Most rows of the table of mistakes."""

NAMES_PERCENT, NAMES_PX = 24.0, 74
"""Room for the names at the left, in percent, and above, in pixels."""


def confusion(
    matrix: Integer[np.ndarray, "k k"],
    class_names: Sequence[str],
    *,
    row_label: str = "true class",
) -> Chart | None:
    """Draws a confusion matrix: a row is a true class, a column a predicted class.

    The shade shows the share of the row by its square root, which makes small errors visible.
    Numbers are written for up to 12 classes.

    Args:
        matrix: counts, ≥ 0.
        class_names: the k names.
        row_label: what the rows are, if they are not the true classes.

    Returns:
        The chart; None for more than 30 classes, whose cells could not be told apart.
    """
    size = len(class_names)
    if size > MAX_DRAWN_CLASSES:
        return None
    share = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    is_count = matrix.max() <= MAX_WRITTEN_COUNT
    unit = "" if is_count or size > MAX_WRITTEN_CLASSES else ", % of the row"
    pitch, width = (26 if size <= MAX_WRITTEN_CLASSES else 18), (100 - NAMES_PERCENT) / size
    bottom = NAMES_PX + pitch * size
    parts = [text(0, 12, f"rows: {row_label}{unit}", "soft small")]
    parts.append(text(0, 28, "columns: predicted", "soft small"))
    parts.append(rect((NAMES_PERCENT, 100), (NAMES_PX, bottom), "track"))
    for row, name in enumerate(class_names):
        y, words = NAMES_PX + pitch * row, _middle_cut(name)
        foot = y + pitch / 2 + 4
        parts.append(text(NAMES_PERCENT - 1.5, foot, words, "small", anchor="end"))
        parts.append(_column_name(words, NAMES_PERCENT + (row + 0.5) * width, size))
        for column in np.flatnonzero(matrix[row]).tolist():
            place = (NAMES_PERCENT + column * width, NAMES_PERCENT + (column + 1) * width)
            number = str(matrix[row, column]) if is_count else f"{100 * share[row, column]:.0f}"
            number = number if size <= MAX_WRITTEN_CLASSES else ""
            parts.append(_cell(place, (y, y + pitch), float(share[row, column]), number))
    count, right = int(matrix.sum()), int(np.trace(matrix))
    alt = (
        f"{count:,} images of {size} classes, {right:,} ({right / max(count, 1):.1%}) predicted as "
        f"the {row_label}. Commonest mistakes: {told(_mistakes(matrix, class_names)) or 'none'}."
    )
    return Chart("".join(parts), bottom + 6, alt)


def _middle_cut(name: str) -> str:
    """A name without its middle if it is long: names often differ in their ends."""
    return name if len(name) <= MAX_NAME_CHARACTERS else f"{name[:6]}…{name[-4:]}"


def _column_name(words: str, x: float, size: int) -> str:
    degrees = -42 if size <= MAX_WRITTEN_CLASSES else -90
    inside = element("text", escaped(words), class_="small", transform=f"rotate({degrees})")
    return element("svg", inside, x=f"{x:.6g}%", y=NAMES_PX - 6, overflow="visible")


def _cell(x: tuple[float, float], y: tuple[float, float], share: float, words: str) -> str:
    shade = round(float(np.sqrt(share)), 3)
    style = "on small" if shade > 0.6 else "plain small"
    cell = rect(x, (y[0] + 1, y[1] - 1), "fill c0", fill_opacity=shade)
    number = text((x[0] + x[1]) / 2, (y[0] + y[1]) / 2 + 4, words, style, anchor="middle")
    return cell + number * bool(words)


def _mistakes(matrix: np.ndarray, class_names: Sequence[str]) -> list[str]:
    """The cells beside the diagonal as words, the largest first."""
    wrong = matrix - np.diag(np.diag(matrix))
    order = np.argsort(-wrong, axis=None, kind="stable")[: int((wrong > 0).sum())]
    cells = [divmod(int(place), len(class_names)) for place in order]
    return [f"{class_names[a]} taken for {class_names[b]}, {wrong[a, b]:,}" for a, b in cells]


def taken_for(
    matrix: Integer[np.ndarray, "k k"], class_names: Sequence[str], *, row_label: str = "true class"
) -> Table:
    """A table of what the images of each class were taken for, the most mistakes first.

    Args:
        matrix: counts by [class, predicted class].
        class_names: the k names.
        row_label: what the rows of the matrix are.
    """
    wrong = matrix - np.diag(np.diag(matrix))
    order = np.argsort(-wrong.sum(1), kind="stable")
    rows = []
    for label in order[:MAX_ROWS]:
        total, misses = int(matrix[label].sum()), int(wrong[label].sum())
        if not total:
            continue
        others = np.argsort(-wrong[label], kind="stable")[: int((wrong[label] > 0).sum())][:3]
        named = ", ".join(f"{class_names[k]} ({wrong[label, k]:,})" for k in others) or "–"
        share = f"{misses / total:.1%}"
        rows.append([class_names[label], f"{total:,}", f"{misses:,}", share, named])
    shown = f", the {MAX_ROWS} classes with the most" if len(class_names) > MAX_ROWS else ""
    return Table(
        (row_label, "images", "mistakes ↓", "share ↓", "most often taken for"),
        rows,
        caption=f"What was taken for another class{shown}",
    )
