"""`elicit transfer`: its numbers against NumPy's, and what it refuses."""

import json
import shutil

import numpy as np
import pytest
import scipy.special

from train.data.load import load_images
from train.data.write import read_extras

OWN = """
import jax.numpy as jnp
import numpy as np

KERNEL = np.random.default_rng(1).normal(size=(768, 3)).astype(np.float32) / 9
other = lambda images: (images.reshape(len(images), -1) - 0.5) @ jnp.asarray(KERNEL)
narrow = lambda images: other(images)[:, :2]
closed = lambda images: other(images) - jnp.array([[jnp.inf, jnp.inf, 0.0]])
"""


@pytest.fixture
def mine(tmp_path, monkeypatch):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "transferred.py").write_text(OWN)
    monkeypatch.chdir(tmp_path / "mine")
    monkeypatch.setattr("sys.dont_write_bytecode", True)


def table_of(directory):
    return json.loads((directory / "transfer.json").read_text())["rows"]


@pytest.mark.usefixtures("mine")
def test_the_rows_are_numpys(made, run, tmp_path, elicit, capsys):
    words = ("--images", made, "--classifiers", run, "transferred:other", "--out", tmp_path / "t")
    assert elicit("transfer", *words) == 0
    own, again, other = table_of(tmp_path / "t")
    assert [row["classifier"] for row in (again, other)] == [str(run), "transferred:other"]
    assert own["classifier"] == "the images' own classifier"
    # The run is the one that made the images, so its row repeats what the set records.
    for name in ("ranking_as_asked", "first_class", "kl_mean", "kl_deviation"):
        assert again[name] == pytest.approx(own[name], abs=1e-5)
    assert own["kl_mean"] == pytest.approx(read_extras(made, ("kl",))["kl"].mean(), rel=1e-6)
    data = load_images(made)
    kernel = np.random.default_rng(1).normal(size=(768, 3)).astype(np.float32) / 9
    logits = (data.images.reshape(10, -1) / 255 - 0.5) @ kernel
    p, q = scipy.special.softmax(logits, axis=1), np.float64(data.targets)
    ranks = [all(a[i] > a[j] for i in range(3) for j in range(3) if b[i] > b[j]) for a, b in zip(p, q, strict=True)]  # fmt: skip # noqa: E501
    expected = {
        "images": 10,
        "ranking_as_asked": np.mean(ranks),
        "first_class": np.mean(p.argmax(1) == q.argmax(1)),
        "kl_mean": scipy.special.rel_entr(q, p).sum(1).mean(),
        "kl_deviation": scipy.special.rel_entr(q, p).sum(1).std(),
    }
    assert {name: other[name] for name in expected} == pytest.approx(expected, rel=1e-4)
    table = (tmp_path / "t" / "table.md").read_text()
    assert table in capsys.readouterr().out
    assert table.count("\n") == 5
    assert f"{other['kl_mean']:.4f}" in table
    assert "transferred:other" in (tmp_path / "t" / "report.html").read_text()


REFUSED = {
    "other classes": ("made", "transferred:narrow", "narrow gives logits of 2 classes.*has 3"),
    "no run": ("made", "nowhere", "no classifier at 'nowhere'"),
    "no targets": ("data", "transferred:other", "no targets and outputs.*elicit synthesize"),
    "no set": ("nowhere", "transferred:other", "nowhere"),
    "the same twice": ("made", "transferred:other transferred:other", "must differ"),
    "no batch": ("made", "transferred:other --batch-size 0", "batch_size must be at least 1"),
}


@pytest.mark.usefixtures("mine")
@pytest.mark.parametrize("case", REFUSED)
def test_what_does_not_fit_is_refused(case, made, data, tmp_path, check_refusal):
    images, words, message = REFUSED[case]
    place = {"made": made, "data": data}.get(images, tmp_path / images)
    given = ("--images", place, "--out", tmp_path / "new", "--classifiers", *words.split())
    check_refusal(("transfer", *given), message, tmp_path)


@pytest.mark.usefixtures("mine")
def test_an_output_that_is_infinitely_far_is_named(made, tmp_path, elicit, capsys):
    shutil.copytree(made, tmp_path / "set")
    words = ("--images", tmp_path / "set", "--classifiers", "transferred:closed")
    assert elicit("transfer", *words, "--out", tmp_path / "t") == 1
    assert "transferred:closed gives 10 of 10 images" in capsys.readouterr().err
    assert not (tmp_path / "t" / "transfer.json").exists()
