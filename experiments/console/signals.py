"""SIGTERM and SIGINT (Ctrl-C): the first one stops a command, a second one ends it at once.

A command's files survive a kill at any moment, so `Stopped` may be raised anywhere; a running
device program ends first. A training defers the signal: it saves a checkpoint between two calls to
the device and then stops.
"""

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from types import FrameType
from typing import Any

SIGNALS = (signal.SIGINT, signal.SIGTERM)

SOON_SECONDS = 0.02


class Stopped(KeyboardInterrupt):
    """A signal stops the command. As a KeyboardInterrupt, no handler of errors catches it.

    Attributes:
        signum: number of the signal.
    """

    def __init__(self, signum: int, *, after: str = "") -> None:
        """Takes how far the command came, such as "step 1,240", if it is known."""
        where = f" after {after}" if after else ""
        super().__init__(f"stopped by {signal.Signals(signum).name}{where}")
        self.signum = signum


@dataclass
class _Request:
    """State of the signals of this process.

    Attributes:
        signum: number of the first signal; None before it.
        is_deferred: whether a signal is only noted.
    """

    signum: int | None = None
    is_deferred: bool = False


_request = _Request()


@contextlib.contextmanager
def stopping_on_signals() -> Iterator[None]:
    """Lets signals stop the block; does nothing outside the main thread, where Python has none.

    A signal that the process ignores since its start, as under nohup, stays ignored.

    Raises:
        Stopped: where the first signal arrives, unless it is deferred.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    _request.signum = None
    heeded = [each for each in SIGNALS if signal.getsignal(each) is not signal.SIG_IGN]
    before = {each: signal.signal(each, _receive) for each in heeded}
    before_hook, sys.unraisablehook = sys.unraisablehook, _send_again
    try:
        yield
    except Exception as error:
        if _is_of_signal(error):
            raise stopped() from error
        raise
    finally:
        sys.unraisablehook = before_hook
        for each, handler in before.items():
            signal.signal(each, handler or signal.SIG_DFL)


def _send_again(unraisable: Any) -> None:
    """Sends a signal again if its `Stopped` was lost.

    Python ignores what is raised in a callback of the garbage collector, such as JAX's.
    """
    if not isinstance(unraisable.exc_value, Stopped):
        sys.__unraisablehook__(unraisable)
        return
    _request.signum = None
    again = threading.Timer(SOON_SECONDS, os.kill, (os.getpid(), unraisable.exc_value.signum))
    again.daemon = True
    again.start()


def _is_of_signal(error: BaseException | None) -> bool:
    """Whether an error began as `Stopped`: C code may raise one of its own in its place."""
    while error is not None and not isinstance(error, Stopped):
        error = error.__cause__ or error.__context__
    return error is not None


@contextlib.contextmanager
def deferred() -> Iterator[None]:
    """Only notes a signal inside the block, which asks for it by `is_asked`.

    Raises:
        Stopped: at the end of the block, if there was a signal.
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
    """Builds the exception to raise once everything is saved.

    Args:
        after: how far the command came, such as "step 1,240".
    """
    # If several processes stop together, only one of them may have had a signal.
    return Stopped(_request.signum or signal.SIGTERM, after=after)


def _receive(signum: int, frame: FrameType | None) -> None:
    del frame
    if _request.signum is not None:
        os._exit(128 + signum)
    _request.signum = signum
    if not _request.is_deferred:
        raise Stopped(signum)
