"""`--track`: the lines of metrics.jsonl, as a tracker's package receives them."""

import json
import sys
import types
from pathlib import Path

import pytest

from experiments.options.tracking import PACKAGES
from experiments.training.tracking import scalars, tracking
from train.data.load import read_extras
from train.storage.runs import read_metrics

WORDS = "--model kono-cnn --width 0.02 --batch-size 16 --epochs 2"


class Package(types.ModuleType):
    """In place of a tracker's package: it keeps what it is called with."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.__spec__ = types.SimpleNamespace(name=name)  # for importlib.util.find_spec
        self.calls = []
        self.init = lambda **given: self.calls.append(("init", given))
        self.log = lambda values, step: self.calls.append(("log", values, step))
        self.finish = lambda: self.calls.append(("finish",))
        package = self

        class SummaryWriter:
            def __init__(self, place):
                package.calls.append(("open", place))

            def __enter__(self):
                return self

            def __exit__(self, *_):
                package.calls.append(("finish",))

            def add_scalar(self, name, value, step):
                package.calls.append((step, name, value))

            def flush(self):
                pass

        self.SummaryWriter = SummaryWriter


@pytest.fixture
def package(request, monkeypatch):
    found = Package(PACKAGES[request.param])
    monkeypatch.setitem(sys.modules, found.__name__, found)
    return found


@pytest.mark.slow
@pytest.mark.parametrize("package", ["tensorboard"], indirect=True)
def test_a_training_sends_the_lines_of_its_metrics(package, data, elicit, tmp_path):
    out = tmp_path / "run"
    words = f"{WORDS} --track tensorboard".split()
    assert elicit("classifier", "train", "--data", data, "--out", out, *words) == 0
    opened, *sent, closed = package.calls
    assert opened == ("open", str(out / "tensorboard"))
    assert closed == ("finish",)
    expected = [
        (line["step"], name, value)
        for line in read_metrics(out)
        for name, value in scalars(line).items()
    ]
    assert sorted(sent) == sorted(expected)
    assert "track" not in json.loads((out / "config.json").read_text())  # it changes no result


@pytest.mark.parametrize("package", ["wandb", "trackio"], indirect=True)
def test_a_service_gets_options_and_lines_and_is_closed_after_an_error(package, tmp_path):
    name = package.__name__
    line = {"stage": "gan", "step": 5, "loss": 0.5, "by_class": {"ant": {"a": 1}}, "x": [1]}

    def train() -> None:
        with tracking(name, tmp_path / "run", {"key": 3}) as track:
            track(line)
            raise KeyError("left")

    with pytest.raises(KeyError, match="left"):
        train()
    (_, given), logged, finished = package.calls
    assert (given["project"], given["name"], given["config"]) == ("elicit", "run", {"key": 3})
    assert (name == "wandb") == ("dir" in given)
    assert logged == ("log", {"gan/step": 5, "gan/loss": 0.5, "gan/by_class/ant/a": 1}, None)
    assert finished == ("finish",)


@pytest.mark.parametrize("package", ["tensorboard"], indirect=True)
def test_a_synthesis_sends_the_means_of_its_batches(package, data, elicit, tmp_path, monkeypatch):
    (tmp_path / "judges.py").write_text("judge = lambda images: 9 * images.mean((1, 2))")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.dont_write_bytecode", True)
    words = "--start 2 --stop 12 --batch-size 4 --batches-per-shard 2 --steps 2"
    job = ("synthesize", "--classifier", "judges:judge", "--data", data, *words.split())
    assert elicit(*job, "--out", "tracked", "--track", "tensorboard") == 0
    opened, *sent, closed = package.calls
    assert opened == ("open", "tracked/tensorboard")
    assert closed == ("finish",)
    found = read_extras(Path("tracked"), ("kl", "max_error", "steps"))
    expected = [
        (last, f"{name}_mean", pytest.approx(values[first:last].mean(), rel=1e-6))
        for first, last in ((0, 4), (4, 8), (8, 10))
        for name, values in found.items()
    ]
    assert [each for each in sent if each[1] != "step"] == expected
    assert elicit(*job, "--out", "plain") == 0
    shards = [sorted(Path(out).glob("*.array_record*")) for out in ("tracked", "plain")]
    tracked, plain = ([path.read_bytes() for path in paths] for paths in shards)
    assert tracked == plain
    assert elicit("verify", "tracked") == 0


@pytest.mark.parametrize("command", ["classifier train", "gan train", "synthesize --classifier x"])
def test_a_missing_package_is_refused_before_anything_is_read(command, elicit, tmp_path, capsys):
    out: Path = tmp_path / "run"
    words = ("--data", "absent", "--track", "trackio", "--out", out)
    assert elicit(*command.split(), *words) == 2
    assert "--track trackio needs the package trackio" in capsys.readouterr().err
    assert not out.exists()


def test_without_a_tracker_nothing_happens(tmp_path):
    with tracking(None, tmp_path / "run", {}) as track:
        track({"step": 1})
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("package", ["wandb", "trackio"], indirect=True)
def test_a_service_gets_the_step_of_a_training_as_its_step(package, tmp_path):
    with tracking(package.__name__, tmp_path / "run", {}) as track:
        track({"epoch": 1, "step": 11, "train_loss": 2.5})
    assert package.calls[1] == ("log", {"epoch": 1, "train_loss": 2.5}, 11)
