"""Imports what a user names as "package.module:name": a network, or a classifier."""

import importlib
import sys
from pathlib import Path
from typing import Any

from imgopt.errors import InputError

OUR_PACKAGES = ("imgopt", "train", "gans", "experiments")


def import_place(place: str, *, what: str, expected: str) -> Any:
    """Imports what a place names; modules in the working directory are found too.

    Args:
        place: "package.module:name", or "package.module:name.attribute".
        what: what messages call it, such as "network".
        expected: what it must be, for the message.

    Raises:
        InputError: it cannot be imported, or cannot be called.
    """
    module_name, _, name = place.partition(":")
    path = str(Path.cwd())  # a console script has its own directory there
    sys.path.insert(0, path)
    try:
        found = importlib.import_module(module_name)
        for part in name.split("."):
            found = getattr(found, part)
    except Exception as error:  # anything that the user's module raises, also a SyntaxError
        raise InputError(
            f"cannot import {what} {place!r}: {type(error).__name__}: {error}{_advice(module_name)}"
        ) from error
    finally:
        sys.path.remove(path)
    if not callable(found):
        raise InputError(f"{what} {place!r} must be {expected}, got {type(found).__name__}")
    return found


def _advice(module_name: str) -> str:
    """What else to say of a module that was not found."""
    package = module_name.split(".")[0]
    if package in OUR_PACKAGES:
        return (
            f"; {package} is a package of Elicit, which hides a module of yours of that name: "
            "rename yours"
        )
    return "; it is looked for in the working directory, in PYTHONPATH and among installed packages"
