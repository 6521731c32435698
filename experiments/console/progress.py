"""Progress on standard error: a bar on a terminal, plain timed lines elsewhere."""

import sys
import time
from types import TracebackType

from tqdm import tqdm

LINE_EVERY_SECONDS = 10.0

_began = time.monotonic()
"""When this module was imported, which is when the command began."""


def say(text: str) -> None:
    """Says what is being done before there is progress to show; on a terminal only."""
    if sys.stderr.isatty():
        print(f"[{time.monotonic() - _began:6.1f} s] {text}", file=sys.stderr, flush=True)


class Progress:
    """Shows the progress of a task.

    Attributes:
        detail: how good it is so far, such as "loss 0.412"; shown from the next update on.

    Example:
        with Progress("synthesis", total=1437, unit="images") as progress:
            progress.update_to(256)
    """

    def __init__(self, label: str, *, total: int, unit: str, done: int = 0) -> None:
        """Starts at `done` of `total` units."""
        self._label, self._total, self._unit, self._done = label, total, unit, done
        self.detail = ""
        self._started = self._last_line = time.monotonic()
        self._bar = None
        if sys.stderr.isatty():
            self._bar = tqdm(total=total, initial=done, desc=label, unit=f" {unit}", leave=False)
            self._bar.set_postfix_str("compiling")

    def update_to(self, done: int) -> None:
        """Sets the number of units that are done in all."""
        self._done = done
        if self._bar is not None:
            self._bar.set_postfix_str(self.detail, refresh=False)
            self._bar.update(done - self._bar.n)
        elif time.monotonic() - self._last_line >= LINE_EVERY_SECONDS:
            self._print_line()

    def __enter__(self) -> "Progress":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.close()
        if kind is None:
            self._print_line()

    def _print_line(self) -> None:
        self._last_line = time.monotonic()
        seconds = self._last_line - self._started
        text = f"[{seconds:6.1f} s] {self._label}: {self._done}/{self._total} {self._unit}"
        text += f", {self.detail}" if self.detail else ""
        print(text, file=sys.stderr, flush=True)
