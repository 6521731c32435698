"""Finds experiments by name, and reads their results."""

import contextlib
import importlib
from collections.abc import Iterator
from pathlib import Path

from experiments.papers.engine.experiment import Experiment, ExperimentResult
from experiments.papers.engine.results import parse_result
from imgopt.errors import InputError
from train.storage.runs import RESULT_FILE, read_result
from train.storage.strict_json import SEAL, read_json

_PLACES = {
    "table-a": ("experiments.papers.table_a", "TABLE_A"),
    "table-b": ("experiments.papers.table_b", "TABLE_B"),
    "figures-a": ("experiments.papers.figures_a", "FIGURES_A"),
    "figures-b": ("experiments.papers.figures_b", "FIGURES_B"),
    "questions-b": ("experiments.papers.questions_b", "QUESTIONS_B"),
    "closed-loop": ("experiments.papers.closed_loop", "CLOSED_LOOP"),
    "does-it-help": ("experiments.papers.does_it_help.command", "DOES_IT_HELP"),
}
"""Module and constant of each experiment; a module is imported when it is needed."""

NAMES = tuple(_PLACES)
"""Names of all experiments."""


def find_experiment(name: str) -> Experiment:
    """Returns the experiment of a name.

    Raises:
        InputError: there is no experiment of that name.
    """
    if name not in NAMES:
        raise InputError(f"expected an experiment among {', '.join(_PLACES)}, got {name!r}")
    module, constant = _PLACES[name]
    return getattr(importlib.import_module(module), constant)


def read_results(directory: Path) -> tuple[Experiment, ExperimentResult]:
    """Reads the results of an experiment.

    Args:
        directory: a directory that `elicit experiment` wrote to.

    Returns:
        The experiment and its results.

    Raises:
        InputError: the directory holds no results of an experiment, or damaged ones.
    """
    path = directory / RESULT_FILE
    if not path.is_file():
        raise InputError(
            f"expected results of an experiment, got {directory}, which has no {RESULT_FILE}; "
            "make them with: elicit experiment NAME --out DIR"
        )
    content = read_result(directory)
    if "experiment" not in content:
        raise InputError(
            f"expected results of an experiment, got another result in {path}; its own command "
            "writes its page"
        )
    try:
        experiment = find_experiment(content["experiment"])
    except InputError as error:
        raise InputError(f"{error} in {path}") from error
    with results_expected(directory):
        return experiment, parse_result(content)


@contextlib.contextmanager
def results_expected(*directories: Path) -> Iterator[None]:
    """Turns errors from fields that are missing or wrong into an InputError that names the files.

    Results with their seal are as we wrote them: those of another version may lack a field, but
    any other error is a bug and stays as it is.

    Args:
        directories: directories of the results that are used inside.

    Raises:
        InputError: a field is missing or of another type.
    """
    files = [directory / RESULT_FILE for directory in directories]
    try:
        yield
    except (LookupError, TypeError, AttributeError, ArithmeticError, ValueError) as error:
        if isinstance(error, InputError) and any(str(place) in str(error) for place in directories):
            raise  # it says more
        if not isinstance(error, LookupError) and all(SEAL in read_json(file) for file in files):
            raise
        paths = " or ".join(map(str, files))
        raise InputError(
            "expected results as elicit experiment writes them, got a missing or different field "
            f"in {paths} ({type(error).__name__}: {error})"
        ) from error
