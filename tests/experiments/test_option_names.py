"""One name for one thing: options of one name have one meaning in all commands."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, get_args, get_origin, get_type_hints

import pytest

from experiments.commands import COMMANDS

TWO_MEANINGS = {
    "gan": "quickstart makes one, other commands read one",
    "width": "a factor for classifiers, a number of channels for GANs",
    "augmentations": "of a GAN's training, and those that synthesised images survive",
    "preset": "of a Stacked GAN, and of an experiment",
    "model": "a classifier's network, and a kind of GAN",
    "name": "of CIFAR to prepare, and of a set to make",
}
"""Names whose values are of different kinds in different commands, and why."""

OTHER_NAMES = {"dataset", "test_dataset", "splits", "train_split", "select", "selector"}
"""Former second names of --data, --test-data, --split, --keep and --classifier."""


def options(config: type) -> Iterator[tuple[str, frozenset[object]]]:
    """Every option's name and the kinds of its values, nested dataclasses included."""
    for name, hint in get_type_hints(config).items():
        if isinstance(hint, type) and dataclasses.is_dataclass(hint):
            yield from options(hint)
        else:
            yield name, frozenset(kinds(hint))


def kinds(hint: object) -> Iterator[object]:
    """The kinds of values; a place is a word, and a number of values is no other kind."""
    if get_origin(hint) is Literal:
        yield from get_args(hint)
    elif get_args(hint):
        for inner in get_args(hint):
            yield from kinds(inner)
    elif hint not in (type(None), Ellipsis):
        yield str if hint is Path else hint


@pytest.fixture(scope="module")
def meanings():
    found: dict[str, dict[frozenset[object], list[str]]] = {}
    for command in COMMANDS:
        for name, kind in options(COMMANDS[command].config_type()):
            found.setdefault(name, {}).setdefault(kind, []).append(command)
    return found


def test_options_of_one_name_take_values_of_one_kind(meanings):
    several = {name: kinds for name, kinds in meanings.items() if len(kinds) > 1}
    assert several.keys() == TWO_MEANINGS.keys(), several


def test_no_option_has_a_second_name(meanings):
    assert meanings.keys() & OTHER_NAMES == set()


def test_a_data_set_may_be_a_name_wherever_it_may_be_a_directory():
    for command in COMMANDS:
        names = {name for name, _ in options(COMMANDS[command].config_type())}
        if names & {"data", "train_data", "test_data"}:
            assert "data_dir" in names, command
