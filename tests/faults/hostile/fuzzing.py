"""Changed inputs for the fuzz tests, and the law that each of them must keep.

The law: a clear message that names the file, or a right answer. With ELICIT_SOAK=1 there are fifty
times as many inputs, from a seed that is printed; ELICIT_SOAK_SEED repeats one.
"""

import contextlib
import copy
import json
import math
import os
import random
import resource
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st

from tests.soaking import SOAK

SEED = int(os.environ.get("ELICIT_SOAK_SEED", random.SystemRandom().randrange(2**32)))
EXAMPLES = 1000 if SOAK else 20
LIMIT_SECONDS = 30.0  # a thousand times the usual; for busy machines
LIMIT_BYTES = 2**29


def fuzzed(test: Callable[..., None]) -> Callable[..., None]:
    """Runs a test on examples that it draws from `data`: the same ones, or new in the soak."""
    drawn = given(data=st.data())(test)
    options = settings(
        max_examples=EXAMPLES,
        derandomize=not SOAK,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    return options(seed(SEED)(drawn) if SOAK else drawn)


def outcome(load: Callable[[], Any], path: Path) -> Any:
    """Loads a file, with limits of time and memory; gives None after an error that names it."""
    start, before = time.monotonic(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    try:
        return load()
    except (ValueError, OSError) as error:
        if path.name not in str(error):
            pytest.fail(f"{path} is not named in: {error}")
        return None
    finally:
        assert time.monotonic() - start < LIMIT_SECONDS
        grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
        assert grown * 1024 < LIMIT_BYTES


@contextlib.contextmanager
def replaced(path: Path, content: bytes) -> Iterator[None]:
    """Changes a file for a moment."""
    whole = path.read_bytes()
    path.write_bytes(content)
    try:
        yield
    finally:
        path.write_bytes(whole)


# --- what is done to a file -----------------------------------------------------------------------


@st.composite
def damaged(draw: Any, content: bytes) -> bytes:
    """Draws damaged bytes: flipped, cut off, removed, doubled, inserted or replaced ones."""
    first, last = sorted(draw(st.lists(st.integers(0, len(content)), min_size=2, max_size=2)))
    way = draw(st.sampled_from(["flip", "cut", "drop", "double", "insert", "replace"]))
    if way == "flip":
        changed = bytearray(content)
        for place in draw(st.lists(st.integers(0, len(content) - 1), min_size=1, max_size=4)):
            changed[place] ^= 1 << draw(st.integers(0, 7))
        return bytes(changed)
    if way == "cut":
        return content[:first]
    between = {
        "drop": b"",
        "double": content[first:last] * 2,
        "insert": content[first:last] + draw(st.binary(max_size=20)),
        "replace": draw(st.binary(max_size=20)),
    }[way]
    return content[:first] + between + content[last:]


HOSTILE = st.one_of(
    st.none(),
    st.booleans(),
    st.sampled_from([-1, 0, 1, 2, 255, 2**31, 2**53, 2**63 - 1, 2**64, 10**400, 0.5, -0.0, 1e308]),
    st.sampled_from([math.nan, math.inf]),
    st.sampled_from(["", ".", "..", "../../etc/passwd", "/etc/passwd", "a/b", "\0", "\ud800", "ü"]),
    st.sampled_from(["os.path", "{DATASET:>999999999}", "{SPLIT.__class__}", "train", "x" * 9999]),
    st.sampled_from([[], {}, [[]], [None] * 9, {"": {}}, {"file": "x"}, [-1], ["1", "2", "3"]]),
    st.text(max_size=8),
)


def places(value: Any, prefix: tuple = ()) -> list[tuple]:
    """Gives the paths of all values inside a JSON value, its own path last."""
    items = list(value.items()) if isinstance(value, dict) else []
    items = list(enumerate(value)) if isinstance(value, list) else items
    inner = [place for name, item in items for place in places(item, (*prefix, name))]
    return [*inner, prefix]


@st.composite
def changed(draw: Any, value: Any) -> Any:
    """Draws a JSON value with one to three values replaced or removed."""
    root = {"root": copy.deepcopy(value)}
    for _ in range(draw(st.integers(1, 3))):
        *way, last = draw(st.sampled_from(places(root)[:-1]))
        target: Any = root
        for name in way:
            target = target[name]
        if draw(st.booleans()) and last != "root":
            del target[last]
        else:
            target[last] = copy.deepcopy(draw(HOSTILE))
    return root.get("root")


def json_like(content: bytes) -> st.SearchStrategy[bytes]:
    """Draws the bytes of a JSON file, damaged or with other values."""
    others = changed(json.loads(content)).map(lambda value: json.dumps(value).encode())
    return st.one_of(others, others, damaged(content))
