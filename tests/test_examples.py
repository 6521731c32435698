"""The examples in docstrings run, and every public function has one."""

import doctest
import importlib
import inspect
import pkgutil

import pytest

from train.models import networks

PACKAGES = ("imgopt", "train", "gans")
MODULES = [
    module.name
    for package in PACKAGES
    for module in pkgutil.walk_packages(importlib.import_module(package).__path__, f"{package}.")
]
FUNCTIONS = [
    (package, name)
    for package in PACKAGES
    for name in importlib.import_module(package).__all__
    if inspect.isfunction(inspect.unwrap(getattr(importlib.import_module(package), name)))
]


@pytest.mark.parametrize("name", MODULES)
def test_examples_run(name, monkeypatch):
    monkeypatch.setattr(networks, "NETWORKS", dict(networks.NETWORKS))  # one registers a network
    failed, _ = doctest.testmod(importlib.import_module(name))
    assert failed == 0


@pytest.mark.parametrize(("package", "name"), FUNCTIONS)
def test_every_public_function_has_an_example_that_runs(package, name):
    function = inspect.unwrap(getattr(importlib.import_module(package), name))
    module = importlib.import_module(function.__module__)
    (found,) = [
        each
        for each in doctest.DocTestFinder(recurse=False).find(function, name, module=module)
        if each.examples
    ]
    assert not any(example.options.get(doctest.SKIP) for example in found.examples)
