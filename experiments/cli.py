"""The command line `elicit`: reads the options of a command and calls its function.

The options are generated from the command's frozen dataclass, so help, types and the saved
configuration always agree. The command's module is imported only when the command is called, so
`elicit --help` is quick.

Exit status:
    0: done.
    1: a result is no longer finite, another process of the job is lost, or Elicit has a bug.
    2: wrong input, or a file that cannot be read or written.
    130, 143: stopped by SIGINT (Ctrl-C) or SIGTERM.

At the first such signal a training finishes the steps that the device is computing and saves a
checkpoint; other commands end at once. The same command then goes on from there. A second signal
ends the process at once and loses no more than SIGKILL does.

Two processes never write to one directory: the second is refused, with the first one's id.
"""

import contextlib
import dataclasses
import difflib
import errno
import importlib
import itertools
import os
import signal
import sys
import traceback
import warnings
from collections.abc import Collection, Iterator, Sequence
from importlib import metadata
from pathlib import Path
from typing import Annotated, Any

from elicit_jax import DISTRIBUTION
from experiments.commands import COMMANDS, Command
from experiments.console.signals import Stopped, stopping_on_signals

HELP = ("-h", "--help")
"""Words that ask for help."""

LEADING_OPTIONS = ("--help", "--version", "--install-completion")

CONFIG_HELP = (
    "With --config PLACE the options are those of an earlier run, given as its directory or its "
    "options.json; options beside it override them."
)

ADVICE = {
    **dict.fromkeys(
        (errno.ENOSPC, errno.EDQUOT, errno.EFBIG),
        "make room there and repeat the command, or choose another place",
    ),
    **dict.fromkeys(
        (errno.EACCES, errno.EPERM, errno.EROFS),
        "allow it and repeat the command, or choose another place",
    ),
}
"""Advice to the user by the number of the operating system's error."""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command and returns the exit status.

    Args:
        argv: the words after `elicit`; by default those that the process was started with.
    """
    try:
        try:
            return _main(list(sys.argv[1:] if argv is None else argv))
        finally:
            sys.stdout.flush()
    except BrokenPipeError:  # nobody reads on, as in `elicit … | head`
        with Path(os.devnull).open("w") as nowhere:
            os.dup2(nowhere.fileno(), sys.stdout.fileno())  # else Python complains at its end
        return 128 + signal.SIGPIPE


def _main(words: list[str]) -> int:
    if words == ["--version"]:
        print(metadata.version(DISTRIBUTION))
        return 0
    if words[:1] == ["--install-completion"]:
        return _install_completion(words[1:])
    if words and words[0] in HELP:  # before a command as well as after it
        words = [*words[1:], words[0]]
    name = next((name for name in COMMANDS if words[: name.count(" ") + 1] == name.split()), None)
    if name is not None:
        return _run(name, words[name.count(" ") + 1 :])
    leading = list(itertools.takewhile(lambda word: not word.startswith("-"), words))
    group = {n: c for n, c in COMMANDS.items() if n.split()[: len(leading)] == leading}
    if group and (not words or words[-1] in HELP):
        print(_overview(group))
        return 0
    print(f"elicit: error: {_no_command(leading or words, group)}", file=sys.stderr)
    return 2


def _install_completion(words: list[str]) -> int:
    from experiments.console.completion import install_completion  # here, as it takes a while
    from imgopt.errors import InputError

    try:
        print(install_completion(words))
    except (InputError, OSError) as error:
        print(f"elicit: error: {_message(error)}", file=sys.stderr)
        return 2
    return 0


def _no_command(words: Sequence[str], group: Collection[str]) -> str:
    """Says that words name no command, and which ones they may stand for."""
    word = " ".join(words)
    if word.startswith("-"):
        close = difflib.get_close_matches(word.split()[0], LEADING_OPTIONS, n=1)
        meant = f"; did you mean {close[0]}?" if close else ""
        return f"there is no option {word.split()[0]} before a command{meant}"
    if group:
        return f"{word!r} is a group of commands; expected one of: {', '.join(group)}"
    if close := _close_commands(words):
        meant = " or ".join(close)
        return f"there is no command {word!r}; did you mean {meant}? elicit --help lists all"
    return f"there is no command {word!r}; expected one of: {', '.join(COMMANDS)}"


def _close_commands(words: Sequence[str]) -> list[str]:
    """Gives the commands whose name, or a word in it, is close to what was typed."""
    by_text: dict[str, list[str]] = {}
    for name in COMMANDS:
        for text in {name, *name.split()}:
            by_text.setdefault(text, []).append(name)
    for typed in (" ".join(words[:2]), words[0]):
        if close := difflib.get_close_matches(typed, by_text, n=1):
            return by_text[close[0]]
    return []


def _overview(commands: dict[str, Command]) -> str:
    width = max(map(len, commands))
    lines = [f"  {name:{width}}  {command.help}" for name, command in commands.items()]
    return "\n".join(
        [
            "usage: elicit COMMAND [OPTIONS]",
            "",
            "Makes training images out of what you already have, keeps the ones worth keeping,",
            "and measures, with error bars, whether they help.",
            "",
            *lines,
            "",
            "elicit COMMAND --help lists a command's options.",
            "elicit --install-completion bash (or zsh, fish) makes the shell complete them.",
            "elicit --version prints the version.",
        ]
    )


def _run(name: str, words: list[str]) -> int:
    try:
        with stopping_on_signals(), _plain_warnings():
            _call(name, words)
    except KeyboardInterrupt as error:
        stopped = error if isinstance(error, Stopped) else Stopped(signal.SIGINT)
        message = f"elicit {name}: {stopped}; the same command goes on from there"
        return _end(message, 128 + stopped.signum, stopped)
    except BrokenPipeError:
        raise
    except Exception as error:
        status = _status_of(error)
        if status is None or os.environ.get("ELICIT_TRACEBACK"):
            traceback.print_exc()
        if status is None:
            return _end(f"elicit {name}: this is a bug in Elicit", 1, error)
        return _end(f"elicit {name}: error: {_message(error)}", status, error)
    return 0


def _status_of(error: Exception) -> int | None:
    """Exit status of an error that users can mend; None for a bug of our own."""
    from imgopt.errors import InputError  # here, since importing JAX would slow down --help

    if isinstance(error, FloatingPointError | ChildProcessError):
        return 1
    return 2 if isinstance(error, InputError | OSError) else None


def _message(error: Exception) -> str:
    if isinstance(error, OSError) and error.filename:
        advice = ADVICE.get(error.errno or 0, "check the path")
        return f"{error.filename}: {error.strerror}; {advice}"
    return str(error)


def _end(message: str, status: int, error: BaseException) -> int:
    """Prints why a command ended early and returns the status.

    One of several processes ends here, without waiting for the others.
    """
    print(message, file=sys.stderr)
    if "experiments.console.distributed" in sys.modules:
        from experiments.console.distributed import leave_at_once

        leave_at_once(status, has_lost_another=isinstance(error, ChildProcessError))
    return status


def _call(name: str, words: list[str]) -> None:
    """Reads a command's options and calls it."""
    command = COMMANDS[name]
    config, processes = parse(name, command.config_type(), words)
    from experiments.console.progress import say

    say(f"{name}: loading JAX")
    importlib.import_module(command.module)
    from train.runtime.allocator import keep_memory

    keep_memory()
    from experiments.console.compilation import keep_compiled_as_set

    keep_compiled_as_set()
    with _connected(processes), _lock(command, config), _saving(command, config):
        command.run(config)


@contextlib.contextmanager
def _saving(command: Command, config: Any) -> Iterator[None]:
    """Saves the options in the directory that the command has made, also if a signal stops it."""
    from experiments.console.saved_options import save_options
    from train.runtime.processes import is_first_process

    def save() -> None:
        if command.writes and is_first_process():
            save_options(config, getattr(config, command.writes))

    try:
        yield
    except KeyboardInterrupt:
        save()
        raise
    save()


def _connected(processes: Any) -> contextlib.AbstractContextManager[None]:
    """Connects the processes of one job; a command of one process only has no such options."""
    if processes is None:
        return contextlib.nullcontext()
    from experiments.console.distributed import connected  # here, since it imports JAX

    return connected(processes)


def parse(name: str, config_type: Any, words: list[str]) -> tuple[Any, Any]:
    """A command's options, and those of several processes if it can run in several."""
    # Here, since tyro slows down --help.
    from experiments.console.options import read_options
    from experiments.console.saved_options import take_saved

    description = f"{config_type.__doc__}\n\n{CONFIG_HELP}"
    saved, words = take_saved(words, config_type)
    if not COMMANDS[name].is_distributed:
        options = read_options(name, config_type, words, description=description, default=saved)
        return options, None
    import tyro

    from experiments.console.distributed_options import DistributedConfig

    own = Annotated[config_type, tyro.conf.arg(name="")]
    both = dataclasses.make_dataclass("Options", [("own", own), ("processes", DistributedConfig)])
    default = saved and both(saved, DistributedConfig())
    found: Any = read_options(name, both, words, description=description, default=default)
    return found.own, found.processes


def _lock(command: Command, config: Any) -> contextlib.AbstractContextManager[None]:
    """Locks the directory that a command writes to; the processes of one job share the lock."""
    from train.runtime.processes import is_first_process
    from train.storage.locks import exclusive

    is_ours = not command.is_distributed or is_first_process()
    if command.writes is None or getattr(config, "dry_run", False) or not is_ours:
        return contextlib.nullcontext()
    return exclusive(getattr(config, command.writes))


@contextlib.contextmanager
def _plain_warnings() -> Iterator[None]:
    """Shows each warning once, as one line; restores `warnings.showwarning` at the end."""
    shown = set()

    def show(message: Warning | str, *_: object) -> None:
        if str(message) not in shown:
            print(f"elicit: warning: {message}", file=sys.stderr)
        shown.add(str(message))

    before = warnings.showwarning
    warnings.showwarning = show
    try:
        yield
    finally:
        warnings.showwarning = before


if __name__ == "__main__":
    sys.exit(main())
