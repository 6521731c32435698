"""The process's memory settings, each in a process of its own."""

import platform
import subprocess
import sys

import pytest

COUNT_PAGE_FAULTS = """
import resource, sys
from train.host import keep_memory
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


def _page_faults(how):
    words = [sys.executable, "-c", COUNT_PAGE_FAULTS, how]
    return int(subprocess.run(words, capture_output=True, text=True, check=True).stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the setting is glibc's")
def test_a_step_takes_no_new_pages():
    assert _page_faults("kept") < _page_faults("given back") / 4
