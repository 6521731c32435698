"""SIGTERM and SIGINT (Ctrl-C): the first asks a command to stop, a second one ends it at once.

All that a command writes survives a kill at any moment, so `Stopped` may be raised anywhere; what
the device is at is finished first. Training defers it: it stops between two calls to the device,
with a checkpoint.
"""

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Stopped(KeyboardInterrupt):
    """A signal has asked the command to stop; nothing that handles errors catches it.

    Attributes:
        signum: the signal.
    """

    def __init__(self, signum: int, *, after: str = "") -> None:
        """Says how far the command came: `after`, such as "step 1,240", if it is known."""
        where = f" after {after}" if after else ""
        super().__init__(f"stopped by {signal.Signals(signum).name}{where}")
        self.signum = signum


@dataclass
class _Request:
    """What the process has been asked for.

    Attributes:
        signum: the first signal; None before it.
        is_deferred: whether it is only to be noted.
    """

    signum: int | None = None
    is_deferred: bool = False


_request = _Request()


@contextlib.contextmanager
def stopping_on_signals() -> Iterator[None]:
    """Has signals stop what runs inside; outside the main thread, where Python has none, nothing.

    A signal that the process was started to ignore, as by nohup, stays ignored.

    Raises:
        Stopped: wherever the first signal arrives, unless it is deferred.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    _request.signum = None
    heeded = [each for each in SIGNALS if signal.getsignal(each) is not signal.SIG_IGN]
    before = {each: signal.signal(each, _receive) for each in heeded}
    try:
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler or signal.SIG_DFL)


@contextlib.contextmanager
def deferred() -> Iterator[None]:
    """Has a signal only noted inside: ask `is_asked`.

    Raises:
        Stopped: at the end, if nobody inside has done so.
    """
    _request.is_deferred = True
    try:
        yield
    finally:
        _request.is_deferred = False
    if _request.signum is not None:
        raise stopped()


def is_asked() -> bool:
    """Whether a signal has asked the command to stop."""
    return _request.signum is not None


def stopped(*, after: str = "") -> Stopped:
    """What to raise once everything is saved.

    Args:
        after: how far the command came, such as "step 1,240".
    """
    # Of several processes that stop together, one alone may have had a signal.
    return Stopped(_request.signum or signal.SIGTERM, after=after)


def _receive(signum: int, frame: FrameType | None) -> None:
    del frame
    if _request.signum is not None:
        os._exit(128 + signum)
    _request.signum = signum
    if not _request.is_deferred:
        raise Stopped(signum)
