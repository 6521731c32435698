"""The smoke presets as real processes: killed at random moments, they come to the same results."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

KILLS = 3
COMMAND = (sys.executable, "-m", "experiments.cli", "experiment", "table-a", "--preset", "smoke")
AT_MOST_SECONDS = 300


@pytest.fixture(scope="module", autouse=True)
def compiled_once(tmp_path_factory):
    """All processes compile into one directory, which none but the first waits for."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ELICIT_COMPILATION_CACHE", str(tmp_path_factory.mktemp("compiled")))
        yield


def start(*words: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*COMMAND, *map(str, words)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def finish(process: subprocess.Popen[str]) -> str:
    printed, _ = process.communicate(timeout=AT_MOST_SECONDS)
    assert process.returncode == 0, printed
    return printed


def result(out: Path) -> dict[str, Any]:
    """The content of `result.json` without times, memory and the place."""
    found = json.loads((out / "result.json").read_text())
    for arm in found["arms"]:
        del arm["timing"]
    del found["command"]
    return found


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory) -> tuple[Path, float]:
    """A whole run, and the seconds that it took."""
    out = tmp_path_factory.mktemp("smoke") / "undisturbed"
    began = time.monotonic()
    printed = finish(start("--out", out))
    assert str(out / "report.html") in printed
    return out, time.monotonic() - began


def test_a_table_killed_at_random_moments_ends_as_an_undisturbed_one(undisturbed, tmp_path):
    whole, seconds = undisturbed
    moments = np.random.default_rng(5).uniform(0.2, 0.6, KILLS) * seconds
    out = tmp_path / "killed"
    hit = 0
    for moment in moments:
        process = start("--out", out)
        time.sleep(moment)
        process.send_signal(signal.SIGKILL)
        printed, _ = process.communicate()
        assert process.returncode in (-signal.SIGKILL, 0), printed  # 0: it was done by then
        hit += process.returncode != 0
    assert hit > 0
    finish(start("--out", out))
    assert result(out) == result(whole)
    for metrics in sorted(whole.rglob("metrics.jsonl")):
        assert (out / metrics.relative_to(whole)).read_bytes() == metrics.read_bytes()
