"""How a process uses the host's memory; for entry points, never called on import."""

import ctypes
import sys

import jax

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # of glibc's malloc.h
_NEVER = 2**31 - 1


def keep_memory() -> None:
    """Keeps freed memory for the next step instead of giving it back to the system.

    XLA's CPU backend takes memory for a program's intermediate results anew at every call. glibc
    fetches each block above 32 MiB from the system and gives it back when it is freed, so that a
    step spends up to half of its time on page faults. Here such blocks stay with the process. They
    must come from its main thread, since the heaps of other threads hold 64 MiB at most, so JAX's
    asynchronous dispatch on CPUs is switched off too: there, host and device are the same cores.

    The process's peak is what it was, but it keeps it to its end. Call this before JAX is used for
    the first time. Without glibc only the dispatch changes.
    """
    jax.config.update("jax_cpu_enable_async_dispatch", False)
    set_option = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if set_option is not None:
        set_option(_MMAP_THRESHOLD, _NEVER)
        set_option(_TRIM_THRESHOLD, _NEVER)
