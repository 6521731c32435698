"""The command line as a whole: help, version, unknown words, and quick imports."""

import dataclasses
import importlib
import os
import re
import signal
import subprocess
import sys
import tomllib
import warnings
from importlib import metadata
from pathlib import Path
from typing import Annotated, get_origin, get_type_hints

import pytest

from experiments.commands import COMMANDS

PYPROJECT = Path(__file__).parents[2] / "pyproject.toml"


def option_names(config: type) -> set[str]:
    """The options of a dataclass and of those nested in it, as the command line writes them."""
    names = set()
    hints = get_type_hints(config, include_extras=True)
    for field in dataclasses.fields(config):
        if get_origin(hints[field.name]) is Annotated:  # Positional
            continue
        nested = hints[field.name]
        if isinstance(nested, type) and dataclasses.is_dataclass(nested):
            names |= option_names(nested)
        else:
            names.add(field.name.replace("_", "-"))
    return names


@pytest.mark.parametrize("words", ["", "--help", "-h"])
def test_help_lists_every_command(words, elicit, capsys):
    assert elicit(*words.split()) == 0
    printed, complaint = capsys.readouterr()
    for name, command in COMMANDS.items():
        assert re.search(rf"(?m)^  {name} +{re.escape(command.help)}$", printed)
    assert complaint == ""


@pytest.mark.parametrize("group", sorted({n.split()[0] for n in COMMANDS if " " in n}))
def test_help_of_a_group_lists_its_commands_only(group, elicit, capsys):
    assert elicit(group, "--help") == 0
    printed = capsys.readouterr().out
    listed = {name for name in COMMANDS if re.search(rf"(?m)^  {name}  ", printed)}
    assert listed == {name for name in COMMANDS if name.split()[0] == group}


@pytest.mark.parametrize("words", ["data", "data show", "experiment", "synthesize"])
def test_help_may_stand_before_the_command(words, elicit, capsys):
    printed = []
    for order in (["--help", *words.split()], [*words.split(), "--help"]):
        assert elicit(*order) == 0
        printed.append(capsys.readouterr().out)
    assert printed[0] == printed[1]
    assert words in printed[0]


@pytest.mark.parametrize("name", COMMANDS)
def test_help_of_a_command_names_every_field_of_its_configuration(name, elicit, capsys):
    assert elicit(*name.split(), "--help") == 0
    printed = capsys.readouterr().out.lower()
    config = COMMANDS[name].config_type()
    wanted = option_names(config)
    assert wanted or not dataclasses.fields(config)
    assert {name for name in wanted if not re.search(f"--{name}[ ,]", printed)} == set()


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_s_function_and_configuration_exist_and_say_what_they_are(name):
    command = COMMANDS[name]
    assert callable(getattr(importlib.import_module(command.module), command.function))
    config = command.config_type()
    assert config.__dataclass_params__.frozen
    assert not config.__doc__.startswith(config.__name__ + "(")  # dataclass's own


def test_version_is_the_installed_one(elicit, capsys):
    assert elicit("--help") == 0
    assert "elicit --version" in capsys.readouterr().out
    assert elicit("--version") == 0
    assert capsys.readouterr().out == f"{metadata.version('elicit-jax')}\n"


@pytest.mark.parametrize(
    ("words", "named", "told"),
    [
        ("train", "'train'", "did you mean classifier train or gan train? elicit --help lists all"),
        ("Synthesize", "'Synthesize'", "did you mean synthesize"),
        ("sythesize -x", "'sythesize'", "did you mean synthesize"),
        ("data shwo mine", "'data shwo mine'", "did you mean data show?"),
        ("smaple", "'smaple'", "did you mean gan sample?"),
        ("experiment tabl-a", "'experiment tabl-a'", "did you mean experiment table-a?"),
        ("clasifier trian --out x", "'clasifier trian'", "did you mean classifier train?"),
        ("zzz --help", "'zzz'", f"expected one of: {', '.join(COMMANDS)}"),
    ],
)
def test_unknown_words_are_named_beside_the_known_ones(words, named, told, elicit, capsys):
    assert elicit(*words.split()) == 2
    printed, complaint = capsys.readouterr()
    assert printed == ""
    assert f"elicit: error: there is no command {named}; {told}" in complaint
    assert complaint.count("\n") == 1


@pytest.mark.parametrize(
    ("option", "meant"),
    [("--hlp", "; did you mean --help?"), ("--verison", "; did you mean --version?"), ("--zz", "")],
)
def test_an_option_before_a_command_is_no_command(option, meant, elicit, capsys):
    assert elicit(option, "synthesize") == 2
    said = f"elicit: error: there is no option {option} before a command{meant}\n"
    assert capsys.readouterr().err == said


def test_help_imports_nothing_slow():
    program = (
        "import sys\n"
        "from experiments.cli import main\n"
        "status = main(['--help'])\n"
        "slow = {'jax', 'flax', 'optax', 'tyro', 'matplotlib', 'numpy', 'tensorflow_datasets'}\n"
        "sys.exit(f'imported {slow & set(sys.modules)}' if slow & set(sys.modules) else status)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=PYPROJECT.parent, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.stderr == ""
    assert done.returncode == 0
    assert "usage: elicit COMMAND" in done.stdout


def test_options_are_read_without_jax():
    """Help of every command, and a refused option, in one fresh interpreter."""
    program = (
        "import sys\n"
        "from experiments.cli import main, parse\n"
        "from experiments.commands import COMMANDS\n"
        "for name, command in COMMANDS.items():\n"
        "    try:\n"
        "        parse(name, command.config_type(), ['--help'])\n"
        "    except SystemExit as left:\n"
        "        assert left.code == 0, name\n"
        "assert main('synthesize --classifier c --data d --out o --stepz 3'.split()) == 2\n"
        "slow = {'jax', 'flax', 'optax', 'orbax', 'tensorflow_datasets', 'matplotlib', 'sklearn'}\n"
        "sys.exit(f'imported {slow & set(sys.modules)}' if slow & set(sys.modules) else 0)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=PYPROJECT.parent, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert re.fullmatch("elicit synthesize: error: .*did you mean --steps.*\n", done.stderr)
    assert done.returncode == 0
    assert done.stdout.count("usage: elicit") == len(COMMANDS)


@pytest.mark.slow
@pytest.mark.parametrize("words", ["--version", "--help", "synthesize --help"])
def test_a_reader_that_leaves_is_no_error(words):
    """As `head` does in `elicit synthesize --help | head`."""
    read, write = os.pipe()
    os.close(read)
    program = "import sys; from experiments.cli import main; sys.exit(main())"
    done = subprocess.run(
        [sys.executable, "-c", program, *words.split()],
        cwd=PYPROJECT.parent, stdout=write, stderr=subprocess.PIPE, check=False,
    )  # fmt: skip
    os.close(write)
    assert done.stderr == b""
    assert done.returncode == 128 + signal.SIGPIPE


def test_one_console_script_is_declared_and_it_is_main():
    project = tomllib.loads(PYPROJECT.read_text())["project"]
    assert project["scripts"] == {"elicit": "elicit_jax:main"}
    module, _, function = project["scripts"]["elicit"].partition(":")
    assert callable(getattr(importlib.import_module(module), function))
    assert project["name"] == importlib.import_module(module).DISTRIBUTION


def test_ctrl_c_is_no_traceback(elicit, monkeypatch, capsys):
    module = importlib.import_module("experiments.quickstart.synthesis")

    def interrupt(_):
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "quickstart", interrupt)
    assert elicit("quickstart") == 130
    assert capsys.readouterr().err == (
        "elicit quickstart: stopped by SIGINT; the same command goes on from there\n"
    )


def test_a_debugger_gets_the_traceback_of_wrong_input(elicit, capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("ELICIT_TRACEBACK", "1")
    assert elicit("data", "show", tmp_path / "absent", "--out", tmp_path / "sheet") == 2
    assert re.search(r"(?s)Traceback.*InputError: .*absent", capsys.readouterr().err)


@pytest.mark.parametrize("fault", [TypeError("no len()"), ValueError("too many"), KeyError("x")])
def test_a_fault_of_our_own_keeps_its_traceback(fault, elicit, capsys, monkeypatch):
    def broken(_):
        raise fault

    monkeypatch.setattr("experiments.data.show.show", broken)
    assert elicit("data", "show", "digits") == 1
    said = capsys.readouterr().err
    assert re.search(rf"(?s)Traceback.* in broken\n.*{type(fault).__name__}: ", said)
    assert "data show: error:" not in said


@pytest.mark.filterwarnings("always:mind the gap")
def test_a_warning_is_shown_once(elicit, capsys, monkeypatch):
    def warn_twice(_):
        warnings.warn("mind the gap", stacklevel=1)
        warnings.warn("mind the gap", stacklevel=2)

    monkeypatch.setattr("experiments.data.show.show", warn_twice)
    assert elicit("data", "show", "digits") == 0
    assert capsys.readouterr().err.count("mind the gap") == 1


def test_warnings_are_shown_as_before_once_a_command_is_done(elicit, tmp_path):
    before = warnings.showwarning
    assert elicit("data", "show", "digits", "--out", tmp_path / "sheet") == 0
    assert warnings.showwarning is before
