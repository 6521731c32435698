"""The command `elicit experiment list`: the experiments, and what each preset measures."""

from collections.abc import Iterable
from pathlib import Path

from experiments.options.classifier import ClassifierTrainConfig
from experiments.options.gan import GanTrainConfig
from experiments.options.papers import ListConfig, PresetName
from experiments.papers.engine.experiment import PresetExperiment
from experiments.papers.engine.plan import PieceConfig, place
from experiments.papers.registry import NAMES, find_experiment


def list_experiments(config: ListConfig) -> None:
    """Runs the command.

    Args:
        config: the options, of which there are none.
    """
    del config
    for name in NAMES:
        experiment = find_experiment(name)
        print(f"{name}: {experiment.about}")
        if isinstance(experiment, PresetExperiment):
            width = max(map(len, experiment.presets))
            for preset in experiment.presets:
                print(f"  {preset:{width}}  {describe_preset(experiment, preset)}")


def describe_preset(experiment: PresetExperiment, preset: PresetName) -> str:
    """Says in one line what a preset measures, with which data and which networks.

    Args:
        experiment: the experiment.
        preset: name of the preset.
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
    """Names the networks that are trained, each once."""
    found = {}
    for config in configs:
        if isinstance(config, ClassifierTrainConfig):
            part = f" at {config.width:g} of its width" if config.width != 1 else ""
            found[f"{config.model}{part}"] = None
        elif isinstance(config, GanTrainConfig):
            found[config.model] = None
    return list(found)
