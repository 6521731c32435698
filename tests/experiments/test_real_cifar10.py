"""The commands on real CIFAR-10, where an environment variable says that it is there."""

import numpy as np
import pytest

from train.data.load import load_images, read_extras

pytestmark = pytest.mark.usefixtures("compiled_as_users_do")

CLASSIFIER = '''
import jax.numpy as jnp


def colours(images):
    """Ten classes told apart by their mean colours and by how the upper half differs."""
    means = images.mean((1, 2))
    upper = images[:, :16].mean((1, 2, 3))[:, None]
    return jnp.concatenate([means, -means, means[:, ::-1] * upper, upper], 1) * 8
'''


def test_synthesize_eight_images(cifar10_dir, tmp_path, elicit, monkeypatch):
    monkeypatch.setattr("experiments.synthesis.command.write_set_report", lambda *_: None)
    (tmp_path / "colour_classifier.py").write_text(CLASSIFIER)
    monkeypatch.chdir(tmp_path)
    words = "synthesize --classifier colour_classifier:colours --data cifar10 --split test[:8]"
    rule = "--rule sgd --rule-options learning_rate=20.0 --tolerance None"
    rule += " --batch-size 8 --own 0.6 --steps"
    for name, steps in (("set", 30), ("start", 0)):
        given = [steps, "--data-dir", cifar10_dir, "--out", tmp_path / name]
        assert elicit(*words.split(), *rule.split(), *given) == 0
    made = load_images(tmp_path / "set")
    originals = load_images("cifar10", "test[:8]", data_dir=cifar10_dir)
    assert made.class_names == originals.class_names
    assert made.source_ids == originals.ids
    np.testing.assert_array_equal(made.labels, originals.labels)
    assert made.targets is not None
    assert made.outputs is not None
    own = np.arange(8), made.labels
    np.testing.assert_allclose(made.targets[own], 0.6, rtol=1e-6)
    kl, kl_of_originals = (read_extras(tmp_path / n, ("kl",))["kl"] for n in ("set", "start"))
    assert (kl < kl_of_originals).all()
    assert kl.mean() < 0.8 * kl_of_originals.mean()
    change = abs(np.int32(made.images) - originals.images).mean((1, 2, 3))
    assert ((change > 0) & (change < 100)).all()
