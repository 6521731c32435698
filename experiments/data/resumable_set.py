"""Image sets that are written shard by shard, and that the same command continues after any stop.

All commands that make an image set use this one writer. It works in the set's own directory:

1. `config.json` says what the set depends on (its identity). A different identity is refused.
2. Shards follow, in any order and from any process. Beside each shard lies a note with its digest.
3. The metadata come last, `manifest.json` at the very end. Without a manifest no reader accepts
   the set. The notes are then removed.

A shard counts only if its note or the manifest holds its digest and the digest fits. Every other
shard is written again, and a warning names it if it was damaged.
"""

import contextlib
import shutil
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from experiments.data.saved_batches import remove_batches
from imgopt.errors import InputError
from train.data.image_data import ImageData, ImageReader
from train.data.load import data_digest
from train.data.spec import ImageSetSpec, ShardRecord, shard_path
from train.data.verify import (
    ADDED_FIELDS,
    MANIFEST_FILE,
    read_manifest,
    shard_problem,
    verify,
)
from train.data.write import commit, uncommit, write_shard
from train.storage.files import is_unused
from train.storage.runs import CONFIG_FILE, as_json, differences, in_short, open_run
from train.storage.strict_json import SEAL, read_json, read_sealed, write_sealed

Columns = dict[str, Any]
"""Features of images by name, each an array or a list with one row an image."""

SHARD_IMAGES = 1024
"""Images in a shard: 2 MiB of CIFAR-10 as PNG. A job holds one or two shards in memory."""

SPLIT = "train"
"""Split of a generated set: its images are meant for training, whatever they were made from."""

NOTES = "*.note.json"
TEMPORARY = (".*.partial", ".*.batch-*")
"""Files that a killed command may leave in the set's directory."""


def dataset_identity(place: str, split: str, data: ImageData | ImageReader) -> dict[str, str]:
    """Identity of the split that a set is made from: its name and content, wherever it lies."""
    return {"name": Path(place).name, "split": split, "sha256": data_digest(data)}


def begun_identity(directory: Path) -> dict[str, Any] | None:
    """Reads the identity of the set that was begun in a directory; None for an empty or new one.

    Raises:
        InputError: the directory holds something else, or a damaged file.
    """
    config = directory / CONFIG_FILE
    if config.is_file():
        return read_sealed(config)
    if (directory / MANIFEST_FILE).is_file():
        fields = read_manifest(directory) or {}
        return {name: value for name, value in fields.items() if name not in ADDED_FIELDS}
    if is_unused(directory):
        return None
    raise InputError(
        f"{directory} is there already and is not an image set (no {MANIFEST_FILE}, "
        f"no {CONFIG_FILE}); choose another --out, or remove it"
    )


class Shard(NamedTuple):
    """A shard on disk.

    Attributes:
        record: name, size and digest of its file.
        made_from: what the set's maker needs to know about the shard to continue the set, as JSON
            types. Only the shard's note holds it, so it is empty once the notes are removed.
    """

    record: ShardRecord
    made_from: Mapping[str, Any]


class ResumableSet:
    """An image set that can be stopped at any moment and continued.

    Example:
        image_set = ResumableSet(out, spec, identity)
        if not image_set.is_complete():
            with image_set.open_for_writing():
                image_set.write_shards({"train": [first_columns, second_columns]})
    """

    def __init__(
        self,
        directory: Path,
        spec: ImageSetSpec,
        identity: Mapping[str, Any],
        *,
        side_files: Sequence[str] = (),
    ) -> None:
        """Describes a set; nothing is read or written yet.

        Args:
            directory: the set's directory.
            spec: the set's classes, image shape, splits and features.
            identity: everything that the set's bytes depend on.
            side_files: names of files that a complete set has besides shards and metadata.
        """
        self.directory, self.spec, self.identity = directory, spec, as_json(identity)
        self._side_files = side_files
        self._committed: dict[str, Shard] = {}

    def is_complete(self) -> bool:
        """Whether the whole, undamaged set exists already; prints a line if it does.

        Raises:
            InputError: the directory holds another set or other files; the message says what
                differs.
        """
        if not self._is_begun() or not self._is_committed() or self._problems():
            return False
        if not all((self.directory / name).is_file() for name in self._side_files):
            return False
        self._write_config()
        self.finish()
        print(f"{self.directory} is complete; nothing to do")
        return True

    def begin(self, *, check: Callable[[], object] = lambda: None) -> None:
        """Starts a new set in its directory, or continues the one that is there.

        Args:
            check: called for a new set before anything is written; raises if the set cannot be
                made. For checks that take long.

        Raises:
            InputError: the directory holds another set or other files.

        Warns:
            UserWarning: the set was complete and is damaged; the message names the files.
        """
        if self._is_begun():
            self._write_config()
        else:
            open_run(self.directory, self.identity, check=check)
        if self._is_committed():
            if problems := self._problems():
                named = "; ".join(problems)
                warnings.warn(f"{self.directory} is damaged; made again: {named}", stacklevel=2)
            with contextlib.suppress(InputError):  # the manifest is among the problems
                shards = (read_manifest(self.directory) or {})["shards"]
                self._committed = {shard["file"]: Shard(_record(shard), {}) for shard in shards}

    def uncommit(self, shards: Iterable[Shard]) -> None:
        """Turns a complete set into an unfinished one.

        Args:
            shards: those whose digests pass from the manifest to notes.
        """
        for shard in shards:
            if not self._note(shard.record.file).is_file():
                self._write_note(shard)
        uncommit(self.directory)

    @contextlib.contextmanager
    def open_for_writing(self) -> Iterator[None]:
        """Begins or continues the set, and finishes it at the end of the block.

        After an interruption the directory stays, and the same command continues. After wrong
        input or a non-finite number, which a repetition would meet again, the directory and the
        parents made for it are removed, unless the set was complete before.

        Raises:
            InputError: as `begin`.
        """
        new_parents = [parent for parent in self.directory.parents if not parent.exists()]
        self.begin()
        self.uncommit(self._committed.values())
        try:
            yield
        except (InputError, FloatingPointError):
            if not self._committed:
                shutil.rmtree(self.directory)
                for parent in new_parents:
                    with contextlib.suppress(OSError):  # another process may use it
                        parent.rmdir()
            raise
        self.finish()

    def shard_path(self, split: str, index: int, *, num_shards: int | None = None) -> Path:
        """The path of a shard; see `train.data.spec.shard_path`."""
        return shard_path(
            self.directory, self.spec, split=split, index=index, num_shards=num_shards
        )

    def find(self, split: str, index: int, *, num_shards: int | None = None) -> Shard | None:
        """Finds a shard that need not be made again; None if it is missing or damaged.

        Args:
            split: one of the set's splits.
            index: number of the shard in the split, from 0.
            num_shards: as in `train.data.spec.shard_path`.

        Warns:
            UserWarning: the shard or its note is damaged.
        """
        file = self.shard_path(split, index, num_shards=num_shards).name
        shard = self._parse_note(self._note(file)) or self._committed.get(file)
        if shard is None:
            return None
        problem = shard_problem(self.directory, shard.record._asdict())
        if problem is not None:
            warnings.warn(f"made again: {self.directory / problem}", stacklevel=2)
            return None
        return shard

    def write(
        self,
        split: str,
        index: int,
        columns: Columns,
        *,
        num_shards: int | None = None,
        made_from: Mapping[str, Any] | None = None,
    ) -> Shard:
        """Writes one shard and its note, and removes the batches saved for it.

        Args:
            split: as in `find`.
            index: as in `find`.
            columns: features of the shard's images.
            num_shards: as in `find`.
            made_from: see `Shard`.

        Raises:
            InputError: as `train.data.write.write_shard`.
        """
        record = write_shard(
            self.directory,
            self.spec,
            split=split,
            index=index,
            columns=columns,
            num_shards=num_shards,
        )
        shard = Shard(record, made_from or {})
        self._write_note(shard)
        remove_batches(self.directory / record.file)
        return shard

    def write_shards(self, shards: Mapping[str, Sequence[Callable[[], Columns]]]) -> None:
        """Writes all missing shards of a set whose number of shards is known, and commits it.

        Args:
            shards: for each split, a function for each shard that gives the shard's columns.
        """
        written = {
            split: [
                self.find(split, index, num_shards=len(own))
                or self.write(split, index, columns(), num_shards=len(own))
                for index, columns in enumerate(own)
            ]
            for split, own in shards.items()
        }
        self.commit(written)

    def commit(self, shards: Mapping[str, Sequence[Shard]], **results: Any) -> None:
        """Writes the metadata, which make the shards a readable image set.

        Args:
            shards: all shards of every split, in order.
            **results: fields of the manifest besides the identity.
        """
        records = {split: [shard.record for shard in own] for split, own in shards.items()}
        commit(self.directory, self.spec, records, manifest={**self.identity, **results})

    def finish(self, *, keep_note: Callable[[Shard], bool] = lambda _: False) -> None:
        """Removes the notes and temporary files of a committed set.

        Args:
            keep_note: whether a shard's note stays, because a later extension needs it.
        """
        for path in self.directory.glob(NOTES):
            shard = self._parse_note(path)
            if shard is None or not keep_note(shard):
                path.unlink(missing_ok=True)
        for pattern in TEMPORARY:
            for path in self.directory.glob(pattern):
                path.unlink(missing_ok=True)

    def _is_begun(self) -> bool:
        """Whether this set exists, complete or not; False for a new or empty directory."""
        found = begun_identity(self.directory)
        if found is None:
            return False
        differing = differences(found, self.identity)
        if differing:
            raise InputError(
                f"{self.directory} holds a run or set of another configuration: "
                f"{in_short(differing)}. "
                "Choose another --out, or repeat the command that made it; if this is that "
                f"command, {self.directory / CONFIG_FILE} is damaged: restore it, or remove the "
                "directory"
            )
        # Approximate numbers stay those that the set was begun with.
        self.identity = {name: found.get(name, now) for name, now in self.identity.items()}
        return True

    def _write_config(self) -> None:
        """Writes the identity, which a set of an older version has in its manifest alone."""
        path = self.directory / CONFIG_FILE
        if not path.is_file():
            write_sealed(path, self.identity)

    def _is_committed(self) -> bool:
        return (self.directory / MANIFEST_FILE).is_file()

    def _problems(self) -> list[str]:
        """Names the damaged and missing files of a committed set."""
        problems = []
        try:
            problems += verify(self.directory)
            if SEAL not in read_json(self.directory / MANIFEST_FILE):
                problems.append(f"{MANIFEST_FILE}: damaged (it has lost its {SEAL})")
            for path in sorted(self.directory.glob("*.json")):
                read_sealed(path)
        except InputError as error:
            problems.append(str(error))
        return problems

    def _note(self, file: str) -> Path:
        return self.directory / f"{file.replace('.array_record', '')}.note.json"

    def _write_note(self, shard: Shard) -> None:
        note = {"shard": shard.record._asdict(), **shard.made_from}
        write_sealed(self._note(shard.record.file), note)

    def _parse_note(self, path: Path) -> Shard | None:
        """Reads a note; None if it is missing or damaged."""
        if not path.is_file():
            return None
        try:
            note = read_sealed(path)
            return Shard(_record(note.pop("shard")), note)
        except (InputError, KeyError, TypeError, AttributeError) as error:
            warnings.warn(f"made again: the shard of {path} ({error})", stacklevel=3)
            return None


def _record(fields: Mapping[str, Any]) -> ShardRecord:
    return ShardRecord(**{name: fields[name] for name in ShardRecord._fields})
