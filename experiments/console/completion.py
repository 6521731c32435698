"""Completion of commands, options and values by a shell: `elicit --install-completion SHELL`.

The scripts are made from the table of commands and hold all words, so that a shell completes
without starting Python. Where a word may be anything, the shell completes file names.
"""

import os
from collections.abc import Iterator
from pathlib import Path

from experiments.commands import COMMANDS
from experiments.console.option_table import options_by_name
from imgopt.errors import InputError
from train.storage.files import atomic_write, make_directory

SHELLS = ("bash", "zsh", "fish")

FIRST_OPTIONS = ("--help", "--version", "--install-completion")
"""Options without a command."""

BASH = """# Completion of elicit in bash, written by: elicit --install-completion bash
_elicit() {{
    local current=${{COMP_WORDS[COMP_CWORD]}} index=$((COMP_CWORD - 1)) options="" choices="" option
    while (( index > 0 )) && [[ ${{COMP_WORDS[index]}} != -* ]]; do (( index-- )); done
    option=${{COMP_WORDS[index]}}
    [[ $current == "=" ]] && current=""
    case " ${{COMP_WORDS[*]:1:COMP_CWORD-1}} " in
{commands}
    esac
    [[ $current == -* ]] && choices=""
    [[ -z $choices && ( $current == -* || $options != -* ) ]] && choices=$options
    COMPREPLY=($(compgen -W "$choices" -- "$current"))
    COMPREPLY=("${{COMPREPLY[@]//|/\\|}}")
}}
complete -o bashdefault -o default -F _elicit elicit
"""

ZSH = """#compdef elicit
# Completion of elicit in zsh, written by: elicit --install-completion zsh
_elicit() {{
    local current=$words[CURRENT] index=$((CURRENT - 1)) options="" choices="" option
    while (( index > 1 )) && [[ $words[index] != -* ]]; do (( index-- )); done
    option=$words[index]
    if [[ $current == --*=* ]]; then option=${{current%%=*}}; compset -P '*='; current=""; fi
    case " ${{(j: :)words[2,CURRENT-1]}} " in
{commands}
    esac
    [[ $current == -* ]] && choices=""
    [[ -z $choices && ( $current == -* || $options != -* ) ]] && choices=$options
    if [[ -n $choices ]]; then compadd -- ${{=choices}}; else _files; fi
}}
_elicit "$@"
"""

FISH = """# Completion of elicit in fish, written by: elicit --install-completion fish
function __elicit_typed
    string join ' ' -- (commandline -opc)
end
function __elicit_at
    test (string join ' ' -- elicit $argv) = (__elicit_typed)
end
function __elicit_after
    string match -q -- (string join ' ' -- elicit $argv '*') (__elicit_typed)" "
end
function __elicit_given
    set -l options (string match -- '-*' (commandline -opc))
    test "$options[-1]" = $argv
end
{commands}
"""


def install_completion(words: list[str]) -> str:
    """Writes the completion of a shell to where the shell looks for it.

    Args:
        words: the name of the shell; if missing, the user's shell is taken.

    Returns:
        What was done, and what the user has to do.

    Raises:
        InputError: the shell is unknown.
    """
    shell = words[0] if words else Path(os.environ.get("SHELL", "")).name
    if shell not in SHELLS or len(words) > 1:
        given = " ".join(words) or shell or "nothing"
        raise InputError(f"--install-completion takes one of {', '.join(SHELLS)}, got {given}")
    path = _place(shell)
    make_directory(path.parent)
    atomic_write(path, completion_script(shell).encode())
    remedies = {
        "bash": f"bash-completion reads it; without that, add to ~/.bashrc: source {path}",
        "zsh": f"add to ~/.zshrc, before compinit: fpath=({path.parent} $fpath)",
        "fish": "fish reads it",
    }
    return f"completion of {shell}: {path}\n{remedies[shell]}; it works in new shells"


def _place(shell: str) -> Path:
    """The file that the shell reads."""
    home = Path.home()
    data = Path(os.environ.get("XDG_DATA_HOME") or home / ".local/share")
    config = Path(os.environ.get("XDG_CONFIG_HOME") or home / ".config")
    return {
        "bash": data / "bash-completion/completions/elicit",
        "zsh": data / "zsh/site-functions/_elicit",
        "fish": config / "fish/completions/elicit.fish",
    }[shell]


def completion_script(shell: str) -> str:
    """The completion of a shell as its code.

    Args:
        shell: one of `SHELLS`.
    """
    if shell == "fish":
        return FISH.format(commands="\n".join(_fish_lines()))
    whole = BASH if shell == "bash" else ZSH
    return whole.format(commands="\n".join(_case_lines()))


def _next_words() -> dict[str, list[str]]:
    """The words that may follow "" and each group's name."""
    found: dict[str, list[str]] = {"": []}
    for name in COMMANDS:
        first, _, rest = name.partition(" ")
        for before, word in (("", first), (first, rest)):
            if word and word not in found.setdefault(before, []):
                found[before].append(word)
    found[""] += FIRST_OPTIONS
    return {before: words for before, words in found.items() if words}


def _case_lines() -> Iterator[str]:
    """Branches of a shell's `case` over the words that were typed, the longest first."""
    for name in sorted(COMMANDS, key=len, reverse=True):
        options = options_by_name(name)
        yield f'        " {name} "*)\n            options="{" ".join([*options, "--help"])}"'
        for option, found in options.items():
            if found.choices:
                words = " ".join(found.choices)
                yield f'            [[ $option == {option} ]] && choices="{words}"'
        yield "            ;;"
    for before, words in _next_words().items():
        pattern = f'" {before} "' if before else '"  "|" "'
        yield f'        {pattern}) options="{" ".join(words)}" ;;'
    yield f'        " --install-completion ") options="{" ".join(SHELLS)}" ;;'


def _fish_lines() -> Iterator[str]:
    """Calls of fish's `complete`."""
    for before, words in [*_next_words().items(), ("--install-completion", SHELLS)]:
        yield f"complete -c elicit -f -n '__elicit_at {before}' -a '{' '.join(words)}'"
    for name in COMMANDS:
        for option, found in options_by_name(name).items():
            line = f"complete -c elicit -n '__elicit_after {name}' -l {option[2:]}"
            if not found.choices:
                yield line
                continue
            values = f"-a '{' '.join(found.choices)}'".replace("|", r"\|")
            yield f"{line} -x {values}"
            given = f"__elicit_after {name}; and __elicit_given {option}"
            yield f"complete -c elicit -f -n '{given}' {values}"
