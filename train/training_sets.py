"""Training sets: originals, with a part of them replaced (A, 3.1), and with images added."""

from collections.abc import Mapping
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Key, UInt8

from imgopt.errors import InputError
from train.data.combine import check_alike, check_distinct
from train.data.image_data import ImageData, image_digests, take_images


class SecondViews(NamedTuple):
    """A made image beside every example of a training set.

    Attributes:
        images: Grey levels of the image that was made from the example.
        outputs: q, the teacher's output for it.
    """

    images: UInt8[Array | np.ndarray, "n h w c"]
    outputs: Float[Array | np.ndarray, "n k"]


class TrainData(NamedTuple):
    """A training set, ready for the device.

    Attributes:
        images: Grey levels.
        labels: True classes, in [0, k).
        teacher_outputs: q, the teacher's output for each image; only used where `is_generated`.
        is_generated: Which images are synthesised.
        second_views: A made image beside every example, in the same batch; None for none.
    """

    images: UInt8[Array | np.ndarray, "n h w c"]
    labels: Int[Array | np.ndarray, " n"]
    teacher_outputs: Float[Array | np.ndarray, "n k"]
    is_generated: Bool[Array | np.ndarray, " n"]
    second_views: SecondViews | None = None


def original_data(data: ImageData) -> TrainData:
    """Makes a training set of originals only, in new arrays.

    Example:
        >>> from train.data.digits import load_digits
        >>> original_data(load_digits("test")).is_generated.sum().item()
        0
    """
    count = len(data.labels)
    return TrainData(
        images=data.images.copy(),
        labels=np.asarray(data.labels, np.int32),
        teacher_outputs=np.zeros((count, len(data.class_names)), np.float32),
        is_generated=np.zeros(count, bool),
    )


def replace_images(
    key: Key[Array, ""],
    originals: ImageData,
    synthesised: ImageData,
    *,
    fraction: float,
    name: str = "the training set",
    source: str = "another set",
) -> TrainData:
    """Replaces originals by the synthesised images that were made from them.

    The key puts the originals into a random order. The first round(fraction·n) of those that have a
    synthesised image are replaced: image and teacher's output. The label stays that of the
    original. The synthesised set may cover only a part of the training set, if that is enough, or
    more than it.

    Args:
        key: Source of the order.
        originals: The training set.
        synthesised: Set made from the training set, or from a set that holds it. Its `source_ids`
            and `source_digests` tell which image was made from which.
        fraction: Share of the training set to replace, in [0, 1].
        name: Name of the training set in messages.
        source: Name in messages of the set that the synthesised images were made from.

    Raises:
        InputError: The fraction is outside its range, the two sets do not match, an original has
            other pixels or another label than the image of its id that a replacement was made
            from, an id occurs twice, or too few originals have a synthesised image.

    Example:
        >>> from train.data.digits import load_digits
        >>> from train.data.image_data import source_columns
        >>> originals = load_digits("test")
        >>> sources = source_columns(originals)
        >>> made = originals._replace(
        ...     images=255 - originals.images,
        ...     outputs=np.full((360, 10), 0.1, np.float32),
        ...     source_ids=sources["source_id"],
        ...     source_digests=sources["source_sha256"],
        ... )
        >>> data = replace_images(jax.random.key(0), originals, made, fraction=0.25)
        >>> len(data.images), data.is_generated.sum().item()
        (360, 90)
    """
    if not 0 <= fraction <= 1:
        raise InputError(f"fraction must be in [0, 1], got {fraction}")
    sources = _matching_sources(originals, synthesised, name=name, source=source)
    order = np.asarray(jax.random.permutation(key, len(originals.ids)))
    wanted = round(fraction * len(order))
    covered = order[sources[order] >= 0]
    if len(covered) < wanted:
        raise InputError(
            f"fraction {fraction} of {len(order)} images needs {wanted} replacements, but the set "
            f"covers {len(covered)} of {name}, being made from {source}; synthesise more, or lower "
            "the fraction"
        )
    chosen = covered[:wanted]
    data = original_data(originals)
    for column, replacement in (
        (data.images, synthesised.images),
        (data.teacher_outputs, np.asarray(synthesised.outputs)),
    ):
        column[chosen] = replacement[sources[chosen]]
    data.is_generated[chosen] = True
    return data


def _matching_sources(
    originals: ImageData, synthesised: ImageData, *, name: str, source: str
) -> Int[np.ndarray, " n"]:
    """Finds the place of each original's made image, -1 for none, in a set that fits."""
    if None in (synthesised.source_ids, synthesised.source_digests) or synthesised.outputs is None:
        raise InputError(
            "the set of replacements has no source_id, source_sha256 and output (sets of older "
            "versions have no source_sha256); make it with: elicit synthesize"
        )
    check_alike(originals, {"the replacements": synthesised})
    return _find_sources(originals, synthesised, name=name, source=source)


def _find_sources(
    originals: ImageData, synthesised: ImageData, *, name: str, source: str
) -> Int[np.ndarray, " n"]:
    """Finds the place of each original's replacement, -1 for none.

    Ids alone do not tell: folders of pictures often share their file names. So an original must
    have the pixels that its replacement was made from.
    """
    source_ids, digests = synthesised.source_ids or (), synthesised.source_digests or ()
    check_distinct(originals.ids, of=name)
    check_distinct(source_ids, of="the replacements", what="source_id")
    place_of = {each: place for place, each in enumerate(source_ids)}
    sources = np.array([place_of.get(each, -1) for each in originals.ids])
    covered = np.flatnonzero(sources >= 0)
    found = image_digests(originals.images[covered])
    is_other = np.array([digests[sources[row]] for row in covered]) != np.array(found)
    is_other |= synthesised.labels[sources[covered]] != originals.labels[covered]
    if is_other.any():
        raise InputError(
            f"expected replacements made from {name}, got a set made from {source}: "
            f"{is_other.sum()} images such as {originals.ids[covered[np.argmax(is_other)]]} have "
            "the same id in both and other pixels or another label; synthesise from the set that "
            "you train on"
        )
    return sources


def keep_original_pixels(
    originals: ImageData,
    synthesised: ImageData,
    *,
    name: str = "the training set",
    source: str = "another set",
) -> ImageData:
    """Gives a synthesised set the pixels of the originals, and leaves it their outputs.

    Trainings with this set and with the synthesised one differ in nothing but the pixels.

    Args:
        originals: The training set.
        synthesised: Set made from the training set, or from a set that holds it.
        name: Name of the training set in messages.
        source: Name in messages of the set that the synthesised images were made from.

    Returns:
        The images made from the training set, in the order of their originals.

    Raises:
        InputError: The sets do not match, as for `replace_images`.
    """
    sources = _matching_sources(originals, synthesised, name=name, source=source)
    covered = np.flatnonzero(sources >= 0)
    made = take_images(synthesised, sources[covered])
    return made._replace(images=originals.images[covered])


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

    Example:
        >>> from train.data.digits import load_digits
        >>> originals = load_digits("test")
        >>> extra = originals._replace(images=255 - originals.images)
        >>> len(add_images(original_data(originals), originals, {"negatives": extra}).images)
        720
    """
    check_alike(originals, extras)
    if data.second_views is not None:
        raise InputError(
            "images can be added to a training set without second views only; add the second views "
            "last"
        )
    parts = [data, *map(_as_train_data, extras.values())]
    return jax.tree.map(lambda *columns: np.concatenate(columns), *parts)


def add_second_views(
    data: TrainData,
    originals: ImageData,
    synthesised: ImageData,
    *,
    name: str = "the training set",
    source: str = "another set",
) -> TrainData:
    """Puts beside every example the image that was made from it, for the same batch.

    Args:
        data: The training set; some of its images may be replaced, none added.
        originals: The set that it was made from.
        synthesised: Set made from all images of the training set, or from a set that holds it.
        name: Name of the training set in messages.
        source: Name in messages of the set that the synthesised images were made from.

    Raises:
        InputError: The sets do not match, as for `replace_images`, or an original has no image.

    Example:
        >>> from train.data.digits import load_digits
        >>> from train.data.image_data import source_columns
        >>> originals = load_digits("test")
        >>> sources = source_columns(originals)
        >>> made = originals._replace(
        ...     images=255 - originals.images,
        ...     outputs=np.full((360, 10), 0.1, np.float32),
        ...     source_ids=sources["source_id"],
        ...     source_digests=sources["source_sha256"],
        ... )
        >>> data = add_second_views(original_data(originals), originals, made)
        >>> len(data.images), len(data.second_views.images)
        (360, 360)
    """
    sources = _matching_sources(originals, synthesised, name=name, source=source)
    missing = np.flatnonzero(sources < 0)
    if len(missing) or len(data.labels) != len(sources):
        example = f", such as {originals.ids[missing[0]]}" if len(missing) else ""
        raise InputError(
            f"expected a made image for every image of {name}, got a set made from {source} that "
            f"lacks {len(missing) or len(data.labels) - len(sources)}{example}; synthesise them "
            "all, or add the images as examples"
        )
    outputs = np.asarray(synthesised.outputs)
    return data._replace(second_views=SecondViews(synthesised.images[sources], outputs[sources]))


def _as_train_data(extra: ImageData) -> TrainData:
    data = original_data(extra)
    if extra.outputs is None:
        return data
    return data._replace(
        teacher_outputs=extra.outputs, is_generated=np.ones(len(extra.labels), bool)
    )
