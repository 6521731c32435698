"""Reads a command's options, and refuses wrong ones in one line.

The library that reads them, tyro, draws a box for each refusal. Here the words of that box become
an `InputError`, as for any other wrong input.
"""

import contextlib
import dataclasses
import difflib
import io
import itertools
import os
import re
from collections.abc import Iterator, Sequence
from typing import Any

import tyro

from experiments.console.option_table import commands_with, options_of
from imgopt.errors import InputError

COLOUR = re.compile(r"\x1b\[[0-9;]*m")
MOST_NAMED = 2
"""Most other commands that a message names as having an option."""

RULE = re.compile(r"(?m)^ *[─-]{4,} *$")
"""Line between the parts of tyro's box."""

KINDS = {"INT": "a whole number", "FLOAT": "a number", "PATH": "a path", "STR": "a word"}
"""Names of types by tyro's words for them."""


def read_options(
    name: str,
    config_type: Any,
    words: Sequence[str],
    *,
    description: str | None = None,
    default: Any = None,
) -> Any:
    """Reads options into a dataclass. A value that begins with ~ is a path below a home directory.

    Args:
        name: name of the command.
        config_type: the dataclass.
        words: the words after the command's name.
        description: text of the help; by default the docstring of the dataclass.
        default: the options that hold where no words say otherwise; by default the dataclass's.

    Raises:
        InputError: an option is unknown, missing, or has a wrong value.
        SystemExit: help was asked for and has been printed.
    """
    box = io.StringIO()
    given = [_expand_home(word) for word in words]
    try:
        with contextlib.redirect_stderr(box):
            return tyro.cli(
                config_type,
                prog=f"elicit {name}",
                description=description,
                args=given,
                default=tyro.MISSING_NONPROP if default is None else default,
                config=(tyro.conf.OmitArgPrefixes,),
            )
    except SystemExit as left:
        if not left.code:
            raise
        known = [option for each in options_of(config_type) for option in each.names]
        known.append("--config")
        sentence, cause = _sentence(box.getvalue(), given, known), _cause(left)
        if isinstance(cause, InputError) or (cause and sentence.startswith("Error parsing")):
            raise cause from None  # by a dataclass: wrong input in our words, or a fault of ours
        raise InputError(f"{sentence}; see elicit {name} --help") from None


def check_unused(config: Any, *names: str, why: str) -> None:
    """Refuses options that have no effect, unless they have their default values.

    Args:
        config: a dataclass of options.
        names: fields that have no effect; each field of a nested dataclass is an option.
        why: the reason, such as "without --filter low-pass".

    Raises:
        InputError: a field has another value than its default.
        KeyError: there is no field of such a name.
    """
    unknown = set(names) - {field.name for field in dataclasses.fields(config)}
    if unknown:
        raise KeyError(f"{type(config).__name__} has no fields {sorted(unknown)}")
    for name, value in _changed(config, names=names):
        option = f"--{name.replace('_', '-')}"
        values = value if isinstance(value, tuple) else () if value is True else (value,)
        given = " ".join([option, *map(str, values)])
        raise InputError(f"{given} has no effect {why}; change one of them")


def _changed(
    config: Any, *, names: Sequence[str] | None = None, default: Any = None
) -> Iterator[tuple[str, Any]]:
    """Names and values of the fields, all or these, that differ from their defaults."""
    for field in dataclasses.fields(config):
        if names is not None and field.name not in names:
            continue
        make = field.default_factory
        usual = field.default if make is dataclasses.MISSING else make()
        usual = usual if default is None else getattr(default, field.name)
        value = getattr(config, field.name)
        if dataclasses.is_dataclass(value):
            yield from _changed(value, default=usual)
        elif value != usual:
            yield field.name, value


def nearest(word: str, names: Sequence[str]) -> str:
    """A question for the name that a mistyped word may stand for; empty if none is near."""
    by_text = {name.lstrip("-"): name for name in names}  # dashes would make all options alike
    close = difflib.get_close_matches(word.lstrip("-"), by_text, n=2)
    return f" (did you mean {' or '.join(by_text[text] for text in close)}?)" if close else ""


def _expand_home(word: str) -> str:
    """The word with ~ expanded, also in --option=~/place, which a shell leaves as it is."""
    option, equals, value = word.partition("=") if word.startswith("--") else ("", "", word)
    return f"{option}{equals}{os.path.expanduser(value)}"  # noqa: PTH111 - Path would alter words


def _cause(error: BaseException | None) -> ValueError | None:
    """The ValueError that tyro handled when it ended; None if it found the fault itself."""
    while error is not None and not isinstance(error, ValueError):
        error = error.__context__
    return error


def _sentence(box: str, words: Sequence[str], known: Sequence[str]) -> str:
    """Turns tyro's boxed message into one sentence."""
    framed = COLOUR.sub("", box).splitlines()
    body = "\n".join(line[1:-1].removeprefix(" ").rstrip() for line in framed[1:-1])
    first, *others = [part.strip("\n") for part in RULE.split(body) if part.strip()] or [""]
    plain = " ".join(first.split())
    if first.startswith(("Missing from", "Unrecognized options")):
        return _missing_or_unknown([first, *others], known)
    if found := re.match(r"Error parsing (--[\w/-]+): ", plain):
        return _wrong_type(found[1].split("/"), " ".join(others), words)
    if found := re.match(
        r"invalid choice '(.*)' for argument '(.*)'\. Expected one of (.*)", plain
    ):
        choices = re.findall(r"'([^']*)'", found[3])
        meant = nearest(found[1], choices)
        return f"{found[2]} must be one of {', '.join(choices)}, got {found[1]!r}{meant}"
    if found := re.match(r"Missing value for argument '(.*)'\.", plain):
        if found[1].startswith("--"):
            return f"{found[1]} needs a value"
        return f"missing {found[1].upper()}, which is given without an option's name"
    return plain


def _missing_or_unknown(parts: Sequence[str], known: Sequence[str]) -> str:
    """Names the options that are missing, and those that are unknown beside the nearest ones."""
    said = []
    for part in parts:
        head, _, rest = part.partition(":")
        if head.startswith("Missing from"):
            items = re.findall(r"(?m)^ {4}(\S+).*((?:\n {8}.*)*)", rest)
            said.append("missing " + ", ".join(_described(*item) for item in items))
        elif head == "Unrecognized options":
            unknown = re.split(r",?\s+", rest.strip())
            said += [_unknown(word, known) for word in _without_values(unknown)]
    return "; ".join(said)


def _described(option: str, text: str) -> str:
    """A missing option or argument, with its help."""
    words = " ".join(text.split()).removesuffix("(required)").strip(" .")
    return f"{'an argument' if option in KINDS else option} ({words})"


def _without_values(unknown: Sequence[str]) -> list[str]:
    """Unknown options without the values after them, or the words that belong to no option."""
    return [word for word in unknown if word.startswith("-")] or list(unknown[:1])


def _unknown(word: str, known: Sequence[str]) -> str:
    if not word.startswith("-"):
        return f"unexpected word {word!r}"
    option = word.partition("=")[0].replace("_", "-")
    if meant := nearest(option, known):
        return f"unknown option {option}{meant}"
    others = commands_with(option)[:MOST_NAMED]
    return f"unknown option {option}" + (f", which {' and '.join(others)} take" if others else "")


def _wrong_type(names: Sequence[str], help_text: str, words: Sequence[str]) -> str:
    """Says of which type the value of an option of these names must be, and which words came."""
    found = re.search(rf"{names[-1]} (\S.*)", help_text)
    kinds = [KINDS[name] for name in KINDS if found and re.search(rf"\b{name}\b", found[1])]
    own = [word.partition("=")[0].replace("_", "-") for word in words]
    begin = 1 + max(place for place, word in enumerate(own) if word in names)  # the last counts
    values = [words[begin - 1].partition("=")[2]] if "=" in words[begin - 1] else []
    values += itertools.takewhile(lambda word: not word.startswith("--"), words[begin:])
    kind = " or ".join(kinds) or "of another type"
    return f"{own[begin - 1]} must be {kind}, got {' '.join(values)!r}"
