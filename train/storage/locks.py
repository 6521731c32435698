"""A lock on a directory, so that only one process at a time writes it.

The lock on NAME is a `flock` on the file `.NAME.lock` in the same directory. So the directory need
not exist yet, and may be built under a temporary name. The file tells people who holds the lock;
the file alone is no lock. The kernel releases the lock of a process that ends in any way, so the
file of a killed process does not matter. The owner removes the file at the end.

Network file systems pass `flock` on to the server if they can (NFS since Linux 2.6.12, Lustre with
`-o flock`). If a file system has no locks, or the file cannot be made, there is a warning and no
lock.
"""

import contextlib
import errno
import fcntl
import json
import os
import socket
import sys
import warnings
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from imgopt.errors import InputError

REFUSALS = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT, errno.ENOENT)
"""The system's errors for a place where no file can be made."""

MOST_TRIES = 100
"""Attempts to make the lock's file in a directory that other processes make and remove."""


@contextlib.contextmanager
def exclusive(directory: Path, *, wait: bool = False) -> Iterator[None]:
    """Holds the lock on a directory, which need not exist. The lock is not re-entrant.

    Args:
        directory: the directory; missing parents are made, and removed at the end if empty.
        wait: waits for a process that holds the lock, and says so on standard error; otherwise the
            lock is refused at once.

    Raises:
        InputError: another process holds the lock; the message says which.

    Warns:
        UserWarning: no lock is possible there.
    """
    place = directory.resolve()  # one directory may have several names
    path = place.with_name(f".{place.name}.lock")
    missing = [parent for parent in path.parents if not parent.exists()]
    try:
        file = _acquire(path, directory, wait=wait)
    except OSError as error:
        file = None
        # If the directory cannot be made either, the error of its writer says more.
        if path.parent.is_dir() and (place.exists() or error.errno not in REFUSALS):
            warnings.warn(
                f"{directory} has no lock ({error}); make sure that no other process writes there "
                "meanwhile",
                stacklevel=3,
            )
    try:
        yield
    finally:
        if file is not None:
            path.unlink(missing_ok=True)  # before the release: a process that waits looks again
            os.close(file)
        for parent in missing:
            with contextlib.suppress(OSError):  # it is not empty
                parent.rmdir()


def _acquire(path: Path, directory: Path, *, wait: bool) -> int:
    """Locks the file with that name and gives its descriptor."""
    tries = 0
    while True:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            file = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        except FileNotFoundError:
            tries += 1  # another process may just have removed the directory
            if tries == MOST_TRIES:  # or it takes no files, as /proc
                raise
            continue
        try:
            _lock(file, directory, wait=wait)
            if _is_at(file, path):
                os.ftruncate(file, 0)
                os.pwrite(file, json.dumps(_description()).encode(), 0)
                return file
        except BaseException as error:
            os.close(file)
            if isinstance(error, OSError):  # the file system has no locks, so nobody holds it
                path.unlink(missing_ok=True)
            raise
        os.close(file)  # the owner has removed it meanwhile


def _lock(file: int, directory: Path, *, wait: bool) -> None:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        holder = _holder(file)
        if not wait:
            raise InputError(
                f"{directory} is being written by {holder}; wait until that ends, or choose "
                "another directory"
            ) from error
        print(f"waiting for {directory}, written by {holder}", file=sys.stderr, flush=True)
        fcntl.flock(file, fcntl.LOCK_EX)


def _is_at(file: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file), path.stat())
    except FileNotFoundError:
        return False


def _description() -> dict[str, str | int]:
    return {
        "pid": os.getpid(),
        "host": socket.gethostname(),
        "command": " ".join([Path(sys.argv[0]).name, *sys.argv[1:]]),
        "since": datetime.now(UTC).isoformat(" ", "seconds"),
    }


def _holder(file: int) -> str:
    """Reads from a locked file who holds the lock."""
    try:
        who = json.loads(os.pread(file, 1 << 16, 0))
        return f"process {who['pid']} on {who['host']} since {who['since']} ({who['command']})"
    except (ValueError, KeyError, TypeError):  # not written yet
        return "another process"
