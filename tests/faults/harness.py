"""Helpers that run commands as processes, kill them, and compare their files byte by byte.

The moment of a kill is measured in progress, not in time: a number of changes in the directory that
the command works in (its printed lines lie there too), and a little later. So it does not depend on
the speed of the machine. A kill that comes after the end is drawn again.
"""

import json
import os
import re
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import orbax.checkpoint as ocp

from train.storage.checkpoints import damaged_checkpoints, digest_of
from train.storage.runs import read_result, result_problems

DRIVER = Path(__file__).with_name("driver.py")
LOG = "printed"
"""File with the printed lines of a command, in the directory that it works in."""

OUT = "out"
"""Output directory of all commands here, so that two runs have the same arguments."""

COMMANDS = {
    "synthesize": "synthesize --classifier own_classifiers:linear --data {data} --stop 20 "
    "--batch-size 4 --batches-per-shard 1 --steps 5",
    "classifier": "classifier train --data {data} --model vgg-small --epochs 3 --batch-size 8 "
    "--learning-rate 0.02",
    "gan": "gan train --data {data} --batch-size 8 --width 2 --epochs 3 --grids 2",
    "table": "experiment table-a --preset smoke --only 30,1",
}
"""Arguments of the commands to kill, without --out; {data} is the data set."""

TIMES = r'(<td class="number">[\d,]+</td>){2}</tr>'

LOOK_EVERY_SECONDS = 0.002
AT_MOST_SECONDS = 1200
"""Time after which a process counts as hanging; long, for busy machines."""

AT_MOST_DRAWS = 10
LATEST_SECONDS = 0.03
"""Longest delay of a kill after its change; a step of writing takes less."""

ONE_THREAD = {"OPENBLAS_NUM_THREADS": "1"}
"""Keeps NumPy from starting threads on import, since the driver must have none when it forks."""


@dataclass(frozen=True)
class Job:
    """A command to run, and the faults that it will meet.

    Attributes:
        words: arguments after `elicit`.
        directory: working directory; the output is `OUT` in it.
        steps: file for a list of the steps that change the output; None: no list.
        kill_at: number of the step at which the process kills itself.
        file_bytes: limit of a file's size, as on a full disk.
        heeds_permissions: whether permission bits count, which root ignores.
    """

    words: Sequence[str]
    directory: Path
    steps: Path | None = None
    kill_at: int | None = None
    file_bytes: int | None = None
    heeds_permissions: bool = False

    def as_line(self) -> bytes:
        """The job as the driver reads it."""
        fields = {
            **vars(self),
            "words": list(self.words),
            "out": self.directory / OUT,
            "log": self.directory / LOG,
        }
        return json.dumps(fields, default=str).encode() + b"\n"


class Driver:
    """The process that forks for each job. One job at a time."""

    def __init__(self, *, compiled: Path, modules: Path) -> None:
        """Starts it.

        Args:
            compiled: directory for compiled programs, shared by all jobs.
            modules: directory of a user's own modules.
        """
        environment = {
            **os.environ,
            **ONE_THREAD,
            "ELICIT_COMPILATION_CACHE": str(compiled),
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
            "PYTHONPATH": f"{Path(__file__).parents[2]}{os.pathsep}{modules}",
        }
        self._process = subprocess.Popen(
            [sys.executable, DRIVER],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment, bufsize=0,
        )  # fmt: skip

    def start(self, job: Job) -> "Child":
        """Starts a job's process."""
        job.directory.mkdir(parents=True, exist_ok=True)
        self._process.stdin.write(job.as_line())
        return Child(job, self.read(), self)

    def run(self, words: Sequence[str], directory: Path, **faults: Any) -> tuple[int, str]:
        """Runs a command to its end; gives its exit status and all that was printed there."""
        child = self.start(Job(words, directory, **faults))
        return child.wait(), (directory / LOG).read_text()

    def complete(self, whole: "Undisturbed", directory: Path, **faults: Any) -> None:
        """Runs a command, which must end with the undisturbed files."""
        status, printed = self.run(whole.words, directory, **faults)
        assert status == 0, printed
        assert differences(content(directory / OUT), whole.content) == []

    def stop(self) -> None:
        """Ends it; an unfinished job's process ends by itself."""
        self._process.communicate(timeout=AT_MOST_SECONDS)

    def has_answer(self, seconds: float) -> bool:
        """Whether the child has ended, or ends in so many seconds."""
        return bool(select.select([self._process.stdout], [], [], seconds)[0])

    def read(self) -> int:
        """The next answer, once it is there."""
        return int(self._process.stdout.readline())


@dataclass
class Child:
    """A running process."""

    job: Job
    pid: int
    driver: Driver

    def wait(self) -> int:
        """Its exit status; negative: the signal that ended it."""
        if not self.driver.has_answer(AT_MOST_SECONDS):
            self._give_up()
        return self.driver.read()

    def watch(self, changes: float) -> int:
        """Waits for a number of changes in its directory, or for its end; gives their number."""
        count, before = 0, look(self.job.directory)
        began = time.monotonic()
        while count < changes and not self.driver.has_answer(LOOK_EVERY_SECONDS):
            now = look(self.job.directory)
            count += len(now - before)
            before = now
            if time.monotonic() > began + AT_MOST_SECONDS:
                self._give_up()
        return count

    def _give_up(self) -> None:
        """Fails, and leaves the driver ready for the next job."""
        os.kill(self.pid, signal.SIGKILL)
        self.driver.read()
        raise AssertionError(f"a process hangs: {' '.join(self.job.words)}")

    def kill(self) -> bool:
        """Kills it; gives whether it was still running."""
        os.kill(self.pid, signal.SIGKILL)
        return self.wait() == -signal.SIGKILL


def look(directory: Path) -> set[tuple[str, int, int, int]]:
    """Gives a set that is different for any two states of a directory."""
    found = set()
    for place, directories, names in os.walk(directory):
        for name in (*directories, *names):
            path = f"{place}/{name}"
            try:
                status = os.stat(path)  # noqa: PTH116 - often, so quickly
            except FileNotFoundError:
                continue
            found.add((path, status.st_ino, status.st_size, status.st_mtime_ns))
    return found


@dataclass(frozen=True)
class Undisturbed:
    """A command and its results without faults."""

    words: Sequence[str]
    content: dict[str, Any]
    changes: int


def run_undisturbed(driver: Driver, words: Sequence[str], directory: Path) -> Undisturbed:
    """Runs a command without faults.

    Args:
        driver: runs the command.
        words: arguments after `elicit`, with `--out OUT`.
        directory: a new working directory.
    """
    child = driver.start(Job(words, directory))
    changes = child.watch(np.inf)
    assert child.wait() == 0, (directory / LOG).read_text()
    return Undisturbed(words, content(directory / OUT), changes)


def kill_on_the_way(
    driver: Driver,
    whole: Undisturbed,
    directory: Path,
    random: np.random.Generator,
    *,
    kills: int,
) -> None:
    """Kills a command at random moments, then lets it end; it gives the undisturbed files.

    Args:
        driver: runs the command.
        whole: the command.
        directory: a new working directory.
        random: draws the moments.
        kills: number of kills, all of which hit the process while it runs.
    """
    for _ in range(AT_MOST_DRAWS):
        moments = random.integers(0, whole.changes // kills, kills, endpoint=True)
        if all(_kill_once(driver, whole, directory, random, int(after)) for after in moments):
            return driver.complete(whole, directory)
        shutil.rmtree(directory)  # it ended before a kill: start again
    raise AssertionError(f"{AT_MOST_DRAWS} times in a row the command ended before it was killed")


def _kill_once(
    driver: Driver, whole: Undisturbed, directory: Path, random: np.random.Generator, after: int
) -> bool:
    child = driver.start(Job(whole.words, directory))
    child.watch(after)
    time.sleep(random.uniform(0, LATEST_SECONDS))
    return child.kill()


def content(out: Path) -> dict[str, Any]:
    """Gives the content of all files of an output, by name, without times and random names.

    Orbax gives its files random names, so a checkpoint counts by its arrays. Its digests, and those
    in a result, are checked.
    """
    found: dict[str, Any] = {}
    for path in sorted(out.rglob("*")):
        name = str(path.relative_to(out))
        if _in_checkpoint(path, out):
            continue
        if (path / "_METADATA").is_file():
            found[name] = _arrays(path)
        elif path.with_suffix("").joinpath("_METADATA").is_file():
            assert damaged_checkpoints(path.parent) == []
            found[name] = "digests"
        elif path.name == "result.json":
            assert result_problems(path.parent) == []
            found[name] = _without_times(read_result(path.parent))
        elif path.name == "report.html":
            found[name] = _page_without_times(path.read_text())
        else:
            found[name] = path.read_bytes() if path.is_file() else "directory"
    return found


def _in_checkpoint(path: Path, out: Path) -> bool:
    inside = path.parents[: len(path.relative_to(out).parts)]
    return any((parent / "_METADATA").is_file() for parent in inside)


def _arrays(checkpoint: Path) -> str:
    if not checkpoint.with_name(f"{checkpoint.name}.json").is_file():
        return "not committed"
    with ocp.Checkpointer(ocp.PyTreeCheckpointHandler()) as checkpointer:
        return digest_of("", checkpointer.restore(checkpoint.absolute()))


def _without_times(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _without_times(item) for name, item in value.items() if name != "timing"}
    return [_without_times(item) for item in value] if isinstance(value, list) else value


def _page_without_times(page: str) -> str:
    """Removes seconds and memory, the last two columns of an experiment's table of arms."""
    return re.sub(TIMES, "</tr>", page) if ">memory, MiB<" in page else page


def differences(found: dict[str, Any], wanted: dict[str, Any]) -> list[str]:
    """Gives the names of all files that are missing, unexpected or different."""
    return [
        f"{name}: {'missing' if name not in found else 'other' if name in wanted else 'too many'}"
        for name in sorted({*found, *wanted})
        if name not in found or name not in wanted or found[name] != wanted[name]
    ]
