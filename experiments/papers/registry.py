"""The experiments by name; each one's module is imported when it is asked for."""

import importlib
from pathlib import Path
from typing import Any

from experiments.papers.experiment import Experiment
from train.runs import RESULT_FILE, read_result

_PLACES = {
    "table-a": ("experiments.papers.table_a", "TABLE_A"),
    "figures-a": ("experiments.papers.figures_a", "FIGURES_A"),
    "table-b": ("experiments.papers.table_b", "TABLE_B"),
    "figures-b": ("experiments.papers.figures_b", "FIGURES_B"),
}
"""Module and name of each experiment."""

NAMES = tuple(_PLACES)
"""Of the experiments."""


def find_experiment(name: str) -> Experiment:
    """Gives an experiment by its name.

    Raises:
        ValueError: there is none of that name.
    """
    if name not in _PLACES:
        raise ValueError(f"expected an experiment among {', '.join(_PLACES)}, got {name!r}")
    module, constant = _PLACES[name]
    return getattr(importlib.import_module(module), constant)


def read_results(directory: Path) -> tuple[Experiment, dict[str, Any]]:
    """Reads an experiment's results.

    Args:
        directory: that `elicit experiment` wrote to.

    Returns:
        The experiment, and the content of `result.json`.

    Raises:
        ValueError: the directory holds no results of an experiment, or damaged ones.
    """
    path = directory / RESULT_FILE
    if not path.is_file():
        raise ValueError(
            f"expected results of an experiment, got {directory}, which has no {RESULT_FILE}; "
            "make them with: elicit experiment NAME --out DIR"
        )
    result = read_result(directory)
    if "experiment" not in result:
        raise ValueError(f"expected results of an experiment, got others in {path}")
    return find_experiment(result["experiment"]), result
