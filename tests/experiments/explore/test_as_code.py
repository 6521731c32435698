"""The command and the Python code of the page make the page's bytes."""

import base64
import shlex
from pathlib import Path

import numpy as np
import pytest

from experiments.explore.as_code import IMAGE_FILE, command_text, python_text
from experiments.explore.pictures import Uploads
from experiments.explore.subject import load_subject
from experiments.explore.updates import Optimisation, read_request
from experiments.options.explore import ClassifierOptions
from experiments.options.synthesis import TargetConfig
from experiments.synthesis.target_options import make_targets
from imgopt.errors import InputError
from tests.experiments.explore.clients import RULE
from train.data.load import load_images
from train.data.write import encode_png

ADAM = {"rule": "adam", "rule_options": ["learning_rate=0.1"], "steps": 3, "tolerance": 0.05}

# By name: the rule, with the map and the filter, and the target.
REQUESTS = {
    "as usual": ({"rule": "polyak-lbfgs", "steps": 2}, [0.2, 0.5, 0.3]),
    "rule with options": (ADAM, [1 / 3, 1 / 3, 1 / 3]),
    "map and filter": (
        {**RULE, "steps": 2, "pixel_map": "tanh", "filter": "low-pass", "radius": 6.0},
        [0.0, 0.9999, 0.0001],
    ),
    "Gaussian, no update": (
        {**RULE, "steps": 0, "filter": "gaussian", "sigma": 0.7}, [0.0, 1.0, 0.0]
    ),
}  # fmt: skip


def last_frame(subject, read):
    run = Optimisation(subject, read)
    frames = [run.advance() for _ in range(read.rules[0].steps + 1)]
    return next(frame for (frame,) in reversed([each for each in frames if each]))


@pytest.mark.parametrize("name", REQUESTS)
def test_the_code_makes_the_same_bytes(
    name, subject, run, data, request_fields, run_python, tmp_path
):
    rule, target = REQUESTS[name]
    if name == "as usual":  # with a trained classifier; the others with a callable
        subject = load_subject(ClassifierOptions(classifier=str(run), data=str(data)))
    read = read_request(subject, Uploads(), request_fields(rules=[rule], target=target))
    shown = base64.b64decode(last_frame(subject, read)["image"])
    run_python(python_text(subject, read, rule=read.rules[0]), tmp_path)
    assert (tmp_path / IMAGE_FILE).read_bytes() == shown


def test_the_command_makes_the_same_image(
    subject, request_fields, elicit, no_report, tmp_path, monkeypatch
):
    del no_report
    monkeypatch.chdir(tmp_path)
    rule = {**REQUESTS["map and filter"][0]}
    read = read_request(subject, Uploads(), request_fields(rules=[rule]))
    words = shlex.split(command_text(subject, read, rule=read.rules[0]))
    assert words[0] == "elicit"
    assert elicit(*words[1:]) == 0
    shown = base64.b64decode(last_frame(subject, read)["image"])
    found = load_images(tmp_path / words[-1])
    assert encode_png(found.images[0]) == shown


@pytest.mark.parametrize("seed", range(6))
def test_any_target_is_named_exactly(seed, subject, request_fields):
    parts = np.random.default_rng(seed).multinomial(10_000, [0.9, 0.09, 0.01])
    parts = np.array([10_000 - seed, seed, 0]) if seed > 3 else parts
    target = [part / 10_000 for part in parts.tolist()]
    read = read_request(subject, Uploads(), request_fields(target=target))
    words = shlex.split(command_text(subject, read, rule=read.rules[0]))
    start, end = words.index("--ranking"), words.index("--masses")
    masses = words[end + 1 : words.index("--rule")]
    config = TargetConfig(
        targets="ranked", ranking=tuple(words[start + 1 : end]), masses=tuple(map(float, masses))
    )
    made = make_targets(config, subject.data, start=0, stop=1, key=0)
    assert (np.asarray(made)[0] == np.array(target, np.float32)).all()


def test_uploads_have_python_only(subject, request_fields, picture_file, run_python, tmp_path):
    uploads = Uploads()
    (tmp_path / "my cat's.png").write_bytes(picture_file())
    name = uploads.add(subject, picture_file(), "my cat's.png")
    read = read_request(subject, uploads, request_fields(upload=name))
    shown = base64.b64decode(last_frame(subject, read)["image"])
    run_python(python_text(subject, read, rule=read.rules[0]), tmp_path)
    assert Path(IMAGE_FILE).read_bytes() == shown
    with pytest.raises(InputError, match="in no data set; copy the Python"):
        command_text(subject, read, rule=read.rules[0])
