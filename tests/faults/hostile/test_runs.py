"""Checkpoints, descriptions and results of others: their claims are checked before use."""

import json
import os
import sys
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import tensorstore

from experiments.cli import main
from experiments.training.session import restore
from gans.dcgan import DcganConfig
from gans.sampling import GENERATOR, GanSpec, expected_variables, load_gan
from tests.faults.hostile.descriptions import GAN, SPEC
from train.classifiers import ClassifierSpec, load_classifier, load_spec
from train.learner import TrainState
from train.storage.checkpoints import (
    damaged_checkpoints,
    file_digests,
    latest_checkpoint,
    save_checkpoint,
)
from train.storage.runs import append_metrics, as_json
from train.storage.strict_json import write_json
from train.storage.typed_json import from_json

STATE = {"variables": {"w": np.arange(6, dtype=np.float32).reshape(2, 3)}}


@pytest.fixture
def checkpoints(tmp_path) -> Path:
    save_checkpoint(tmp_path / "checkpoints", 3, STATE)
    return tmp_path / "checkpoints"


def digest_again(checkpoints: Path) -> None:
    """Writes new digests, as an attacker would."""
    write_json(checkpoints / "3.json", file_digests(checkpoints / "3"))


# --- checkpoints ----------------------------------------------------------------------------------


def arrays_of(checkpoints: Path) -> Any:
    """Opens the arrays that Orbax wrote, to change them: a header and chunks each, by name."""
    place = f"file://{checkpoints / '3'}/"
    return tensorstore.KvStore.open({"driver": "ocdbt", "base": place}).result()


@pytest.mark.parametrize("field", ["shape", "chunks"])
def test_an_array_larger_than_memory_is_not_begun(field, checkpoints):
    arrays = arrays_of(checkpoints)
    header = json.loads(arrays[b"variables.w/.zarray"])
    arrays[b"variables.w/.zarray"] = json.dumps({**header, field: [2**24, 2**24]}).encode()
    digest_again(checkpoints)
    message = (
        r"Orbax's, got .*checkpoints/3, which cannot be read.*it would take 1 PiB|1.02e\+03 TiB"
    )
    with pytest.raises(ValueError, match=message):
        latest_checkpoint(checkpoints)


@pytest.mark.parametrize("array", ["w0", "w1", "w150"])
@pytest.mark.parametrize(
    ("part", "reason"), [(".zarray", "shapes and types"), ("0", "Error reading")]
)
def test_one_unreadable_array_of_many_is_one_error(
    array, part, reason, tmp_path, monkeypatch, caplog
):
    save_checkpoint(tmp_path, 3, {f"w{number}": np.zeros(2000) for number in range(300)})
    arrays_of(tmp_path)[f"{array}/{part}"] = b"of another world"
    digest_again(tmp_path)
    unraisable: list[Any] = []
    monkeypatch.setattr(sys, "unraisablehook", unraisable.append)
    with pytest.raises(ValueError, match=rf"Orbax's, got .*/3, which cannot be read.*{reason}"):
        latest_checkpoint(tmp_path)
    assert unraisable == []
    assert caplog.messages == []


def test_a_checkpoint_without_its_description_is_named(checkpoints):
    (checkpoints / "3" / "_METADATA").write_text("{}")
    digest_again(checkpoints)
    with pytest.raises(ValueError, match=r"Orbax's, got .*checkpoints/3, which cannot be read"):
        latest_checkpoint(checkpoints)


@pytest.mark.filterwarnings("ignore:checkpoint .* is damaged")
@pytest.mark.parametrize("make", [os.mkfifo, lambda path: path.symlink_to("/etc/passwd")])
def test_what_is_no_file_of_its_own_is_damage(make, checkpoints):
    make(checkpoints / "3" / "extra")
    (line,) = damaged_checkpoints(checkpoints)
    assert line == f"{checkpoints / '3'}: extra is no regular file is damaged"
    assert latest_checkpoint(checkpoints) is None


@pytest.mark.filterwarnings("ignore:checkpoint .* is damaged")
def test_a_digest_of_a_file_outside_is_damage(checkpoints):
    digests = file_digests(checkpoints / "3")
    write_json(checkpoints / "3.json", {**digests, "../../../etc/passwd": "0" * 64})
    assert "../../../etc/passwd" in damaged_checkpoints(checkpoints)[0]
    assert latest_checkpoint(checkpoints) is None


def test_files_that_are_no_step_s_are_left_alone(checkpoints):
    for name in ("007", "3a", "٣"):
        (checkpoints / f"{name}.json").write_text("{}")
    found = latest_checkpoint(checkpoints)
    assert found is not None
    assert found.step == 3


class _Line(NamedTuple):
    """Learns one vector; only its first state matters here."""

    size: int

    def initial(self, key: Any) -> TrainState:
        del key
        variables = {"w": jnp.zeros(self.size)}
        return TrainState(variables, optax.adam(0.1).init(variables))

    def update(self, key: Any, state: TrainState, batch: Any, constants: Any) -> Any:
        raise NotImplementedError


def test_a_checkpoint_of_another_training_is_not_gone_on_from(tmp_path):
    state = _Line(3).initial(jax.random.key(0))
    saved = {
        "step": 7, "variables": state.variables, "opt_state": jax.tree.leaves(state.opt_state),
        "metrics": np.frombuffer(b"\n{}\n", np.uint8),
    }  # fmt: skip
    append_metrics(tmp_path, {})
    save_checkpoint(tmp_path / "whole", 7, saved)
    found = restore(tmp_path, tmp_path / "whole", _Line(3))
    assert found is not None
    assert (found.snapshot.step, found.metrics) == (7, b"{}\n")
    assert jax.tree.structure(found.snapshot.state) == jax.tree.structure(state)
    with pytest.raises(ValueError, match="checkpoint are of different networks"):
        restore(tmp_path, tmp_path / "whole", _Line(4))
    for number, lost in enumerate(saved):
        rest = {name: value for name, value in saved.items() if name != lost}
        save_checkpoint(tmp_path / lost, number, rest)
        with pytest.raises(ValueError, match=f"of this training in .*/{lost}/.*, got another"):
            restore(tmp_path, tmp_path / lost, _Line(3))


# --- descriptions ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"width": "0.5"}, "expected <class 'float'> as width, got '0.5'"),
        ({"width": True}, "as width, got True"),
        ({"width": 0}, "width must be above 0"),
        ({"network": ["vgg16"]}, "as network"),
        ({"network": "os.system"}, "unknown network"),
        ({"class_names": "ab"}, "as class_names"),
        ({"class_names": ["a", 1]}, "as class_names"),
        ({"class_names": ["a"]}, "at least 2 classes"),
        ({"image_shape": [32, 32]}, "as image_shape"),
        ({"image_shape": [32, 32, 0]}, "above 0"),
        ({"image_shape": [33, 32, 3]}, "multiples of"),
        ({"std": [0.2, 0.2]}, "must have 3 numbers"),
        ({"std": [0.2, 0.0, 0.2]}, "above 0"),
        ({"mean": None}, "as mean"),
        ({"extra": 1}, "expected the fields"),
    ],
)
def test_a_classifier_s_description_is_checked(change, message, tmp_path):
    path = tmp_path / "classifier.json"
    path.write_text(json.dumps({**SPEC._asdict(), **change}))
    with pytest.raises(ValueError, match=rf"classifier\.json does not describe.*{message}"):
        load_spec(tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model": ["dcgan"]}, "a model among"),
        ({"class_names": []}, "class_names"),
        ({"class_names": ["a", "b", "c"]}, "expected 2 class_names, got 3"),
        ({"config": {**GAN["config"], "width": 2.5}}, "as width, got 2.5"),
        ({"config": {**GAN["config"], "num_classes": "2"}}, "as num_classes"),
        ({"config": [1]}, "expected the fields"),
    ],
)
def test_a_gan_s_description_is_checked(change, message, tmp_path):
    (tmp_path / "gan.json").write_text(json.dumps({**GAN, **change}))
    with pytest.raises(ValueError, match=rf"gan\.json does not describe a GAN: .*{message}"):
        load_gan(tmp_path)


def test_variables_of_another_gan_are_refused(tmp_path):
    config = DcganConfig(image_size=16, width=2, num_classes=2)
    spec = GanSpec("dcgan", ("a", "b"), config)
    variables = jax.tree.map(
        lambda leaf: np.zeros(leaf.shape, leaf.dtype), expected_variables(spec)
    )
    save_checkpoint(tmp_path / GENERATOR, 1, variables)
    (tmp_path / "gan.json").write_text(json.dumps({**GAN, "config": as_json(config)}))
    assert load_gan(tmp_path).spec == spec
    for fields in ({"width": 3}, {"channels": 1}, {"image_size": 2**40, "width": 2**62}):
        other = {**as_json(config), **fields}
        (tmp_path / "gan.json").write_text(json.dumps({**GAN, "config": other}))
        with pytest.raises(ValueError, match=r"gan\.json (and the checkpoint are|is) of "):
            load_gan(tmp_path)


def test_a_network_of_impossible_size_is_refused(checkpoints):
    path = checkpoints.parent / "classifier.json"
    path.write_text(json.dumps({**SPEC._asdict(), "width": 1e300}))
    with pytest.raises(ValueError, match=r"classifier\.json is of a network of impossible size"):
        load_classifier(path.parent)


def test_fields_of_the_right_types_make_a_configuration():
    assert from_json(ClassifierSpec, json.loads(json.dumps(SPEC._asdict()))) == SPEC
    assert from_json(DcganConfig, {"num_classes": None}) == DcganConfig()


# --- results --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        '{"experiment": "table-a"}',
        '{"experiment": "table-a", "arms": 3, "missing": []}',
        '{"experiment": "figures-b", "arms": [{}], "missing": null}',
        '{"experiment": "os.path"}',
        '{"experiment": ["table-a"]}',
        "[]",
    ],
)
def test_results_of_others_are_one_message(text, tmp_path, capsys):
    (tmp_path / "result.json").write_text(text)
    assert main(["report", str(tmp_path)]) == 2
    assert str(tmp_path / "result.json") in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["result.json"]
