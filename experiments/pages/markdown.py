"""Words and commands of any origin in Markdown, where they stay words and commands."""

import re

_SPECIAL = re.compile(r"[\\|<&]")


def as_words(text: str) -> str:
    """Text that Markdown shows as it is: one line, no column of a table, no tag of HTML.

    Args:
        text: a name, a cell or a sentence.
    """
    escaped = _SPECIAL.sub(_escaped, text)
    return " ".join(escaped.splitlines())


def _escaped(found: re.Match[str]) -> str:
    return {"<": "&lt;", "&": "&amp;"}.get(found[0], f"\\{found[0]}")


def as_code(text: str) -> str:
    """A command between as many backticks as it takes to hold its own.

    Args:
        text: the command.
    """
    line = " ".join(text.splitlines())
    fence = "`" * (max(map(len, re.findall("`+", line)), default=0) + 1)
    space = " " if fence != "`" else ""
    return f"{fence}{space}{line}{space}{fence}"
