"""What the commands that make an image set at once have in common."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from imgopt.errors import InputError
from train.data.verify import ADDED_FIELDS, MANIFEST_FILE, read_manifest, verify
from train.storage.runs import as_json, differences
from train.storage.strict_json import read_sealed


def is_complete(out: Path, identity: dict[str, Any], *, also: Sequence[str] = ()) -> bool:
    """Whether the set that is asked for lies there already, whole; says so if it does.

    Args:
        out: the directory asked for.
        identity: the configuration, as the manifest is to hold it.
        also: names of JSON files that a whole one has beside what every set has.

    Returns:
        False where nothing lies there.

    Raises:
        InputError: something else lies there; the message names what differs.
    """
    if not out.exists():
        return False
    manifest = read_manifest(out)
    if manifest is None:
        raise InputError(
            f"{out} is there already and is not an image set (no {MANIFEST_FILE}); choose another "
            "--out"
        )
    found = {name: value for name, value in manifest.items() if name not in ADDED_FIELDS}
    differing = differences(found, as_json(identity))
    if differing:
        raise InputError(
            f"{out} holds a set of another configuration: {'; '.join(differing)}. Choose another "
            "--out, or repeat the command that made it"
        )
    problems = verify(out)
    problems += [f"{name}: missing" for name in also if not (out / name).is_file()]
    for path in sorted(out.glob("*.json")):
        read_sealed(path)  # raises for a damaged one, which it names
    if problems:
        raise InputError(
            f"{out} holds the set asked for, but {'; '.join(problems)}; remove it and repeat the "
            "command"
        )
    print(f"{out} is complete; nothing to do")
    return True
