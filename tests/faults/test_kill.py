"""A command that is killed at random moments and repeated gives the undisturbed files."""

import numpy as np
import pytest

from tests.faults.harness import COMMANDS, kill_on_the_way
from tests.soaking import SOAK

pytestmark = pytest.mark.slow

KILLS_OF_A_RUN = 3
RUNS = 7 if SOAK else 1


@pytest.mark.parametrize("name", COMMANDS)
def test_a_killed_command_repeated_ends_with_the_same_bytes(name, driver, undisturbed, tmp_path):
    whole = undisturbed(name)
    random = np.random.default_rng([*map(ord, name)])
    for run in range(RUNS):
        kill_on_the_way(driver, whole, tmp_path / str(run), random, kills=KILLS_OF_A_RUN)
