"""A command that is killed at any step of writing and repeated gives the undisturbed files.

The number of steps differs a little between two runs: Orbax writes a checkpoint's arrays into five
files or, in one of ten runs, into six. So a run may end before the last steps that another had.
"""

import signal
from pathlib import Path

import numpy as np
import pytest

from tests.faults.harness import LOG, OUT, Job, content, differences
from tests.soaking import SOAK

pytestmark = pytest.mark.slow

STEPS_OF_NORMAL_TESTS = 3

MOST_UNREACHED = 5
"""Most of the last steps that a run may lack: one for each checkpoint, with room."""


@pytest.mark.parametrize("name", ["synthesize", "classifier"])
def test_a_command_cut_at_a_step_repeated_ends_with_the_same_bytes(
    name, driver, undisturbed, tmp_path
):
    whole = undisturbed(name)
    driver.complete(whole, tmp_path / "all", steps=tmp_path / "steps")
    steps = _lines(tmp_path / "steps")
    assert len({step.split()[0] for step in steps}) > 3  # kinds of steps
    wrong, chosen = {}, _chosen(len(steps), name)
    print(f"{name}: cut at {len(chosen)} of {len(steps)} steps")
    for number in chosen:
        directory, listed = tmp_path / str(number), tmp_path / f"steps-{number}"
        cut = driver.start(Job(whole.words, directory, steps=listed, kill_at=number))
        status = cut.wait()
        if status == 0 and len(steps) - number <= MOST_UNREACHED:
            assert len(_lines(listed)) <= number  # it had fewer steps, so there was no cut
        else:
            assert status == -signal.SIGKILL, (directory / LOG).read_text()
        status, printed = driver.run(whole.words, directory)
        found = differences(content(directory / OUT), whole.content)
        if status or found:
            wrong[number, _lines(listed)[-1:]] = found, printed.splitlines()[-1]
    assert wrong == {}


def _lines(path: Path) -> tuple[str, ...]:
    return tuple(path.read_text().splitlines())


def _chosen(count: int, name: str) -> list[int]:
    if SOAK:
        return list(range(count))
    random = np.random.default_rng([*map(ord, name)])
    return sorted(random.choice(count, STEPS_OF_NORMAL_TESTS, replace=False).tolist())
