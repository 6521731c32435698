"""The options of a command in a file, `options.json` beside a run's `config.json`, and back."""

import dataclasses
import types
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import tyro

from experiments.console.options import nearest
from imgopt.errors import InputError
from train.storage.runs import CONFIG_FILE, as_json
from train.storage.strict_json import read_json, write_json

OPTIONS_FILE = "options.json"

CONFIG = "--config"

OUT = "out"
"""The option that is not saved: the same options in another directory are the same options."""


def save_options(config: Any, directory: Path) -> None:
    """Writes a command's options into the directory that it made; older ones are replaced.

    Args:
        config: the dataclass of options.
        directory: the directory; without a `config.json` nothing is written.
    """
    if (directory / CONFIG_FILE).is_file():
        options = {"of": type(config).__name__, **_without_out(as_json(config))}
        write_json(directory / OPTIONS_FILE, options)


def _without_out(options: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in options.items() if name != OUT}


def load_options(place: Path, config_type: Any) -> Any:
    """Reads options as the defaults of a command, in which --out is missing if it has to be given.

    Args:
        place: a directory with `options.json`, or that or another file in it.
        config_type: the command's dataclass.

    Raises:
        InputError: there is no such file, it is damaged, or it is another command's.
    """
    path = place / OPTIONS_FILE if place.is_dir() else place
    path = path.with_name(OPTIONS_FILE) if path.name == CONFIG_FILE else path
    try:
        found = read_json(path)
    except FileNotFoundError as error:
        raise InputError(
            f"--config takes a directory that a command has made, or its {OPTIONS_FILE}, got "
            f"{place}, where there is no {path.name}"
        ) from error
    if not isinstance(found, dict) or found.get("of") != config_type.__name__:
        other = found.get("of") if isinstance(found, dict) else None
        raise InputError(
            f"--config takes options of this command, {config_type.__name__}, got those of "
            f"{other or 'no command'} in {path}"
        )
    options = {name: value for name, value in found.items() if name != "of"}
    try:
        return _parse_fields(config_type, options)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error


def take_saved(words: list[str], config_type: Any) -> tuple[Any, list[str]]:
    """Takes --config PLACE out of a command's words.

    Args:
        words: the words after the command's name.
        config_type: the command's dataclass.

    Returns:
        The options at the place, None without --config; and the other words.

    Raises:
        InputError: as `load_options`, or there is no place or more than one.
    """
    rest, places, waiting = [], [], iter(words)
    for word in waiting:
        option, equals, value = word.partition("=")
        if option != CONFIG:
            rest.append(word)
            continue
        value = value if equals else next(waiting, "")
        if not value or value.startswith("--"):
            raise InputError(f"{CONFIG} needs a value, such as a run's directory")
        places.append(Path(value).expanduser())
    if len(places) > 1:
        raise InputError(f"{CONFIG} may be given once, got {len(places)} of them")
    return (load_options(places[0], config_type) if places else None), rest


def _parse_fields(kind: Any, options: Any) -> Any:
    """Makes a dataclass of a JSON object."""
    if not isinstance(options, dict):
        raise InputError(f"expected an object with options, got {options!r:.60}")
    hints = get_type_hints(kind, include_extras=True)
    if unknown := [name for name in options if name not in hints]:
        raise InputError(f"unknown option {unknown[0]}{nearest(unknown[0], list(hints))}")
    given = {name: _parse(hints[name], value, name=name) for name, value in options.items()}
    for field in dataclasses.fields(kind):
        no_default = field.default is field.default_factory is dataclasses.MISSING
        if no_default and field.name not in given:
            given[field.name] = tyro.MISSING
    return kind(**given)


def _parse(kind: Any, value: Any, *, name: str) -> Any:
    """Turns a value of JSON into one of a type."""
    if get_origin(kind) is Annotated:
        return _parse(kind.__origin__, value, name=name)
    if dataclasses.is_dataclass(kind):
        return _parse_fields(kind, value)
    if get_origin(kind) in (Union, types.UnionType):
        for each in get_args(kind):
            if _fits(each, value):
                return _parse(each, value, name=name)
    elif _fits(kind, value):
        if get_origin(kind) is tuple:
            return tuple(_parse(get_args(kind)[0], item, name=name) for item in value)
        return Path(value) if kind is Path else float(value) if kind is float else value
    raise InputError(f"{name} has a value of another type, {value!r:.60}")


def _fits(kind: Any, value: Any) -> bool:
    """Whether a JSON value can stand for a value of this type."""
    if get_origin(kind) is Literal:
        return value in get_args(kind)
    if get_origin(kind) is tuple:
        return isinstance(value, list) and all(_fits(get_args(kind)[0], item) for item in value)
    if kind is type(None):
        return value is None
    if kind in (int, float) and isinstance(value, bool):
        return False
    written_as = {Path: str, float: (int, float)}.get(kind, kind)
    return isinstance(value, written_as)
