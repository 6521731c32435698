"""The command `bench.py`: what it times, reports and refuses."""

import json
import statistics
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import bench
import pytest
from bench import BenchConfig, main
from harness import comparison, jobs
from harness.job_table import JOBS

from imgopt.errors import InputError

pytestmark = pytest.mark.slow

SCRIPT = Path(bench.__file__)
PEER_MODULES = ["peers", *(f"peers.{path.stem}" for path in (SCRIPT.parent / "peers").glob("*.py"))]


def run(tmp_path, *, peer="none", **options):
    out = tmp_path / "found.json"
    main(BenchConfig(peer=peer, memory=False, out=out, **options))
    return json.loads(out.read_text())


# "plain": 3 → 6 channels at 32×32, of whose kernel's 96² taps 94² lie within; then dense layers of
# 5 and 10; a batch of 2.
FORWARD = 2 * 2 * (94**2 * 3 * 6 + 6 * 256 * 5 + 5 * 10)
JOB_FLOP = {
    "synthesis-step": (2 * 3 + 1) * FORWARD,  # three updates are the fewest of a call
    "synthesis": (2 * 2 + 1) * FORWARD,
    "training-step": 3 * 2 * FORWARD,  # the first layer has no gradient of its images
}


@pytest.mark.parametrize("job", JOB_FLOP)
def test_a_job_is_timed_from_end_to_end(tiny, tmp_path, capsys, job):
    found = run(tmp_path, job=(job,), model=tiny[1:], batch_size=(2,))
    (result,) = found["results"]
    assert (result["job"], result["model"], result["batch_size"]) == (job, tiny[1], 2)
    ours = result["ours"]
    step = ours["step_seconds"]
    assert step["n"] == len(ours["call_seconds"]) == 7
    assert 0 < step["min"] <= step["median"] <= step["max"]
    call = statistics.median(ours["call_seconds"])
    # Everything between the layers is little: biases, ReLU, pooling, augmentation, optimiser.
    assert JOB_FLOP[job] < ours["flops"] * call < 1.3 * JOB_FLOP[job]
    assert ours["images_per_second"] * step["median"] == pytest.approx(2)
    ceiling = max(found["matrix_product_flops"].values())
    assert ours["share_of_ceiling"] == pytest.approx(ours["flops"] / ceiling)
    assert ours["compilation_seconds"] >= 0
    assert "ratio" not in result
    assert found["versions"]["jax"]
    assert found["device"]
    assert found["cores"] >= 1
    assert found["load_average"] >= 0
    printed = capsys.readouterr().out
    assert f"{job}, plain, batch 2\n" in printed
    assert "PyTorch, ms a step: not asked for" in printed


def test_file_jobs_have_no_flop_and_reading_needs_data(tiny, tmp_path):
    del tiny
    writing, reading = run(tmp_path, job=("set-writing", "data-input"), images=5)["results"]
    assert "flops" not in writing["ours"]
    assert writing["ours"]["images_per_second"] > 0
    assert "--data-dir" in reading["skipped"]


def test_reading_is_timed(tiny, tmp_path, cifar10_dir):
    del tiny
    (result,) = run(tmp_path, job=("data-input",), images=20, data_dir=cifar10_dir)["results"]
    assert result["ours"]["images_per_second"] > 0


def test_without_torch_the_peer_is_the_reason(monkeypatch):
    for name in PEER_MODULES:
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.setitem(sys.modules, "torch", None)
    assert comparison.load_peer("torch") == comparison.NO_TORCH


def test_the_fastest_mode_of_the_peer_is_used(monkeypatch):
    seconds = {"slow": 2.0, "quick": 1.0}
    peer = SimpleNamespace(
        pytorch=SimpleNamespace(set_up=lambda: None),
        modes=lambda _: ("slow", "quick", "broken"),
        start=lambda _, mode: lambda: seconds[mode],
    )
    warm_up = comparison.WarmUp
    monkeypatch.setattr(comparison.timing, "warm_up", lambda call: warm_up(0.5, call(), None))
    record, side = comparison.start_peer(SimpleNamespace(case=SimpleNamespace(job="any")), peer)
    assert record["mode"] == "quick"
    assert record["tried"]["broken"] == "KeyError: 'broken'"
    assert side.call() == 1.0


def test_a_batch_that_does_not_fit_is_reported_and_the_other_jobs_run(tiny, tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise InputError("a batch of 2 does not fit\nlower --batch-size")

    monkeypatch.setattr(jobs.imgopt, "synthesize", refuse)
    found = run(tmp_path, job=("synthesis-step", "training-step"), model=tiny[:1], batch_size=(2,))
    first, second = found["results"]
    assert first["ours"] == {"skipped": "InputError: a batch of 2 does not fit"}
    assert second["ours"]["images_per_second"] > 0


WRONG = {
    "pairs": ({"pairs": 6}, "pairs must be at least 7, got 6"),
    "batch": ({"batch_size": (64, 0)}, "batch_size must be at least 1, got 0"),
    "images": ({"images": 0}, "images must be at least 1, got 0"),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_input_is_refused(name):
    options, message = WRONG[name]
    with pytest.raises(InputError, match=message):
        BenchConfig(**options)


def test_an_unknown_job_is_one_clear_line():
    done = subprocess.run(
        [sys.executable, str(SCRIPT), "--job", "sinthesis"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert done.stdout == ""
    expected = f"unknown job 'sinthesis'; expected all, or {', '.join(JOBS)}"
    assert done.stderr == f"bench.py: error: {expected}\n"


def test_all_jobs_are_timed_when_all_are_asked_for_and_else_a_few():
    assert {case.job for case in BenchConfig().cases} == set(bench.QUICK)
    cases = BenchConfig(job=("all",)).cases
    assert {case.job for case in cases} == set(JOBS)
    assert {case.batch_size for case in cases if case.job == "synthesis-step"} == {64, 256}
    assert len(cases) == len(set(cases))


def test_models_and_batches_can_be_chosen():
    config = BenchConfig(
        job=("training-step", "dcgan-step"), model=("vgg-small",), batch_size=(5, 6)
    )
    found = [(case.job, case.model, case.batch_size) for case in config.cases]
    assert found == [
        ("training-step", "vgg-small", 5),
        ("training-step", "vgg-small", 6),
        ("dcgan-step", None, 5),
        ("dcgan-step", None, 6),
    ]
