"""The smoke presets as they are, from nothing to a page and a verified directory: `make soak`."""

import json

import pytest

from experiments.papers.engine.experiment import PresetExperiment
from experiments.papers.registry import NAMES, find_experiment
from tests.soaking import SOAK

pytestmark = pytest.mark.usefixtures("compiled_as_users_do")

WITH_PRESETS = [name for name in NAMES if isinstance(find_experiment(name), PresetExperiment)]


@pytest.mark.skipif(not SOAK, reason="minutes of training; make soak")
@pytest.mark.filterwarnings("default")  # so young a GAN makes few digits or none
@pytest.mark.parametrize("name", WITH_PRESETS)
def test_a_smoke_preset_runs_whole(name, elicit, contents, tmp_path):
    command = ("experiment", name, "--preset", "smoke", "--out", tmp_path / "out")
    assert elicit(*command) == 0
    result = json.loads((tmp_path / "out" / "result.json").read_text())
    assert result["missing"] == []
    assert result["arms"]
    assert (tmp_path / "out" / "report.html").stat().st_size > 10_000
    assert elicit("verify", tmp_path / "out") == 0
    before = contents(tmp_path / "out" / "pieces")
    assert elicit(*command) == 0
    assert contents(tmp_path / "out" / "pieces") == before
