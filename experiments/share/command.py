"""The command `elicit export`: an image set for other libraries, or a trained network for JAX."""

from collections.abc import Callable, Iterator
from pathlib import Path

from experiments.console.options import check_unused
from experiments.console.progress import Progress
from experiments.data.resumable_set import Columns
from experiments.options.export import ExportConfig
from experiments.share.card import card, croissant
from experiments.share.columns import (
    DESCRIPTION_FILE,
    ExportDescription,
    Parts,
    ReadRows,
    describe,
    import_extra,
    iter_starts,
    open_set,
)
from experiments.share.folder import TABLE, write_folder
from experiments.share.model import export_model, is_run
from experiments.share.npz import write_npz
from experiments.share.parquet import FOLDER, write_parquet
from imgopt.errors import InputError
from train.storage.files import building_directory, sha256_of
from train.storage.strict_json import write_json, write_sealed

CARD_FILE = "README.md"
CROISSANT_FILE = "croissant.json"


def export(config: ExportConfig) -> None:
    """Runs the command.

    The directory is written whole or not at all, with the same bytes every time.

    Args:
        config: what to export.

    Raises:
        InputError: the source is neither a set nor a run, or is damaged; the directory exists; or
            a package of the extra `share` is missing. Nothing is written then.
    """
    if config.out.exists():
        raise InputError(f"expected a new directory as --out, got {config.out}, which exists")
    if config.to == "jax":
        check_unused(config, "data_dir", "split", why="with --to jax")
        export_model(Path(config.source), config.out, licence=config.licence)
        return
    if is_run(Path(config.source)):
        raise InputError(
            f"expected an image set with --to {config.to}, got {config.source}, which is a run; "
            "export it with --to jax"
        )
    if config.to == "huggingface":
        import_extra("pyarrow")
    told, read = open_set(
        config.source,
        data_dir=config.data_dir,
        splits=config.split,
        form=config.to,
        licence=config.licence,
    )
    with (
        building_directory(config.out) as place,
        Progress("export", total=sum(told.counts), unit="images") as progress,
    ):
        WRITERS[config.to](place, told, _parts(told, read, progress))
        write_sealed(place / DESCRIPTION_FILE, describe(told, _digests(place, told)))
    counts = ", ".join(f"{told.count(split):,} {split}" for split in told.splits)
    print(f"{config.out}: {counts}, {len(told.class_names)} classes")


def _parts(of: ExportDescription, read: ReadRows, progress: Progress) -> Parts:
    """The parts of each split, counted as they are read."""
    done = 0

    def parts(split: str) -> Iterator[Columns]:
        nonlocal done
        for start in iter_starts(of, split):
            stop = min(start + of.part_images, of.count(split))
            yield read(split, start, stop)
            done += stop - start
            progress.update_to(done)

    return parts


def _write_huggingface(place: Path, of: ExportDescription, parts: Parts) -> None:
    table_bytes = write_parquet(place, of, parts)
    paths = sorted((place / FOLDER).iterdir())
    files = {
        path.relative_to(place).as_posix(): (sha256_of(path), path.stat().st_size) for path in paths
    }
    file_bytes = sum(size for _, size in files.values())
    words = card(of, table_bytes=table_bytes, file_bytes=file_bytes)
    (place / CARD_FILE).write_text(words, encoding="utf-8")
    write_json(place / CROISSANT_FILE, croissant(of, files))


WRITERS: dict[str, Callable[[Path, ExportDescription, Parts], None]] = {
    "huggingface": _write_huggingface,
    "folder": write_folder,
    "npz": write_npz,
}
"""Function that writes a set, by the value of --to."""


DATA_FILES = {"huggingface": f"{FOLDER}/*.parquet", "folder": f"*/{TABLE}", "npz": "*.npz"}
"""Pattern of the files that an import compares with their digests. A card may be edited; the table
of a folder has the digests of its images."""


def _digests(place: Path, of: ExportDescription) -> dict[str, str]:
    paths = sorted(place.glob(DATA_FILES[of.format]))
    return {path.relative_to(place).as_posix(): sha256_of(path) for path in paths}
