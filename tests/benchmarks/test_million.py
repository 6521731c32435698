"""The check of a million images, on forty."""

import signal
import time

import million
import numpy as np
import pytest

import experiments.synthesis.command
from train.data.load import load_images
from train.data.verify import verify

pytestmark = pytest.mark.slow


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.setattr(million, "SHARD_IMAGES", 16)
    monkeypatch.setattr("train.data.image_data.MEMORY_SHARE", 0.25)  # restored afterwards
    monkeypatch.setattr(experiments.synthesis.command, "write_set_report", lambda *_: None)

    def run_job(job):
        return tmp_path / job, million.run_job(job, tmp_path / job, 40)

    return run_job


def test_a_job_is_interrupted_at_a_share_of_its_shards(monkeypatch, tmp_path):
    def write_and_wait(directory, images):
        for shard in range(images // 16):
            (directory / f"set.array_record-{shard}").touch()
            if shard == 1:
                time.sleep(10)

    before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # as in the background
    monkeypatch.setattr(million, "SHARD_IMAGES", 16)
    monkeypatch.setattr(million, "POLL_SECONDS", 0.01)
    monkeypatch.setitem(million.RUNS, "write", write_and_wait)
    try:
        result = million.run_job("write", tmp_path, 64, 0.5)
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN  # as it was
    finally:
        signal.signal(signal.SIGINT, before)
    assert list(result["peak_mib"]) == ["start", "25%", "50%", "end"]
    assert million.count_shards(tmp_path) == 2


def test_jobs_write_their_images_and_tell_their_peaks(run):
    source, _ = run("write")
    made, result = run("synthesize")
    assert list(result["peak_mib"]) == ["start", "25%", "50%", "100%", "end"]
    peaks = list(result["peak_mib"].values())
    assert peaks[0] > 10
    assert peaks == sorted(peaks)
    for directory in (source, made):
        assert verify(directory) == []
        assert million.count_shards(directory) == 3
        np.testing.assert_array_equal(load_images(directory).labels, np.arange(40) % 10)
