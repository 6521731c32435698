"""Combines image sets: pools the splits of a set, and compares sets that are used together."""

from collections import Counter
from collections.abc import Mapping

import numpy as np

from imgopt.errors import InputError
from train.data.image_data import ImageData, join_images, take_images


def check_alike(
    wanted: ImageData, others: Mapping[str, ImageData], *, name: str = "the training set"
) -> None:
    """Raises InputError unless all sets have the same classes and image shape.

    Args:
        wanted: the set with the expected classes and shape.
        others: the other sets, by their names in the message, which lists every difference.
        name: name of the first set in the message.
    """
    problems = []
    for other, data in others.items():
        if data.class_names != wanted.class_names:
            problems.append(
                f"the classes differ: {wanted.class_names} in {name}, {data.class_names} in {other}"
            )
        if data.images.shape[1:] != wanted.images.shape[1:]:
            problems.append(
                f"image shapes differ: {wanted.images.shape[1:]} in {name}, "
                f"{data.images.shape[1:]} in {other}"
            )
    if problems:
        raise InputError(
            f"expected sets of the same classes and image shape, but {'; '.join(problems)}; "
            "choose sets that belong together"
        )


def pool_by_id(splits: Mapping[str, ImageData]) -> ImageData:
    """Makes one set of several splits, sorted by id, so the order of the files does not matter.

    Args:
        splits: at least one, by name.

    Returns:
        Images, labels and ids; other columns are left out.

    Raises:
        InputError: the splits differ in classes or image shape, or an id occurs twice.
    """
    (first_name, first), *others = splits.items()
    named = {f"split {name}": data for name, data in others}
    check_alike(first, named, name=f"split {first_name}")
    pool = join_images(
        [
            ImageData(each.images, each.labels, each.ids, each.class_names)
            for each in splits.values()
        ]
    )
    twice = sorted(name for name, count in Counter(pool.ids).items() if count > 1)
    if twice:
        raise InputError(
            f"expected distinct ids in the splits {', '.join(splits)}, got {len(twice)} that occur "
            f"more than once, such as {twice[0]}; choose splits without a common image"
        )
    order = sorted(range(len(pool.ids)), key=pool.ids.__getitem__)
    return take_images(pool, np.array(order))


def count_sources(extra: ImageData, held_out: ImageData) -> int:
    """Counts the images that are in another set, by their ids, or were made from one of its images.

    Args:
        extra: the images to count.
        held_out: the other set.
    """
    known = set(held_out.ids)
    sources = extra.source_ids or extra.ids
    return sum(not known.isdisjoint(pair) for pair in zip(extra.ids, sources, strict=True))
