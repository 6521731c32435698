"""The classifiers that images are synthesised from: one, or several whose mean output counts."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import imgopt
from experiments.classifier.source import ClassifierSource, check_takes, find_classifier
from imgopt.errors import InputError
from train.recipes.train_options import Precision


@dataclass(frozen=True)
class ClassifierGroup:
    """One classifier, or several that answer together.

    Attributes:
        sources: the classifiers, at least one.
    """

    sources: Sequence[ClassifierSource]

    @property
    def classify(self) -> imgopt.Classify:
        """Function from images to logits, in the precision asked for."""
        return _mean([source.classify for source in self.sources])

    @property
    def measure(self) -> imgopt.Classify:
        """The same function in float32, to measure finished images."""
        return _mean([source.measure for source in self.sources])

    def identify(self, image_shape: tuple[int, ...]) -> dict[str, Any]:
        """What tells this group from others in a configuration (see `ClassifierSource`)."""
        found = [source.identify(image_shape) for source in self.sources]
        if len(found) == 1:
            return found[0]
        return {"mean_of": {str(number): each for number, each in enumerate(found)}}

    def check_takes(self, class_names: tuple[str, ...], image_shape: tuple[int, ...]) -> None:
        """Raises InputError unless all take a data set's images and have its classes."""
        for source in self.sources:
            check_takes(source, class_names, image_shape, of="data set")


def find_classifiers(names: Sequence[str], *, precision: Precision) -> ClassifierGroup:
    """Loads the classifiers that `--classifier` names.

    Args:
        names: runs or callables (see `find_classifier`).
        precision: precision of their computation.

    Raises:
        InputError: there is none, one is given twice, or one is missing or damaged.
    """
    if not names:
        raise InputError("expected at least one classifier, a run or a callable, got none")
    if len(set(names)) < len(names):
        raise InputError(f"classifiers must differ, got {' '.join(names)}; give each once")
    return ClassifierGroup([find_classifier(name, precision=precision) for name in names])


def _mean(classifiers: list[imgopt.Classify]) -> imgopt.Classify:
    return classifiers[0] if len(classifiers) == 1 else imgopt.mean_classifier(classifiers)
