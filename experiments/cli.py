"""The command line `elicit`: a table of commands, each a configuration and a function.

A command's options are generated from its frozen dataclass, so help, types and the saved
configuration cannot drift apart. Its module is imported only when the command is called, which
keeps `elicit --help` quick.

Exit status: 0 done; 1 what is computed is no longer finite, or another process of the job is lost;
2 wrong input, or a file that cannot be read or written; 130 or 143 stopped by SIGINT (Ctrl-C) or
SIGTERM. On the first such signal training finishes the steps at hand and saves a checkpoint,
anything else ends where it is, and the same command goes on from there. A second signal ends the
process at once, which loses no more than a kill does.

Two processes never write one directory: the second is refused, and told of the first.
"""

import contextlib
import dataclasses
import errno
import importlib
import itertools
import os
import signal
import sys
import warnings
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Annotated, Any, NamedTuple

from experiments.console.signals import Stopped, stopping_on_signals

CACHE_VARIABLE = "ELICIT_COMPILATION_CACHE"
"""Names the directory that keeps compiled programs; none are kept where it is not set."""


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
"""What to do about an error of the system, by its number."""


class Command(NamedTuple):
    """Where a command lives, and a line of help.

    Attributes:
        module: in which it lives.
        config: its dataclass of options.
        function: what runs it.
        help: the line.
        writes: of its options or their properties, the directory that it alone may write
            meanwhile; None where it only reads, or writes single files at once.
        takes_hosts: whether several processes can do it together.
    """

    module: str
    config: str
    function: str
    help: str
    writes: str | None = "out"
    takes_hosts: bool = False


COMMANDS: dict[str, Command] = {
    "quickstart": Command(
        "experiments.quickstart.synthesis", "QuickstartConfig", "quickstart",
        "the whole job on handwritten digits, with a report; two minutes on a laptop",
        writes="directory",
    ),
    "data prepare": Command(
        "experiments.data.prepare_cifar10", "PrepareConfig", "prepare",
        "CIFAR-10's official archive → a TFDS data set, without TensorFlow",
        writes="target",
    ),
    "data import": Command(
        "experiments.data.import_folder", "ImportConfig", "import_folder",
        "a folder of your own pictures, one subfolder a class → a TFDS data set",
    ),
    "data show": Command(
        "experiments.data.show", "ShowConfig", "show",
        "classes, counts and a contact sheet of a data set",
        writes=None,
    ),
    "data subset": Command(
        "experiments.data.subset", "SubsetConfig", "make_subset",
        "so many images of each class, drawn by key → a small data set",
    ),
    "augment": Command(
        "experiments.data.augment", "AugmentConfig", "augment",
        "random squares of a set's images, enlarged → an image set",
    ),
    "classifier train": Command(
        "experiments.classifier.train", "ClassifierTrainConfig", "train_classifier",
        "train a classifier, also with images replaced by synthesised ones, or with extra sets",
        takes_hosts=True,
    ),
    "classifier evaluate": Command(
        "experiments.classifier.evaluate", "ClassifierEvaluateConfig", "evaluate_classifier",
        "accuracy, confusion and calibration on a whole test set",
        writes=None,
    ),
    "gan train": Command(
        "experiments.gan.train", "GanTrainConfig", "train_gan",
        "train a DCGAN or a Stacked GAN on a small data set",
        takes_hosts=True,
    ),
    "gan sample": Command(
        "experiments.gan.sample", "GanSampleConfig", "sample_gan",
        "images of chosen classes from a GAN, sorted by a classifier if asked → an image set",
    ),
    "select": Command(
        "experiments.gan.select", "SelectConfig", "select",
        "keep the images of a set whose predicted class is the one intended → an image set",
    ),
    "synthesize": Command(
        "experiments.synthesis.command", "SynthesizeConfig", "synthesize_set",
        "make images that elicit chosen outputs from a classifier",
        takes_hosts=True,
    ),
    "gan evaluate": Command(
        "experiments.gan.evaluate", "GanEvaluateConfig", "evaluate_gan",
        "how good generated images are, beside real ones",
    ),
    "verify": Command(
        "experiments.verify.command", "VerifyConfig", "verify",
        "check every digest below a directory, and repeat some of an experiment by its keys",
        writes=None,
    ),
    "report": Command(
        "experiments.papers.compare", "ReportConfig", "report",
        "an experiment's table and report again from its files; or two of its results compared",
        writes=None,
    ),
    "experiment list": Command(
        "experiments.papers.list", "ListConfig", "list_experiments",
        "the experiments there are, and what their presets measure",
        writes=None,
    ),
    "experiment table-a": Command(
        "experiments.papers.table_a", "TableAConfig", "table_a",
        "paper A's table 1: accuracy with 0 to 50% of the training images replaced",
    ),
    "experiment table-b": Command(
        "experiments.papers.table_b", "TableBConfig", "table_b",
        "paper B's table 2: accuracy with a GAN's images beside few real ones, sorted or not",
    ),
    "experiment figures-a": Command(
        "experiments.papers.figures_a", "FiguresAConfig", "figures_a",
        "paper A's figures 1 and 3 to 5: its update rules side by side, with numbers",
    ),
    "experiment figures-b": Command(
        "experiments.papers.figures_b", "FiguresBConfig", "figures_b",
        "paper B's figure 3: a GAN's images, sorted, beside geometric augmentation",
    ),
    "experiment closed-loop": Command(
        "experiments.papers.closed_loop", "ClosedLoopConfig", "closed_loop",
        "paper B's comparison: classifiers trained with and without a GAN's images, sorted or not",
    ),
}  # fmt: skip


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command and returns the exit status.

    Args:
        argv: the words after `elicit`; those of the process by default.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    if words == ["--version"]:
        print(metadata.version("elicit"))
        return 0
    name = next((name for name in COMMANDS if words[: name.count(" ") + 1] == name.split()), None)
    if name is not None:
        return _run(name, words[name.count(" ") + 1 :])
    leading = list(itertools.takewhile(lambda word: not word.startswith("-"), words))
    group = {n: c for n, c in COMMANDS.items() if n.split()[: len(leading)] == leading}
    asked_for_help = not words or words[-1] in ("-h", "--help")
    if group and (asked_for_help or not words[len(leading) :]):
        print(_overview(group), file=sys.stdout if asked_for_help else sys.stderr)
        return 0 if asked_for_help else 2
    print(
        f"elicit: error: there is no command {' '.join(leading or words)!r}; "
        f"expected one of: {', '.join(COMMANDS)}",
        file=sys.stderr,
    )
    return 2


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
        ]
    )


def _run(name: str, words: list[str]) -> int:
    warnings.showwarning = _show_warning
    try:
        with stopping_on_signals():
            _call(name, words)
    except (ValueError, OSError, FloatingPointError) as error:
        # Wrong input is a ValueError everywhere; a traceback is for whoever debugs elicit itself.
        if os.environ.get("ELICIT_TRACEBACK"):
            raise
        is_wrong_input = not isinstance(error, FloatingPointError | ChildProcessError)
        return _end(f"elicit {name}: error: {_words_of(error)}", 2 if is_wrong_input else 1, error)
    except KeyboardInterrupt as error:
        stopped = error if isinstance(error, Stopped) else Stopped(signal.SIGINT)
        said = f"elicit {name}: {stopped}; the same command goes on from there"
        return _end(said, 128 + stopped.signum, stopped)
    return 0


def _words_of(error: Exception) -> str:
    if isinstance(error, OSError) and error.filename and error.errno in ADVICE:
        return f"{error.filename}: {error.strerror}; {ADVICE[error.errno]}"
    return str(error)


def _end(said: str, status: int, error: BaseException) -> int:
    """Says why a command ended early, and gives the status; one process of several ends here."""
    print(said, file=sys.stderr)
    if "experiments.console.distributed" in sys.modules:
        from experiments.console.distributed import leave_at_once

        leave_at_once(status, has_lost_another=isinstance(error, ChildProcessError))
    return status


def _call(name: str, words: list[str]) -> None:
    """Reads a command's options and calls it."""
    command = COMMANDS[name]
    module = importlib.import_module(command.module)
    config, hosts = _parse(name, getattr(module, command.config), words)
    from train.runtime.allocator import keep_memory

    keep_memory()
    if directory := os.environ.get(CACHE_VARIABLE):
        from experiments.console.compilation import keep_compiled

        keep_compiled(Path(directory))
    with hosts, _lock(command, config):
        getattr(module, command.function)(config)


def _parse(
    name: str, config_type: Any, words: list[str]
) -> tuple[Any, contextlib.AbstractContextManager[None]]:
    """A command's options, and what connects it with other processes that do the same job."""
    import tyro  # after the command is known, for a quick --help

    options = {"prog": f"elicit {name}", "args": words, "config": (tyro.conf.OmitArgPrefixes,)}
    if not COMMANDS[name].takes_hosts:
        return tyro.cli(config_type, **options), contextlib.nullcontext()
    from experiments.console.distributed import HostsConfig, connected

    own = Annotated[config_type, tyro.conf.arg(name="")]
    both = dataclasses.make_dataclass("Options", [("own", own), ("hosts", HostsConfig)])
    found: Any = tyro.cli(both, description=config_type.__doc__, **options)
    return found.own, connected(found.hosts)


def _lock(command: Command, config: Any) -> contextlib.AbstractContextManager[None]:
    """Keeps other processes from what a command writes, but for those that do the same job."""
    from train.runtime.processes import is_first_process
    from train.storage.locks import exclusive

    is_ours = not command.takes_hosts or is_first_process()
    if command.writes is None or getattr(config, "dry_run", False) or not is_ours:
        return contextlib.nullcontext()
    return exclusive(getattr(config, command.writes))


def _show_warning(message: Warning | str, *_: object) -> None:
    print(f"elicit: warning: {message}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
