"""Compiled programs are counted, and cached across processes if the cache is safe."""

import json
import os
import pwd
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import pytest

import experiments.console.compilation
from experiments.console.compilation import (
    Compilations,
    counted_compilations,
    keep_compiled,
    keep_compiled_as_set,
    timing,
)

ROOT = Path(__file__).parents[3]

PROGRAM = """
import json, os, sys
from pathlib import Path
import jax
from experiments.console.compilation import counted_compilations, keep_compiled
keep_compiled(Path(sys.argv[1]))
with counted_compilations() as counted:
    jax.jit(lambda x: jax.numpy.sin(x) @ x)(jax.numpy.ones((5, 5)))
print(json.dumps(vars(counted)))
"""


def run(*words):
    done = subprocess.run(
        [sys.executable, *map(str, words)],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_what_is_compiled_is_counted():
    with counted_compilations() as counted:
        jax.jit(lambda x: x * 3 + 1)(np.float32(2)).block_until_ready()
    assert counted.programs == 1
    assert counted.seconds > 0
    before = counted.programs
    jax.jit(lambda x: x * 5 + 1)(np.float32(2)).block_until_ready()
    assert counted.programs == before


def test_a_result_tells_the_times_of_its_last_session():
    times = timing(time.monotonic() - 60, Compilations(programs=3, seconds=12.34))
    assert times["seconds_of_last_session"] == pytest.approx(60, abs=1)
    assert times["compilation_seconds_of_last_session"] == 12.3


@pytest.mark.slow
def test_a_second_process_takes_what_the_first_has_compiled(tmp_path):
    first, second = (json.loads(run("-c", PROGRAM, tmp_path / "kept")) for _ in range(2))
    assert first["programs"] == second["programs"] > 0
    assert first["from_cache"] == 0
    assert second["from_cache"] == second["programs"]
    (machine,) = (tmp_path / "kept").iterdir()
    assert len(list(machine.glob("jit_*"))) == first["programs"]
    assert machine.stat().st_mode & 0o077 == 0


@pytest.fixture
def chosen(monkeypatch):
    """Cache directories that JAX would have been given."""
    found = []
    monkeypatch.setattr(jax.config, "update", lambda name, value: found.append((name, value)))
    return found


def test_kinds_of_machines_have_directories_of_their_own(tmp_path, monkeypatch, chosen):
    cpuinfo = tmp_path / "cpuinfo"
    monkeypatch.setattr(experiments.console.compilation, "CPUINFO", cpuinfo)
    for content in ("flags : avx\nMHz : 1\n", "flags : avx\nMHz : 2\n", "flags : avx avx512\n"):
        cpuinfo.write_text(content)
        keep_compiled(tmp_path / "kept")
    cpuinfo.unlink()
    keep_compiled(tmp_path / "kept")
    places = [place for name, place in chosen if name == "jax_compilation_cache_dir"]
    assert len(places) == 4
    assert places[0] == places[1]
    assert len(set(places)) == 3
    assert all(Path(place).parent == tmp_path / "kept" for place in places)


def test_a_directory_that_others_may_write_to_is_refused(tmp_path, chosen):
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept").chmod(0o775)
    with pytest.raises(ValueError, match=r"kept must be yours.*chmod go-w"):
        keep_compiled(tmp_path / "kept")
    assert chosen == []


def test_what_was_not_used_for_longest_goes_first(tmp_path, monkeypatch, chosen):
    monkeypatch.setattr(experiments.console.compilation, "MOST_BYTES", 250)
    keep_compiled(tmp_path / "kept")
    (machine,) = (tmp_path / "kept").iterdir()
    for age, name in enumerate(("newest", "middle", "oldest")):
        (machine / name).write_bytes(bytes(100))
        os.utime(machine / name, (1e9 - age, 1e9 - age))
    keep_compiled(tmp_path / "kept")
    assert {path.name for path in machine.iterdir()} == {"newest", "middle"}
    assert len(chosen) == 4


@pytest.mark.parametrize(
    ("value", "kept"),
    [("off", None), ("", None), ("kept", "kept"), (None, "home/.cache/elicit/compiled")],
)
def test_programs_are_kept_where_the_variable_says_and_else_in_the_home(
    value, kept, by_own, monkeypatch, tmp_path
):
    found = []
    monkeypatch.setattr(experiments.console.compilation, "keep_compiled", found.append)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    if value is None:
        monkeypatch.delenv("ELICIT_COMPILATION_CACHE")
        kept = tmp_path / kept
    else:
        monkeypatch.setenv("ELICIT_COMPILATION_CACHE", value)
    by_own("--steps", 1)
    assert found == ([Path(kept)] if kept else [])
    assert not list(tmp_path.rglob("jit_*"))


def test_a_home_that_is_not_safe_is_not_used_and_said(tmp_path, monkeypatch, chosen):
    monkeypatch.delenv("ELICIT_COMPILATION_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    (tmp_path / "elicit" / "compiled").mkdir(parents=True)
    (tmp_path / "elicit" / "compiled").chmod(0o777)
    with pytest.warns(UserWarning, match=r"are not kept: .*compiled must be yours"):
        keep_compiled_as_set()
    (tmp_path / "elicit" / "compiled").rmdir()
    (tmp_path / "elicit" / "compiled").write_text("a file")
    keep_compiled_as_set()
    assert chosen == []


def test_without_a_home_nothing_is_kept(monkeypatch, chosen):
    """As in a container that runs as a user whom it does not know."""
    monkeypatch.delenv("ELICIT_COMPILATION_CACHE")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.setattr(pwd, "getpwuid", lambda uid: {}[uid])
    keep_compiled_as_set()
    assert chosen == []


def test_a_directory_that_is_refused_is_one_message(by_own, monkeypatch, tmp_path, capsys):
    (tmp_path / "kept").write_text("a file")
    monkeypatch.setenv("ELICIT_COMPILATION_CACHE", str(tmp_path / "kept"))
    out = by_own(status=2)
    assert "kept" in capsys.readouterr().err
    assert not out.exists()
