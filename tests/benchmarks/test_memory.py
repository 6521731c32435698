"""The peak of a side counts its call and not what the process used before."""

import numpy as np
import pytest
from harness import memory

pytestmark = pytest.mark.slow

if not memory.STATUS.is_file():
    pytest.skip("this system does not tell a process's memory", allow_module_level=True)

MEGABYTE = 2**20


def test_the_peak_of_a_call_is_the_memory_it_allocates():
    before = memory.resident_bytes("VmRSS")
    found = memory.peak_of_call(lambda: np.ones(64 * MEGABYTE, np.uint8), before=before)
    assert 60 * MEGABYTE < found < 80 * MEGABYTE


def test_memory_used_before_does_not_count():
    np.ones(256 * MEGABYTE, np.uint8)
    before = memory.resident_bytes("VmRSS")
    assert memory.peak_of_call(lambda: None, before=before) < 32 * MEGABYTE
