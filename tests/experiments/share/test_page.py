"""The commands and the Python of docs/share.md run, in their order."""

import re
import shlex
from pathlib import Path

import pytest

from tests.experiments.made_up_gans import write_sampled_gan

PAGE = Path(__file__).parents[3] / "docs" / "share.md"


def test_the_page_runs(made, run, elicit, tmp_path, monkeypatch):
    for name in ("safetensors", "flatbuffers", "pyarrow"):
        pytest.importorskip(name, reason=f"{name} is not installed")
    monkeypatch.chdir(tmp_path)
    Path("images").symlink_to(made)
    Path("trained").symlink_to(run)
    write_sampled_gan(Path("gan"))
    names: dict = {}
    blocks = re.findall(r"```(console|python)\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert [language for language, _ in blocks] == ["console", "python"] * 6
    for language, block in blocks:
        if language == "python":
            exec(block, names)
            continue
        for line in block.splitlines():
            assert elicit(*shlex.split(line)[1:]) == 0, line
    count = len(names["rows"])
    assert names["table"].num_rows == len(names["arrays"]["label"]) == count == 10
    assert names["data"].images.shape == names["arrays"]["image"].shape
    assert names["logits"].shape == (8, 3)
    assert names["samples"].shape == (8, 16, 16, 3)
    names["arrays"].close()
