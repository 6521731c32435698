"""A page's server without a browser: the tests' small classifier and data set, and a client."""

import io
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest

from experiments.explore.image_sets import open_sets
from experiments.explore.server import Explorer
from experiments.explore.subject import Subject, SubjectLoader, load_subject
from experiments.options.explore import ClassifierOptions
from tests.experiments.explore.clients import LINEAR, RULE, TestClient, client_of


@pytest.fixture(scope="module")
def options(data) -> ClassifierOptions:
    return ClassifierOptions(classifier=LINEAR, data=str(data))


@pytest.fixture(scope="module")
def subject(options) -> Subject:
    return load_subject(options)


@pytest.fixture(scope="module")
def explorer(options, made) -> Explorer:
    loader = SubjectLoader(options)
    loader.prepare()
    return Explorer(loader, sets=open_sets([made]))


@pytest.fixture(scope="module")
def client(explorer) -> TestClient:
    return client_of(explorer)


@pytest.fixture(scope="session")
def request_fields() -> Callable[..., dict[str, Any]]:
    """What the page asks for: an image of a number, a target, and a rule."""
    return lambda **other: {"image": 3, "target": [0.2, 0.5, 0.3], "rules": [RULE], **other}


@pytest.fixture(scope="session")
def events_of() -> Callable[[str], list[tuple[str, dict[str, Any]]]]:
    """Reads a stream of server-sent events: the kind and the content of each."""

    def read(text: str) -> list[tuple[str, dict[str, Any]]]:
        lines = [part.split("\n") for part in text.split("\n\n") if part]
        return [
            (kind.removeprefix("event: "), json.loads(data.removeprefix("data: ")))
            for kind, data in lines
        ]

    return read


@pytest.fixture(scope="session")
def picture_file() -> Callable[..., bytes]:
    """A picture drawn by code, as the content of a file."""

    def draw(
        mode: str = "RGB", size: tuple[int, int] = (40, 30), kind: str = "PNG", **more: Any
    ) -> bytes:
        random = np.random.default_rng(3)
        pixels = random.integers(0, 256, (size[1], size[0], 3), np.uint8)
        file = io.BytesIO()
        PIL.Image.fromarray(pixels).convert(mode).save(file, kind, **more)
        return file.getvalue()

    return draw


@pytest.fixture
def run_python(tmp_path, monkeypatch) -> Callable[[str, Path], None]:
    """Runs code from the page in a directory, as a user does in a file of their own."""

    def run(code: str, place: Path) -> None:
        monkeypatch.chdir(place)
        monkeypatch.setattr(sys, "argv", ["code.py"])
        exec(compile(code, "code.py", "exec"), {"__name__": "__main__"})

    del tmp_path
    return run
