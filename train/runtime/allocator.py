"""How a process uses the host's memory; for entry points, never called on import."""

import ctypes
import mmap
import os
import sys
from pathlib import Path

import jax

_OVERCOMMIT = Path("/proc/sys/vm/overcommit_memory")
_COUNTED = "2"  # there, a process's addresses count as memory

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # of glibc's malloc.h
_NEVER = -1  # as glibc reads it, the largest number of bytes

_HUGE_PAGE = 2**21  # of x86-64, and of 64-bit ARM with small pages of 4 KiB


def keep_memory() -> None:
    """Keeps freed memory for the next step instead of giving it back to the system.

    XLA's CPU backend takes memory for a program's intermediate results anew at every call. glibc
    fetches each block above 32 MiB from the system and gives it back when it is freed, so that a
    step spends up to half of its time on page faults. Here such blocks stay with the process. They
    must come from its main thread, since the heaps of other threads hold 64 MiB at most, so JAX's
    asynchronous dispatch on CPUs is switched off too: there, host and device are the same cores.

    They lie on huge pages, where the system has them: arrays of many megabytes are read in strides,
    and of pages of 4 KiB a core knows the places of a few megabytes only.

    The process's peak is what it was, but it keeps it to its end. Call this before JAX is used for
    the first time. Without glibc only the dispatch changes.
    """
    jax.config.update("jax_cpu_enable_async_dispatch", False)
    libc = ctypes.CDLL(None) if sys.platform == "linux" else None
    if libc is not None and hasattr(libc, "mallopt"):
        libc.mallopt(_MMAP_THRESHOLD, _NEVER)
        libc.mallopt(_TRIM_THRESHOLD, _NEVER)
        _advise_huge_pages(libc)


def _advise_huge_pages(libc: ctypes.CDLL) -> None:
    """Asks for huge pages in what the heap will grow by, up to half of the machine's memory.

    The heap grows to that now, in addresses only: the system gives pages as they are used. Where it
    counts addresses as memory, nothing is asked.
    """
    if not _OVERCOMMIT.is_file() or _OVERCOMMIT.read_text().strip() == _COUNTED:
        return
    libc.malloc.restype = ctypes.c_void_p
    size = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2
    block = libc.malloc(ctypes.c_size_t(size))
    if block is not None:
        start = -(-block // _HUGE_PAGE) * _HUGE_PAGE
        length = ctypes.c_size_t(block + size - start)
        libc.madvise(ctypes.c_void_p(start), length, mmap.MADV_HUGEPAGE)
        libc.free(ctypes.c_void_p(block))
