"""Finished batches of a shard that is not full yet, saved so that an interruption loses none.

Each batch lies in a hidden file of its own beside the shard's place, until the shard is written.
The file begins with a digest of its content and of everything that the content depends on.
"""

import hashlib
import io
import json
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from train.storage.files import atomic_write

Batch = dict[str, np.ndarray]
"""Columns by name, one row an image."""

DIGEST_BYTES = hashlib.sha256().digest_size


def save_batch(shard: Path, number: int, batch: Mapping[str, np.ndarray], identity: Any) -> None:
    """Saves a finished batch.

    Args:
        shard: path of the shard that the batch belongs to; its directory exists.
        number: number of the batch in the shard.
        batch: the batch.
        identity: everything that the batch's bytes depend on, as JSON types.
    """
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **batch)
    content = buffer.getvalue()
    path = _path(shard, number)
    atomic_write(path, _digest(path, content, identity) + content)


def load_batch(shard: Path, number: int, identity: Any) -> Batch | None:
    """Loads a saved batch; None if there is none.

    Args:
        shard: as in `save_batch`.
        number: as in `save_batch`.
        identity: as in `save_batch`.

    Warns:
        UserWarning: the file is damaged or holds another batch; it is removed.
    """
    path = _path(shard, number)
    if not path.is_file():
        return None
    whole = path.read_bytes()
    content = whole[DIGEST_BYTES:]
    if whole[:DIGEST_BYTES] != _digest(path, content, identity):
        path.unlink()
        warnings.warn(
            f"{path} is damaged or of another configuration; it is removed, and the batch is made "
            "again",
            stacklevel=2,
        )
        return None
    with np.load(io.BytesIO(content)) as arrays:
        return dict(arrays)


def remove_batches(shard: Path) -> None:
    """Removes all batches saved for a shard."""
    for path in shard.parent.glob(f".{shard.name}.batch-*"):
        path.unlink(missing_ok=True)


def _path(shard: Path, number: int) -> Path:
    return shard.with_name(f".{shard.name}.batch-{number:05d}")


def _digest(path: Path, content: bytes, identity: Any) -> bytes:
    subject = json.dumps([path.name, identity], sort_keys=True).encode()
    return hashlib.sha256(hashlib.sha256(subject).digest() + content).digest()
