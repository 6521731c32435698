"""The data set "digits": scikit-learn's 1,797 handwritten digits, enlarged to 32 x 32 x 3."""

from typing import Any

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from imgopt.errors import InputError
from train.data import DIGITS
from train.data.image_data import ImageData

DIGITS_SPLITS = {"train": 1437, "test": 360}  # four fifths and one fifth
SEED = 0
SIZE_PX = 32
WHITE = 16  # the brightest of scikit-learn's grey levels


def load_digits(split: str) -> ImageData:
    """Loads a split of the digits, whose images are always the same.

    Args:
        split: "train" or "test".

    Raises:
        InputError: another split.
    """
    if split not in DIGITS_SPLITS:
        raise InputError(
            f"expected a split among {sorted(DIGITS_SPLITS)}, got {split!r}; {DIGITS} has no other"
        )
    from sklearn import datasets  # slow to import, and few callers want it

    bunch: Any = datasets.load_digits()
    # RandomState, since numpy promises its stream for all time, and not that of newer generators.
    order = np.random.RandomState(SEED).permutation(len(bunch.images))
    train = DIGITS_SPLITS["train"]
    chosen = np.sort(order[:train] if split == "train" else order[train:])
    return ImageData(
        images=np.stack([_enlarge(bunch.images[i]) for i in chosen]),
        labels=bunch.target[chosen].astype(np.int32),
        ids=tuple(f"digits_{i:05d}" for i in chosen),
        class_names=tuple(str(name) for name in bunch.target_names),
    )


def _enlarge(digit: np.ndarray) -> UInt8[np.ndarray, "32 32 3"]:
    """Scales 8 x 8 pixels with levels 0 to 16 bilinearly to 32 x 32, grey in three channels."""
    grey = Image.fromarray((digit * (255 / WHITE)).astype(np.float32))
    large = grey.resize((SIZE_PX, SIZE_PX), Image.Resampling.BILINEAR)
    return np.repeat(np.rint(np.asarray(large)).astype(np.uint8)[:, :, None], 3, axis=2)
