"""What `--classifier` names: a run of our own, or a callable of the user's."""

import importlib
import sys
from pathlib import Path
from typing import NamedTuple, cast

from imgopt import Classify
from imgopt.synthesis import logits_shape
from train.classifiers import (
    ClassifierSpec,
    Precision,
    classify_function,
    digest,
    load_classifier,
)
from train.datasets import ImageData


class ClassifierSource(NamedTuple):
    """A classifier to synthesise with.

    Attributes:
        classify: from images to logits, in the precision asked for.
        measure: the same in float32, for the finished images.
        name: as the user gave it.
        sha256: digest of spec and parameters; None for a callable, which cannot be digested.
        spec: of a run; None for a callable.
    """

    classify: Classify
    measure: Classify
    name: str
    sha256: str | None
    spec: ClassifierSpec | None

    @property
    def identity(self) -> dict[str, str]:
        """What tells it apart, wherever a run lies; a callable has nothing but its name."""
        return {"sha256": self.sha256} if self.sha256 else {"callable": self.name}


def find_classifier(name: str, *, precision: Precision) -> ClassifierSource:
    """Loads a run's classifier, or imports "package.module:name".

    Args:
        name: a directory, or a callable's place; modules in the working directory are found too.
        precision: of a run's computation; a callable has its own.

    Raises:
        ValueError: there is no such run or callable, or the run is damaged.
    """
    if ":" in name and not Path(name).exists():
        function = _import_callable(name)
        return ClassifierSource(function, function, name, None, None)
    if not Path(name).is_dir():
        raise ValueError(
            f"no classifier at {name!r}; expected a run directory (made by: elicit classifier "
            "train --out RUN) or a callable as package.module:name"
        )
    classifier = load_classifier(name)
    return ClassifierSource(
        classify_function(classifier, precision=precision),
        classify_function(classifier),
        name,
        digest(classifier),
        classifier.spec,
    )


def check_fits(source: ClassifierSource, data: ImageData) -> None:
    """Raises ValueError unless a classifier takes the data's images and has their classes."""
    if source.spec is None:
        found = logits_shape(source.classify, (1, *data.images.shape[1:]))[1]
        if found != len(data.class_names):
            raise ValueError(
                f"classifier {source.name} gives logits of {found} classes, the data set has "
                f"{len(data.class_names)}: {data.class_names}"
            )
        return
    if source.spec.image_shape != data.images.shape[1:]:
        raise ValueError(
            f"classifier {source.name} takes images of shape {source.spec.image_shape}, the data "
            f"set has {data.images.shape[1:]}"
        )
    if source.spec.class_names != data.class_names:
        raise ValueError(
            f"classifier {source.name} has {len(source.spec.class_names)} classes "
            f"{source.spec.class_names}, the data set {len(data.class_names)} {data.class_names}"
        )


def _import_callable(place: str) -> Classify:
    module_name, _, name = place.partition(":")
    sys.path.insert(0, str(Path.cwd()))  # a console script's own directory stands there instead
    try:
        function = getattr(importlib.import_module(module_name), name)
    except Exception as error:  # whatever the user's module raises, a SyntaxError too
        raise ValueError(
            f"cannot import classifier {place!r}: {type(error).__name__}: {error}"
        ) from error
    finally:
        sys.path.pop(0)
    if not callable(function):
        raise ValueError(f"classifier {place!r} is not callable but {type(function).__name__}")
    return cast(Classify, function)
