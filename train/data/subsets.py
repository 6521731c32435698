"""Small data sets: a number of images of each class, drawn by key (paper B: 500 and 100)."""

from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Array, Int64, Key, Shaped

from imgopt.errors import InputError
from train.data.image_data import ImageData, take_images


class Subset(NamedTuple):
    """A small data set. In both parts the classes take turns, each in the order of its draw.

    Attributes:
        train: the training images.
        test: the test images; None if none were asked for.
    """

    train: ImageData
    test: ImageData | None


def shuffled_classes(
    key: Key[Array, ""], labels: Shaped[np.ndarray, " n"], *, num_classes: int
) -> list[Int64[np.ndarray, " m"]]:
    """Gives the places of each class's images, in an order drawn by fold_in(key, class).

    The order of a class depends neither on the other classes nor on the number of images wanted.

    Args:
        key: draws the orders.
        labels: classes of the n images, in [0, num_classes).
        num_classes: number of lists in the result.
    """
    places = [np.flatnonzero(labels == label) for label in range(num_classes)]
    return [
        own[np.asarray(jax.random.permutation(jax.random.fold_in(key, label), len(own)))]
        for label, own in enumerate(places)
    ]


def draw_subset(
    key: Key[Array, ""],
    data: ImageData,
    *,
    per_class: int,
    test_per_class: int,
    skip_per_class: int = 0,
) -> Subset:
    """Draws the training images of each class, and after them its test images (B, 3.1).

    The draw depends on the order of the data: `pool_by_id` gives one that is always the same.

    Args:
        key: draws the images; a larger subset by the same key begins with the same ones.
        data: the images to draw from.
        per_class: training images of each class, at least 1.
        test_per_class: test images of each class, at least 0.
        skip_per_class: images of each class to skip, at least 0. With the size of another subset by
            the same key, none of its images is drawn again.

    Raises:
        InputError: a class has too few images; the message names every such class and its number
            of images.
    """
    places = [
        own[skip_per_class:]
        for own in shuffled_classes(key, data.labels, num_classes=len(data.class_names))
    ]
    wanted = per_class + test_per_class
    lacking = [
        f"{len(own)} of {name}"
        for name, own in zip(data.class_names, places, strict=True)
        if len(own) < wanted
    ]
    if lacking:
        raise InputError(
            f"expected at least {per_class} + {test_per_class} images of every class, got "
            f"{', '.join(lacking)}; ask for fewer a class"
        )
    # Column by column, so that the first tenth of a part is a tenth of every class.
    drawn = np.stack([own[:wanted] for own in places])
    train, test = (part.T.ravel() for part in (drawn[:, :per_class], drawn[:, per_class:]))
    return Subset(take_images(data, train), take_images(data, test) if test_per_class else None)
