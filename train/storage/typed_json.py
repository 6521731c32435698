"""Makes configurations from JSON, with a check of each field's type."""

import inspect
import types
import typing
from collections.abc import Mapping
from typing import Any, Literal, TypeVar

from imgopt.errors import InputError

Configuration = TypeVar("Configuration")


def from_json(kind: type[Configuration], fields: Any) -> Configuration:
    """Makes a dataclass or NamedTuple from a JSON object; arrays become tuples.

    Args:
        kind: the class; its fields are numbers, text, `Literal`s, None, and tuples of these.
        fields: the object, as `train.storage.strict_json.read_json` gives it.

    Raises:
        InputError: a field is missing, unknown, or of another type, or the class refuses its value.
    """
    hints = typing.get_type_hints(kind)
    parameters = inspect.signature(kind).parameters
    required = {name for name, each in parameters.items() if each.default is each.empty}
    if not (isinstance(fields, Mapping) and required <= fields.keys() <= hints.keys()):
        raise InputError(f"expected the fields {sorted(hints)}, got {fields!r:.200}")
    for name, value in fields.items():
        if not _conforms(value, hints[name]):
            raise InputError(f"expected {hints[name]} as {name}, got {value!r:.60}")
    values = {name: tuple(v) if isinstance(v, list) else v for name, v in fields.items()}
    return kind(**values)


def _conforms(value: Any, hint: Any) -> bool:
    """Whether a JSON value has a type; an integer counts as a float."""
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin is Literal:
        return isinstance(value, str) and value in inner
    if origin in (typing.Union, types.UnionType):
        return any(_conforms(value, each) for each in inner)
    if origin is tuple:
        if not isinstance(value, list):
            return False
        wanted = [inner[0]] * len(value) if inner[-1] is ... else inner
        return len(value) == len(wanted) and all(map(_conforms, value, wanted))
    return type(value) in ((int, float) if hint is float else (hint,))
