"""One job of several processes gives the bytes of one process, also if one of them is killed.

All run on this machine and communicate over its loopback by Gloo, as JAX does on CPUs.
"""

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from experiments.console.distributed_options import DistributedConfig
from tests.experiments.conftest import OWN_CLASSIFIERS, bytes_below
from tests.soaking import SOAK

pytestmark = pytest.mark.slow

PROGRAM = """
import sys
import experiments.cli, experiments.console.distributed, experiments.training.session
from train.models.networks import NETWORKS, Architecture

experiments.training.session.CHECKPOINT_EVERY_SECONDS = -1.0
experiments.console.distributed.HEARTBEAT_SECONDS = 10
NETWORKS["vgg-small"] = Architecture((6, "M"))  # compiles in no time
sys.exit(experiments.cli.main(sys.argv[1:]))
"""

TRAINING = (
    "classifier train --data {data} --model vgg-small --epochs 6 --batch-size 12 "
    "--learning-rate 0.02"
)
GAN = "gan train --data {data} --width 2 --epochs 2 --batch-size 8 --on-nonfinite skip"
SYNTHESIS = (
    "synthesize --data {data} --classifier slow_classifiers:linear --batch-size 2 "
    "--batches-per-shard 2 --steps 5"
)
TWO_DEVICES = "--xla_force_host_platform_device_count=2"
LONGEST_SECONDS = 240
"""Limit for a job, and for a process to notice that another one has ended."""

SLOWLY = """
import time
import jax
from own_classifiers import linear as quick

def linear(images):
    jax.debug.callback(lambda: time.sleep(0.02))
    return quick(images)
"""


@dataclass(frozen=True)
class Jobs:
    """Starts commands on one data set, as processes of one environment."""

    data: Path
    environment: Mapping[str, str]

    def start(self, command: str, out: Path, **variables: str) -> subprocess.Popen[str]:
        words = [*command.format(data=self.data).split(), "--out", str(out)]
        return subprocess.Popen(
            [sys.executable, "-c", PROGRAM, *words], env={**self.environment, **variables},
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip

    @contextlib.contextmanager
    def started(
        self, command: str, out: Path, *, count: int, **variables: str
    ) -> Iterator[list[subprocess.Popen[str]]]:
        """Starts the processes of a job; those that still run at the end are killed."""
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            address = f"127.0.0.1:{free.getsockname()[1]}"
        command += f" --distributed on --coordinator {address} --processes {count} --process "
        processes = [self.start(f"{command}{i}", out, **variables) for i in range(count)]
        try:
            yield processes
        finally:
            for process in processes:
                process.kill()

    def run(self, command: str, out: Path, *, count: int, **variables: str) -> list[str]:
        """Runs a job, whose processes must all succeed, and gives what each of them printed."""
        with self.started(command, out, count=count, **variables) as processes:
            return succeeded(processes)

    def run_alone(self, command: str, out: Path, **variables: str) -> None:
        """Runs a command in a single process, which must succeed."""
        succeeded([self.start(command, out, **variables)])


def ends(processes: Sequence[subprocess.Popen[str]]) -> list[tuple[int, str]]:
    """Gives the exit status and the printed text of each process."""
    printed = [process.communicate(timeout=LONGEST_SECONDS)[0] for process in processes]
    return [(process.returncode, text) for process, text in zip(processes, printed, strict=True)]


def succeeded(processes: Sequence[subprocess.Popen[str]]) -> list[str]:
    found = ends(processes)
    assert {status for status, _ in found} == {0}, found
    return [text for _, text in found]


@pytest.fixture(scope="module")
def jobs(tmp_path_factory, data) -> Jobs:
    """Processes with one device each, a common cache of programs, and a user's slow classifier."""
    modules = tmp_path_factory.mktemp("modules")
    (modules / "own_classifiers.py").write_text(OWN_CLASSIFIERS)
    (modules / "slow_classifiers.py").write_text(SLOWLY)
    environment = {
        **os.environ,
        "PYTHONPATH": f"{Path(__file__).parents[2]}{os.pathsep}{modules}",
        "ELICIT_COMPILATION_CACHE": str(tmp_path_factory.mktemp("compiled")),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_PLATFORMS": "cpu",
        "XLA_FLAGS": "",
    }
    return Jobs(data, environment)


def wait_for(pattern: str, directory: Path) -> None:
    deadline = time.monotonic() + LONGEST_SECONDS
    while not any(directory.glob(pattern)):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def numbers(run_directory: Path, digest: str = "classifier_sha256") -> tuple[bytes, bytes, str]:
    """Gives configuration, metrics and digest of a training."""
    result = json.loads((run_directory / "result.json").read_text())
    files = (run_directory / name for name in ("config.json", "metrics.jsonl"))
    return (*(file.read_bytes() for file in files), result[digest])


@pytest.fixture
def contents() -> Callable[[Path], dict[str, bytes]]:
    """The files of a set; its page without command and devices, which differ from job to job."""

    def read(directory: Path) -> dict[str, bytes]:
        found = bytes_below(directory)
        page = re.sub(rb"<dt>(command|device)</dt><dd>.*?</dd>", b"", found["report.html"])
        return found | {"report.html": page}

    return read


@pytest.fixture(scope="module")
def by_two(tmp_path_factory, jobs) -> Path:
    """An undisturbed training by two processes."""
    out = tmp_path_factory.mktemp("by_two") / "run"
    printed = jobs.run(TRAINING, out, count=2)
    assert all(f"process {number} of 2" in text for number, text in enumerate(printed))
    assert f"run: {out}" in printed[0]
    return out


def test_two_processes_train_what_two_devices_of_one_do(by_two, jobs, tmp_path):
    jobs.run_alone(f"{TRAINING} --devices 2", tmp_path / "run", XLA_FLAGS=TWO_DEVICES)
    assert numbers(tmp_path / "run") == numbers(by_two)


@pytest.mark.skipif(not SOAK, reason="compiles for half a minute; make soak")
def test_two_processes_train_the_gan_that_two_devices_of_one_do(jobs, tmp_path):
    quickly = {"JAX_DISABLE_MOST_OPTIMIZATIONS": "1"}
    jobs.run(GAN, tmp_path / "by_two", count=2, **quickly)
    jobs.run_alone(f"{GAN} --devices 2", tmp_path / "alone", XLA_FLAGS=TWO_DEVICES, **quickly)
    found = [numbers(tmp_path / name, "gan_sha256") for name in ("by_two", "alone")]
    assert found[0] == found[1]
    assert b'"skipped": 0' in found[0][1]


def test_a_training_that_lost_a_process_goes_on_with_the_same_bits(by_two, jobs, tmp_path):
    out = tmp_path / "run"
    with jobs.started(TRAINING, out, count=2) as (first, second):
        wait_for("checkpoints/*.json", out)
        second.kill()
        (status, printed), _ = ends([first, second])
    assert status == 1, printed
    assert "process 0 of 2 has lost another one" in printed
    assert "Start all of them again with the same command" in printed
    assert "Traceback" not in printed
    assert not (out / "result.json").exists()
    jobs.run(TRAINING, out, count=2)
    assert numbers(out) == numbers(by_two)


def test_a_signal_to_one_process_stops_all_at_the_same_step(by_two, jobs, tmp_path):
    out = tmp_path / "run"
    with jobs.started(TRAINING, out, count=2) as processes:
        wait_for("checkpoints/*.json", out)
        processes[1].send_signal(signal.SIGTERM)
        found = ends(processes)
    assert [status for status, _ in found] == [143, 143], found
    said = [text.splitlines()[-1].partition("stopped by SIGTERM after ")[2] for _, text in found]
    assert said[0] == said[1] != ""
    jobs.run(TRAINING, out, count=2)
    assert numbers(out) == numbers(by_two)


@pytest.fixture(scope="module")
def by_one(tmp_path_factory, jobs) -> Path:
    """A set of twelve shards, synthesised by one process."""
    out = tmp_path_factory.mktemp("by_one") / "set"
    jobs.run_alone(SYNTHESIS, out)
    return out


def test_four_processes_make_the_set_that_one_makes(by_one, jobs, contents, tmp_path):
    printed = jobs.run(SYNTHESIS, tmp_path / "set", count=4)
    assert contents(tmp_path / "set") == contents(by_one)
    assert all(f"process {number} made 3 shards" in text for number, text in enumerate(printed))


def test_a_synthesis_that_lost_a_process_is_finished_with_the_same_bytes(
    by_one, jobs, contents, tmp_path
):
    out = tmp_path / "set"
    with jobs.started(SYNTHESIS, out, count=2) as (first, second):
        wait_for("*-00001", out)
        second.kill()
        (status, printed), _ = ends([first, second])
    assert status == 1, printed
    assert "process 1 ended before its work was done" in printed
    assert "Traceback" not in printed
    assert all(any(out.glob(f"*-{index:05d}")) for index in range(0, 12, 2))
    assert not (out / "manifest.json").exists()
    jobs.run(SYNTHESIS, out, count=2)
    assert contents(out) == contents(by_one)


def test_slurm_is_found(by_one, jobs, contents, tmp_path):
    slurm = {
        "SLURM_JOB_ID": str(os.getpid()),  # JAX derives the port from it
        "SLURM_STEP_NODELIST": "localhost",
        "SLURM_NTASKS": "2",
        "SLURM_STEP_NUM_NODES": "1",
    }
    command, out = f"{SYNTHESIS} --distributed auto", tmp_path / "set"
    succeeded(
        [
            jobs.start(command, out, **slurm, SLURM_PROCID=number, SLURM_LOCALID=number)
            for number in "01"
        ]
    )
    assert contents(out) == contents(by_one)


def test_where_there_is_no_cluster_auto_is_one_process_and_on_is_refused(
    by_one, jobs, contents, tmp_path
):
    out = tmp_path / "set"
    ((status, printed),) = ends([jobs.start(f"{SYNTHESIS} --distributed on", out)])
    assert status == 2
    assert "--distributed on found no cluster" in printed
    assert not out.exists()
    jobs.run_alone(f"{SYNTHESIS} --distributed auto", out)
    assert contents(out) == contents(by_one)


ALL_THREE = {"coordinator": "host:1", "processes": 2, "process": 0}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"coordinator": "host:1"}, "--processes and --process must be given too"),
        ({"processes": 2, "process": 0}, "--coordinator must be given too"),
        ({**ALL_THREE, "coordinator": "host"}, "such as host:1234, got 'host'"),
        ({**ALL_THREE, "process": 2}, "below the 2 processes, got 2"),
        ({**ALL_THREE, "process": -1}, "at least 0 and .* got -1"),
        ({**ALL_THREE, "distributed": "off"}, "need --distributed on"),
    ],
)
def test_options_that_do_not_go_together_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        DistributedConfig(**{"distributed": "on", **options})
