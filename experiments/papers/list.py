"""The command `elicit experiment list`: the experiments, and what each preset measures."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from experiments.classifier.train import ClassifierTrainConfig
from experiments.commands import COMMANDS
from experiments.gan.train import GanTrainConfig
from experiments.papers.engine.experiment import Experiment, PresetName
from experiments.papers.engine.plan import PieceConfig, place
from experiments.papers.registry import NAMES, find_experiment

GROUP = "experiment "
"""What the experiments' commands begin with."""


@dataclass(frozen=True)
class ListConfig:
    """Lists the experiments and their presets; needs no data."""


def list_experiments(config: ListConfig) -> None:
    """Runs the command.

    Args:
        config: without options.
    """
    del config
    for command, entry in COMMANDS.items():
        name = command.removeprefix(GROUP)
        if not command.startswith(GROUP) or entry.function == list_experiments.__name__:
            continue
        print(f"{name}: {entry.help}")
        if name in NAMES:
            experiment = find_experiment(name)
            width = max(map(len, experiment.presets))
            for preset in experiment.presets:
                print(f"  {preset:{width}}  {describe_preset(experiment, preset)}")


def describe_preset(experiment: Experiment, preset: PresetName) -> str:
    """What a preset measures, on what data, with what networks, in a line.

    Args:
        experiment: whose.
        preset: its name.
    """
    settings = experiment.presets[preset]
    source = experiment.source(settings, None)
    plan = experiment.plan(settings, source, 0)
    counts = {
        "row": len(plan.rows),
        "seed": len({arm.seed for arm in plan.arms}),
        "measurement": len(plan.arms),
    }
    words = [f"{count} {noun}{'s' * (count != 1)}" for noun, count in counts.items()]
    configs = [piece.config for piece in place(plan, Path(), {}).values()]
    data = f"{source.dataset}, {' and '.join(source.splits)}"
    return "; ".join([", ".join(words), data, ", ".join(_networks(configs))])


def _networks(configs: Iterable[PieceConfig]) -> list[str]:
    """What is trained, once each."""
    found = {}
    for config in configs:
        if isinstance(config, ClassifierTrainConfig):
            part = f" at {config.width:g} of its width" if config.width != 1 else ""
            found[f"{config.model}{part}"] = None
        elif isinstance(config, GanTrainConfig):
            found[config.model] = None
    return list(found)
