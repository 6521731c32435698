"""The outcome of a selection of generated images: in words, as JSON, and as a page."""

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Int

from experiments.pages.charts import class_shares
from experiments.pages.confusions import confusion, taken_for
from experiments.pages.html import Fact, Picture, Section, Strip, Strips, Table, write_report
from experiments.pages.statistics import Share, share_of
from experiments.pages.strips import MAX_COLUMNS, class_strips, enlarged, image_row
from experiments.pages.verdict import NOT_ASKED, Verdict
from gans.options.selection import Keep
from gans.selection import KINDS, Tally, wanted_kinds
from imgopt.errors import InputError
from train.data.image_data import ImageData, ImageReader, read_rows
from train.data.load import open_images, read_extras
from train.storage.strict_json import write_sealed

SELECTION_FILE = "selection.json"
WORST_IMAGES = 12
MOST_NAMED = 5
KEPT_NAMES: dict[Keep | None, str] = {"tp": "TP", "fp": "FP", "both": "TP and FP", None: "unsorted"}
"""What a set holds, for titles."""

KIND_NAMES = {"tp": "true positives", "fp": "false positives"}


class Outcome(NamedTuple):
    """The outcome of a selection.

    Attributes:
        class_names: names of the classes, in the order of the labels.
        classes: classes of which images were tried.
        keep: kinds of images to keep; None if all were kept and the classifier only told its
            predictions.
        per_class: number of images wanted of each class and kind; None for all accepted ones.
        tally: what the classifier said of the images tried.
        kept: number of images kept of each class and each of `KINDS`.
    """

    class_names: tuple[str, ...]
    classes: tuple[int, ...]
    keep: Keep | None
    per_class: int | None
    tally: Tally
    kept: Int[np.ndarray, "k 2"]

    @property
    def agreed(self) -> Share:
        """Share of the images tried that the classifier takes for the class intended."""
        confusion = self.tally.confusion
        return share_of(int(np.trace(confusion)), int(confusion.sum()))

    @property
    def sentence(self) -> str:
        """What the classifier says of the images tried, and whether any are lacking."""
        lacking = [
            self.class_names[label]
            for label in self.classes
            for kind in self.kinds
            if self.per_class is not None and self.kept[label, kind] < self.per_class
        ]
        classes = list(dict.fromkeys(lacking))
        more = f" and {len(classes) - MOST_NAMED} more" if len(classes) > MOST_NAMED else ""
        short = (
            f" Fewer images than asked for are there of: {', '.join(classes[:MOST_NAMED])}{more}."
        )
        return (
            f"A classifier takes {self.agreed.words} of the images tried for the class intended."
            + (short if lacking else "")
        )

    @property
    def kinds(self) -> tuple[int, ...]:
        """Kinds to report on, as numbers in `KINDS`."""
        return wanted_kinds(self.keep or "both")

    def rate(self, label: int, kind: int) -> float:
        """Share of a class's images that have a kind and reach the thresholds."""
        return float(self.tally.accepted[label, kind] / self.tally.tried[label])

    def words(self, label: int, kind: int) -> str:
        """Describes a class and kind, such as "3 of 50 true positives (0.6% of 500 tried)"."""
        of = "" if self.per_class is None else f" of {self.per_class:,}"
        return (
            f"{self.kept[label, kind]:,}{of} {KIND_NAMES[KINDS[kind]]} "
            f"({self.rate(label, kind):.2%} of {self.tally.tried[label]:,} tried)"
        )


def check_classes(outcome: Outcome, *, may_lack_some: bool = False) -> None:
    """Raises InputError if nothing was kept of some class.

    Args:
        outcome: the outcome of the selection.
        may_lack_some: raise only if nothing was kept of all classes together.
    """
    empty = [label for label in outcome.classes if not outcome.kept[label].any()]
    if empty and not (may_lack_some and len(empty) < len(outcome.classes)):
        tried = ", ".join(
            f"{outcome.class_names[label]} (of {outcome.tally.tried[label]:,} tried)"
            for label in empty
        )
        raise InputError(
            f"expected at least one accepted image of every class, got none of {tried}; nothing "
            "was written. Train the GAN for longer, lower the thresholds, or try more images"
        )


def warn_of_shortfalls(outcome: Outcome) -> None:
    """Warns of every class and kind with too few images, and gives its acceptance rate."""
    if outcome.per_class is None:
        return
    dry = [
        f"{outcome.class_names[label]} has {outcome.words(label, kind)}"
        for label in outcome.classes
        for kind in outcome.kinds
        if outcome.kept[label, kind] < outcome.per_class
    ]
    if dry:
        warnings.warn(f"fewer images than asked for: {'; '.join(dry)}", stacklevel=2)


def describe_outcome(outcome: Outcome) -> dict[str, object]:
    """Gives the content of `selection.json`: counts, and rates in [0, 1]."""
    classes = {}
    for label in outcome.classes:
        kinds = {KINDS[kind]: kind for kind in outcome.kinds}
        classes[outcome.class_names[label]] = {
            "tried": int(outcome.tally.tried[label]),
            "predicted_as_intended": int(outcome.tally.confusion[label, label]),
            "accepted": {k: int(outcome.tally.accepted[label, i]) for k, i in kinds.items()},
            "acceptance_rate": {k: outcome.rate(label, i) for k, i in kinds.items()},
            "kept": {k: int(outcome.kept[label, i]) for k, i in kinds.items()},
        }
    return {
        "keep": outcome.keep,
        "per_class": outcome.per_class,
        "classes": classes,
        "class_names": list(outcome.class_names),
        "confusion": outcome.tally.confusion.tolist(),
    }


def print_outcome(outcome: Outcome) -> None:
    """Prints one line for each class."""
    width = max(len(outcome.class_names[label]) for label in outcome.classes)
    for label in outcome.classes:
        kinds = ", ".join(outcome.words(label, kind) for kind in outcome.kinds)
        print(f"  {outcome.class_names[label]:{width}}  {kinds}")


def write_pages(
    directory: Path,
    *,
    title: str,
    made: str,
    outcome: Outcome | None,
    footer: Mapping[str, str],
) -> None:
    """Writes a report with a set's first images, and the outcome of a selection.

    Args:
        directory: the set's directory; the set is committed and has a split train.
        title: title of the report.
        made: how the images came about, as the end of a sentence.
        outcome: the outcome of the selection; None if no classifier saw the images.
        footer: how to make the set again, see `experiments.pages.html.provenance`.
    """
    reader = open_images(directory)
    first = _first_images(reader)
    classes = len(np.unique(reader.labels))
    shown = class_strips(
        first.images, first.labels, first.class_names, caption="The first images of each class."
    )
    sections = [Section("The first images", strips=[shown])]
    facts = [Fact("images", f"{len(reader):,}", f"of {classes} classes")]
    if outcome is not None:
        write_sealed(directory / SELECTION_FILE, describe_outcome(outcome))
        facts.append(
            Fact("predicted as intended", f"{outcome.agreed.share:.1%}",
                 f"n = {outcome.agreed.n:,} images tried")
        )  # fmt: skip
        sections += [_selection_section(outcome), *_false_positives(directory, reader)]
    write_report(
        directory / "report.html",
        title=title,
        verdict=Verdict(
            f"{len(reader):,} images of {classes} classes, {made}.",
            "No classifier has seen them, so nothing is known of their quality."
            if outcome is None
            else outcome.sentence,
            NOT_ASKED,
        ),
        facts=facts,
        sections=sections,
        footer=footer,
    )


def _false_positives(directory: Path, reader: ImageReader) -> list[Section]:
    """A section with the kept images that the classifier was surest to be of another class."""
    extras = read_extras(directory, ("predicted", "confidence"))
    predicted, confidence = extras["predicted"], extras["confidence"]
    rows = np.flatnonzero(predicted != reader.labels)
    if not len(rows):
        return []
    worst = np.sort(rows[np.argsort(-confidence[rows], kind="stable")][:WORST_IMAGES])
    data = read_rows(reader, worst)
    strips = [
        Strip(
            data.class_names[label],
            image_row([image]),
            (f"taken for {data.class_names[predicted[row]]}, {confidence[row]:.1%}",),
            f"{data.class_names[label]}, taken for {data.class_names[predicted[row]]}",
        )
        for row, image, label in zip(worst, data.images, data.labels, strict=True)
    ]
    caption = (
        f"{len(worst)} of {len(rows):,} false positives in the set, those with the surest "
        "predictions; above each the class intended."
    )
    shown = Strips(strips, caption, enlarged(data.images.shape[2]))
    return [Section("The worst images", strips=[shown])]


def _first_images(reader: ImageReader) -> ImageData:
    """Reads the images that the page shows."""
    classes = np.unique(reader.labels)
    firsts = [np.flatnonzero(reader.labels == label)[:MAX_COLUMNS] for label in classes]
    return read_rows(reader, np.sort(np.concatenate(firsts)))


def _selection_section(outcome: Outcome) -> Section:
    """Shows the acceptance rate of each class, and the classifier's predictions."""
    names = [outcome.class_names[label] for label in outcome.classes]
    shares = {
        KIND_NAMES[KINDS[kind]]: np.array([outcome.rate(label, kind) for label in outcome.classes])
        for kind in outcome.kinds
    }
    bars = class_shares(shares, names, x_label="share of the images tried")
    counts, row_label = outcome.tally.confusion, "intended class"
    pictures = [Picture(bars, "Images accepted, class by class", name="acceptance")]
    matrix = confusion(counts, outcome.class_names, row_label=row_label)
    if matrix is not None:
        pictures.append(Picture(matrix, "Intended and predicted classes", name="confusion"))
    return Section(
        title="Selection",
        text="An image is a true positive where the classifier's prediction is the class that was "
        "intended, else a false positive. All images tried are counted, kept or not.",
        pictures=pictures,
        tables=(
            _class_table(outcome),
            taken_for(counts, outcome.class_names, row_label=row_label),
        ),
    )


def _class_table(outcome: Outcome) -> Table:
    header = ["class", "tried", "predicted as intended"]
    for kind in outcome.kinds:
        header += [f"{KIND_NAMES[KINDS[kind]]} accepted", "kept"]
    rows = []
    for label in outcome.classes:
        counts = [outcome.tally.tried[label], outcome.tally.confusion[label, label]]
        for kind in outcome.kinds:
            counts += [outcome.tally.accepted[label, kind], outcome.kept[label, kind]]
        rows.append([outcome.class_names[label], *(f"{count:,}" for count in counts)])
    return Table(header, rows, caption="Images tried, accepted and kept, class by class")
