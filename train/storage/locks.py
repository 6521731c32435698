"""One process at a time writes what lies under a name: a lock beside it, which dies with its owner.

The lock on NAME is a `flock` on the file `.NAME.lock` in the same directory, so it also covers what
is not there yet, or is built under a temporary name. The file says who holds it, for people; it
means nothing by itself. The kernel lets go of the lock of a process that ends, however it ends, so
what a killed one left behind is taken over without a word. The owner removes the file at the end.

Network file systems pass `flock` on to the server where they can (NFS since Linux 2.6.12, Lustre
with `-o flock`). Where a file system has none, or gives no place for the file, there is a warning,
and no lock.
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

REFUSALS = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT)
"""What the system says where no file at all can be made."""


@contextlib.contextmanager
def exclusive(directory: Path, *, wait: bool = False) -> Iterator[None]:
    """Holds the lock on a directory, which may not be there yet. It is not re-entrant.

    Args:
        directory: parents that lack are made, and removed at the end if nothing else is in them.
        wait: for another process to end, and say so on standard error; else refuse at once.

    Raises:
        InputError: another process holds it; the message says which.

    Warns:
        UserWarning: there can be no lock there.
    """
    place = directory.resolve()  # one directory may have several names
    path = place.with_name(f".{place.name}.lock")
    missing = [parent for parent in path.parents if not parent.exists()]
    try:
        file = _acquire(path, directory, wait=wait)
    except OSError as error:
        file = None
        # Where the directory itself cannot be made either, its writer has more to say.
        if path.parent.is_dir() and (place.exists() or error.errno not in REFUSALS):
            warnings.warn(
                f"{directory} goes without a lock ({error}); see to it that no other process "
                "writes there meanwhile",
                stacklevel=3,
            )
    try:
        yield
    finally:
        if file is not None:
            path.unlink(missing_ok=True)  # while it is held: whoever waits looks again
            os.close(file)
        for parent in missing:
            with contextlib.suppress(OSError):  # there is something in it
                parent.rmdir()


def _acquire(path: Path, directory: Path, *, wait: bool) -> int:
    """Gives the locked file, which is the one under that name."""
    while True:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            file = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        except FileNotFoundError:  # another one has just removed the directory that it had made
            continue
        try:
            _lock(file, directory, wait=wait)
            if _is_at(file, path):
                os.ftruncate(file, 0)
                os.pwrite(file, json.dumps(_who()).encode(), 0)
                return file
        except BaseException as error:
            os.close(file)
            if isinstance(error, OSError):  # there are no locks here: nobody holds it
                path.unlink(missing_ok=True)
            raise
        os.close(file)  # its owner has removed it meanwhile


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


def _who() -> dict[str, str | int]:
    return {
        "pid": os.getpid(),
        "host": socket.gethostname(),
        "command": " ".join([Path(sys.argv[0]).name, *sys.argv[1:]]),
        "since": datetime.now(UTC).isoformat(" ", "seconds"),
    }


def _holder(file: int) -> str:
    """Who a locked file says has locked it."""
    try:
        who = json.loads(os.pread(file, 1 << 16, 0))
        return f"process {who['pid']} on {who['host']} since {who['since']} ({who['command']})"
    except (ValueError, KeyError, TypeError):  # it is just about to write that down
        return "another process"
