"""Completion by a shell: the words of a real one, and scripts that hold every option."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from experiments.cli import main
from experiments.commands import COMMANDS
from experiments.console.completion import SHELLS, completion_script
from experiments.console.option_table import commands_with, options_by_name
from experiments.console.options import read_options
from imgopt.errors import InputError

COMPLETED = {
    "": {"quickstart", "data", "experiment", "--help", "--version"},
    "cl": {"classifier"},
    "classifier ": {"train", "evaluate"},
    "experiment ": {"table-a", "does-it-help", "list"},
    "classifier train --te": {"--test-split", "--test-data", "--teacher", "--test-every"},
    "classifier train --data digits --add-": {"--add-as"},
    "classifier train --add-as ": {"examples", "second-view"},
    "synthesize --augmentations flip c": {"crop"},
    "synthesize --pixel-map=": {"arctan", "tanh", "sigmoid"},
    "synthesize --pixel-map=t": {"tanh"},
    "classifier train --kl ": {"target||model", "model||target"},
    "gan train --one": {"--one-per-class"},
    "gan train --distrib": {"--distributed"},
    "--install-completion ": set(SHELLS),
    "data show di": set(),
}
EXACT = set(COMPLETED) - {"", "experiment ", "classifier train --te"}


def answers_of_bash(script):
    calls = []
    for line in COMPLETED:
        words = re.split(r" |(?<==)|(?==)", f"elicit {line}")
        given = " ".join(f"'{word}'" for word in words)
        calls.append(
            f"COMP_WORDS=({given}); COMP_CWORD={len(words) - 1}; COMPREPLY=(); _elicit; "
            'echo "${COMPREPLY[*]}"'
        )
    program = "\n".join([f"source {script}", "complete -p elicit", *calls])
    declared, *found = printed(["bash", "--norc", "-i"], program)
    assert "-F _elicit elicit" in declared
    return [answer.replace("\\|", "|").split() for answer in found]


def answers_of_zsh(script):
    (script.parent / "_elicit").write_bytes(script.read_bytes())
    program = Path(__file__).with_name("complete.zsh")
    lines = "".join(f"elicit {line}\n" for line in COMPLETED)
    return [answer.split() for answer in printed(["zsh", "-f", program, script.parent], lines)]


def answers_of_fish(script):
    calls = [f"complete -C 'elicit {line}'; echo end" for line in COMPLETED]
    lines = printed(["fish", "--no-config"], "\n".join([f"source {script}", *calls]))
    *answers, _ = "\n".join(["", *lines]).split("\nend")
    return [[word.rpartition("=")[2] for word in answer.split()] for answer in answers]


ANSWERS_OF = {"bash": answers_of_bash, "zsh": answers_of_zsh, "fish": answers_of_fish}


def printed(command, text):
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=True)
    return done.stdout.splitlines()


@pytest.mark.parametrize("shell", SHELLS)
def test_a_shell_completes_commands_options_and_values(shell, tmp_path):
    if shutil.which(shell) is None:
        pytest.skip(f"there is no {shell}")
    script = tmp_path / "script"
    script.write_text(completion_script(shell))
    for line, answer in zip(COMPLETED, ANSWERS_OF[shell](script), strict=True):
        assert COMPLETED[line] <= set(answer), line
        if line in EXACT:
            assert COMPLETED[line] == set(answer), line


@pytest.mark.parametrize("shell", SHELLS)
def test_a_script_is_installed_and_holds_every_option(shell, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    assert main(["--install-completion", shell]) == 0
    place = capsys.readouterr().out.splitlines()[0].removeprefix(f"completion of {shell}: ")
    script = next(path for path in tmp_path.rglob("*") if path.is_file())
    assert str(script) == place
    words = set(re.findall(r"[\w-]+", script.read_text()))
    for name in COMMANDS:
        options = options_by_name(name)
        assert {option[2:] for option in options} <= {word.lstrip("-") for word in words}, name
    if program := shutil.which(shell):
        subprocess.run([program, "-n", script], check=True)


@pytest.mark.parametrize("words", ["", "tcsh", "bash zsh"])
def test_an_unknown_shell_is_refused(words, monkeypatch, capsys):
    monkeypatch.setenv("SHELL", "/bin/csh")
    assert main(["--install-completion", *words.split()]) == 2
    assert "takes one of bash, zsh, fish, got " in capsys.readouterr().err


@pytest.mark.parametrize("name", COMMANDS)
def test_the_table_has_the_options_that_the_help_lists(name, capsys):
    with pytest.raises(SystemExit):
        read_options(name, COMMANDS[name].config_type(), ["--help"])
    shown = set(re.findall(r"(?m)^[│|\s]+(--\w[\w-]*)(?=[ ,])", capsys.readouterr().out))
    hosts = {"--config", "--distributed", "--coordinator", "--processes", "--process"}
    own = options_by_name(name).keys() - hosts
    assert shown - {"--help"} == {option for option in own if not option.startswith("--no-")}


def test_an_option_of_another_command_is_named_with_it():
    assert commands_with("--joint-epochs") == ["gan train"]
    config = COMMANDS["synthesize"].config_type()
    words = ["--classifier", "c", "--data", "d", "--out", "o", "--joint-epochs", "3"]
    with pytest.raises(InputError, match="unknown option --joint-epochs, which gan train take"):
        read_options("synthesize", config, words)
