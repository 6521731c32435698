"""The Python of README and docs runs, and their commands parse; test_documents.py checks links.

test_frameworks.py in tests/imgopt runs docs/classifiers.md; `make docs` runs the tutorials.
"""

import re
import shlex
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import pytest

import imgopt
from experiments.cli import parse
from experiments.commands import COMMANDS
from train.models import networks

ROOT = Path(__file__).parent.parent
DOCS = [path for path in (ROOT / "docs").rglob("*.md") if "_build" not in path.parts]
PAGES = {
    path.relative_to(ROOT).as_posix().removeprefix("docs/"): path.read_text()
    for path in (ROOT / "README.md", *sorted(DOCS))
}
COMMANDS_CELL = r"```\{code-cell\} ipython3\n(?::.*\n)*%%bash\n(.*?)```"
"""A notebook's cell of commands."""
ELLIPSES = {
    "synthesize": "--classifier run --data digits --out images",
    "gan train": "--data digits --out run",
    "gan sample": "--gan run --classifier run --keep tp --out images",
    "experiment table-a": "--out results",
    "experiment figures-a": "--out results",
    "experiment does-it-help": "--data digits --out results",
}


def _blocks(page: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGES[page], re.DOTALL)


def _commands() -> list[str]:
    blocks = [block for page in PAGES for block in _blocks(page, "console")]
    blocks += [
        cell for text in PAGES.values() for cell in re.findall(COMMANDS_CELL, text, re.DOTALL)
    ]
    text = "".join(blocks)
    lines = text.replace("\\\n", " ").splitlines()
    return [line.split("#")[0].strip() for line in lines if line.startswith("elicit ")]


@pytest.mark.parametrize("line", _commands())
def test_every_command_parses(line):
    words = shlex.split(line.removeprefix("elicit "))
    name = next(name for name in COMMANDS if words[: len(name.split())] == name.split())
    options = " ".join(words[len(name.split()) :])
    given = {word for word in options.split() if word.startswith("--")}
    for filled in ELLIPSES.get(name, "").split("--")[1:]:
        if f"--{filled.split()[0]}" not in given:
            options = options.replace("…", f"--{filled.strip()} …")
    config = COMMANDS[name].config_type()
    parsed, _ = parse(name, config, shlex.split(options.replace("…", "")))
    assert isinstance(parsed, config)


def test_commands_are_found_in_every_kind_of_page():
    assert len(_commands()) >= 50
    assert any("elicit transfer" in line for line in _commands())
    assert (
        "elicit synthesize --classifier first --data mine --out made" in _commands()
    )  # a notebook


def _run(page: str, **names: Any) -> tuple[int, dict[str, Any]]:
    """Runs a page's blocks, but for those that need a run that does not exist here."""
    blocks = [block for block in _blocks(page, "python") if '"runs/' not in block]
    for block in blocks:
        exec(block, names)
    return len(blocks), names


def test_the_python_in_the_readme_runs():
    count, names = _run("README.md")
    assert count == 1
    assert names["result"].outputs.shape == (8, 10)


def test_the_python_in_the_page_of_python_runs():
    count, names = _run("python.md")
    assert count == 4
    assert names["result"].outputs.shape == (8, 10)
    assert names["loss"].shape == (8,)


def test_the_python_in_the_page_of_views_runs():
    kernel = jax.random.normal(jax.random.key(0), (6 * 5 * 3, 4))
    images = jax.random.uniform(jax.random.key(1), (2, 6, 5, 3))
    targets = imgopt.uniform_targets(2, num_classes=4)
    count, names = _run(
        "views.md",
        classify=lambda x: x.reshape(len(x), -1) @ kernel,
        images=images,
        targets=targets,
    )
    assert count == 1
    assert names["result"].view_kl.shape == (2,)


def test_the_python_in_the_page_of_networks_runs(monkeypatch):
    monkeypatch.setattr(networks, "NETWORKS", dict(networks.NETWORKS))
    count, names = _run("networks.md")
    assert count == 2
    assert "wrn-28-10" in networks.NETWORKS
    logits = names["Net"](4).init_with_output(
        jax.random.key(0), jnp.ones((2, 6, 5, 3)), train=False
    )
    assert logits[0].shape == (2, 4)
