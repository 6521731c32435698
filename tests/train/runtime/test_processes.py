"""Trainings on several devices: a process with eight simulated devices prints its results as JSON.

The tests of several processes are in tests/faults.
"""

import jax
import numpy as np
import pytest

from tests.eight_devices import run_on_eight_devices
from train.runtime.processes import (
    LostProcessError,
    as_local,
    devices_field,
    first_process_first,
    in_any_process,
    make_training_mesh,
    naming_lost_processes,
    replicate,
    wait_for_live,
)

PROGRAM = """
import json
import jax
import numpy as np
from train.classifier_training import ClassifierLearner, TrainConfig
from train.classifiers import ClassifierSpec
from train.data.image_data import ImageData
from train.loop import Budget, FitOptions, fit
from train.models.networks import NETWORKS, Architecture
from train.training_sets import original_data

NETWORKS["tiny"] = Architecture((6, "M"))  # with batch norm, so the batch's statistics are shared
random = np.random.default_rng(0)
images = random.integers(0, 256, (96, 8, 12, 3), np.uint8)
labels = (np.arange(96) % 3).astype(np.int32)
names = ("ant", "bee", "cow")
spec = ClassifierSpec("tiny", 1.0, names, (8, 12, 3), (0.5,) * 3, (0.25,) * 3)
learner = ClassifierLearner(spec, TrainConfig(learning_rate=0.02))
data = original_data(ImageData(images, labels, (), names))
GROUPS = {"first": np.arange(48), "last": np.arange(48, 96)}

def trained(devices, **options):
    results = fit(
        jax.random.key(0), learner, data, Budget(16, 3),
        FitOptions(constants=np.int32(18), devices=devices, **options),
    )
    *_, last = (jax.device_get(result) for result in results)
    leaves = jax.tree.leaves(last.state)
    return np.concatenate([np.ravel(leaf) for leaf in leaves]), float(last.means["loss"].sum())

found = {"devices": jax.local_device_count()}
for name, options in {"one": {}, "groups": {"groups": GROUPS}}.items():
    (alone, loss), again = trained(1, **options), trained(8, **options)
    shared = {count: trained(count, **options) for count in (2, 8)}
    found[name] = {
        "differences": [float(np.abs(state - alone).max()) for state, _ in shared.values()],
        "losses": [abs(other - loss) for _, other in shared.values()],
        "largest": float(np.abs(alone).max()),
        "same count, same bits": bool((again[0] == shared[8][0]).all()),
    }
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def found():
    return run_on_eight_devices(PROGRAM)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["one", "groups"])
def test_devices_train_what_one_device_does(kind, found):
    assert found["devices"] == 8
    assert max(found[kind]["differences"]) <= 1e-5 * max(found[kind]["largest"], 1)
    assert max(found[kind]["losses"]) <= 1e-5
    assert found[kind]["same count, same bits"]


@pytest.mark.parametrize(
    ("devices", "message"),
    [(0, "devices must be at least 1 and at most 1, .*got 0"), (2, "at most 1, .*got 2")],
)
def test_devices_that_are_not_there_are_refused(devices, message):
    with pytest.raises(ValueError, match=message):
        make_training_mesh(devices, batch_size=12)


@pytest.mark.parametrize(("batch_size", "message"), [(7, "take 6 or 9"), (2, "got 2; take 3")])
def test_a_batch_that_cannot_be_dealt_out_is_refused(batch_size, message, monkeypatch):
    monkeypatch.setattr(jax, "local_devices", lambda: jax.devices() * 3)
    with pytest.raises(ValueError, match=rf"a multiple of the 3 devices .*{message}"):
        make_training_mesh(3, batch_size=batch_size)


def test_one_device_needs_no_mesh_and_no_other_process():
    assert make_training_mesh(1, batch_size=5) is None
    assert devices_field(1) == {}
    tree = {"a": np.ones(3)}
    assert as_local(tree, None) is tree
    np.testing.assert_array_equal(replicate(tree, None)["a"], tree["a"])
    assert (in_any_process(True), in_any_process(False), wait_for_live()) == (True, False, [])
    with first_process_first():
        pass


def test_keys_and_arrays_lie_whole_on_a_mesh():
    mesh = jax.make_mesh((1,), ("examples",), axis_types=(jax.sharding.AxisType.Auto,))
    placed = replicate({"key": jax.random.key(3), "rows": np.arange(4)}, mesh)
    assert all(leaf.sharding.is_fully_replicated for leaf in placed.values())
    np.testing.assert_array_equal(as_local(placed, mesh)["rows"], np.arange(4))
    drawn = jax.random.uniform(placed["key"]), jax.random.uniform(jax.random.key(3))
    assert drawn[0] == drawn[1]


@pytest.mark.parametrize(
    "error", [ValueError("UNKNOWN: Gloo\nall"), jax.errors.JaxRuntimeError("x")]
)
def test_an_error_of_a_step_taken_together_means_that_a_process_is_lost(error, monkeypatch):
    with pytest.raises(type(error)), naming_lost_processes():
        raise error  # a single process keeps its error
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    lost = pytest.raises(LostProcessError, match="process 0 of 2 has lost another one")
    with lost, naming_lost_processes():
        raise error
    with pytest.raises(jax.errors.JaxRuntimeError), naming_lost_processes():
        raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: of memory")


def test_what_is_shared_says_by_how_many(monkeypatch):
    monkeypatch.setattr(jax, "process_count", lambda: 3)
    assert devices_field(2) == {"devices": 6}
