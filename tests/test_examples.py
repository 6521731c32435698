"""The examples in docstrings run."""

import doctest
import importlib
import pkgutil

import pytest

PACKAGES = ("imgopt", "train", "gans")
MODULES = [
    module.name
    for package in PACKAGES
    for module in pkgutil.walk_packages(importlib.import_module(package).__path__, f"{package}.")
]


@pytest.mark.parametrize("name", MODULES)
def test_examples_run(name):
    failed, _ = doctest.testmod(importlib.import_module(name))
    assert failed == 0
