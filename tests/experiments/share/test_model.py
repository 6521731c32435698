"""Networks as safetensors and programs of `jax.export`: loaded back they compute the same bits."""

import re
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.share.model import PLATFORMS, classifier_model, flat_params
from train.classifiers import Classifier, ClassifierSpec, load_classifier, save_classifier
from train.storage.files import sha256_of
from train.storage.strict_json import read_sealed

numpy_tensors = pytest.importorskip("safetensors.numpy", reason="safetensors is not installed")
pytest.importorskip("flatbuffers", reason="flatbuffers is not installed")

SIZES = (1, 5)
SHAPE = (16, 16, 3)


@pytest.fixture(scope="module")
def trained(tmp_path_factory, tiny_networks):
    """A classifier that nobody trained, with batch norm."""
    spec = ClassifierSpec(
        tiny_networks[0], 1.0, ("ant", "bee", "cow"), SHAPE, (0.4, 0.5, 0.6), (0.2,) * 3
    )
    images = jnp.zeros((1, *SHAPE), jnp.float32)
    variables = spec.build().init(jax.random.key(0), images, train=False)
    run = tmp_path_factory.mktemp("classifiers") / "run"
    save_classifier(run, Classifier(spec, variables))
    return run


@pytest.fixture(scope="module")
def exported(trained, tmp_path_factory, elicit):
    out = tmp_path_factory.mktemp("programs") / "classifier"
    assert elicit("export", trained, "--to", "jax", "--out", out, "--licence", "mit") == 0
    return out


def load(directory):
    content = bytearray((directory / "program.jax_export").read_bytes())
    params = numpy_tensors.load_file(directory / "params.safetensors")
    return jax.export.deserialize(content), params


def noise(count):
    return np.random.default_rng(count).random((count, *SHAPE), np.float32)


def test_a_classifier_comes_back_with_all_bits(trained, exported):
    loaded, params = load(exported)
    classifier = load_classifier(trained)
    own = flat_params(classifier.variables)
    assert params.keys() == own.keys()
    for name, array in own.items():
        np.testing.assert_array_equal(params[name], array)
    function = jax.jit(classifier_model(classifier).function)
    for count in SIZES:
        np.testing.assert_array_equal(
            loaded.call(params, noise(count)), function(own, noise(count))
        )


def test_its_gradient_is_the_same(trained, exported):
    loaded, params = load(exported)
    function = classifier_model(load_classifier(trained)).function

    def gradient(call):
        return jax.jit(
            jax.grad(lambda images: jax.nn.log_softmax(call(params, images))[:, 0].sum())
        )

    found = gradient(loaded.call)(noise(3))
    np.testing.assert_array_equal(found, gradient(function)(noise(3)))
    assert np.abs(found).max() > 0


def test_what_lies_beside_it(trained, exported):
    told = read_sealed(exported / "model.json")
    assert told["class_names"] == ["ant", "bee", "cow"]
    assert told["image_shape"] == list(SHAPE)
    assert told["normalisation"] == {"inside": True, "mean": [0.4, 0.5, 0.6], "std": [0.2] * 3}
    assert told["platforms"] == ["cpu", "cuda", "tpu"]
    assert told["network_sha256"] == read_sealed(trained / "result.json")["classifier_sha256"]
    assert told["versions"]["jax"] == jax.__version__
    for name, digest in told["files"].items():
        assert sha256_of(exported / name) == digest
    assert (
        "under this licence, as whoever exported this said: mit"
        in (exported / "README.md").read_text()
    )


@pytest.mark.slow
def test_the_same_bytes_every_time_and_no_path(trained, exported, elicit, contents, tmp_path):
    jax.clear_caches()
    out = tmp_path / "again"
    assert elicit("export", trained, "--to", "jax", "--out", out, "--licence", "mit") == 0
    assert contents(out) == contents(exported)
    for name, content in contents(out).items():
        assert b".py" not in content, name
        assert str(trained.parent).encode() not in content, name


@pytest.mark.parametrize("platform", PLATFORMS)
def test_only_cpus_get_the_convolution_in_tiles(platform):
    """64 channels on 16 × 16 pixels: CPUs compute them by Winograd's tiles, others plainly."""
    spec = ClassifierSpec("resnet9", 0.25, ("ant", "bee"), (16, 16, 3), (0.5,) * 3, (0.2,) * 3)
    images = jax.ShapeDtypeStruct((1, *spec.image_shape), jnp.float32)
    network = spec.build()
    shapes = jax.eval_shape(
        lambda key, images: network.init(key, images, train=False), jax.random.key(0), images
    )
    variables = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), shapes)
    model = classifier_model(Classifier(spec, variables))
    exported = jax.export.export(jax.jit(model.function), platforms=[platform])(
        flat_params(variables), *model.inputs
    )
    kernels = sum(array.ndim == 4 for array in flat_params(variables).values())
    plain = exported.mlir_module().count("stablehlo.convolution(")
    assert kernels > 4
    assert (plain == kernels) == (platform != "cpu")


OWN = """
import flax.linen as nn


class Counting(nn.Module):
    num_classes: int

    @nn.compact
    def __call__(self, images, *, train):
        return nn.Dense(self.num_classes)(images.reshape(len(images), -1))
"""


def test_a_network_of_the_users_that_counts_its_batch_is_refused(
    tmp_path, monkeypatch, check_refusal
):
    (tmp_path / "counting_networks.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)
    spec = ClassifierSpec(
        "counting_networks:Counting", 1.0, ("a", "b"), (4, 5, 3), (0.5,) * 3, (1.0,) * 3
    )
    images = jnp.zeros((1, 4, 5, 3), jnp.float32)
    variables = spec.build().init(jax.random.key(0), images, train=False)
    save_classifier(tmp_path / "run", Classifier(spec, variables))
    given = ("export", tmp_path / "run", "--to", "jax", "--out", tmp_path / "out")
    check_refusal(
        given, r"batches of any size, got counting_networks:Counting .*shape\[0\]", tmp_path
    )


USER = """
import importlib.abc, sys

class Refuse(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {"train", "imgopt", "gans", "experiments", "elicit_jax", "flax"}:
            raise ImportError(f"{name} is refused")

sys.meta_path.insert(0, Refuse())
exec(open("usage.py").read())
print(*logits.tolist() if "logits" in globals() else images.shape)
"""


@pytest.mark.slow
def test_the_lines_of_the_readme_run_without_our_packages(exported):
    lines = re.search(r"```python\n(.*?)```", (exported / "README.md").read_text(), re.DOTALL)[1]
    assert len(lines.splitlines()) == 6
    (exported / "usage.py").write_text(lines)
    command = [sys.executable, "-c", USER]
    done = subprocess.run(command, cwd=exported, capture_output=True, text=True, check=False)
    (exported / "usage.py").unlink()
    assert done.returncode == 0, done.stderr
    loaded, params = load(exported)
    wanted = loaded.call(params, np.zeros((8, *SHAPE), np.float32))
    assert done.stdout.strip() == " ".join(map(str, wanted.tolist()))
