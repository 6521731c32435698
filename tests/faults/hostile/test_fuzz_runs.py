"""Changed checkpoints, descriptions, results and metrics."""

import json
import warnings
from pathlib import Path

import numpy as np
import pytest
from hypothesis import strategies as st

from experiments.options.papers import ReportConfig
from experiments.papers.report import report
from gans.sampling import _read_spec
from tests.faults.hostile.descriptions import GAN, RESULT, SPEC
from tests.faults.hostile.fuzzing import damaged, fuzzed, json_like, outcome, replaced
from train.classifiers import load_spec
from train.storage.checkpoints import file_digests, latest_checkpoint, save_checkpoint
from train.storage.runs import read_metrics
from train.storage.strict_json import read_json, write_json

STATE = {"variables": {"w": np.arange(12, dtype=np.float32).reshape(3, 4)}, "step": np.int32(4)}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory) -> Path:
    directory = tmp_path_factory.mktemp("run") / "checkpoints"
    save_checkpoint(directory, 4, STATE)
    return directory


# If one of several arrays is broken, TensorStore reports the others to a closed event loop.
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("is_digested", [False, True], ids=["damaged", "of others"])
@fuzzed
def test_checkpoints(checkpoint, is_digested, data):
    digests = checkpoint / "4.json"
    files = sorted(path for path in checkpoint.rglob("*") if path.is_file() and path.stat().st_size)
    path = data.draw(
        st.sampled_from([path for path in files if path != digests or not is_digested])
    )
    is_json = path.suffix == ".json" or path.name.endswith("METADATA")
    content = data.draw((json_like if is_json else damaged)(path.read_bytes()))
    with replaced(digests, digests.read_bytes()), replaced(path, content):
        if is_digested:
            write_json(digests, file_digests(checkpoint / "4"))
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "checkpoint .* is damaged")
            found = outcome(lambda: latest_checkpoint(checkpoint), checkpoint)
        if found is not None and not is_digested:
            np.testing.assert_array_equal(found.state["variables"]["w"], STATE["variables"]["w"])


SPECS = {"classifier.json": SPEC._asdict(), "gan.json": GAN}


@pytest.mark.parametrize("name", SPECS)
@fuzzed
def test_specs(tmp_path_factory, name, data):
    path = tmp_path_factory.mktemp("specs") / name
    path.write_bytes(data.draw(json_like(json.dumps(SPECS[name]).encode())))
    if name == "gan.json":
        outcome(lambda: hash(_read_spec(path)), path)  # it is an argument of compiled programs
    else:
        outcome(lambda: hash(load_spec(path.parent)), path)


@fuzzed
def test_results(tmp_path_factory, data):
    out = tmp_path_factory.mktemp("results")
    (out / "result.json").write_text(json.dumps(RESULT))
    other = tmp_path_factory.mktemp("other")
    (other / "result.json").write_bytes(data.draw(json_like(json.dumps(RESULT).encode())))
    outcome(lambda: report(ReportConfig(out, other, other / "both")), other)


@fuzzed
def test_json(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("json") / "any.json"
    path.write_bytes(data.draw(json_like(json.dumps(RESULT).encode())))
    found = outcome(lambda: read_json(path), path)
    assert found is None or found == json.loads(path.read_bytes())


@fuzzed
def test_metrics(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("metrics") / "metrics.jsonl"
    whole = b'{"epoch": 1, "train_loss": 2.5}\n' * 3
    path.write_bytes(data.draw(damaged(whole)))
    outcome(lambda: read_metrics(path.parent), path)
