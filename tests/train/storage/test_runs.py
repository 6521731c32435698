"""Run directories: which runs may resume, and which files a run writes."""

import hashlib
import json
from dataclasses import dataclass, field, replace
from pathlib import Path

import jax
import pytest

from train.storage.runs import (
    ADDED_LATER,
    append_metrics,
    as_json,
    differences,
    environment,
    in_short,
    metrics_bytes,
    open_run,
    read_metrics,
    read_result,
    restore_metrics,
    result_problems,
    write_result,
)
from train.storage.strict_json import read_sealed, write_json


@dataclass(frozen=True)
class Inner:
    rate: float = 0.1


@dataclass(frozen=True)
class Config:
    epochs: int = 5
    out: Path = Path("a/b")
    sizes: tuple[int, ...] = (1, 2)
    inner: Inner = field(default_factory=Inner)


@pytest.mark.parametrize("place", ["", "deep/run"])  # an empty directory is as good as none
def test_a_new_run_holds_its_configuration_and_the_same_one_goes_on(tmp_path, place):
    for _ in range(2):
        assert open_run(tmp_path / place, Config()) is None
        expected = {"epochs": 5, "out": "a/b", "sizes": [1, 2], "inner": {"rate": 0.1}}
        assert read_sealed(tmp_path / place / "config.json") == expected == as_json(Config())


def test_a_complete_run_gives_its_result(tmp_path):
    open_run(tmp_path, Config())
    write_json(tmp_path / "result.json", {"accuracy": 0.5})
    assert open_run(tmp_path, Config()) == {"accuracy": 0.5}


def test_another_configuration_is_refused_naming_what_differs(tmp_path):
    open_run(tmp_path, Config())
    with pytest.raises(
        ValueError, match=r"another configuration: epochs was 5, now 6; inner\.rate was 0\.1, now 1"
    ):
        open_run(tmp_path, Config(epochs=6, inner=Inner(1)))


def test_many_differences_are_counted_and_long_values_are_cut():
    found = differences(dict.fromkeys("abcdefghijk", "x" * 500), {})
    assert max(map(len, found)) < 110
    assert in_short(found[:8]) == "; ".join(found[:8])
    assert in_short(found) == f"{'; '.join(found[:8])}; and 3 more"


@pytest.mark.parametrize("name", ["", "file"])
def test_what_is_no_run_is_left_alone(tmp_path, name):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(ValueError, match="is there already and is not a run"):
        open_run(tmp_path / name, Config())
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize(("old", "new"), [(b"5", b"4"), (b"}", b"")])
def test_a_damaged_configuration_is_named_and_is_no_other(tmp_path, old, new):
    open_run(tmp_path, Config())
    path = tmp_path / "config.json"
    path.write_bytes(path.read_bytes().replace(old, new))
    with pytest.raises(ValueError, match=r"config\.json.* damaged"):
        open_run(tmp_path, Config(epochs=4))


def test_fields_that_came_or_went_differ():
    found = differences({"a": 1, "b": {"c": 2}}, {"b": {"c": 2, "d": 3}})
    assert found == ["a was 1, now None", "b.d was None, now 3"]


@pytest.mark.parametrize(
    ("now", "count"),
    [
        ([1.0, -4.0], 0),
        ([1.003, -4.0], 0),  # within 1e-3 of the largest number
        ([1.005, -4.0], 1),
        ([1.0, -4.0, 0.0], 1),
        ([1.0, "x"], 1),
        ([], 1),
        (None, 1),
    ],
)
def test_approximate_numbers_may_differ_a_little(now, count):
    found = {"classifier": {"approximate_outputs": [1.0, -4.0], "exact": 1.0}}
    wanted = {"classifier": {"approximate_outputs": now, "exact": 1.0}}
    assert len(differences(found, wanted)) == count
    assert len(differences(wanted, found)) == count
    assert len(differences({"outputs": [1.0]}, {"outputs": [1.0 + 1e-9]})) == 1


def test_metrics_grow_and_a_line_cut_off_by_a_kill_is_left_out(tmp_path):
    assert read_metrics(tmp_path) == []
    lines = [{"epoch": i, "loss": 1 / i} for i in (1, 2, 3)]
    for line in lines:
        append_metrics(tmp_path, line)
    assert read_metrics(tmp_path) == lines
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(path.read_bytes()[:-4])
    assert read_metrics(tmp_path) == lines[:2]


def test_metrics_are_restored_and_what_was_lost_is_named(tmp_path):
    append_metrics(tmp_path, {"epoch": 1})
    saved = metrics_bytes(tmp_path)
    append_metrics(tmp_path, {"epoch": 2})
    restore_metrics(tmp_path, saved)
    assert len(read_metrics(tmp_path)) == 2
    path = tmp_path / "metrics.jsonl"
    for damaged in (b"", saved[:-3], saved.replace(b"1", b"7"), None):
        path.unlink()
        if damaged is not None:
            path.write_bytes(damaged)
        with pytest.warns(UserWarning, match=r"metrics\.jsonl is damaged"):
            restore_metrics(tmp_path, saved)
        assert path.read_bytes() == saved


@pytest.fixture
def complete(tmp_path):
    """A run with two files and a result."""
    open_run(tmp_path, Config())
    append_metrics(tmp_path, {"epoch": 1})
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "file").write_text("mine")
    write_result(tmp_path, {"rate": 0.1, 2: (1, 2)}, of=["config.json", "deep", "absent"])
    return tmp_path


def test_a_result_holds_the_digests_of_what_belongs_to_the_run(complete):
    assert read_result(complete) == {"rate": 0.1, "2": [1, 2]} == open_run(complete, Config())
    written = json.loads((complete / "result.json").read_text())
    assert list(written["files"]) == ["config.json", "deep/file"]
    assert written["files"]["deep/file"] == hashlib.sha256(b"mine").hexdigest()
    assert result_problems(complete) == []


@pytest.mark.parametrize("name", ["result.json", "deep/file"])
def test_a_damaged_run_is_named_and_is_not_complete(complete, name):
    path = complete / name
    path.write_bytes(path.read_bytes().replace(b"0.1", b"0.2").replace(b"mine", b"wine"))
    (problem,) = result_problems(complete)
    assert f"{path}" in problem
    with pytest.warns(UserWarning, match=rf"was complete and is damaged.*{name}"):
        assert open_run(complete, Config()) is None


@pytest.mark.parametrize("field", ["sha256", "files"])
def test_no_single_change_hides_the_digests(complete, field):
    path = complete / "result.json"
    path.write_text(path.read_text().replace(f'"{field}"', f'"{field[:-1]}!"'))
    with pytest.raises(ValueError, match=r"result\.json is damaged"):
        read_result(complete)


def test_the_environment_names_device_versions_and_command(monkeypatch):
    monkeypatch.setattr("sys.argv", ["/somewhere/elicit", "synthesize", "--steps", "3"])
    found = environment()
    assert found["command"] == "elicit synthesize --steps 3"
    assert found["versions"]["jax"] == jax.__version__
    assert jax.devices()[0].platform in found["device"]


@dataclass(frozen=True)
class Grown(Config):
    """The same as Config, with two options more."""

    tolerance: float = field(default=0.5, metadata=ADDED_LATER)
    added: Inner = field(default_factory=Inner, metadata=ADDED_LATER)


def test_an_option_added_later_is_left_out_at_its_default(tmp_path):
    assert as_json(Grown()) == as_json(Config())
    open_run(tmp_path, Config())
    assert open_run(tmp_path, Grown()) is None
    with pytest.raises(ValueError, match=r"another configuration: tolerance was None, now 0\.25"):
        open_run(tmp_path, Grown(tolerance=0.25))
    changed = replace(Grown(), added=Inner(99))
    assert as_json(changed)["added"] == as_json(Inner(99))
