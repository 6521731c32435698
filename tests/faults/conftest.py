"""The commands that are killed, and their results without faults, made when first needed."""

import functools
from collections.abc import Callable, Iterator, Mapping

import pytest

from tests.experiments.conftest import (
    OWN_CLASSIFIERS,
    contents,  # noqa: F401 - a fixture
    data,  # noqa: F401 - a fixture
    write_set,
)
from tests.faults.harness import COMMANDS, OUT, Driver, Undisturbed, run_undisturbed

COUNTS = {"train": 24, "test": 6}


@pytest.fixture(scope="session")
def driver(tmp_path_factory) -> Iterator[Driver]:
    """Starts processes with all imports done, compiled programs and a user's classifier."""
    modules = tmp_path_factory.mktemp("modules")
    (modules / "own_classifiers.py").write_text(OWN_CLASSIFIERS)
    started = Driver(compiled=tmp_path_factory.mktemp("compiled"), modules=modules)
    yield started
    started.stop()


@pytest.fixture(scope="session")
def commands(tmp_path_factory) -> Mapping[str, list[str]]:
    """Arguments of each command, by its name in `COMMANDS`."""
    place = write_set(tmp_path_factory.mktemp("data") / "made_up", counts=COUNTS)
    out = ["--out", OUT]
    return {name: words.format(data=place).split() + out for name, words in COMMANDS.items()}


@pytest.fixture(scope="session")
def undisturbed(driver, commands, tmp_path_factory) -> Callable[[str], Undisturbed]:
    """Gives the results of a command without faults."""

    @functools.cache
    def run(name: str) -> Undisturbed:
        return run_undisturbed(driver, commands[name], tmp_path_factory.mktemp("undisturbed"))

    return run
