"""The script `gpu.py`: its parts in order, its time, and continuing after an interruption."""

import json

import gpu
import gpu_parts
import pytest

from imgopt.errors import InputError
from train.storage.strict_json import read_json


@pytest.fixture
def measured(monkeypatch):
    """Parts that were measured, in order; each takes 100 s of a made-up clock."""
    names, clock = [], [0.0]

    def measure(name, _, *, limit_seconds):
        names.append((name, limit_seconds))
        clock[0] += 100
        return {"seconds": 100.0, "found": {}} if name != "bits" else {"error": "no", "seconds": 1}

    monkeypatch.setattr(gpu, "measure", measure)
    monkeypatch.setattr(gpu.time, "monotonic", lambda: clock[0])
    return names


def test_the_most_important_parts_come_first_and_the_rest_next_time(measured, tmp_path):
    config = gpu.GpuConfig(tmp_path / "gpu.json", minutes=10)
    gpu.main(config)
    first = [name for name, _ in measured]
    assert first == list(gpu.PARTS)[: len(first)]
    assert len(first) == 6
    measured.clear()
    gpu.main(config)
    assert [name for name, _ in measured] == list(gpu.PARTS)[6:12]
    assert set(read_json(config.out)) == set(list(gpu.PARTS)[:12])


def test_a_part_that_failed_is_measured_again(measured, tmp_path):
    config = gpu.GpuConfig(tmp_path / "gpu.json", only=("machine", "bits"))
    gpu.main(config)
    gpu.main(config)
    assert [name for name, _ in measured] == ["machine", "bits", "bits"]


def test_all_parts_together_fit_into_the_time():
    assert sum(part.seconds for part in gpu.PARTS.values()) <= 12 * 60
    assert {part.function for part in gpu.PARTS.values()} == set(gpu_parts.PARTS)


def test_what_is_missing_is_announced_with_its_time(measured, tmp_path, capsys):
    gpu.main(gpu.GpuConfig(tmp_path / "gpu.json", only=("machine", "bits")))
    assert "machine: 20 s\nbits: 40 s\nin all: 60 s\n" in capsys.readouterr().out
    gpu.main(gpu.GpuConfig(tmp_path / "gpu.json", only=("machine",)))
    assert "in all: 0 s\n" in capsys.readouterr().out
    assert len(measured) == 2


def test_a_job_for_which_memory_is_too_small_is_named():
    skipped = {"ours": {"skipped": "InputError: a batch of 2048 needs about 9 GiB"}}
    said = gpu.summary({"seconds": 7.0, "found": skipped})
    assert said == "7 s, skipped: InputError: a batch of 2048 needs about 9 GiB"
    line = "jax.errors.JaxRuntimeError: RESOURCE_EXHAUSTED: full"
    assert gpu.exception_line(f"Traceback:\n  File x\n{line}\n---\nnote\n") == line
    assert gpu.exception_line("one\ntwo\n") == "two"
    assert gpu.exception_line("") == "no message"


@pytest.mark.parametrize(
    ("options", "message"),
    [({"only": ("bit",)}, "unknown part 'bit'; expected machine"), ({"minutes": 0}, "above 0")],
)
def test_wrong_options_are_refused(options, message, tmp_path):
    with pytest.raises(InputError, match=message):
        gpu.GpuConfig(tmp_path / "gpu.json", **options)


def test_a_profile_sums_the_kernels_of_the_device():
    events = [
        {"name": "process_name", "pid": 1, "args": {"name": "/device:GPU:0"}},
        {"name": "process_name", "pid": 2, "args": {"name": "/host:CPU"}},
        {"name": "gemm", "ph": "X", "pid": 1, "dur": 2000},
        {"name": "copy", "ph": "X", "pid": 1, "dur": 500},
        {"name": "gemm", "ph": "X", "pid": 1, "dur": 1000},
        {"name": "python", "ph": "X", "pid": 2, "dur": 9000},
    ]
    found = gpu_parts.kernel_times(events)
    assert found["milliseconds"] == 3.5
    assert found["top"][0] == {"name": "gemm", "milliseconds": 3.0, "calls": 2}
    assert found["kernels"] == 2


def test_a_command_that_fails_is_named_by_its_own_message(monkeypatch):
    monkeypatch.setattr(gpu_parts.sys, "executable", "/bin/sh")  # which finds no such script
    with pytest.raises(RuntimeError, match=r"experiments\.cli"):
        gpu_parts.table_b(gpu_parts.SIZES["tiny"])


@pytest.mark.slow
def test_a_part_runs_in_a_process_of_its_own(tmp_path):
    config = gpu.GpuConfig(tmp_path / "gpu.json", scale="tiny", only=("machine",), peer="none")
    gpu.main(config)
    found = json.loads(config.out.read_text())
    assert found["machine"]["found"]["cores"] >= 1
