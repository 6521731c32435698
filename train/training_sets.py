"""Training sets: originals, with a part of them replaced (A, 3.1), and with images added."""

from collections.abc import Mapping
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Key, UInt8

from imgopt.errors import InputError
from train.data.combine import check_alike
from train.data.load import ImageData


class TrainData(NamedTuple):
    """A training set, ready for the device.

    Attributes:
        images: Grey levels.
        labels: True classes, in [0, k).
        teacher_outputs: q, the teacher's output for each image; only used where `is_generated`.
        is_generated: Which images are synthesised.
    """

    images: UInt8[Array | np.ndarray, "n h w c"]
    labels: Int[Array | np.ndarray, " n"]
    teacher_outputs: Float[Array | np.ndarray, "n k"]
    is_generated: Bool[Array | np.ndarray, " n"]


def original_data(data: ImageData) -> TrainData:
    """Makes a training set of originals only, in new arrays."""
    count = len(data.labels)
    return TrainData(
        images=data.images.copy(),
        labels=np.asarray(data.labels, np.int32),
        teacher_outputs=np.zeros((count, len(data.class_names)), np.float32),
        is_generated=np.zeros(count, bool),
    )


def replace_images(
    key: Key[Array, ""], originals: ImageData, synthesised: ImageData, *, fraction: float
) -> TrainData:
    """Replaces originals by the synthesised images that were made from them.

    The key puts the originals into a random order. The first round(fraction·n) of those that have a
    synthesised image are replaced: image and teacher's output. The label stays that of the
    original. The synthesised set may cover only a part of the training set, if that is enough.

    Args:
        key: Source of the order.
        originals: The training set.
        synthesised: Set made from the training set; its `source_ids` are ids of `originals`.
        fraction: Share of the training set to replace, in [0, 1].

    Raises:
        InputError: The fraction is outside its range, the two sets do not match, or too few
            originals have a synthesised image.
    """
    if not 0 <= fraction <= 1:
        raise InputError(f"fraction must be in [0, 1], got {fraction}")
    if synthesised.source_ids is None or synthesised.outputs is None:
        raise InputError(
            "the set of replacements has no source_id and output; make it with: elicit synthesize"
        )
    check_alike(originals, {"the replacements": synthesised})
    place_of = {source: place for place, source in enumerate(synthesised.source_ids)}
    sources = np.array([place_of.get(name, -1) for name in originals.ids])
    order = np.asarray(jax.random.permutation(key, len(originals.ids)))
    wanted = round(fraction * len(order))
    covered = order[sources[order] >= 0]
    if len(covered) < wanted:
        raise InputError(
            f"fraction {fraction} of {len(order)} images needs {wanted} replacements, but the set "
            f"covers {len(covered)}; synthesise more, or lower the fraction"
        )
    chosen = covered[:wanted]
    data = original_data(originals)
    for column, replacement in (
        (data.images, synthesised.images),
        (data.teacher_outputs, synthesised.outputs),
    ):
        column[chosen] = replacement[sources[chosen]]
    data.is_generated[chosen] = True
    _check_labels(originals, synthesised, chosen, sources)
    return data


def _check_labels(
    originals: ImageData, synthesised: ImageData, chosen: np.ndarray, sources: np.ndarray
) -> None:
    differ = originals.labels[chosen] != synthesised.labels[sources[chosen]]
    if differ.any():
        name = originals.ids[chosen[np.argmax(differ)]]
        raise InputError(
            f"image {name} has another label in the replacements; they were made from another set"
        )


def add_images(data: TrainData, originals: ImageData, extras: Mapping[str, ImageData]) -> TrainData:
    """Appends the images of other sets to a training set.

    An extra image with a teacher's output counts as synthesised. Any other extra image, such as a
    sample of a GAN, counts as an original.

    Args:
        data: The training set; some of its images may be replaced.
        originals: The set that it was made from.
        extras: The other sets, by their names for error messages.

    Raises:
        InputError: The sets differ in classes or image shape; every difference is named.
    """
    check_alike(originals, extras)
    parts = [data, *map(_as_train_data, extras.values())]
    return TrainData(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def _as_train_data(extra: ImageData) -> TrainData:
    data = original_data(extra)
    if extra.outputs is None:
        return data
    return data._replace(
        teacher_outputs=extra.outputs, is_generated=np.ones(len(extra.labels), bool)
    )
