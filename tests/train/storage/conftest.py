"""A limit on the size of files, like a full disk."""

import resource

import pytest


@pytest.fixture
def limit_files():
    """Gives a function that limits files to a number of bytes until the test ends."""
    usual = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda count: resource.setrlimit(resource.RLIMIT_FSIZE, (count, usual[1]))
    resource.setrlimit(resource.RLIMIT_FSIZE, usual)
