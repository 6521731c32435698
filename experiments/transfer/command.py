"""The command `elicit transfer`: what elicited images say to networks that did not make them.

Each classifier is asked for its output for every image of one or several sets. The output is
compared with the target that the image was made for, as the output of its own classifier is, which
the set records.
"""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
import scipy.special
from jaxtyping import Bool, Float

import imgopt
from experiments.options.synthesis import TransferConfig
from experiments.pages.html import digest_words, provenance
from experiments.synthesis.classifiers import ClassifierGroup, find_classifiers
from experiments.synthesis.summary import first_class_as_asked
from experiments.transfer.report import (
    MAKER,
    ClassifierAnswers,
    SetAnswers,
    TransferRow,
    transfer_table,
    write_transfer_report,
)
from imgopt.errors import InputError
from train.data.image_data import ImageData
from train.data.load import load_images, read_extras
from train.evaluation import predict
from train.storage.files import atomic_write
from train.storage.runs import environment
from train.storage.strict_json import write_sealed


def measure_transfer(config: TransferConfig) -> list[TransferRow]:
    """Runs the command: prints a table, and writes it as JSON, as Markdown and as a page.

    Returns:
        A row a set and classifier; a set's first row is of the classifier that made its images.

    Raises:
        InputError: the images have no targets, or a classifier does not take them. It is raised
            before anything is compiled or written.
        FloatingPointError: a classifier's output for an image is infinitely far from its target.
    """
    group = find_classifiers(config.classifier, precision="float32")
    sets = [_load(path) for path in config.images]
    for images in sets:
        group.check_takes(images.data.class_names, images.data.images.shape[1:])
    found = [_ask(group, images, batch_size=config.batch_size) for images in sets]
    rows = [TransferRow.of(each.name, one) for each in found for one in each.answers]
    _write(config, group, found, rows)
    return rows


class _ElicitedSet(NamedTuple):
    """A set, with the divergences that it records."""

    name: str
    data: ImageData
    kl: Float[np.ndarray, " n"]


def _load(path: Path) -> _ElicitedSet:
    data = load_images(path)
    if data.targets is None or data.outputs is None:
        raise InputError(
            f"{path} has no targets and outputs; expected a set made by elicit synthesize or "
            "elicit exemplars"
        )
    return _ElicitedSet(str(path), data, read_extras(path, ("kl",))["kl"])


def _ask(group: ClassifierGroup, images: _ElicitedSet, *, batch_size: int) -> SetAnswers:
    """What the set's own classifier and all others say of its images."""
    targets, outputs = cast(Any, images.data.targets), cast(Any, images.data.outputs)
    answers = [ClassifierAnswers(MAKER, images.kl, *_compared(outputs, targets))]
    for source in group.sources:
        log_p = predict(source.measure, images.data.images, batch_size=batch_size)
        answers.append(_answers(source.name, log_p, targets, of=images.name))
    return SetAnswers(images.name, answers)


def _answers(
    name: str, log_p: Float[np.ndarray, "n k"], targets: Float[np.ndarray, "n k"], *, of: str
) -> ClassifierAnswers:
    asked = np.float64(targets)
    kl = scipy.special.xlogy(asked, asked) - asked * np.where(asked > 0, log_p, 0)
    kl = np.maximum(kl.sum(1), 0)  # rounding can make it fall a little below 0
    infinite = int((~np.isfinite(kl)).sum())
    if infinite:
        raise FloatingPointError(
            f"classifier {name} gives {infinite} of {len(kl)} images of {of} an output that is "
            "infinitely far from its target, or not finite"
        )
    return ClassifierAnswers(name, kl, *_compared(np.exp(log_p), targets))


def _compared(
    outputs: Float[np.ndarray, "n k"], targets: Float[np.ndarray, "n k"]
) -> tuple[Bool[np.ndarray, " n"], Bool[np.ndarray, " n"]]:
    """Whether all classes rank as asked, and whether the likeliest one is one asked for most."""
    ranks = np.asarray(imgopt.ranking_as_asked(outputs, targets))
    return ranks, first_class_as_asked(outputs, targets)


def _write(
    config: TransferConfig,
    group: ClassifierGroup,
    answers: Sequence[SetAnswers],
    rows: Sequence[TransferRow],
) -> None:
    config.out.mkdir(parents=True, exist_ok=True)
    found: dict[str, Any] = {
        "images": [str(path) for path in config.images],
        "rows": [asdict(row) for row in rows],
        **environment(),
    }
    write_sealed(config.out / "transfer.json", found)
    table = transfer_table(rows).markdown
    atomic_write(config.out / "table.md", f"{table}\n".encode())
    names = "; ".join(f"{each.name}, {digest_words(each.sha256)}" for each in group.sources)
    footer = provenance(found, data=", ".join(found["images"]), classifier=names)
    footer |= {"numbers": "transfer.json"}
    write_transfer_report(config.out / "report.html", answers, rows, footer=footer)
    print(table)
    print(f"report: {config.out / 'report.html'}")
