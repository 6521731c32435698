"""Checks of the files that a manifest or a result lists; anyone may have written it."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from imgopt.errors import InputError

SHA256 = re.compile("[0-9a-f]{64}")
PLAIN_NAME = re.compile(r"[\w+-][\w.+-]*")
"""Name of a file that cannot lead out of its directory."""


def broken_set(expected: str, received: object) -> InputError:
    """Makes the error for a damaged image set.

    Args:
        expected: what was expected, in words.
        received: what came.
    """
    return InputError(f"expected {expected}, got {received}; make the set again")


def check_shards(path: Path, manifest: Any) -> Sequence[Mapping[str, Any]]:
    """Gives the list of shards in a manifest, after a check of each entry.

    Args:
        path: the manifest, for messages.
        manifest: its content.

    Raises:
        InputError: there is no list; or an entry lacks a field, has one of another type or range,
            or names a file that lies outside the manifest's directory or is listed twice.
    """
    shards = manifest.get("shards") if isinstance(manifest, dict) else None
    if not isinstance(shards, list):
        raise broken_set(f"a list of shards in {path}", "none")
    for number, shard in enumerate(shards):
        problem = _problem(shard)
        if problem is not None:
            raise broken_set(
                f"{problem} in entry {number} of the shards in {path}", repr(shard)[:300]
            )
        check_inside(path.parent, path.parent / shard["file"])
    if len({shard["file"] for shard in shards}) < len(shards):
        raise broken_set(f"each shard once in {path}", "one twice")
    return shards


def _problem(shard: Any) -> str | None:
    """Says what an entry should have, if it has something else."""
    if not isinstance(shard, dict):
        return "an object"
    if not (isinstance(shard.get("file"), str) and PLAIN_NAME.fullmatch(shard["file"])):
        return "the plain name of a file as file"
    if not isinstance(shard.get("split"), str):
        return "the name of a split as split"
    for name in ("num_examples", "num_bytes"):
        if type(shard.get(name)) is not int or shard[name] < 0:
            return f"a number of at least 0 as {name}"
    if not (isinstance(shard.get("sha256"), str) and SHA256.fullmatch(shard["sha256"])):
        return "64 hexadecimal digits as sha256"
    return None


def check_digests(path: Path, digests: Any) -> None:
    """Checks the digests that a file holds of other files in its directory.

    Args:
        path: the file, for messages.
        digests: sha256 in hexadecimal, by path below the directory.

    Raises:
        InputError: they are no such digests, or a path leads out of the directory.
    """
    if not isinstance(digests, dict):
        raise InputError(f"expected digests by file in {path}, got {digests!r:.60}")
    for name, digest in digests.items():
        is_inside = all(PLAIN_NAME.fullmatch(part) for part in name.split("/"))
        if not (is_inside and isinstance(digest, str) and SHA256.fullmatch(digest)):
            raise InputError(
                f"expected plain names of files and 64 hexadecimal digits for each in {path}, got "
                f"{name!r:.60}: {digest!r:.60}"
            )
        check_inside(path.parent, path.parent / name)


def check_inside(directory: Path, path: Path) -> None:
    """Raises InputError if a file of a set is a link that leads out of the set's directory."""
    if path.is_symlink() and not path.resolve().is_relative_to(directory.resolve()):
        raise InputError(
            f"expected a file in {directory}, got {path}, a link to {path.resolve()}; copy the "
            "file itself into the set"
        )
