"""The finished batches of a shard that a synthesis has not finished, so that they are not lost.

Each lies in a hidden file of its own beside the shards and is gone once its shard is written. A
digest over its content and all that it depends on comes first in it.
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


def keep_batch(shard: Path, number: int, batch: Mapping[str, np.ndarray], identity: Any) -> None:
    """Keeps a finished batch.

    Args:
        shard: that it is for; in an existing directory.
        number: of the batch in the shard.
        batch: what to keep.
        identity: what its bytes depend on, as JSON's own types.
    """
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **batch)
    content = buffer.getvalue()
    path = _path(shard, number)
    atomic_write(path, _digest(path, content, identity) + content)


def kept_batch(shard: Path, number: int, identity: Any) -> Batch | None:
    """Gives a batch as it was kept, or None where it was not.

    Args:
        shard: as for `keep_batch`, as is all else.
        number: ditto.
        identity: ditto.

    Warns:
        UserWarning: it is damaged, or another one; it is then removed.
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


def discard_batches(shard: Path) -> None:
    """Removes the batches kept for a shard, which is written."""
    for path in shard.parent.glob(f".{shard.name}.batch-*"):
        path.unlink(missing_ok=True)


def _path(shard: Path, number: int) -> Path:
    return shard.with_name(f".{shard.name}.batch-{number:05d}")


def _digest(path: Path, content: bytes, identity: Any) -> bytes:
    of = json.dumps([path.name, identity], sort_keys=True).encode()
    return hashlib.sha256(hashlib.sha256(of).digest() + content).digest()
