"""Files with one thing wrong, for `test_bad_input`."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np

from train.data.image_data import ImageData

CALLABLES = """
import jax.numpy as jnp
three = lambda images: jnp.tile(images.mean((1, 2, 3))[:, None], 3)
four = lambda images: jnp.tile(images.mean((1, 2, 3))[:, None], 4)
flat = lambda images: images.mean((1, 2, 3))
batchless = lambda images: jnp.zeros((7, 3))
crashing = lambda images: images @ jnp.zeros((99, 3))
number = 3
"""


def flip_byte(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.write_bytes(content)


def write_targets(root: Path) -> None:
    good = np.full((48, 3), 1 / 3)
    changes = {"sum": (5, 0, 0.5), "negative": (6, 1, -0.1), "nan": (7, 2, np.nan)}
    for name, (row, column, value) in changes.items():
        wrong = good.copy()
        wrong[row, column] = value
        np.save(root / f"{name}.npy", wrong)
    np.save(root / "classes.npy", np.full((48, 4), 0.25))
    np.save(root / "rows.npy", good[:30])
    np.save(root / "integers.npy", np.eye(3, dtype=np.int64)[np.zeros(48, int)])
    np.save(root / "scalar.npy", np.float64(1))
    np.save(root / "pickled.npy", np.array([{"a": 1}], object), allow_pickle=True)
    np.savez(root / "several.npz", good=good)
    (root / "text.npy").write_text("0.9 0.1 0.0\n")
    (root / "empty.npy").write_bytes(b"")
    (root / "cut.npz").write_bytes((root / "several.npz").read_bytes()[:100])


def namesakes(data: ImageData) -> dict[str, Any]:
    """Other images of the same ids, as in two folders that use the same names of files."""
    return {"id": data.ids, "image": 255 - data.images, "label": data.labels}


def write_damaged(root: Path) -> None:
    """Copies of the data and of the run, each with one thing wrong."""
    for name in ("missing", "flipped", "broken", "unlabelled", "unfeatured"):
        shutil.copytree(root / "data", root / name)
    for name in ("broken", "unlabelled", "unfeatured"):  # of another hand: it knows no digests
        (root / name / "manifest.json").unlink()
    (root / "missing" / "made_up-train.array_record-00000").unlink()
    flip_byte(root / "flipped" / "made_up-train.array_record-00000")
    (root / "broken" / "dataset_info.json").write_text('{"name": "made')
    (root / "unfeatured" / "features.json").unlink()
    (root / "unlabelled" / "label.labels.txt").write_text("ant\nbee\n")
    features = root / "unlabelled" / "features.json"
    features.write_text(features.read_text().replace('"numClasses": "3"', '"numClasses": "2"'))
    for name in ("damaged_run", "specless_run", "misnamed_run"):
        shutil.copytree(root / "run", root / name)
    for path in (root / "damaged_run" / "checkpoints").rglob("*"):
        if path.is_file() and path.parent.name == "d":
            flip_byte(path)
    (root / "specless_run" / "classifier.json").write_text("{}")
    (root / "misnamed_run" / "config.json").write_text("[]")
