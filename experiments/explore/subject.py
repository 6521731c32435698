"""What is explored: a classifier, and the data set whose images are picked by number.

Without a classifier a small one of handwritten digits is trained, once, in a thread of its own
while the page shows how far it is.
"""

import functools
import threading
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from experiments.classifier.source import ClassifierSource, check_takes, find_classifier
from experiments.classifier.train import train_classifier
from experiments.options.classifier import ClassifierTrainConfig
from experiments.options.explore import ClassifierOptions
from experiments.quickstart.synthesis import TRAINING, WIDTH
from imgopt import Classify, iterate, to_float, uniform_targets
from imgopt.errors import InputError
from train.data import DIGITS
from train.data.image_data import ImageReader
from train.data.load import open_images
from train.evaluation import predict
from train.storage.locks import exclusive
from train.storage.runs import METRICS_FILE, RESULT_FILE, read_metrics

DIGITS_RUN = Path("runs/explore/digits")
"""Run of the classifier that is trained at the first use."""


@dataclass(frozen=True)
class Subject:
    """A loaded classifier, and a data set that it takes.

    Attributes:
        source: the classifier.
        data: the data set.
        options: the options that name both; the classifier's name is filled in.
    """

    source: ClassifierSource
    data: ImageReader
    options: ClassifierOptions

    @property
    def classify(self) -> Classify:
        """Function from images to logits."""
        return self.source.classify

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the classes, in the order of the logits."""
        return self.data.class_names

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Height, width and channels of the classifier's images."""
        return self.data.image_shape

    @functools.cached_property
    def row_by_id(self) -> dict[str, int]:
        """Number of each image of the data set by its id."""
        return {name: row for row, name in enumerate(self.data.iter_ids())}

    def probabilities(self, pixels: np.ndarray, *, batch_size: int) -> np.ndarray:
        """The classifier's outputs for 8-bit images, in batches of one compiled size.

        Args:
            pixels: the images, uint8 (n, h, w, c).
            batch_size: images in a batch; the last one is filled up.
        """
        rows = np.arange(-(-len(pixels) // batch_size) * batch_size)
        filled = pixels[np.minimum(rows, len(pixels) - 1)]
        return np.exp(predict(self.classify, filled, batch_size=batch_size))[: len(pixels)]


def load_subject(options: ClassifierOptions) -> Subject:
    """Loads a classifier and opens its data set.

    Raises:
        InputError: one of them is missing or damaged, or they do not fit.
    """
    source = find_classifier(str(options.classifier), precision="float32")
    data = open_images(options.data, options.split, data_dir=options.data_dir)
    try:
        check_takes(source, data.class_names, data.image_shape, of="data set")
    except InputError as error:
        raise InputError(f"{error}; name the classifier's own data with --data") from error
    return Subject(source, data, options)


class SubjectLoader:
    """Prepares the subject: trains the digits' classifier if none is given, and compiles."""

    def __init__(self, options: ClassifierOptions) -> None:
        """Loads the classifier that the options name.

        Raises:
            InputError: as `load_subject`.
        """
        self._options = options
        self._loaded = None if options.classifier is None else load_subject(options)
        self._ready: Subject | None = None
        self._error: str | None = None
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begins the preparation, in a thread of its own."""
        self._thread = threading.Thread(target=self.prepare, daemon=True)
        self._thread.start()

    @property
    def is_busy(self) -> bool:
        """Whether the preparation goes on."""
        return self._thread is not None and self._thread.is_alive()

    def prepare(self) -> None:
        """Trains, loads and compiles; `state` tells what went wrong."""
        try:
            if self._loaded is None:
                with exclusive(DIGITS_RUN):
                    train_digits(DIGITS_RUN)
                self._loaded = load_subject(replace(self._options, classifier=str(DIGITS_RUN)))
            compile_for(self._loaded)
            self._ready = self._loaded
        except Exception as error:  # whatever it is, the page shall say so
            self._error = f"the classifier cannot be made ready: {error}"
            if not isinstance(error, InputError | OSError):
                raise

    def get(self) -> Subject:
        """The subject.

        Raises:
            InputError: it is not ready yet, or its preparation failed.
        """
        if self._ready is None:
            raise InputError(self._error or "the classifier is not ready yet; wait a little")
        return self._ready

    def state(self) -> dict[str, Any]:
        """How far the preparation is, as JSON: "training", "compiling", "ready" or "failed"."""
        if self._error is not None:
            return {"state": "failed", "error": self._error}
        if self._ready is not None:
            return {"state": "ready"}
        if self._loaded is not None:
            return {"state": "compiling"}
        lines = read_metrics(DIGITS_RUN) if (DIGITS_RUN / METRICS_FILE).is_file() else []
        accuracy = lines[-1].get("test_accuracy") if lines else None
        epochs = {"epoch": len(lines), "epochs": TRAINING.epochs}
        return {"state": "training", **epochs, "accuracy": accuracy}


def compile_for(subject: Subject) -> None:
    """Makes one update of one image, so that the page's first one comes without delay.

    Args:
        subject: the classifier and its data set.
    """
    pixels = subject.data.read(0, 1).images
    subject.probabilities(pixels, batch_size=1)
    target = uniform_targets(1, num_classes=len(subject.class_names))
    for _ in iterate(subject.classify, to_float(pixels), target, steps=1):
        pass


def train_digits(run: Path) -> None:
    """Trains the digits' classifier, unless the run is complete.

    Args:
        run: directory of the run.
    """
    if not (run / RESULT_FILE).is_file():
        train_classifier(
            ClassifierTrainConfig(
                data=DIGITS, out=run, model="vgg-small", width=WIDTH, train=TRAINING
            ),
            label="training the digits' classifier",
        )
