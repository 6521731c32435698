"""A batch that does not fit in memory: one message, before anything is written."""

import jax
import pytest

import experiments.classifier.train
import experiments.gan.train
import experiments.synthesis.command
import experiments.training.run
from imgopt.errors import InputError
from train.runtime import memory
from train.runtime.memory import Footprint

GIB = 2**30


@pytest.fixture
def commands(data, own_classifier):
    """Each command's module and words, but for --out."""
    return {
        "synthesize": (
            experiments.synthesis.command,
            ["synthesize", "--classifier", own_classifier, "--dataset", data, "--batch-size", 8],
        ),
        "classifier train": (
            experiments.classifier.train,
            ["classifier", "train", "--dataset", data, "--model", "kono-cnn", "--batch-size", 8],
        ),
        "gan train": (experiments.gan.train, ["gan", "train", "--data", data, "--batch-size", 8]),
    }


FOOTPRINT = {
    "synthesize": "_footprint",
    "classifier train": "steps_footprint",
    "gan train": "steps_footprint",
}
NAMES = ["synthesize", "classifier train", "gan train"]


@pytest.mark.parametrize("name", NAMES)
def test_a_batch_that_does_not_fit_is_refused_before_anything_is_written(
    name, commands, elicit, tmp_path, monkeypatch, capsys
):
    module, words = commands[name]
    monkeypatch.setattr(memory, "device_memory_bytes", lambda: 2 * GIB)
    monkeypatch.setattr(module, FOOTPRINT[name], lambda *_: Footprint(4 * GIB, 0, 8))
    assert elicit(*words, "--out", tmp_path / "above" / "run") == 2
    assert capsys.readouterr().err == (
        f"elicit {name}: error: a batch of 8 needs about 4 GiB of memory, and "
        f"{jax.local_devices()[0].device_kind} has 2 GiB; about 4 would fit: lower --batch-size\n"
    )
    assert not (tmp_path / "above").exists()


WORK = {"synthesize": "make_shards", "classifier train": "_train", "gan train": "_train"}


@pytest.mark.parametrize("name", NAMES)
def test_running_out_of_memory_on_the_way_is_one_message_too(
    name, commands, elicit, tmp_path, monkeypatch, capsys
):
    def run_out(*_, **__):
        raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 99 bytes.")

    module, words = commands[name]
    monkeypatch.setattr(module, FOOTPRINT[name], lambda *_: Footprint(GIB, 0, 8))
    monkeypatch.setattr(module, WORK[name], run_out)
    monkeypatch.setattr(memory, "device_memory_bytes", lambda: 2 * GIB)
    assert elicit(*words, "--out", tmp_path / "run") == 2
    complaint = capsys.readouterr().err
    assert complaint.startswith(f"elicit {name}: error: out of memory: a batch of 8 needs about 1")
    assert complaint.endswith("about 4 would fit: lower --batch-size\n")


def test_what_a_synthesis_needs_is_what_is_planned(commands, elicit, tmp_path, monkeypatch, capsys):
    _, words = commands["synthesize"]
    monkeypatch.setattr(memory, "device_memory_bytes", lambda: 1000)
    assert elicit(*words, "--out", tmp_path / "run") == 2
    assert "not even one image would fit" in capsys.readouterr().err


def test_devices_that_are_not_there_are_refused(commands, elicit, tmp_path, capsys):
    _, words = commands["synthesize"]
    assert elicit(*words, "--devices", 64, "--out", tmp_path / "run") == 2
    assert "devices must be at least 1 and at most" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("name", NAMES)
def test_a_precision_that_the_device_lacks_is_refused(
    name, commands, elicit, tmp_path, monkeypatch, capsys
):
    def refuse(precision):
        raise InputError(f"no {precision} here")

    _, words = commands[name]
    for module in (experiments.synthesis.command, experiments.training.run):
        monkeypatch.setattr(module, "check_precision", refuse)
    assert elicit(*words, "--precision", "bfloat16", "--out", tmp_path / "run") == 2
    assert capsys.readouterr().err == f"elicit {name}: error: no bfloat16 here\n"
    assert not (tmp_path / "run").exists()
