"""Makes a process kill itself at a chosen step; each change of a directory is a step.

SIGKILL leaves on disk all that the kernel has got by then. So a kill just before a flush equals one
just after it, and only the last opening, renaming or removal of a file counts. Python's audit hook
reports all of these, in every thread, also those of Orbax. Before a renaming there is a second
moment, when half of the file is written. An operation without effect, such as the removal of a
file that does not exist, is no step.
"""

import os
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path

CUT_LINE = b'{"epoch": '
"""Beginning of a line of metrics, as a kill in the middle of writing leaves it."""

WRITING = os.O_WRONLY | os.O_RDWR


class CrashPoints:
    """Numbers the steps of this process from 0, and kills it at one of them."""

    def __init__(self, below: Path, *, kill_at: int | None, listed_in: Path) -> None:
        """Starts to count.

        Args:
            below: the directory whose changes count.
            kill_at: number of the step to be killed at; None: none.
            listed_in: a file outside `below` that gets a line for each step.
        """
        self._below, self._kill_at, self._count = str(below), kill_at, 0
        self._list = os.open(listed_in, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
        self._lock, self._is_dying = threading.Lock(), False
        sys.addaudithook(self._hear)

    def _hear(self, event: str, args: tuple) -> None:
        """Counts the steps of an event that Python reports."""
        if event == "open" and isinstance(args[0], str) and args[2] & WRITING:
            self._opened(self._place(args[0]), appends=bool(args[2] & os.O_APPEND))
        elif event == "os.rename":
            self._renamed(self._place(args[0], args[2]))
        elif event in ("os.remove", "os.rmdir", "os.mkdir"):
            path = self._place(args[0], args[-1])
            if os.path.lexists(path) == (event != "os.mkdir"):
                self._pass(event, path)

    def _opened(self, path: str, *, appends: bool) -> None:
        self._pass("open", path)
        if appends:
            self._pass("half a line", path, last_deed=lambda: _append(path))

    def _renamed(self, path: str) -> None:
        if os.path.isfile(path):  # noqa: PTH113 - pathlib would raise events of its own
            self._pass("half a file", path, last_deed=lambda: _halve(path))
        self._pass("os.rename", path)

    def _pass(self, step: str, path: str, last_deed: Callable[[], object] | None = None) -> None:
        if not path.startswith(self._below) or self._is_dying:
            return
        with self._lock:
            if self._count == self._kill_at:
                self._is_dying = True  # the last write is no step
                if last_deed:
                    last_deed()
                os.kill(os.getpid(), signal.SIGKILL)
            self._count += 1
            os.write(self._list, f"{step} {os.path.relpath(path, self._below)}\n".encode())

    @staticmethod
    def _place(path: str | bytes | Path, directory: int = -1) -> str:
        """Gives the whole path; `shutil.rmtree` names files by a descriptor of their directory."""
        base = os.readlink(f"/proc/self/fd/{directory}") if directory >= 0 else os.getcwd()  # noqa: PTH109, PTH115 - as above
        return os.path.normpath(os.path.join(base, os.fsdecode(path)))  # noqa: PTH118 - as above


def _halve(path: str) -> None:
    os.truncate(path, os.stat(path).st_size // 2)  # noqa: PTH116 - as above


def _append(path: str) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    os.write(descriptor, CUT_LINE)
