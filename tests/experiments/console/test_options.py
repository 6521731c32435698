"""Options of a command: refusals in one line, options without effect, and home directories."""

import dataclasses
import io
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import pytest
from tyro.conf import Positional, arg

from experiments.console.options import check_unused, read_options
from imgopt.errors import InputError


@dataclass(frozen=True)
class Filter:
    radius: float = 10.0
    """Radius of the filter."""


@dataclass(frozen=True)
class Config:
    """A command's options."""

    source: Positional[str]
    """The directory to read."""
    out: Path
    """The directory to write."""
    steps: int = 3
    """Number of updates."""
    tolerance: float | None = None
    """Smallest change."""
    masses: tuple[float, ...] = ()
    """Probabilities."""
    per_class: Annotated[int, arg(aliases=["--n"])] = 5
    """Images of each class."""
    rule: Literal["sgd", "momentum"] = "sgd"
    """The rule."""
    others: tuple[Path, ...] = ()
    """Further directories."""
    mirrored: bool = False
    """Whether to mirror."""
    filter: Filter = field(default_factory=Filter)

    def __post_init__(self) -> None:
        if self.steps < 0:
            raise InputError(f"steps must be at least 0, got {self.steps}")
        if self.steps == 13:
            raise ValueError("a fault of ours")


REFUSALS = {
    "": "missing an argument (The directory to read), --out (The directory to write)",
    "a": "missing --out (The directory to write)",
    "a --ou b": "missing --out (The directory to write); unknown option --ou (did you mean --out?)",
    "a --out b --step 3": "unknown option --step (did you mean --steps?)",
    "a --out b --radus=3": "unknown option --radus (did you mean --radius?)",
    "a --out b --zzzzzz 3": "unknown option --zzzzzz",
    "a --out b c": "unexpected word 'c'",
    "a --out b --steps": "--steps needs a value",
    "a --out b --steps many": "--steps must be a whole number, got 'many'",
    "a --out b --steps=2.5": "--steps must be a whole number, got '2.5'",
    "a --out b --steps 1 --steps x": "--steps must be a whole number, got 'x'",
    "a --out b --tolerance x": "--tolerance must be a number, got 'x'",
    "a --out b --n many": "--n must be a whole number, got 'many'",
    "a --out b --per_class=many": "--per-class must be a whole number, got 'many'",
    "--out b --source a": "missing SOURCE, which is given without an option's name",
    "a --out b --n": "--n/--per-class needs a value",
    "a --out b --masses 0.5 x --steps 2": "--masses must be a number, got '0.5 x'",
    "a --out b --rule adam": "--rule must be one of sgd, momentum, got 'adam'",
}


@pytest.mark.parametrize("ascii_only", [False, True], ids=["box", "ascii"])
@pytest.mark.parametrize("words", REFUSALS)
def test_a_refusal_is_one_line(words, ascii_only, monkeypatch, capsys):
    if ascii_only:
        monkeypatch.setattr("sys.stdout", io.TextIOWrapper(io.BytesIO(), encoding="ascii"))
    with pytest.raises(InputError) as refusal:
        read_options("do", Config, words.split())
    assert str(refusal.value) == f"{REFUSALS[words]}; see elicit do --help"
    assert capsys.readouterr() == ("", "")


def test_a_refusal_of_the_dataclass_keeps_its_own_words():
    with pytest.raises(InputError, match=r"^steps must be at least 0, got -1$"):
        read_options("do", Config, ["a", "--out", "b", "--steps=-1"])


def test_a_fault_in_the_dataclass_is_no_refusal():
    with pytest.raises(ValueError, match="a fault of ours") as fault:
        read_options("do", Config, ["a", "--out", "b", "--steps", "13"])
    assert not isinstance(fault.value, InputError)


def test_every_place_may_lie_below_a_home_directory(monkeypatch):
    monkeypatch.setenv("HOME", "/place/me")
    words = ["~/a", "--out=~/b/~c", "--others", "~", "x~", "./~"]
    config = read_options("do", Config, words)
    assert config.source == "/place/me/a"
    assert config.out == Path("/place/me/b/~c")
    assert config.others == (Path("/place/me"), Path("x~"), Path("~"))


CONFIG = Config("a", Path("b"))
UNUSED = {
    "--steps 4": {"steps": 4},
    "--mirrored": {"mirrored": True},
    "--masses 0.5 0.25": {"masses": (0.5, 0.25)},
    "--radius 3.0": {"filter": Filter(3.0)},
}


@pytest.mark.parametrize("option", UNUSED)
def test_an_option_without_effect_is_named_with_its_value(option):
    changed = dataclasses.replace(CONFIG, **UNUSED[option])
    with pytest.raises(InputError, match=f"^{option} has no effect with --x; change one of them$"):
        check_unused(changed, *UNUSED[option], why="with --x")
    check_unused(changed, "tolerance", why="with --x")  # another option
    check_unused(CONFIG, *UNUSED[option], why="with --x")  # the default


def test_a_field_that_does_not_exist_is_no_unused_option():
    with pytest.raises(KeyError, match=r"Config has no fields \['stepz'"):
        check_unused(CONFIG, "steps", "stepz", why="with --x")
