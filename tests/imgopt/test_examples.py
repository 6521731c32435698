"""The examples in docstrings run."""

import doctest

from imgopt import synthesis


def test_the_example_of_synthesize_runs():
    failed, attempted = doctest.testmod(synthesis)
    assert attempted >= 4
    assert failed == 0
