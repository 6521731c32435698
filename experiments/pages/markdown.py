"""Escapes text and commands from any source for Markdown."""

import re

_SPECIAL = re.compile(r"[\\|<&]")


def as_words(text: str) -> str:
    """Escapes text so that Markdown shows it as it is: on one line, without columns and tags.

    Args:
        text: a name, a cell or a sentence.
    """
    escaped = _SPECIAL.sub(_escaped, text)
    return " ".join(escaped.splitlines())


def _escaped(found: re.Match[str]) -> str:
    return {"<": "&lt;", "&": "&amp;"}.get(found[0], f"\\{found[0]}")


def as_code(text: str) -> str:
    """Puts a command between backticks, more of them than it has in a row itself.

    Args:
        text: the command.
    """
    line = " ".join(text.splitlines())
    fence = "`" * (max(map(len, re.findall("`+", line)), default=0) + 1)
    space = " " if fence != "`" else ""
    return f"{fence}{space}{line}{space}{fence}"
