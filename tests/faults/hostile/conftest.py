"""Hypothesis keeps its files out of the repository, and a soak tells its seed."""

import pytest
from hypothesis.configuration import set_hypothesis_home_dir

from tests.faults.hostile.fuzzing import SEED
from tests.soaking import SOAK


@pytest.fixture(scope="session", autouse=True)
def hypothesis_home(tmp_path_factory) -> None:
    set_hypothesis_home_dir(tmp_path_factory.mktemp("hypothesis"))
    if SOAK:
        print(f"ELICIT_SOAK_SEED={SEED}")
