"""The command `elicit data import`: a folder of pictures, or what `elicit export` wrote.

An exported set comes back with all its columns: pixels, labels, ids, and what was measured.
"""

from functools import partial
from typing import Any

from experiments.console.options import check_unused
from experiments.data.import_folder import import_folder
from experiments.data.resumable_set import ResumableSet
from experiments.options.data import ImportConfig
from experiments.share.columns import (
    DESCRIPTION_FILE,
    ExportDescription,
    ReadRows,
    is_export,
    iter_starts,
    read_description,
)
from experiments.share.folder import open_folder
from experiments.share.npz import open_npz
from experiments.share.parquet import open_parquet
from imgopt.errors import InputError
from train.storage.files import file_problem, sha256_of
from train.storage.listed_files import broken_set

OPENERS = {"huggingface": open_parquet, "folder": open_folder, "npz": open_npz}
"""Function that opens an exported set, by its format."""

__all__ = ["ImportConfig", "import_directory"]


def import_directory(config: ImportConfig) -> None:
    """Runs the command.

    Args:
        config: the options.

    Raises:
        InputError: as `import_folder`; or an exported set is damaged, or an option has no effect on
            one.
    """
    if not is_export(config.folder):
        import_folder(config)
        return
    check_unused(config, "size", "fit", "test_share", "key", why="on a set that elicit exported")
    if config.out.resolve().is_relative_to(config.folder.resolve()):
        raise InputError(
            f"expected --out outside the exported set, got {config.out} in {config.folder}; choose "
            "another --out"
        )
    told, files = read_description(config.folder)
    for name, digest in files.items():
        problem = file_problem(config.folder / name, digest)
        if problem is not None:
            raise broken_set("a whole exported set", f"in {config.folder} {name}: {problem}")
    if told.format not in OPENERS:
        raise InputError(
            f"expected a format among {', '.join(OPENERS)} in {config.folder}/{DESCRIPTION_FILE}, "
            f"got {told.format!r:.60}"
        )
    _import(config, told, OPENERS[told.format](config.folder, told))


def _import(config: ImportConfig, told: ExportDescription, read: ReadRows) -> None:
    spec = told.spec()
    if config.name is not None:
        spec = type(spec)(**{**vars(spec), "name": config.name})
    image_set = ResumableSet(config.out, spec, _identity(config, told))
    if image_set.is_complete():
        return
    shards = {
        split: [
            partial(read, split, start, min(start + told.part_images, told.count(split)))
            for start in iter_starts(told, split)
        ]
        for split in told.splits
    }
    with image_set.open_for_writing():
        image_set.write_shards(shards)
    counts = ", ".join(f"{told.count(split):,} {split}" for split in told.splits)
    print(f"{config.out}: {counts}, {len(told.class_names)} classes")


def _identity(config: ImportConfig, told: ExportDescription) -> dict[str, Any]:
    """Everything that the set's bytes depend on, and how the exported set was made."""
    return {
        "name": config.name or told.name,
        "export": {
            "format": told.format,
            "sha256": sha256_of(config.folder / DESCRIPTION_FILE),
            "licence": told.licence,
        },
        "exported_from": told.made_by,
    }
