"""Locks between real processes: refusals, waiting, and the lock of a killed process."""

import contextlib
import errno
import fcntl
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from experiments.cli import main
from experiments.commands import COMMANDS
from train.storage.locks import exclusive

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
HOLDER = """
import sys
from pathlib import Path
from train.storage.locks import exclusive
with exclusive(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.readline()
"""


def start_holder(directory: Path, script: str = HOLDER, **options) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", script, str(directory)], cwd=ROOT,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, **options,
    )  # fmt: skip


@contextlib.contextmanager
def held_by_another(directory: Path):
    """A process that holds a directory's lock until its standard input ends."""
    process = start_holder(directory)
    try:
        assert process.stdout.readline() == "held\n"
        yield process
    finally:
        process.communicate()


def lock_of(directory: Path) -> Path:
    return directory.with_name(f".{directory.name}.lock")


def test_a_second_process_is_refused_at_once_and_told_of_the_first(tmp_path, capsys):
    out = tmp_path / "runs" / "cats"
    with held_by_another(out) as process:
        words = ["augment", "--data", "digits", "--crop-px", "6", "--out", str(out)]
        assert main(words) == 2
        complaint = capsys.readouterr().err
        assert re.search(
            rf"elicit augment: error: {out} is being written by process {process.pid} on \S+ since "
            r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\+00:00 \(-c .*\); wait until that ends, or choose",
            complaint,
        )
        assert not out.exists()
    assert process.returncode == 0
    assert list(tmp_path.iterdir()) == []  # the lock and its new parent are removed
    assert main(words) == 0
    assert [path.name for path in out.parent.iterdir()] == ["cats"]


def test_what_a_killed_process_leaves_is_taken_over_without_a_word(tmp_path, capsys):
    with held_by_another(tmp_path / "run") as process:
        process.kill()
    assert process.returncode == -signal.SIGKILL
    assert json.loads(lock_of(tmp_path / "run").read_text())["pid"] == process.pid
    with exclusive(tmp_path / "run"):
        assert json.loads(lock_of(tmp_path / "run").read_text())["pid"] == os.getpid()
    assert capsys.readouterr().err == ""
    assert list(tmp_path.iterdir()) == []


def test_one_who_waits_goes_on_when_the_first_ends(tmp_path):
    with held_by_another(tmp_path / "piece") as first:
        script = HOLDER.replace("sys.argv[1])", "sys.argv[1]), wait=True")
        second = start_holder(tmp_path / "piece", script, stderr=subprocess.PIPE)
        said = second.stderr.readline()
        assert said.startswith(f"waiting for {tmp_path / 'piece'}, written by process {first.pid} ")
    # The first process has removed the lock's file, so the second has made a new one.
    assert second.stdout.readline() == "held\n"
    with pytest.raises(ValueError, match=f"written by process {second.pid} "):
        exclusive(tmp_path / "piece").__enter__()
    second.communicate()
    assert second.returncode == 0
    assert list(tmp_path.iterdir()) == []


def test_a_directory_under_another_name_has_the_same_lock(tmp_path, monkeypatch):
    (tmp_path / "run").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "run")
    monkeypatch.chdir(tmp_path / "run")
    with exclusive(tmp_path / "run"):
        for name in ("../run", "../link", ".", tmp_path / "link"):
            with pytest.raises(ValueError, match=f"written by process {os.getpid()} "):
                exclusive(Path(name)).__enter__()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["link", "run"]


@pytest.mark.parametrize("content", ["", '{"pid": 1', "[]", "null", "{}"])
def test_a_holder_that_has_not_written_who_it_is_is_another_process(content, tmp_path):
    with exclusive(tmp_path / "run"):
        lock_of(tmp_path / "run").write_text(content)
        with pytest.raises(ValueError, match="is being written by another process;"):
            exclusive(tmp_path / "run").__enter__()


def test_it_is_let_go_after_an_error(tmp_path):
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt), exclusive(tmp_path / "new" / "run"):
            raise KeyboardInterrupt
        assert list(tmp_path.iterdir()) == []


def test_without_flock_there_is_a_warning_and_no_lock(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", refuse)
    done = []
    with (
        pytest.warns(UserWarning, match=r"run has no lock \(.*No locks available\)"),
        exclusive(tmp_path / "run"),
    ):
        done.append(1)
    assert done == [1]
    assert list(tmp_path.iterdir()) == []


def test_where_no_directory_can_be_made_the_command_says_so(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    out = tmp_path / "file" / "deeper" / "set"
    assert main(["augment", "--data", "digits", "--crop-px", "6", "--out", str(out)]) == 2
    complaint = capsys.readouterr().err
    assert "passes through a file" in complaint
    assert "lock" not in complaint


def test_commands_that_write_no_directory_take_no_lock():
    without = {name for name, command in COMMANDS.items() if command.writes is None}
    assert without == {
        "data show", "classifier evaluate", "verify", "report", "experiment list", "explore",
    }  # fmt: skip


def test_a_dry_run_needs_no_lock(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("experiments.papers.table_a.table_a", lambda _: None)
    words = ["experiment", "table-a", "--preset", "smoke", "--out", str(tmp_path / "out")]
    with exclusive(tmp_path / "out"):
        assert main(words) == 2
        assert main([*words, "--dry-run"]) == 0
    assert "is being written by" in capsys.readouterr().err


@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="there is no /proc")
def test_a_place_that_takes_no_files_is_left_to_the_error_of_its_writer():
    with exclusive(Path("/proc/no-such-directory")):  # without a warning, and at once
        assert not Path("/proc/no-such-directory").exists()
