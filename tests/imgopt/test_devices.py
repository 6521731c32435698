"""A job that several devices share, in a process whose CPU is divided into eight.

That process tells its findings in JSON: the largest differences between the results of one device
and of several, and what communication was compiled.
"""

import jax
import numpy as np
import pytest

import imgopt
from imgopt.programs import check_devices
from tests.eight_devices import run_on_eight_devices

pytestmark = pytest.mark.usefixtures("compiled_as_users_do")

PROGRAM = """
import json, re, sys
import flax.linen as nn
import jax
import numpy as np
import imgopt
import imgopt.job
from train.models.layers import Conv, max_pool_2x2

class Net(nn.Module):
    @nn.compact
    def __call__(self, x):
        x = max_pool_2x2(nn.relu(Conv(4)(x)))
        return nn.Dense(3)(x.reshape(len(x), -1))

random = np.random.default_rng(0)
images = random.integers(0, 256, (13, 6, 4, 3), np.uint8)
targets = random.dirichlet(np.ones(3), 13).astype(np.float32)
net = Net()
params = net.init(jax.random.key(0), np.zeros((1, 6, 4, 3), np.float32))
classify = jax.tree_util.Partial(net.apply, params)
OPTIONS = {"image_filter": imgopt.low_pass(2), "optimizer": imgopt.momentum_sgd(learning_rate=3.0)}

def made(devices, batch_size=2, count=13, **options):
    parts = imgopt.synthesize_in_batches(
        classify, images[:count], targets[:count],
        batch_size=batch_size, devices=devices, steps=7, **OPTIONS, **options,
    )
    return jax.tree.leaves(jax.tree.map(lambda *columns: np.concatenate(columns), *parts))

def difference(one, other):
    return max(float(np.abs(a.astype(np.float64) - b).max()) for a, b in zip(one, other))

found = {"devices": jax.local_device_count()}
for loop in ("host", "device"):
    imgopt.job.loops_on_host = lambda *place: loop == "host"
    program = imgopt.compile_updates(classify, (16, 6, 4, 3), devices=8, **OPTIONS)
    alone, exact = made(1, tolerance=0.05), made(1)
    found[loop] = {
        "by devices": [difference(made(n, tolerance=0.05), alone) for n in (2, 3, 8)],
        "exact steps": difference(made(8), exact),
        "fewer images than devices": difference(made(8, count=5), [c[:5] for c in exact]),
        "another batch": difference(made(1, batch_size=16, tolerance=0.05), alone),
        "least steps": int(alone[4].min()), "most steps": int(alone[4].max()),
        "communication": re.findall("all-gather|all-reduce|all-to-all|permute", program.as_text()),
    }
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def found():
    return run_on_eight_devices(PROGRAM)


@pytest.mark.slow
@pytest.mark.parametrize("loop", ["host", "device"])
def test_any_number_of_devices_makes_the_same_bits(loop, found):
    assert found["devices"] == 8
    assert found[loop]["by devices"] == [0, 0, 0]
    assert found[loop]["exact steps"] == 0
    assert found[loop]["fewer images than devices"] == 0
    assert found[loop]["another batch"] <= 1e-6
    assert found[loop]["least steps"] < found[loop]["most steps"]
    assert found[loop]["communication"] == []


@pytest.mark.parametrize("devices", [0, 2])
def test_devices_that_are_not_there_are_refused(devices):
    with pytest.raises(ValueError, match=rf"at least 1 and at most 1, .*got {devices}"):
        check_devices(devices, batch_size=4)


@pytest.mark.parametrize("devices", ["2", [], 2.0])
@pytest.mark.usefixtures("unchecked")
def test_what_names_no_devices_is_refused_before_lowering(devices):
    with pytest.raises(imgopt.InputError, match="devices must be at least 1"):
        imgopt.compile_updates(lambda x: x[:, 0, 0, :2], (4, 4, 4, 3), devices=devices)


def test_a_device_can_be_named():
    devices = jax.devices()
    program = imgopt.compile_updates(lambda x: x[:, 0, 0, :2], (4, 4, 4, 3), devices=devices[:1])
    assert "f32[4,4,4,3]" in program.as_text()


def test_images_that_cannot_be_dealt_out_are_refused_at_once(monkeypatch):
    monkeypatch.setattr(jax, "local_devices", lambda: jax.devices() * 3)
    images, targets = np.zeros((7, 4, 4, 3), np.float32), np.full((7, 2), 0.5)
    with pytest.raises(ValueError, match=r"a multiple of the 3 devices .* got 7; take 9"):
        imgopt.synthesize(lambda x: x[:, 0, 0, :2], images, targets, devices=3)


def test_what_is_compiled_ahead_is_not_compiled_again(compilations):
    kernel = np.random.default_rng(0).normal(size=(60, 3)).astype(np.float32)

    def classify(images):
        return images.reshape(len(images), -1) @ kernel

    options = {"optimizer": imgopt.sgd(learning_rate=0.25), "criterion": "max_error"}
    targets = np.full((3, 3), 1 / 3, np.float32)
    with compilations() as names:
        program = imgopt.compile_updates(classify, (3, 5, 4, 3), **options)
        imgopt.synthesize(classify, np.zeros((3, 5, 4, 3), np.float32), targets, **options)
    assert names.count("_update") == 1
    assert "f32[3,5,4,3]" in program.as_text()
