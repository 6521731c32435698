"""The examples in docstrings run."""

import doctest
import importlib
import pkgutil

import pytest

import imgopt
import train.losses

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


@pytest.mark.parametrize(
    "function",
    [
        *(imgopt.synthesize, imgopt.sgd, imgopt.momentum_sgd, imgopt.rule_by_name),
        *(imgopt.arctan_map, imgopt.tanh_map, imgopt.sigmoid_map, imgopt.to_float, imgopt.to_uint8),
        *(imgopt.low_pass, imgopt.gaussian_low_pass, imgopt.check_targets),
        *(imgopt.ranked_targets, imgopt.two_class_targets, imgopt.uniform_targets),
        *(train.losses.cross_entropy, train.losses.mixed_soft_label_loss),
    ],
    ids=lambda function: function.__name__,
)
def test_main_functions_have_an_example(function):
    assert ">>>" in function.__doc__
