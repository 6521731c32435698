"""Small random image sets on disk, and changes to their records."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from train.data.array_records import iter_records, write_records
from train.data.image_data import ImageData
from train.data.spec import ImageSetSpec, ShardRecord
from train.data.tfds_parts import Example
from train.data.write import commit, write_shard


def random_columns(spec: ImageSetSpec, size: int, *, start: int = 0) -> dict[str, Any]:
    """Gives values of every feature of a set; ids and labels go on from the image `start`."""
    random = np.random.default_rng(start)
    numbers, num_classes = range(start, start + size), len(spec.class_names)
    images = random.integers(0, 256, (size, *spec.image_shape), np.uint8)
    images[0].flat[:2] = (0, 255)
    output = random.dirichlet(np.ones(num_classes), size).astype(np.float32)
    columns = {
        "id": [f"{'é' * (i % 3)}_{i:05d}" for i in numbers],
        "image": images,
        "label": np.array(numbers) % num_classes,
        "target": np.full((size, num_classes), 1 / num_classes, np.float32),
        "output": output,
        "kl": output[:, 0] * 3,
        "max_error": output[:, -1],
        "view_kl": output[:, 0],
        "view_ranking": output[:, -1],
        "steps": np.array(numbers, np.int32),
        "source_id": [f"train_{i:05d}" for i in numbers],
        "source_sha256": [f"{i:064x}" for i in numbers],
        "predicted": np.array(numbers[::-1], np.int32) % num_classes,
        "confidence": output.max(1),
        "key": [f"{i:016x}" for i in numbers],
    }
    return {name: columns[name] for name in ("id", "image", "label", *spec.extras)}


def write_small_set(
    directory: Path, spec: ImageSetSpec, sizes: Mapping[str, Sequence[int]], **manifest: Any
) -> dict[str, list[ShardRecord]]:
    """Writes a set whose splits have shards of the given sizes; gives their records."""
    shards = {
        split: [
            write_shard(
                directory, spec, split=split, index=index,
                columns=random_columns(spec, size, start=sum(each[:index])),
            )
            for index, size in enumerate(each)
        ]
        for split, each in sizes.items()
    }  # fmt: skip
    commit(directory, spec, shards, manifest=manifest)
    return shards


def random_images(
    count: int,
    *,
    seed: int = 0,
    prefix: str = "image",
    shape: tuple[int, int, int] = (3, 5, 1),
    class_names: tuple[str, ...] = ("cat", "dog"),
    has_outputs: bool = False,
) -> ImageData:
    """Gives images in memory, whose ids are in a random order."""
    random, num_classes = np.random.default_rng(seed), len(class_names)
    return ImageData(
        images=random.integers(0, 256, (count, *shape), np.uint8),
        labels=random.integers(0, 2, count).astype(np.int32),
        ids=tuple(f"{prefix}_{i}" for i in random.permutation(count)),
        class_names=class_names,
        outputs=random.dirichlet(np.ones(num_classes), count).astype(np.float32)
        if has_outputs
        else None,
    )


def change_second_example(shard: Path, changed: Path, change: Callable[[Any], None]) -> None:
    """Copies a shard and changes the features of its second example."""
    (records,) = iter_records(shard)
    example = Example.FromString(records[1])
    change(example.features.feature)
    write_records(changed, [records[0], example.SerializeToString(), *records[2:]])
