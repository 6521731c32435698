"""The launch examples: scripts are well-formed, and the commands in them parse."""

import re
import shlex
import subprocess
from pathlib import Path

import pytest
import yaml

from experiments.cli import parse
from experiments.commands import COMMANDS

LAUNCH = Path(__file__).parent.parent / "docs" / "launch"
SCRIPTS = sorted(LAUNCH.glob("*.sh"))
COUNTS = {"gke.yaml": 1, "slurm.sh": 2, "tpu-pod.sh": 1, "xpk.sh": 1}
"""Commands of Elicit in each file."""


def commands_in(path: Path) -> list[list[str]]:
    """The words of every command in a file, without `elicit` itself."""
    if path.suffix == ".yaml":
        (job,) = [each for each in yaml.safe_load_all(path.read_text()) if each["kind"] == "Job"]
        return [job["spec"]["template"]["spec"]["containers"][0]["command"][1:]]
    lines = path.read_text().replace("\\\n", "").splitlines()
    found = [re.search(r"\belicit ([a-z].*--distributed on)", line) for line in lines]
    return [shlex.split(each[1]) for each in found if each]


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_a_script_is_well_formed(path):
    done = subprocess.run(["/bin/bash", "-n", path], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert "set -euo pipefail" in path.read_text()


@pytest.mark.parametrize("name", COUNTS)
def test_its_commands_parse_and_ask_for_several_processes(name):
    found = commands_in(LAUNCH / name)
    assert len(found) == COUNTS[name]
    for words in found:
        command = next(name for name in COMMANDS if words[: name.count(" ") + 1] == name.split())
        assert COMMANDS[command].is_distributed
        config_type = COMMANDS[command].config_type()
        config, _ = parse(command, config_type, words[command.count(" ") + 1 :])
        assert isinstance(config, config_type)


def test_every_file_is_covered():
    assert {path.name for path in LAUNCH.iterdir()} == set(COUNTS)
