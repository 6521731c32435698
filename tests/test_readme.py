"""The README's Python runs and its commands parse; test_documents.py checks its links and paths."""

import importlib
import re
import shlex
from pathlib import Path

import pytest

from experiments.cli import parse
from experiments.commands import COMMANDS

README = (Path(__file__).parent.parent / "README.md").read_text()
ELLIPSES = {
    "synthesize": "--classifier run --dataset digits --out images",
    "gan train": "--data digits --out run",
    "gan sample": "--gan run --classifier run --select tp --out images",
    "experiment table-a": "--out results",
    "experiment figures-a": "--out results",
}


def _blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def _commands() -> list[str]:
    text = "".join(_blocks("console")).replace("\\\n", " ")
    return [line.split("#")[0].strip() for line in text.splitlines() if line.startswith("elicit ")]


@pytest.mark.parametrize("line", _commands())
def test_every_command_in_the_readme_parses(line):
    words = shlex.split(line.removeprefix("elicit "))
    name = next(name for name in COMMANDS if words[: len(name.split())] == name.split())
    options = " ".join(words[len(name.split()) :])
    given = {word for word in options.split() if word.startswith("--")}
    for filled in ELLIPSES.get(name, "").split("--")[1:]:
        if f"--{filled.split()[0]}" not in given:
            options = options.replace("…", f"--{filled.strip()} …")
    config = getattr(importlib.import_module(COMMANDS[name].module), COMMANDS[name].config)
    parsed, _ = parse(name, config, shlex.split(options.replace("…", "")))
    assert isinstance(parsed, config)


def test_the_readme_has_commands():
    assert len(_commands()) >= 10


def test_the_python_in_the_readme_runs():
    blocks = [
        block for block in _blocks("python") if '"runs/' not in block
    ]  # these need a run that does not exist here
    namespace: dict = {}
    for block in blocks:
        exec(block, namespace)
    assert len(blocks) == 4
    assert namespace["result"].outputs.shape == (8, 10)
    assert namespace["loss"].shape == (8,)
