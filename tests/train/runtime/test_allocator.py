"""Settings of the allocator, each tested in its own process."""

import platform
import subprocess
import sys
from pathlib import Path

import pytest

COUNT_PAGE_FAULTS = """
import resource, sys
from train.runtime.allocator import keep_memory
if sys.argv[1] == "kept":
    keep_memory()
import jax, jax.numpy as jnp
# The intermediate result, 64 MiB, cannot be fused away: a product reads all of it.
step = jax.jit(lambda x: (x @ x.T) @ x)
matrix = jnp.ones((4096, 8))
faults = []
for _ in range(6):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    step(matrix).block_until_ready()
    faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
print(min(faults))  # the heap may still grow in the first steps
"""

SUM_HUGE_PAGES = """
import sys
from train.runtime.allocator import keep_memory
if sys.argv[1] == "kept":
    keep_memory()
kept = [bytearray(b"a") * 2**24 for _ in range(4)]  # NumPy asks for huge pages itself
lines = open("/proc/self/smaps_rollup").read().splitlines()
print(sum(int(line.split()[1]) for line in lines if line.startswith("AnonHugePages")))
"""

HUGE_PAGES = Path("/sys/kernel/mm/transparent_hugepage/enabled")

needs_glibc = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the setting is glibc's")


def _printed(program, how):
    words = [sys.executable, "-c", program, how]
    return int(subprocess.run(words, capture_output=True, text=True, check=True).stdout)


@pytest.mark.slow
@needs_glibc
def test_a_step_takes_no_new_pages():
    kept, given_back = (_printed(COUNT_PAGE_FAULTS, how) for how in ("kept", "given back"))
    assert kept < given_back / 4


@pytest.mark.slow
@needs_glibc
@pytest.mark.skipif(
    not HUGE_PAGES.is_file() or "[madvise]" not in HUGE_PAGES.read_text(),
    reason="the system gives no huge pages, or all without being asked",
)
def test_arrays_lie_on_huge_pages():
    assert _printed(SUM_HUGE_PAGES, "not kept") == 0
    assert _printed(SUM_HUGE_PAGES, "kept") > 32 * 1024  # KiB, of 64 MiB
