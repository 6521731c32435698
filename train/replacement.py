"""Replacing part of a training set by the images that were synthesised from it (A, 3.1)."""

import jax
import numpy as np
from jaxtyping import Array, Key

from train.classifier_training import TrainData, original_data
from train.combining import check_alike
from train.datasets import ImageData


def replace_images(
    key: Key[Array, ""], originals: ImageData, synthesised: ImageData, *, fraction: float
) -> TrainData:
    """Puts synthesised images in the places of the originals that they were made from.

    The originals are put in an order drawn by the key, and the first round(fraction·n) of those
    that the synthesised set covers are replaced, image and dense output. Labels stay: an image's
    label is that of its original. A set made from part of the training set will do, as long as it
    covers enough.

    Args:
        key: draws the order.
        originals: the training set.
        synthesised: made from it; its `source_ids` are ids of `originals`.
        fraction: in [0, 1].

    Raises:
        ValueError: the fraction is outside its range, the two sets do not belong together, or too
            few images are covered.
    """
    if not 0 <= fraction <= 1:
        raise ValueError(f"fraction must be in [0, 1], got {fraction}")
    if synthesised.source_ids is None or synthesised.outputs is None:
        raise ValueError(
            "the set of replacements has no source_id and output; make it with: elicit synthesize"
        )
    check_alike(originals, {"the replacements": synthesised})
    place_of = {source: place for place, source in enumerate(synthesised.source_ids)}
    sources = np.array([place_of.get(name, -1) for name in originals.ids])
    order = np.asarray(jax.random.permutation(key, len(originals.ids)))
    wanted = round(fraction * len(order))
    covered = order[sources[order] >= 0]
    if len(covered) < wanted:
        raise ValueError(
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
        raise ValueError(
            f"image {name} has another label in the replacements; they were made from another set"
        )
