"""SIGTERM and SIGINT in real processes: saved files, printed messages, exit status."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
ELICIT = (sys.executable, "-m", "experiments.cli")
TRAIN = (
    "classifier train --data digits --model kono-cnn --width 0.02 --batch-size 16 --steps 6 "
    "--no-flip --test-split="
)
SYNTHESIZE = (
    "synthesize --classifier pixels:classify --data digits --stop 24 --batch-size 4 "
    "--batches-per-shard 3 --steps 3000"
)
TEN_PIXELS = "classify = lambda images: 9 * images.reshape(len(images), -1)[:, 300:310]\n"
AT_MOST_SECONDS = 300


def start(*words: object, directory: Path) -> subprocess.Popen[str]:
    # Shells make background processes ignore SIGINT, and their children inherit that.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        return subprocess.Popen(
            [str(word) for word in words],
            cwd=directory, env={**os.environ, "PYTHONPATH": f"{ROOT}:{directory}"},
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
    finally:
        signal.signal(signal.SIGINT, before)


def finish(process: subprocess.Popen[str]) -> tuple[str, str]:
    return process.communicate(timeout=AT_MOST_SECONDS)


def wait_for(process: subprocess.Popen[str], path: Path, pattern: str) -> None:
    """Waits until a file of that name is there."""
    began = time.monotonic()
    while not list(path.glob(pattern)):
        assert process.poll() is None, finish(process)[1]
        assert time.monotonic() < began + AT_MOST_SECONDS
        time.sleep(0.01)


# ---- the handlers alone


SCRIPT = """
import time
from experiments.console.signals import Stopped, deferred, is_asked, stopping_on_signals
try:
    with stopping_on_signals():
        {body}
except Stopped as error:
    print(error, flush=True)
"""
SLEEP = "print('ready', flush=True); time.sleep(60)"
DEFERRED = f"with deferred():\n            {SLEEP}"


def start_sleeping(body: str, directory: Path) -> subprocess.Popen[str]:
    """Starts a process, and waits until it sleeps."""
    process = start(sys.executable, "-c", SCRIPT.format(body=body), directory=directory)
    assert process.stdout.readline() == "ready\n"
    return process


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_first_signal_stops_at_once_what_does_not_defer_it(number, tmp_path):
    process = start_sleeping(SLEEP, tmp_path)
    process.send_signal(number)
    assert finish(process) == (f"stopped by {number.name}\n", "")


@pytest.mark.parametrize("numbers", [(signal.SIGTERM, signal.SIGINT), (signal.SIGINT,) * 2])
def test_a_deferred_signal_is_noted_and_a_second_one_ends_the_process(numbers, tmp_path):
    process = start_sleeping(DEFERRED, tmp_path)
    process.send_signal(numbers[0])
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(timeout=0.5)
    process.send_signal(numbers[1])
    assert finish(process) == ("", "")
    assert process.returncode == 128 + numbers[1]


def test_a_deferred_signal_that_nobody_asked_for_stops_at_the_end(tmp_path):
    process = start_sleeping(DEFERRED.replace("60", "1"), tmp_path)
    process.send_signal(signal.SIGTERM)
    assert finish(process) == ("stopped by SIGTERM\n", "")


def test_what_was_to_be_ignored_is_ignored(tmp_path):
    """Under nohup and in the background of shells, signals are ignored."""
    body = "import os, signal; os.kill(os.getpid(), signal.SIGINT); print('on', flush=True)"
    script = f"import signal; signal.signal(signal.SIGINT, signal.SIG_IGN){SCRIPT}"
    process = start(sys.executable, "-c", script.format(body=body), directory=tmp_path)
    assert finish(process) == ("on\n", "")


# ---- commands


@pytest.fixture(scope="module", autouse=True)
def compiled_once(tmp_path_factory):
    """All processes compile into one directory."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ELICIT_COMPILATION_CACHE", str(tmp_path_factory.mktemp("compiled")))
        yield


def test_a_training_stops_after_the_steps_at_hand(tmp_path):
    """Other tests resume such a training from every step."""
    out = tmp_path / "run"
    process = start(*ELICIT, *TRAIN.split(), "--out", out, directory=tmp_path)
    wait_for(process, out, "metrics.jsonl")  # training begins
    process.send_signal(signal.SIGTERM)
    _, complaint = finish(process)
    assert process.returncode == 128 + signal.SIGTERM, complaint
    *_, last = complaint.splitlines()
    (step,) = (int(path.stem) for path in (out / "checkpoints").glob("*.json"))
    assert step < 6
    assert last == (
        f"elicit classifier train: stopped by SIGTERM after step {step:,}; the same command goes "
        "on from there"
    )
    assert "Traceback" not in complaint
    assert not (out / "result.json").exists()


def test_a_synthesis_stops_at_once_and_keeps_its_finished_batches(tmp_path):
    """Other tests resume such a synthesis from every batch."""
    (tmp_path / "pixels.py").write_text(TEN_PIXELS)
    out = tmp_path / "set"
    process = start(*ELICIT, *SYNTHESIZE.split(), "--out", out, directory=tmp_path)
    wait_for(process, out, ".*.batch-*1")  # of the first shard's three the second
    process.send_signal(signal.SIGINT)
    _, complaint = finish(process)
    assert process.returncode == 128 + signal.SIGINT, complaint
    assert complaint.endswith(
        "elicit synthesize: stopped by SIGINT; the same command goes on from there\n"
    )
    assert "Traceback" not in complaint
    assert {path.name for path in out.glob(".*")} == {
        f".synthesised-train.array_record-00000.batch-{i:05d}" for i in range(2)
    }
