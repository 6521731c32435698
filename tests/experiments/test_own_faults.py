"""A bug of our own is never reported as wrong input, also where errors of libraries are caught."""

import importlib

import pytest
from PIL import Image

from experiments.papers.registry import results_expected
from imgopt.errors import InputError, is_own_fault
from train.storage.checkpoints import check_layout
from train.storage.runs import RESULT_FILE
from train.storage.strict_json import write_json, write_sealed

FAULTS = [TypeError("boom"), ValueError("boom")]

# A function that handlers of damaged files are around, and a command that calls it.
PLACES = {
    "experiments.data.read_picture._srgb": "data import {pictures} --size 4 --out {new}",
    "train.data.read_split._as_data": "data show {subset} --out {new}",
    "train.storage.strict_json.parse_json": "verify {subset}",
    "experiments.share.folder.image_digests": "data import {exported} --out {new}",
    "experiments.share.folder._read_image": "data import {exported} --out {new}",
}


def breaking(module, fault):
    """A function that raises an error as if it stood in a module."""
    names = {"__name__": module, "fault": fault}
    exec("def broken(*_, **__):\n    raise fault", names)
    return names["broken"]


@pytest.fixture
def inputs(elicit, tmp_path):
    places = {name: tmp_path / name for name in ("pictures", "subset", "exported", "new")}
    for name in ("cat", "dog"):
        (places["pictures"] / name).mkdir(parents=True)
        for number in range(3):
            Image.new("RGB", (4, 4), (number, 0, 0)).save(
                places["pictures"] / name / f"{number}.png"
            )
    counts = ("--per-class", 2, "--test-per-class", 1)
    assert elicit("data", "subset", "--data", "digits", *counts, "--out", places["subset"]) == 0
    assert elicit("export", places["subset"], "--to", "folder", "--out", places["exported"]) == 0
    return places


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: type(fault).__name__)
def test_a_fault_inside_a_reader_keeps_its_traceback(fault, inputs, elicit, capsys):
    for place, command in PLACES.items():
        module, _, name = place.rpartition(".")
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(importlib.import_module(module), name, breaking(module, fault))
            status = elicit(*command.format(**inputs).split())
        said = capsys.readouterr().err
        assert (status, "Traceback" in said, "error:" in said) == (1, True, False), (place, said)


def test_a_fault_in_the_script_of_completion_is_raised(elicit, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    module = "experiments.console.completion"
    monkeypatch.setattr(f"{module}.completion_script", breaking(module, ValueError("boom")))
    with pytest.raises(ValueError, match=r"^boom$"):
        elicit("--install-completion", "bash")


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: type(fault).__name__)
def test_a_fault_while_pages_are_written_is_no_wrong_input(fault, tmp_path):
    write_sealed(tmp_path / RESULT_FILE, {"arms": []})
    with pytest.raises(type(fault), match=r"^boom$"), results_expected(tmp_path):
        raise fault
    with pytest.raises(InputError, match="missing or different field"), results_expected(tmp_path):
        raise KeyError("rows")
    write_json(tmp_path / RESULT_FILE, {"arms": []})  # edited by hand
    with pytest.raises(InputError, match="missing or different field"), results_expected(tmp_path):
        raise fault


def test_a_fault_of_a_network_is_no_impossible_size(tmp_path):
    broken = breaking("train.models.layers", TypeError("boom"))
    with pytest.raises(TypeError, match=r"^boom$"):
        check_layout(tmp_path, {}, broken, spec_file="classifier.json")


@pytest.mark.parametrize(
    ("module", "is_ours"),
    [("train.models.layers", True), ("experiments.cli", True), ("PIL.Image", False), ("", False)],
)
def test_the_last_line_decides_whose_fault_it_is(module, is_ours):
    with pytest.raises(ValueError, match="boom") as caught:
        breaking(module, ValueError("boom"))()
    assert is_own_fault(caught.value) is is_ours
