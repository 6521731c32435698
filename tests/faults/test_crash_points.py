"""A command that is killed at any step of writing and repeated gives the undisturbed files."""

import signal

import numpy as np
import pytest

from tests.faults.harness import LOG, OUT, Job, content, differences
from tests.soaking import SOAK

pytestmark = pytest.mark.slow

STEPS_OF_NORMAL_TESTS = 3


@pytest.mark.parametrize("name", ["synthesize", "classifier"])
def test_a_command_cut_at_a_step_repeated_ends_with_the_same_bytes(
    name, driver, undisturbed, tmp_path
):
    whole = undisturbed(name)
    driver.complete(whole, tmp_path / "all", steps=tmp_path / "steps")
    steps = (tmp_path / "steps").read_text().splitlines()
    assert len({step.split()[0] for step in steps}) > 3  # kinds of steps
    wrong, chosen = {}, _chosen(len(steps), name)
    print(f"{name}: cut at {len(chosen)} of {len(steps)} steps")
    for number in chosen:
        directory = tmp_path / str(number)
        cut = driver.start(
            Job(whole.words, directory, steps=tmp_path / f"steps-{number}", kill_at=number)
        )
        assert cut.wait() == -signal.SIGKILL, (directory / LOG).read_text()
        status, printed = driver.run(whole.words, directory)
        found = differences(content(directory / OUT), whole.content)
        if status or found:
            wrong[number, steps[number]] = found, printed.splitlines()[-1]
    assert wrong == {}


def _chosen(count: int, name: str) -> list[int]:
    if SOAK:
        return list(range(count))
    random = np.random.default_rng([*map(ord, name)])
    return sorted(random.choice(count, STEPS_OF_NORMAL_TESTS, replace=False).tolist())
