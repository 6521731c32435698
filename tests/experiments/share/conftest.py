"""A set with every column that there is, names that file systems and tables find hard, no maker."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.experiments.conftest import write_columns
from train.data.spec import EXTRAS

HARD_NAMES = ("Ant/bee", "ant?bee", '.cow, "é"')
HARD_IDS = ('a "b", c', "ship/0001.jpg", "two\nlines", "carriage\rreturn", "é € 𝄞", " blank ", "")
COUNTS = {"train": 13, "test": 7}
EXTREMES = (np.finfo(np.float32).tiny, np.float32(1 / 3), np.finfo(np.float32).max)


def full_columns(split: str, channels: int) -> dict:
    """All columns of a split of 5 × 7 pixels; numbers at the ends of their types' ranges."""
    count = COUNTS[split]
    random = np.random.default_rng(count)
    columns = {
        "id": [*HARD_IDS, *(f"{split}_{i}" for i in range(count))][:count],
        "image": random.integers(0, 256, (count, 5, 7, channels), np.uint8),
        "label": np.arange(count) % 3,
    }
    for name, extra in EXTRAS.items():
        shape = (count, 3) if extra.per_class else (count,)
        if extra.dtype is str:
            columns[name] = [f"{name} {i}" for i in range(count)]
        elif extra.dtype is np.int32:
            columns[name] = random.integers(-(2**31), 2**31 - 1, shape, np.int32)
        else:
            columns[name] = random.normal(size=shape).astype(np.float32)
            columns[name].flat[:3] = EXTREMES
    return columns


@pytest.fixture(scope="session")
def full_set(tmp_path_factory) -> Callable[[int], Path]:
    """Writes the set with so many channels, once."""
    root, made = tmp_path_factory.mktemp("full"), {}

    def write(channels: int = 3) -> Path:
        if channels not in made:
            splits = {split: full_columns(split, channels) for split in COUNTS}
            place = root / f"set-{channels}"
            made[channels] = write_columns(place, splits, class_names=HARD_NAMES, shards=2)
        return made[channels]

    return write
