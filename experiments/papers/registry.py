"""The experiments by name; each one's module is imported when it is asked for."""

import contextlib
import importlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from experiments.papers.engine.experiment import Experiment
from imgopt.errors import InputError
from train.storage.runs import RESULT_FILE, read_result

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
        InputError: there is none of that name.
    """
    if name not in NAMES:
        raise InputError(f"expected an experiment among {', '.join(_PLACES)}, got {name!r}")
    module, constant = _PLACES[name]
    return getattr(importlib.import_module(module), constant)


def read_results(directory: Path) -> tuple[Experiment, dict[str, Any]]:
    """Reads an experiment's results.

    Args:
        directory: that `elicit experiment` wrote to.

    Returns:
        The experiment, and the content of `result.json`.

    Raises:
        InputError: the directory holds no results of an experiment, or damaged ones.
    """
    path = directory / RESULT_FILE
    if not path.is_file():
        raise InputError(
            f"expected results of an experiment, got {directory}, which has no {RESULT_FILE}; "
            "make them with: elicit experiment NAME --out DIR"
        )
    result = read_result(directory)
    if "experiment" not in result:
        raise InputError(f"expected results of an experiment, got others in {path}")
    try:
        return find_experiment(result["experiment"]), result
    except ValueError as error:
        raise InputError(f"{error} in {path}") from error


@contextlib.contextmanager
def results_expected(*directories: Path) -> Iterator[None]:
    """Names the results whose fields are not those that `elicit experiment` writes.

    Args:
        directories: of the results that are used inside.

    Raises:
        InputError: a field is missing or of another type.
    """
    try:
        yield
    except (LookupError, TypeError, AttributeError, ArithmeticError, ValueError) as error:
        if isinstance(error, ValueError) and any(str(place) in str(error) for place in directories):
            raise  # it says more
        paths = " or ".join(str(directory / RESULT_FILE) for directory in directories)
        raise InputError(
            f"expected results as elicit experiment writes them, got a missing or another field in "
            f"{paths} ({type(error).__name__}: {error})"
        ) from error
