"""`--config`: options that are saved and read back, overridden and refused."""

import dataclasses
import json
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

import pytest

from experiments.cli import parse
from experiments.commands import COMMANDS
from experiments.console.saved_options import save_options
from imgopt.errors import InputError


def simple(kind: Any, name: str) -> Any:
    """A value of a type that no command refuses."""
    if get_origin(kind) is Annotated:
        return simple(kind.__origin__, name)
    if get_origin(kind) is Literal:
        return get_args(kind)[0]
    if get_origin(kind) is tuple:
        return (simple(get_args(kind)[0], name),)
    if get_args(kind):
        return simple(get_args(kind)[-1 if get_args(kind)[0] is type(None) else 0], name)
    return {int: 7, float: 0.5, str: f"a {name}", Path: Path(name), bool: True}[kind]


def some_options(kind: Any) -> Any:
    """A dataclass with all fields that have no default, and a few others, filled in."""
    hints = get_type_hints(kind, include_extras=True)
    given = {
        field.name: simple(hints[field.name], field.name)
        for field in dataclasses.fields(kind)
        if field.default is field.default_factory is dataclasses.MISSING
        or field.name in ("key", "batch_size", "seeds", "other")
    }
    return kind(**given)


@pytest.mark.parametrize("name", COMMANDS)
def test_saved_options_read_back_are_equal(name, tmp_path):
    kind = COMMANDS[name].config_type()
    options = some_options(kind)
    (tmp_path / "config.json").touch()
    save_options(options, tmp_path)
    has_out = any(field.name == "out" for field in dataclasses.fields(kind))
    words = ["--config", str(tmp_path), *(["--out", "elsewhere"] if has_out else [])]
    for place in (tmp_path, tmp_path / "options.json", tmp_path / "config.json"):
        words[1] = str(place)
        found, _ = parse(name, kind, words)
        expected = dataclasses.replace(options, out=Path("elsewhere")) if has_out else options
        assert found == expected


def saved(tmp_path: Path, words: str = "") -> Path:
    kind = COMMANDS["classifier train"].config_type()
    base = f"--data digits --model vgg-small --no-flip --out {tmp_path / 'run'}"
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.json").touch()
    save_options(parse("classifier train", kind, f"{base} {words}".split())[0], tmp_path / "run")
    return tmp_path / "run"


def read(words: str) -> Any:
    name = "classifier train"
    return parse(name, COMMANDS[name].config_type(), words.split())[0]


def test_options_beside_it_override_those_of_the_file(tmp_path):
    place = saved(tmp_path, "--mixup 0.2 --extra a --extra b")
    found = read(f"--config={place} --mixup 0.4 --flip --out new")
    assert (found.data, found.model, found.out) == ("digits", "vgg-small", Path("new"))
    assert (found.train.recipe.mixup, found.train.flip) == (0.4, True)
    assert found.extra == (Path("a"), Path("b"))


def test_the_directory_has_to_be_given_and_is_not_saved(tmp_path):
    place = saved(tmp_path)
    assert "out" not in json.loads((place / "options.json").read_text())
    with pytest.raises(InputError, match="missing --out"):
        read(f"--config {place}")


def test_options_are_those_of_the_last_command(tmp_path):
    place = saved(tmp_path)
    save_options(read("--data other --out x"), place)
    assert read(f"--config {place} --out y").data == "other"


CHANGES = {
    '"data"': ('"dota"', r"options.json: unknown option dota \(did you mean data\?\)"),
    '"flip": false': ('"flip": 3', "options.json: flip has a value of another type, 3"),
    '"batch_size": null': ('"batch_size": "x"', "batch_size has a value of another type, 'x'"),
    "{": ("{{", "options.json"),
    "ClassifierTrainConfig": ("SelectConfig", "of this command, Class.*, got those of SelectConf"),
    '"width": 1.0': ('"width": -1.0', "options.json: width must be above 0"),
}


@pytest.mark.parametrize("old", CHANGES)
def test_a_file_that_is_not_as_it_was_saved_is_refused_in_one_line(old, tmp_path):
    place = saved(tmp_path)
    text = (place / "options.json").read_text()
    assert old in text
    (place / "options.json").write_text(text.replace(old, CHANGES[old][0], 1))
    with pytest.raises(InputError, match=CHANGES[old][1]) as refusal:
        read(f"--config {place} --out new")
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--config absent --out x", "got absent, where there is no absent"),
        ("--config . --out x", "where there is no options.json"),
        ("--out x --config", "--config needs a value"),
        ("--config --out x", "--config needs a value"),
        ("--config a --config b", "may be given once"),
    ],
)
def test_a_missing_file_is_named(words, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=message):
        read(words)


def test_a_command_saves_its_options_and_repeats_them(elicit, tmp_path):
    out = tmp_path / "few"
    words = ("--per-class", 2, "--test-per-class", 1, "--key", 4)
    assert elicit("data", "subset", "--data", "digits", "--out", out, *words) == 0
    again = ("--config", out / "config.json", "--out", tmp_path / "again")
    assert elicit("data", "subset", *again) == 0
    files = [sorted(path.name for path in place.iterdir()) for place in (out, tmp_path / "again")]
    assert files[0] == files[1]
    assert (out / "manifest.json").read_bytes() == (tmp_path / "again/manifest.json").read_bytes()
