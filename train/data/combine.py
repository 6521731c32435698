"""Combines image sets: pools the splits of a set, and compares sets that are used together."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import zip_longest

import numpy as np

from imgopt.errors import InputError
from train.data.image_data import ImageData, image_digests, join_images, source_columns, take_images

SHOWN_CLASSES = 12


def describe_classes(names: Sequence[str], *, other: Sequence[str] = ()) -> str:
    """Class names for a message.

    Of a long list it shows three, from the first name that differs from `other`.

    Args:
        names: all names.
        other: names that they are compared with.

    Example:
        >>> describe_classes(("cat", "dog"))
        "('cat', 'dog')"
    """
    if len(names) <= SHOWN_CLASSES:
        return repr(tuple(names))
    pairs = enumerate(zip_longest(names, other[: len(names)]))
    first = next((i for i, (own, theirs) in pairs if own != theirs), 0)
    shown = ", ".join(map(repr, names[first : first + 3]))
    return f"{len(names):,} names, such as {shown} from number {first} on"


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
                f"the classes differ: "
                f"{describe_classes(wanted.class_names, other=data.class_names)} in {name}, "
                f"{describe_classes(data.class_names, other=wanted.class_names)} in {other}"
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


def check_distinct(ids: Iterable[str], *, of: str, what: str = "id") -> None:
    """Raises InputError if an id occurs twice.

    Args:
        ids: the ids.
        of: the set that has them, in the message.
        what: name of the feature that holds them.
    """
    twice = sorted(name for name, count in Counter(ids).items() if count > 1)
    if twice:
        raise InputError(
            f"expected a distinct {what} for every image of {of}, got {len(twice)} that occur more "
            f"than once, such as {twice[0]}; give each image its own"
        )


def pool_by_id(splits: Mapping[str, ImageData]) -> ImageData:
    """Makes one set of several splits, sorted by id, so the order of the files does not matter.

    Ids that are distinct within every split, but not in all of them together, are put after the
    name of their split, as in "test/5".

    Args:
        splits: at least one, by name.

    Returns:
        Images, labels and ids; other columns are left out.

    Raises:
        InputError: the splits differ in classes or image shape, an id occurs twice in a split, or
            two splits have a common image, of equal id and pixels.
    """
    (first_name, first), *others = splits.items()
    named = {f"split {name}": data for name, data in others}
    check_alike(first, named, name=f"split {first_name}")
    for name, data in splits.items():
        check_distinct(data.ids, of=f"split {name}")
    pool = join_images(
        [
            ImageData(each.images, each.labels, each.ids, each.class_names)
            for each in splits.values()
        ]
    )
    count = Counter(pool.ids)
    if max(count.values()) > 1:
        _check_no_common_image(pool, splits)
        ids = tuple(f"{split}/{name}" for split, data in splits.items() for name in data.ids)
        pool = pool._replace(ids=ids)
    order = sorted(range(len(pool.ids)), key=pool.ids.__getitem__)
    return take_images(pool, np.array(order))


def _check_no_common_image(pool: ImageData, splits: Iterable[str]) -> None:
    """Raises InputError if two images have the same id and the same pixels."""
    images = Counter(zip(pool.ids, image_digests(pool.images), strict=True))
    twice = sorted(name for (name, _), count in images.items() if count > 1)
    if twice:
        raise InputError(
            f"expected splits without a common image, got {len(twice)} images that several of "
            f"{', '.join(splits)} hold, such as {twice[0]}; choose other splits"
        )


def count_sources(extra: ImageData, held_out: ImageData) -> int:
    """Counts the images that are in another set, or were made from one of its images.

    Images are recognised by their pixels. A source whose digest is unknown, as in a set of an older
    version, is recognised by its id.

    Args:
        extra: the images to count.
        held_out: the other set.
    """
    known = {*image_digests(held_out.images), *held_out.ids}
    columns = source_columns(extra)
    sources = zip(columns["source_sha256"], columns["source_id"], strict=True)
    own = image_digests(extra.images)
    return sum(
        bool({image, digest or name} & known)
        for image, (digest, name) in zip(own, sources, strict=True)
    )
