"""One job of several processes gives the bytes of one process, also if one of them is killed.

All run on this machine and communicate over its loopback by Gloo, as JAX does on CPUs.
"""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pytest

from experiments.console.distributed import DistributedConfig
from tests.experiments.conftest import OWN_CLASSIFIERS
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

TRAINING = "classifier train --model vgg-small --epochs 6 --batch-size 12 --learning-rate 0.02"
GAN = "gan train --width 2 --epochs 2 --batch-size 8 --on-nonfinite skip"
SYNTHESIS = (
    "synthesize --classifier slow_classifiers:linear --batch-size 2 --batches-per-shard 2 --steps 5"
)
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


@pytest.fixture(scope="module")
def environment(tmp_path_factory) -> dict[str, str]:
    """Environment of all processes: a common cache of compiled programs, and one device each."""
    return {
        **os.environ,
        "PYTHONPATH": str(Path(__file__).parents[2]),
        "ELICIT_COMPILATION_CACHE": str(tmp_path_factory.mktemp("compiled")),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_PLATFORMS": "cpu",
        "XLA_FLAGS": "",
    }


def start(
    words: Sequence[object], environment: Mapping[str, str], **options: str
) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM, *map(str, words)],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env={**environment, **options},
    )  # fmt: skip


@contextlib.contextmanager
def job(
    words: Sequence[object], environment: Mapping[str, str], *, count: int
) -> Iterator[list[subprocess.Popen[str]]]:
    """Starts the processes of a job; those that still run at the end are killed."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    given = [*words, "--distributed", "on", "--coordinator", address, "--processes", count]
    processes = [start([*given, "--process", number], environment) for number in range(count)]
    try:
        yield processes
    finally:
        for process in processes:
            process.kill()


def ends(processes: Sequence[subprocess.Popen[str]]) -> list[tuple[int, str]]:
    """Gives the exit status and the printed text of each process."""
    printed = [process.communicate(timeout=LONGEST_SECONDS)[0] for process in processes]
    return [(process.returncode, text) for process, text in zip(processes, printed, strict=True)]


def run(words: Sequence[object], environment: Mapping[str, str], *, count: int) -> list[str]:
    """Runs a job, whose processes must all succeed, and gives what each of them printed."""
    with job(words, environment, count=count) as processes:
        found = ends(processes)
    assert [status for status, _ in found] == [0] * count, found
    return [text for _, text in found]


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


@pytest.fixture(scope="module")
def by_two(tmp_path_factory, data, environment) -> Path:
    """An undisturbed training by two processes."""
    out = tmp_path_factory.mktemp("by_two") / "run"
    printed = run([*TRAINING.split(), "--dataset", data, "--out", out], environment, count=2)
    assert ["process 0 of 2" in printed[0], "process 1 of 2" in printed[1]] == [True, True]
    assert f"run: {out}" in printed[0]
    return out


def test_two_processes_train_what_two_devices_of_one_do(by_two, data, environment, tmp_path):
    words = [*TRAINING.split(), "--dataset", data, "--devices", 2, "--out", tmp_path / "run"]
    flags = "--xla_force_host_platform_device_count=2"
    ((status, printed),) = ends([start(words, environment, XLA_FLAGS=flags)])
    assert status == 0, printed
    assert numbers(tmp_path / "run") == numbers(by_two)


@pytest.mark.skipif(not SOAK, reason="compiles for half a minute; make soak")
def test_two_processes_train_the_gan_that_two_devices_of_one_do(data, environment, tmp_path):
    quickly = {**environment, "JAX_DISABLE_MOST_OPTIMIZATIONS": "1"}
    words = [*GAN.split(), "--data", data, "--out"]
    run([*words, tmp_path / "by_two"], quickly, count=2)
    flags = "--xla_force_host_platform_device_count=2"
    alone = start([*words, tmp_path / "alone", "--devices", 2], quickly, XLA_FLAGS=flags)
    ((status, printed),) = ends([alone])
    assert status == 0, printed
    found = [numbers(tmp_path / name, "gan_sha256") for name in ("by_two", "alone")]
    assert found[0] == found[1]
    assert b'"skipped": 0' in found[0][1]


def test_a_training_that_lost_a_process_goes_on_with_the_same_bits(
    by_two, data, environment, tmp_path
):
    words = [*TRAINING.split(), "--dataset", data, "--out", tmp_path / "run"]
    with job(words, environment, count=2) as (first, second):
        wait_for("run/checkpoints/*.json", tmp_path)
        second.kill()
        (status, printed), _ = ends([first, second])
    assert status == 1, printed
    assert "process 0 of 2 has lost another one" in printed
    assert "Start all of them again with the same command" in printed
    assert "Traceback" not in printed
    assert not (tmp_path / "run" / "result.json").exists()
    run(words, environment, count=2)
    assert numbers(tmp_path / "run") == numbers(by_two)


def test_a_signal_to_one_process_stops_all_at_the_same_step(by_two, data, environment, tmp_path):
    words = [*TRAINING.split(), "--dataset", data, "--out", tmp_path / "run"]
    with job(words, environment, count=2) as (first, second):
        wait_for("run/checkpoints/*.json", tmp_path)
        second.send_signal(signal.SIGTERM)
        found = ends([first, second])
    assert [status for status, _ in found] == [143, 143], found
    said = [text.splitlines()[-1].partition("stopped by SIGTERM after ")[2] for _, text in found]
    assert said[0] == said[1] != ""
    run(words, environment, count=2)
    assert numbers(tmp_path / "run") == numbers(by_two)


@pytest.fixture(scope="module")
def own(tmp_path_factory, environment) -> dict[str, str]:
    """The environment with a user's slow classifier."""
    modules = tmp_path_factory.mktemp("own")
    (modules / "own_classifiers.py").write_text(OWN_CLASSIFIERS)
    (modules / "slow_classifiers.py").write_text(SLOWLY)
    return {**environment, "PYTHONPATH": f"{environment['PYTHONPATH']}{os.pathsep}{modules}"}


@pytest.fixture(scope="module")
def by_one(tmp_path_factory, data, own) -> Path:
    """A set of twelve shards, synthesised by one process."""
    out = tmp_path_factory.mktemp("by_one") / "set"
    ((status, printed),) = ends([start([*SYNTHESIS.split(), "--dataset", data, "--out", out], own)])
    assert status == 0, printed
    return out


def test_four_processes_make_the_set_that_one_makes(by_one, data, own, contents, tmp_path):
    printed = run([*SYNTHESIS.split(), "--dataset", data, "--out", tmp_path / "set"], own, count=4)
    assert contents(tmp_path / "set") == contents(by_one)
    assert all(f"process {number} made 3 shards" in text for number, text in enumerate(printed))


def test_a_synthesis_that_lost_a_process_is_finished_with_the_same_bytes(
    by_one, data, own, contents, tmp_path
):
    words = [*SYNTHESIS.split(), "--dataset", data, "--out", tmp_path / "set"]
    with job(words, own, count=2) as (first, second):
        wait_for("set/*-00001", tmp_path)
        second.kill()
        (status, printed), _ = ends([first, second])
    assert status == 1, printed
    assert "process 1 ended before its work was done" in printed
    assert "Traceback" not in printed
    assert all(any((tmp_path / "set").glob(f"*-{index:05d}")) for index in range(0, 12, 2))
    assert not (tmp_path / "set" / "manifest.json").exists()
    run(words, own, count=2)
    assert contents(tmp_path / "set") == contents(by_one)


def test_slurm_is_found(data, own, by_one, contents, tmp_path):
    job_number = os.getpid()  # JAX derives the port from it
    slurm = {
        "SLURM_JOB_ID": str(job_number), "SLURM_STEP_NODELIST": "localhost", "SLURM_NTASKS": "2",
        "SLURM_STEP_NUM_NODES": "1",
    }  # fmt: skip
    words = [
        *SYNTHESIS.split(),
        "--dataset",
        data,
        "--out",
        tmp_path / "set",
        "--distributed",
        "auto",
    ]
    found = ends([
        start(words, own, **slurm, SLURM_PROCID=number, SLURM_LOCALID=number)
        for number in ("0", "1")
    ])  # fmt: skip
    assert [status for status, _ in found] == [0, 0], found
    assert contents(tmp_path / "set") == contents(by_one)


def test_where_there_is_no_cluster_auto_is_one_process_and_on_is_refused(
    data, own, by_one, contents, tmp_path
):
    words = [*SYNTHESIS.split(), "--dataset", data, "--out", tmp_path / "set", "--distributed"]
    ((status, printed),) = ends([start([*words, "on"], own)])
    assert status == 2
    assert "--distributed on found no cluster" in printed
    assert not (tmp_path / "set").exists()
    ((status, printed),) = ends([start([*words, "auto"], own)])
    assert status == 0, printed
    assert contents(tmp_path / "set") == contents(by_one)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"coordinator": "host:1"}, "--processes and --process must be given too"),
        ({"processes": 2, "process": 0}, "--coordinator must be given too"),
        ({"coordinator": "host", "processes": 2, "process": 0}, "such as host:1234, got 'host'"),
        ({"coordinator": "host:1", "processes": 2, "process": 2}, "below the 2 processes, got 2"),
        ({"coordinator": "host:1", "processes": 2, "process": -1}, "at least 0 and .* got -1"),
    ],
)
def test_options_that_do_not_go_together_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        DistributedConfig(distributed="on", **options)


def test_addresses_need_the_option_that_uses_them():
    with pytest.raises(ValueError, match="need --distributed on"):
        DistributedConfig(coordinator="host:1", processes=2, process=0)
