"""The command: wrong input at once, a free port, and the first use without a classifier."""

import importlib.util
import json
import socket
import threading

import pytest

import experiments.explore.subject as subject_module
from experiments.explore.command import bind
from experiments.explore.subject import SubjectLoader
from experiments.options.explore import ClassifierOptions
from imgopt.errors import InputError

CASES = {
    "no such classifier": ("explore --classifier none", "no classifier at 'none'"),
    "no such callable": ("explore --classifier none:f --data data", "cannot import.*none:f"),
    "other classes": ("explore --classifier run --data other", "cow.*dog"),
    "digits by another classifier": ("explore --classifier run", "takes images of shape"),
    "data set alone": ("explore --data data", "--data data needs --classifier"),
    "no such split": ("explore --classifier run --data data --split x", "a split among.*'x'"),
    "no set": ("explore --images plain", r"dataset_info\.json"),
    "no GAN": ("explore --gan run", "not a GAN's run"),
    "no results": ("explore --results file", "--results must be a directory"),
    "no port": ("explore --port 65536", r"\[0, 65535\], got 65536"),
    "no host": ("explore --host no.such.host.invalid --no-open", "no address of this machine"),
}


@pytest.mark.parametrize("name", CASES)
def test_wrong_input_is_refused_at_once(name, check_wrong_input, monkeypatch):
    monkeypatch.setattr("experiments.explore.server.serve", None)
    check_wrong_input(*CASES[name])


def test_a_port_in_use_is_named():
    with bind("127.0.0.1", 0) as first:
        port = first.getsockname()[1]
        with pytest.raises(InputError, match=f"port {port} of 127.0.0.1 is in use; give another"):
            bind("127.0.0.1", port)


def test_port_0_takes_a_free_one():
    with bind("127.0.0.1", 0) as listening:
        assert listening.getsockname()[1] > 0
        assert listening.family == socket.AF_INET


def test_without_its_packages_the_command_says_how_to_get_them(elicit, monkeypatch, capsys):
    found = importlib.util.find_spec
    hide = lambda name: None if name == "uvicorn" else found(name)  # noqa: E731
    monkeypatch.setattr(importlib.util, "find_spec", hide)
    assert elicit("explore", "--no-open") == 2
    complaint = capsys.readouterr().err
    assert "needs uvicorn; install with: pip install 'elicit-jax[explore]'" in complaint


def test_the_page_is_served_until_a_signal(elicit, run, data, monkeypatch, capsys):
    served = []

    def serve(*given):
        served.append(given)
        raise KeyboardInterrupt  # as a server that a signal stops

    monkeypatch.setattr("experiments.explore.server.serve", serve)
    monkeypatch.setattr(SubjectLoader, "start", lambda _: None)
    assert elicit("explore", "--no-open", "--classifier", run, "--data", data) == 0
    (_, listening), printed = served[0], capsys.readouterr().out
    assert printed.startswith("The page is at http://127.0.0.1:")
    assert printed.endswith("The page is closed.\n")
    token = printed.split()[4].split("/")[3]
    assert len(token) == 32
    assert listening.fileno() == -1  # it is closed at the end


def test_a_training_does_not_outlive_the_page(elicit, monkeypatch):
    ended, may_end = [], threading.Event()
    monkeypatch.setattr("experiments.explore.server.serve", lambda *_: None)
    monkeypatch.setattr(SubjectLoader, "prepare", lambda _: may_end.wait(60))
    monkeypatch.setattr("os._exit", ended.append)
    assert elicit("explore", "--no-open") == 0
    may_end.set()
    assert ended == [0]


def test_at_the_first_use_the_digits_classifier_is_trained(monkeypatch, tmp_path):
    """The training itself is `elicit classifier train`, which has tests of its own."""
    monkeypatch.chdir(tmp_path)
    trained = []
    monkeypatch.setattr(
        subject_module, "train_classifier", lambda config, **_: trained.append(config)
    )
    monkeypatch.setattr(subject_module, "load_subject", lambda options: options)
    monkeypatch.setattr(subject_module, "compile_for", lambda _: None)
    loader = SubjectLoader(ClassifierOptions())
    assert loader.state() == {"state": "training", "epoch": 0, "epochs": 8, "accuracy": None}
    run = tmp_path / subject_module.DIGITS_RUN
    run.mkdir(parents=True)
    line = json.dumps({"epoch": 1, "test_accuracy": 0.5})
    (run / "metrics.jsonl").write_text(f"{line}\n")
    assert loader.state()["epoch"] == 1
    assert loader.state()["accuracy"] == 0.5
    loader.prepare()
    assert loader.state() == {"state": "ready"}
    assert loader.get().classifier == "runs/explore/digits"
    assert [config.out.name for config in trained] == ["digits"]
    (run / "result.json").write_text("{}")
    SubjectLoader(ClassifierOptions()).prepare()
    assert len(trained) == 1  # a complete run is taken as it is
