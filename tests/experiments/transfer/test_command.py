"""`elicit transfer`: its numbers against NumPy's, and what it refuses."""

import json
import shutil

import numpy as np
import pytest
import scipy.special

from tests.experiments.pages.reports import assert_is_report
from train.data.load import load_images, read_extras

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
    (tmp_path / "transferred").mkdir()
    (tmp_path / "transferred" / "transferred.py").write_text(OWN)
    monkeypatch.chdir(tmp_path / "transferred")
    monkeypatch.setattr("sys.dont_write_bytecode", True)


def table_of(directory):
    return json.loads((directory / "transfer.json").read_text())["rows"]


def logits_of(data):
    """What `other` says of a set's images."""
    kernel = np.random.default_rng(1).normal(size=(768, 3)).astype(np.float32) / 9
    return (data.images.reshape(len(data.images), -1) / 255 - 0.5) @ kernel


@pytest.mark.slow
@pytest.mark.usefixtures("mine")
def test_the_rows_are_numpys(made, run, tmp_path, elicit, capsys):
    words = ("--images", made, "--classifier", run, "transferred:other", "--out", tmp_path / "t")
    assert elicit("transfer", *words) == 0
    own, again, other = table_of(tmp_path / "t")
    assert [row["classifier"] for row in (again, other)] == [str(run), "transferred:other"]
    assert own["classifier"] == "own classifier"
    # The run is the one that made the images, so its row repeats what the set records.
    for name in ("ranking_as_asked", "first_class", "kl_mean", "kl_deviation"):
        assert again[name] == pytest.approx(own[name], abs=1e-5)
    assert own["kl_mean"] == pytest.approx(read_extras(made, ("kl",))["kl"].mean(), rel=1e-6)
    data = load_images(made)
    p, q = scipy.special.softmax(logits_of(data), axis=1), np.float64(data.targets)
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


@pytest.mark.usefixtures("mine")
def test_several_sets_stand_side_by_side(made, by_own, monkeypatch, tmp_path, elicit):
    attacked = by_own("--attack", "fgsm")
    monkeypatch.chdir(tmp_path / "transferred")
    place = tmp_path / "t"
    given = ("--images", made, attacked, "--classifier", "transferred:other", "--out", place)
    assert elicit("transfer", *given) == 0
    rows = table_of(place)
    named = [(row["image_set"], row["images"]) for row in rows]
    assert named == 2 * [(str(made), 10)] + 2 * [(str(attacked), 8)]
    images = load_images(attacked)
    log_p = scipy.special.log_softmax(logits_of(images), axis=1)
    kl = scipy.special.rel_entr(np.float64(images.targets), np.exp(log_p)).sum(1)
    assert rows[3]["kl_mean"] == pytest.approx(kl.mean(), rel=1e-4)
    assert rows[3]["first_class"] == pytest.approx((log_p.argmax(1) != images.labels).mean())
    assert_is_report(place / "report.html")
    page = (place / "report.html").read_text()
    assert (str(made) in page, str(attacked) in page) == (True, True)
    drawn = {path.name for path in (place / "figures").iterdir()}
    assert drawn == {"ranks.svg", "is_first.svg", "kl-0.svg", "kl-1.svg"}


REFUSED = {
    "other classes": ("made", "transferred:narrow", "narrow gives logits of 2 classes.*has 3"),
    "no run": ("made", "nowhere", "no classifier at 'nowhere'"),
    "no targets": ("data", "transferred:other", "no targets and outputs.*elicit synthesize"),
    "no set": ("nowhere", "transferred:other", "nowhere"),
    "the same set twice": (
        "made made",
        "transferred:other",
        "image sets must differ.*give each on",
    ),
    "no targets beside": ("made data", "transferred:other", "made_up has no targets and outputs"),
    "the same twice": ("made", "transferred:other transferred:other", "must differ"),
    "no batch": ("made", "transferred:other --batch-size 0", "batch_size must be at least 1"),
}


@pytest.mark.usefixtures("mine")
@pytest.mark.parametrize("case", REFUSED)
def test_what_does_not_fit_is_refused(case, made, data, tmp_path, check_refusal):
    images, words, message = REFUSED[case]
    known = {"made": made, "data": data}
    places = [known.get(name, tmp_path / name) for name in images.split()]
    given = ("--images", *places, "--out", tmp_path / "new", "--classifier", *words.split())
    check_refusal(("transfer", *given), message, tmp_path)


@pytest.mark.usefixtures("mine")
def test_an_output_that_is_infinitely_far_is_named(made, tmp_path, elicit, capsys):
    shutil.copytree(made, tmp_path / "set")
    words = ("--images", tmp_path / "set", "--classifier", "transferred:closed")
    assert elicit("transfer", *words, "--out", tmp_path / "t") == 1
    assert "transferred:closed gives 10 of 10 images" in capsys.readouterr().err
    assert not (tmp_path / "t" / "transfer.json").exists()
