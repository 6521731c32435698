"""The command `elicit transfer`: what elicited images say to networks that did not make them.

Each classifier is asked for its output for every image of a set. The output is compared with the
target that the image was made for, as the output of its own classifier is, which the set records.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import scipy.special
from jaxtyping import Bool, Float

import imgopt
from experiments.synthesis.classifiers import find_classifiers
from experiments.transfer.report import (
    MAKER,
    ClassifierAnswers,
    TransferRow,
    transfer_table,
    write_transfer_report,
)
from imgopt.errors import InputError
from train.data.image_data import ImageData
from train.data.load import load_images
from train.data.write import read_extras
from train.evaluation import predict
from train.storage.files import atomic_write
from train.storage.runs import environment
from train.storage.strict_json import write_sealed


@dataclass(frozen=True)
class TransferConfig:
    """Measures what synthesised images say to other classifiers."""

    images: Path
    """Directory of an image set made by `elicit synthesize`."""
    classifiers: tuple[str, ...]
    """Runs of `elicit classifier train`, or callables of your own as package.module:name."""
    out: Path
    """Directory of the result: `transfer.json`, `table.md` and `report.html`."""
    batch_size: int = 500
    """Images in one compiled batch."""

    def __post_init__(self) -> None:
        """Raises InputError for a number outside its range."""
        if self.batch_size < 1:
            raise InputError(f"batch_size must be at least 1, got {self.batch_size}")


def measure_transfer(config: TransferConfig) -> list[TransferRow]:
    """Runs the command: prints a table, and writes it as JSON, as Markdown and as a page.

    Returns:
        A row a classifier; the first one is of the classifier that made the images.

    Raises:
        InputError: the images have no targets, or a classifier does not take them. It is raised
            before anything is compiled or written.
        FloatingPointError: a classifier's output for an image is infinitely far from its target.
    """
    group = find_classifiers(config.classifiers, precision="float32")
    data = load_images(config.images)
    targets, outputs = data.targets, data.outputs
    if targets is None or outputs is None:
        raise InputError(
            f"{config.images} has no targets and outputs; expected a set made by elicit synthesize"
        )
    group.check_takes(data.class_names, data.images.shape[1:])
    made = read_extras(config.images, ("kl",))["kl"]
    answers = [ClassifierAnswers(MAKER, made, *_compared(outputs, targets))]
    for source in group.sources:
        log_p = predict(source.measure, data.images, batch_size=config.batch_size)
        answers.append(_answers(source.name, log_p, targets))
    rows = [TransferRow.of(each) for each in answers]
    _write(config, data, answers, rows)
    return rows


def _answers(
    name: str, log_p: Float[np.ndarray, "n k"], targets: Float[np.ndarray, "n k"]
) -> ClassifierAnswers:
    asked = np.float64(targets)
    kl = scipy.special.xlogy(asked, asked) - asked * np.where(asked > 0, log_p, 0)
    kl = np.maximum(kl.sum(1), 0)  # rounding can make it fall a little below 0
    infinite = int((~np.isfinite(kl)).sum())
    if infinite:
        raise FloatingPointError(
            f"classifier {name} gives {infinite} of {len(kl)} images an output that is infinitely "
            "far from its target, or not finite"
        )
    return ClassifierAnswers(name, kl, *_compared(np.exp(log_p), targets))


def _compared(
    outputs: Float[np.ndarray, "n k"], targets: Float[np.ndarray, "n k"]
) -> tuple[Bool[np.ndarray, " n"], Bool[np.ndarray, " n"]]:
    """Whether all classes rank as asked, and whether the likeliest one is one asked for most."""
    ranks = np.asarray(imgopt.ranking_as_asked(outputs, targets))
    first = np.take_along_axis(targets, outputs.argmax(1)[:, None], 1)[:, 0]
    return ranks, first == targets.max(1)


def _write(
    config: TransferConfig,
    data: ImageData,
    answers: Sequence[ClassifierAnswers],
    rows: Sequence[TransferRow],
) -> None:
    config.out.mkdir(parents=True, exist_ok=True)
    found = {
        "images": str(config.images),
        "number_of_images": len(data.labels),
        "rows": [asdict(row) for row in rows],
        **environment(),
    }
    write_sealed(config.out / "transfer.json", found)
    table = transfer_table(rows).markdown
    atomic_write(config.out / "table.md", f"{table}\n".encode())
    write_transfer_report(config.out / "report.html", answers, rows, command=found["command"])
    print(table)
    print(f"report: {config.out / 'report.html'}")
