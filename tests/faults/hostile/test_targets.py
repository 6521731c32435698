"""Matrices of targets of others: bounded memory, and nothing in them is run."""

import resource
import time
import zipfile

import numpy as np
import pytest

from experiments.options.synthesis import TargetConfig
from experiments.synthesis.target_options import make_targets
from train.data.image_data import ImageData, reader_of

IMAGES = ImageData(
    np.zeros((4, 2, 2, 1), np.uint8), np.zeros(4, np.int32), tuple("abcd"), ("ant", "bee", "cow")
)


def targets_of(path):
    config = TargetConfig("file", targets_file=path)
    return make_targets(config, reader_of(IMAGES), start=0, stop=4, key=0)


@pytest.fixture
def measured():
    """Fails a test that takes long or much memory."""
    start, before = time.monotonic(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    yield
    assert time.monotonic() - start < 20
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 2**19  # in KiB


def npy(header: bytes, content: bytes = b"") -> bytes:
    header += b" " * (-(len(header) + 11) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + content


@pytest.mark.usefixtures("measured")
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (npy(b"{'descr': '<f8', 'fortran_order': False, 'shape': (10**15, 3)}"), "not a NumPy"),
        (npy(b"{'descr': '<f8', 'fortran_order': False, 'shape': (999999999999, 3)}"), "not a Num"),
        (npy(b"{'descr': '|O', 'fortran_order': False, 'shape': (4, 3)}", b"\0" * 96), "not a Num"),
        (npy(b"{'descr': '<U3', 'fortran_order': False, 'shape': (4, 3)}", b"\0" * 144), "numbers"),
        (npy(b"__import__('os').getpid()"), "not a NumPy"),
        (npy(b"(" * 2000), "not a NumPy"),
        (npy(b"{'descr': '<f8', 'fortran_order': False, 'shape': (-4, 3)}"), "not a NumPy"),
    ],
)
def test_a_matrix_that_claims_more_than_it_holds_is_refused(content, message, tmp_path):
    path = tmp_path / "targets.npy"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=rf"targets\.npy (is|holds).*{message}"):
        targets_of(path)


def test_several_arrays_are_refused_whatever_they_unpack_to(tmp_path):
    path = tmp_path / "targets.npy"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.npy", bytes(2**20))
    with pytest.raises(ValueError, match=r"targets\.npy holds several arrays"):
        targets_of(path)


def test_rows_that_are_no_distributions_are_named_with_their_file(tmp_path):
    path = tmp_path / "targets.npy"
    np.save(path, np.full((4, 3), 0.5))
    with pytest.raises(ValueError, match=r"targets\.npy: targets must sum to 1; row 0"):
        targets_of(path)
