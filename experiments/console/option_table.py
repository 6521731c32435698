"""The options of a command by name, read from its dataclass."""

import dataclasses
import types
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal, NamedTuple, Union, get_args, get_origin, get_type_hints

from tyro.conf import Positional

from experiments.commands import COMMANDS

POSITIONAL = get_args(Positional[int])[1]
"""Tyro's mark of an argument without a name."""


class Option(NamedTuple):
    """An option of a command.

    Attributes:
        names: "--option", and for a truth value "--no-option" too.
        choices: values that it takes; empty if others are possible.
        field: dotted name of its field in the dataclass.
    """

    names: tuple[str, ...]
    choices: tuple[str, ...]
    field: str


def options_of(config_type: Any, *, prefix: str = "") -> Iterator[Option]:
    """The options of a dataclass and of dataclasses in it, without arguments that have no name.

    Args:
        config_type: the dataclass.
        prefix: dotted name of the field that holds it, with a dot at the end.
    """
    hints = get_type_hints(config_type, include_extras=True)
    for field in dataclasses.fields(config_type):
        kind, marks = _unwrapped(hints[field.name])
        if dataclasses.is_dataclass(kind):
            yield from options_of(kind, prefix=f"{prefix}{field.name}.")
        elif POSITIONAL not in marks:
            given = next((mark.name for mark in marks if getattr(mark, "name", None)), field.name)
            name = given.replace("_", "-")
            names = (f"--{name}", f"--no-{name}") if kind is bool else (f"--{name}",)
            yield Option(names, tuple(_choices(kind)), prefix + field.name)


def options_by_name(command: str) -> Mapping[str, Option]:
    """The options of a command by each of their names.

    Args:
        command: name of the command.
    """
    found = list(options_of(COMMANDS[command].config_type()))
    if COMMANDS[command].is_distributed:
        from experiments.console.distributed_options import DistributedConfig

        found += options_of(DistributedConfig)
    found.append(Option(("--config",), (), ""))
    return {name: option for option in found for name in option.names}


def commands_with(option: str) -> list[str]:
    """Names of the commands that have an option.

    Args:
        option: its name, with its dashes.
    """
    return [command for command in COMMANDS if option in options_by_name(command)]


def _unwrapped(hint: Any) -> tuple[Any, tuple[Any, ...]]:
    """The type within an annotation, and tyro's marks around it."""
    if get_origin(hint) is Annotated:
        return hint.__origin__, hint.__metadata__
    return hint, ()


def _choices(kind: Any) -> Iterator[str]:
    """The values of a type that has few, also if it is optional or may be given several times."""
    if get_origin(kind) is Literal:
        yield from map(str, get_args(kind))
    elif get_origin(kind) in (Union, types.UnionType, tuple):
        inner = [each for each in get_args(kind) if each not in (type(None), Ellipsis)]
        if len(inner) == 1:
            yield from _choices(inner[0])
