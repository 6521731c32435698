"""Settings of the C library's allocator; for entry points, never called on import."""

import ctypes
import mmap
import os
import sys
from pathlib import Path

import jax

_OVERCOMMIT = Path("/proc/sys/vm/overcommit_memory")
_COUNTED = "2"  # addresses count as memory, used or not

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # of glibc's malloc.h
_NEVER = -1  # as glibc reads it, the largest number of bytes

_HUGE_PAGE = 2**21  # of x86-64, and of 64-bit ARM with small pages of 4 KiB


def keep_memory() -> None:
    """Keeps freed memory for the next step instead of returning it to the system.

    XLA's CPU backend allocates memory for intermediate results anew at every call. glibc takes each
    block above 32 MiB from the system and returns it when it is freed, so a step spends up to half
    of its time on page faults. With these settings the process keeps such blocks. They must come
    from the main thread, since the heaps of other threads hold at most 64 MiB. So JAX's
    asynchronous dispatch on CPUs is switched off too; there, host and device are the same cores.

    The blocks lie on huge pages if the system has them. Arrays of many megabytes are read in
    strides, and a core's address cache covers only a few megabytes of 4 KiB pages.

    The peak of memory is the same, but it lasts until the process ends. Call this before the first
    use of JAX. Without glibc only the dispatch changes.
    """
    jax.config.update("jax_cpu_enable_async_dispatch", False)
    libc = ctypes.CDLL(None) if sys.platform == "linux" else None
    if libc is not None and hasattr(libc, "mallopt"):
        libc.mallopt(_MMAP_THRESHOLD, _NEVER)
        libc.mallopt(_TRIM_THRESHOLD, _NEVER)
        _advise_huge_pages(libc)


def _advise_huge_pages(libc: ctypes.CDLL) -> None:
    """Asks for huge pages for the future heap, up to half of the machine's memory.

    The heap grows to that size at once, but only in addresses: the system gives pages when they are
    used. If the system counts addresses as memory, nothing is done.
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
