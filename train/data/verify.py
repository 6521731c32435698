"""Checks an image set on disk against the digests in its manifest."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from imgopt.errors import InputError
from train.data.open_tfds import FEATURES_FILE, INFO_FILE
from train.storage.files import file_problem
from train.storage.listed_files import check_digests, check_shards
from train.storage.strict_json import read_sealed

MANIFEST_FILE = "manifest.json"
SHARDS = "*.array_record-*"
DESCRIPTION_FILES = ("label.labels.txt", FEATURES_FILE, INFO_FILE)  # TFDS's
# In the order of writing. The manifest is written last and removed first.
METADATA_FILES = (*DESCRIPTION_FILES, MANIFEST_FILE)
ADDED_FIELDS = ("shards", "files", "versions")  # fields of a manifest that `commit` adds


def read_manifest(directory: Path) -> dict[str, Any] | None:
    """Reads `manifest.json`.

    Args:
        directory: the set's directory.

    Returns:
        The manifest's fields; None if there is no manifest.

    Raises:
        InputError: the manifest is damaged, or names a file outside the directory.
    """
    path = directory / MANIFEST_FILE
    if not path.is_file():
        return None
    manifest = read_sealed(path)
    check_shards(path, manifest)
    check_digests(path, manifest.get("files", {}))
    return manifest


def source_name(directory: Path) -> str:
    """Names the data set that a set was made from, by its manifest, for messages.

    Args:
        directory: the set's directory.

    Raises:
        InputError: as `read_manifest`.
    """
    source = (read_manifest(directory) or {}).get("dataset")
    if not isinstance(source, dict) or not {"name", "split"} <= source.keys():
        return f"a set that {directory}/{MANIFEST_FILE} does not name"
    return split_name(source["name"], source["split"], str(source.get("sha256")))


def split_name(dataset: str, split: str, digest: str) -> str:
    """Names a split in a message, with the first digits of its digest."""
    return f"split {split} of {dataset} (sha256 {digest[:8]}…)"


def verify(directory: Path) -> list[str]:
    """Compares every shard and the other metadata with their digests in the manifest.

    Args:
        directory: the set's directory.

    Returns:
        One line for each problem, which names the file and says "missing" or "damaged".

    Raises:
        InputError: the set has no manifest, or the manifest is damaged.
    """
    manifest = read_manifest(directory)
    if manifest is None:
        raise InputError(
            f"expected {MANIFEST_FILE} in {directory}, got none; "
            "the set is unfinished: run the command that makes it again"
        )
    problems = (shard_problem(directory, shard) for shard in manifest["shards"])
    return [
        *description_problems(directory, manifest),
        *(problem for problem in problems if problem is not None),
    ]


def description_problems(directory: Path, manifest: Mapping[str, Any]) -> list[str]:
    """Compares the metadata that TFDS reads with their digests in the manifest.

    Args:
        directory: the set's directory.
        manifest: the set's manifest; if other software wrote it, it may lack these digests.

    Returns:
        Lines as in `verify`.
    """
    digests = manifest.get("files", {})
    found = ((name, file_problem(directory / name, digests[name])) for name in digests)
    return [f"{name}: {problem}" for name, problem in found if problem is not None]


def shard_problem(directory: Path, shard: Mapping[str, Any]) -> str | None:
    """Compares one shard with its entry in the manifest.

    Args:
        directory: the set's directory.
        shard: the entry.

    Returns:
        A line that names the shard and says "missing" or "damaged"; None if the shard is whole.
    """
    problem = file_problem(directory / shard["file"], shard["sha256"])
    return None if problem is None else f"{shard['file']}: {problem}"
