"""A batch that does not fit in memory: one message, before anything is written."""

import jax
import pytest

import experiments.classifier.train
import experiments.gan.train
import experiments.synthesis.command
import experiments.training.run as run_module
from experiments.training.session import Training
from imgopt.errors import InputError
from train.loop import FitOptions
from train.recipes.train_options import Budget
from train.runtime import memory
from train.runtime.memory import Footprint

GIB = 2**30


# For each command: its module, the functions there that plan and do the work, and its words.
COMMANDS = {
    "synthesize": (
        experiments.synthesis.command, "_footprint", "make_shards", "--classifier OWN --data",
    ),
    "classifier train": (
        experiments.classifier.train, "steps_footprint", "_train", "--model kono-cnn --data",
    ),
    "gan train": (experiments.gan.train, "steps_footprint", "_train", "--data"),
}  # fmt: skip


@pytest.fixture
def run(data, own_classifier, elicit, tmp_path):
    """Runs a command with batches of 8, and gives its status."""

    def run_command(name, *words, out=tmp_path / "run"):
        given = COMMANDS[name][-1].replace("OWN", own_classifier).split()
        return elicit(*name.split(), *given, data, "--batch-size", 8, *words, "--out", out)

    return run_command


@pytest.mark.parametrize("name", COMMANDS)
def test_a_batch_that_does_not_fit_is_refused_before_anything_is_written(
    name, run, tmp_path, monkeypatch, capsys
):
    module, footprint, *_ = COMMANDS[name]
    monkeypatch.setattr(memory, "device_memory_bytes", lambda: 2 * GIB)
    monkeypatch.setattr(module, footprint, lambda *_: Footprint(4 * GIB, 0, 8))
    assert run(name, out=tmp_path / "above" / "run") == 2
    assert capsys.readouterr().err == (
        f"elicit {name}: error: a batch of 8 needs about 4 GiB of memory, and "
        f"{jax.local_devices()[0].device_kind} has 2 GiB; about 4 would fit: lower --batch-size\n"
    )
    assert not (tmp_path / "above").exists()


@pytest.mark.parametrize("name", COMMANDS)
def test_a_batch_that_a_device_does_not_compile_is_refused_too(
    name, run, tmp_path, monkeypatch, capsys
):
    def compile_at_most_two(_, batch_size):
        if batch_size > 2:
            raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Ran out of memory on HBM")
        return Footprint(batch_size * GIB, 0, batch_size)

    module, footprint, *_ = COMMANDS[name]
    monkeypatch.setattr(memory, "device_memory_bytes", lambda: 7 * GIB // 2)
    monkeypatch.setattr(module, footprint, compile_at_most_two)
    assert run(name) == 2
    refused = capsys.readouterr().err
    assert refused.startswith(f"elicit {name}: error: a batch of 8 needs about 8 GiB of memory, ")
    assert refused.endswith("about 3 would fit: lower --batch-size\n")
    assert not (tmp_path / "run").exists()


def test_a_smaller_batch_of_a_training_divides_by_the_devices(monkeypatch):
    compiled = []
    monkeypatch.setattr(run_module, "compile_steps", lambda *given: compiled.append(given[2]))
    monkeypatch.setattr(
        run_module,
        "footprint",
        lambda _, **given: Footprint(
            1, 1, **{name: given[name] for name in ("batch_size", "devices", "step")}
        ),
    )
    training = Training(jax.random.key(0), None, None, Budget(24, epochs=1), FitOptions(devices=4))
    found = [run_module.steps_footprint(training, size) for size in (24, 7, 3)]
    assert [each.batch_size for each in found] == [24, 4, 4]
    assert [budget.batch_size for budget in compiled] == [24, 4, 4]
    assert found[0].step == found[0].devices == 4


@pytest.mark.parametrize("name", COMMANDS)
def test_running_out_of_memory_on_the_way_is_one_message_too(name, run, monkeypatch, capsys):
    def run_out(*_, **__):
        raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 99 bytes.")

    module, footprint, work, _ = COMMANDS[name]
    monkeypatch.setattr(module, footprint, lambda *_: Footprint(GIB, 0, 8))
    monkeypatch.setattr(module, work, run_out)
    monkeypatch.setattr(memory, "device_memory_bytes", lambda: 2 * GIB)
    assert run(name) == 2
    complaint = capsys.readouterr().err
    assert complaint.startswith(f"elicit {name}: error: out of memory: a batch of 8 needs about 1")
    assert complaint.endswith("about 4 would fit: lower --batch-size\n")


def test_what_a_synthesis_needs_is_what_is_planned(run, monkeypatch, capsys):
    monkeypatch.setattr(memory, "device_memory_bytes", lambda: 1000)
    assert run("synthesize") == 2
    assert "not even one image would fit" in capsys.readouterr().err


def test_devices_that_are_not_there_are_refused(run, tmp_path, capsys):
    assert run("synthesize", "--devices", 64) == 2
    assert "devices must be at least 1 and at most" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("name", COMMANDS)
def test_a_precision_that_the_device_lacks_is_refused(name, run, tmp_path, monkeypatch, capsys):
    def refuse(precision):
        raise InputError(f"no {precision} here")

    for module in (experiments.synthesis.command, run_module):
        monkeypatch.setattr(module, "check_precision", refuse)
    assert run(name, "--precision", "bfloat16") == 2
    assert capsys.readouterr().err == f"elicit {name}: error: no bfloat16 here\n"
    assert not (tmp_path / "run").exists()
