"""The classifier that `--classifier` names: a run, or a callable of the user's."""

from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from imgopt import Classify, split_classifier
from imgopt.errors import InputError
from train.classifiers import (
    ClassifierSpec,
    classify_function,
    digest,
    feature_function,
    load_classifier,
)
from train.data.combine import describe_classes
from train.data.image_data import ImageData
from train.recipes.train_options import Precision
from train.runtime.user_modules import import_place


class ClassifierSource(NamedTuple):
    """A classifier to synthesise or to select images with.

    Attributes:
        classify: Function from images to logits, in the precision asked for.
        measure: The same function in float32, to measure finished images.
        name: Name that the user gave.
        sha256: Digest of spec and parameters; None for a callable, which has none.
        spec: The run's spec; None for a callable.
        features: Function from images to features in float32; None for a callable.
    """

    classify: Classify
    measure: Classify
    name: str
    sha256: str | None
    spec: ClassifierSpec | None
    features: jax.tree_util.Partial | None

    def identify(self, image_shape: tuple[int, ...]) -> dict[str, Any]:
        """What distinguishes this classifier from other ones in a configuration.

        For a run it is the digest, wherever the run lies. For a callable, whose weights may change
        under the same name, it is the name and some numbers of its outputs for fixed noise (see
        `describe_outputs`), which `train.storage.runs.differences` compares with a tolerance.

        Args:
            image_shape: Height, width, channels of the images that it takes.
        """
        if self.sha256:
            return {"sha256": self.sha256}
        return {
            "callable": self.name,
            "approximate_outputs": describe_outputs(self.measure, image_shape),
        }


PROBE_IMAGES = 8
LEAST_LOG_RATIO = -100.0
"""Smaller logits, also infinite ones, count as this much below the largest."""


def describe_outputs(classify: Classify, image_shape: tuple[int, ...]) -> list[float]:
    """Describes a classifier by one number for each of 8 fixed images of noise.

    A number is the sum of the image's logits, the largest one subtracted, each times a fixed factor
    between -1 and 1, over √k. So it says something of all k logits, and other weights give other
    numbers. The batch is always the same, so the numbers depend on no batch size; other numbers of
    threads change their last digits. Nothing is compiled as a whole, so no weights of an earlier
    call are used.

    Args:
        classify: The classifier.
        image_shape: Height, width, channels.
    """
    random = np.random.RandomState(0)  # numpy promises its stream for all time
    noise = random.random_sample((PROBE_IMAGES, *image_shape)).astype(np.float32)
    logits = np.asarray(classify(jnp.asarray(noise))).astype(np.float64)
    with np.errstate(invalid="ignore"):  # of infinite logits
        below = np.nan_to_num(logits - logits.max(1, keepdims=True), nan=LEAST_LOG_RATIO)
    factors = random.uniform(-1, 1, logits.shape[1])
    numbers = np.maximum(below, LEAST_LOG_RATIO) @ factors / np.sqrt(len(factors))
    return [float(f"{number:.5g}") for number in numbers]


def find_classifier(name: str, *, precision: Precision) -> ClassifierSource:
    """Loads a run's classifier, or imports "package.module:name".

    Args:
        name: Directory of a run, or place of a callable; modules in the working directory are
            found too.
        precision: Precision of a run's computation; a callable has its own.

    Raises:
        InputError: There is no such run or callable, or the run is damaged.
    """
    if ":" in name and not Path(name).exists():
        function = import_place(
            name, what="classifier", expected="a function from images to logits"
        )
        return ClassifierSource(function, function, name, sha256=None, spec=None, features=None)
    if not Path(name).is_dir():
        raise InputError(
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
        feature_function(classifier),
    )


def check_fits(source: ClassifierSource, data: ImageData) -> None:
    """Raises InputError unless a classifier takes the data's images and has its classes."""
    check_takes(source, data.class_names, data.images.shape[1:], of="data set")


def check_takes(
    source: ClassifierSource,
    class_names: tuple[str, ...],
    image_shape: tuple[int, ...],
    *,
    of: str,
) -> None:
    """Raises InputError unless a classifier takes images of this shape and has these classes.

    Args:
        source: The classifier.
        class_names: Names of the images' classes, in the order of the labels.
        image_shape: Height, width, channels.
        of: Owner of such images in the message, such as "data set".
    """
    if source.spec is None:
        like = jax.ShapeDtypeStruct((1, *image_shape), jnp.float32)
        try:
            found = split_classifier(source.classify, like).num_classes
        except InputError as error:
            raise InputError(
                f"classifier {source.name} must be a function from images to logits that JAX can "
                f"trace; {error}"
            ) from error
        if found != len(class_names):
            raise InputError(
                f"classifier {source.name} gives logits of {found} classes, the {of} has "
                f"{len(class_names)}: {describe_classes(class_names)}"
            )
        return
    if source.spec.image_shape != image_shape:
        raise InputError(
            f"classifier {source.name} takes images of shape {source.spec.image_shape}, the {of} "
            f"has {image_shape}"
        )
    known = source.spec.class_names
    if known != class_names:
        raise InputError(
            f"classifier {source.name} has {len(known)} classes "
            f"{describe_classes(known, other=class_names)}, the {of} {len(class_names)} "
            f"{describe_classes(class_names, other=known)}"
        )
