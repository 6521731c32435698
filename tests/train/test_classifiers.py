"""A trained classifier as a function, on disk, and by its digest."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from train.classifiers import (
    Classifier,
    ClassifierSpec,
    channel_statistics,
    classify_function,
    digest,
    feature_function,
    load_classifier,
)
from train.models.networks import build_network
from train.storage.checkpoints import save_checkpoint

SPEC = ClassifierSpec(
    network="plain",  # see conftest
    width=1.0,
    class_names=("cat", "dog", "ship"),
    image_shape=(4, 8, 3),
    mean=(0.4, 0.5, 0.6),
    std=(0.1, 0.2, 0.3),
)
pytestmark = pytest.mark.usefixtures("tiny_networks")
IMAGES = np.random.default_rng(2).random((5, 4, 8, 3)).astype(np.float32)


@pytest.fixture(scope="module")
def classifier(tiny_networks):
    assert SPEC.network in tiny_networks
    images = jnp.zeros((1, *SPEC.image_shape))
    start = jax.jit(lambda key: SPEC.build().init(key, images, train=False))
    return Classifier(SPEC, jax.device_get(start(jax.random.key(0))))


@pytest.fixture
def run(tmp_path, classifier):
    save_checkpoint(tmp_path / "checkpoints", 3, {"variables": classifier.variables})
    (tmp_path / "classifier.json").write_text(json.dumps(SPEC._asdict()))
    return tmp_path


every_function = pytest.mark.parametrize("function", [classify_function, feature_function])


@every_function
def test_the_function_normalises_and_applies(classifier, function):
    network, features = build_network("plain", num_classes=3), function is feature_function
    normalised = (IMAGES - np.array(SPEC.mean, np.float32)) / np.array(SPEC.std, np.float32)
    expected = jax.jit(lambda v, x: network.apply(v, x, train=False, features=features))(
        classifier.variables, normalised
    )
    found = jax.jit(lambda f, x: f(x))(function(classifier), IMAGES)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert found.dtype == jnp.float32


@every_function
def test_half_precision_is_near_and_still_gives_float32(classifier, function):
    exact, rounded = (
        np.asarray(jax.jit(lambda f, x: f(x))(function(classifier, precision=precision), IMAGES))
        for precision in ("float32", "bfloat16")
    )
    assert rounded.dtype == np.float32
    np.testing.assert_allclose(rounded, exact, atol=0.1)
    assert (rounded != exact).any()


def test_equal_specs_are_traced_once(classifier):
    traces = []

    @jax.jit
    def run(function, images):
        traces.append(1)
        return function(images)

    first = run(classify_function(classifier), IMAGES)
    retrained = Classifier(
        ClassifierSpec(**SPEC._asdict()), jax.tree.map(lambda leaf: leaf + 1, classifier.variables)
    )
    second = run(classify_function(retrained), IMAGES)
    assert len(traces) == 1
    assert (first != second).any()
    run.eval_shape(classify_function(classifier, precision="bfloat16"), IMAGES)
    assert len(traces) == 2


def test_a_run_gives_the_classifier_back(run, classifier):
    loaded = load_classifier(run)
    assert loaded.spec == SPEC
    assert digest(loaded) == digest(classifier)
    assert load_classifier(str(run)).spec == SPEC


def test_the_digest_changes_with_every_part(classifier):
    digests = {digest(classifier)}
    for changed in (
        classifier._replace(spec=SPEC._replace(mean=(0.4, 0.5, 0.61))),
        classifier._replace(spec=SPEC._replace(class_names=("cat", "ship", "dog"))),
        with_bias(classifier, lambda bias: bias + np.float32(1e-7)),
        with_bias(classifier, lambda bias: bias.astype(np.float16)),
        with_bias(classifier, lambda bias: bias[None]),
    ):
        digests.add(digest(changed))
    assert len(digests) == 6
    assert digest(with_bias(classifier, np.copy)) in digests


def with_bias(classifier, change):
    params = dict(classifier.variables["params"])
    params["Dense_0"] = {**params["Dense_0"], "bias": change(params["Dense_0"]["bias"])}
    return classifier._replace(variables={"params": params})


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        ("classifier.json", None, r"is not a classifier's run .*elicit classifier train"),
        ("classifier.json", "{", r"classifier\.json"),
        ("classifier.json", '{"network": "plain"}', "does not describe a cl.*: expected.*, got {"),
        ("classifier.json", "[]", r"does not describe a classifier: expected.*, got \["),
        ("checkpoints/3.json", None, "holds no checkpoint; train it again"),
    ],
)
def test_what_is_no_run_is_refused(run, file, text, message):
    (run / file).unlink()
    if text is not None:
        (run / file).write_text(text)
    with pytest.raises(ValueError, match=message):
        load_classifier(run)


def test_statistics_are_numpys():
    random = np.random.default_rng(1)
    images = random.integers(0, [50, 150, 256], (7, 5, 4, 3)).astype(np.uint8)
    means, stds = channel_statistics(images)
    np.testing.assert_allclose(means, (images / 255).mean((0, 1, 2)), atol=1e-6)
    np.testing.assert_allclose(stds, (images / 255).std((0, 1, 2)), atol=1e-6)


def test_statistics_of_constant_images_can_be_divided_by():
    means, stds = channel_statistics(np.full((2, 3, 4, 1), 255, np.uint8))
    assert means == (1.0,)
    assert stds == (1e-3,)
