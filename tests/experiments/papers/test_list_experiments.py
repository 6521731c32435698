"""The list of experiments: complete, and its numbers are those of the plans."""

import re

import pytest

from experiments.commands import COMMANDS
from experiments.papers.engine.experiment import PresetExperiment
from experiments.papers.list_experiments import describe_preset
from experiments.papers.registry import NAMES, find_experiment


@pytest.fixture
def listed(elicit, capsys):
    assert elicit("experiment", "list") == 0
    return capsys.readouterr().out.splitlines()


def test_every_experiment_is_listed_with_its_line_of_help(listed):
    names = {n.removeprefix("experiment ") for n in COMMANDS if n.startswith("experiment ")}
    found = {line.partition(":")[0] for line in listed if not line.startswith(" ")}
    assert found == names - {"list"}
    assert found == {*NAMES}
    assert all(f"{n}: {COMMANDS[f'experiment {n}'].help}" in listed for n in found)


def test_presets_stand_below_their_experiment(listed):
    found = {name: find_experiment(name) for name in NAMES}
    presets_of = {n: list(e.presets) for n, e in found.items() if isinstance(e, PresetExperiment)}
    assert len(presets_of) == 5
    for name, presets in presets_of.items():
        place = next(i for i, line in enumerate(listed) if line.startswith(f"{name}: "))
        below = listed[place + 1 : place + 1 + len(presets)]
        assert [line.split()[0] for line in below] == presets


@pytest.mark.parametrize(
    ("name", "preset", "words"),
    [
        ("table-a", "paper", "8 rows, 5 seeds, 40 measurements; cifar10, train and test; vgg16"),
        ("table-b", "paper", "5 seeds, .*; cifar10, train and test; kono-cnn, dcgan, sgan"),
        ("table-b", "smoke", "digits, train and test; kono-cnn at .* of its width, dcgan, sgan"),
        ("figures-a", "paper", "1 seed, .*; cifar10, .*; vgg16"),
    ],
)
def test_a_preset_tells_what_it_measures_on_what_with_what(name, preset, words):
    experiment = find_experiment(name)
    assert isinstance(experiment, PresetExperiment)
    assert re.search(f"{words}$", describe_preset(experiment, preset))
