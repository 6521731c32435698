"""Sets whose images survive augmentation, and sets that several classifiers share."""

import importlib
import json

import numpy as np
import pytest
import scipy.special

import experiments.synthesis.make_shards
import imgopt
from train.data.load import load_images, read_extras

VIEWS = ("--augmentations", "flip", "crop", "--pad-px", 2, "--views", 3)
SMALL = ("--steps", 2, "--rule", "sgd", "--tolerance", "None", "--batch-size", 2)
PARTS = (*SMALL, "--batches-per-shard", 2)

LINEAR = """
import jax.numpy as jnp
import numpy as np

KERNELS = np.random.default_rng(1).normal(size=(3, 768, 3)).astype(np.float32) / 9
one, two, narrow = (
    lambda images, kernel=each: (images.reshape(len(images), -1) - 0.5) @ jnp.asarray(kernel)
    for each in (KERNELS[0], KERNELS[1], KERNELS[2, :, :2])
)
"""


@pytest.fixture
def mine(tmp_path, monkeypatch):
    """Three callables in the working directory; the last one has two classes."""
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "linear_ones.py").write_text(LINEAR)
    monkeypatch.chdir(tmp_path / "mine")
    monkeypatch.setattr("sys.dont_write_bytecode", True)
    return "linear_ones:one", "linear_ones:two", "linear_ones:narrow"


def summary_of(directory):
    return json.loads((directory / "summary.json").read_text())


def test_a_set_made_with_views_tells_how_it_was_made_and_what_survives(by_own, capsys):
    words = ("--rule", "adam", "--rule-options", "learning_rate=0.03", *VIEWS)
    out = by_own(*words, "--steps", 30)
    printed = capsys.readouterr().out
    manifest = json.loads((out / "manifest.json").read_text())
    assert manifest["views"] == {"augmentations": ["flip", "crop"], "count": 3, "pad_px": 2}
    summary, columns = summary_of(out), read_extras(out, ("view_kl", "view_ranking"))
    share = float(columns["view_ranking"].mean())
    assert summary["view_kl_mean"] == pytest.approx(columns["view_kl"].mean(), rel=1e-5)
    assert summary["view_ranking_as_asked"] == pytest.approx(share, rel=1e-5)
    assert f"in random views        {share:.1%}" in printed
    np.testing.assert_allclose(columns["view_ranking"] * 3 % 1, 0, atol=1e-5)
    before = summary_of(by_own(*words, "--steps", 0))
    assert summary["view_kl_mean"] < before["view_kl_mean"]


def test_a_set_made_without_views_says_nothing_of_them(made):
    assert not {"view_kl_mean", "view_ranking_as_asked"} & set(summary_of(made))
    assert "views" not in json.loads((made / "manifest.json").read_text())


NOISY = ("--rule", "noisy_sgd", "--rule-options", "learning_rate=1.0", "eta=0.5", "key=3")


SEEN = (*VIEWS, "--rule-options", "learning_rate=5.0")


@pytest.mark.slow
@pytest.mark.parametrize("random", [SEEN, NOISY], ids=["views", "noise"])
def test_what_is_random_hangs_on_the_image_alone(random, by_own, monkeypatch):
    """Not on the shard, the range, or the batch after which an interrupted job goes on."""
    whole = load_images(by_own(*PARTS, *random)).images
    again = load_images(by_own(*PARTS, *random, "--start", 5)).images
    np.testing.assert_array_equal(again, whole[5:])

    def interrupt(path, number, batch, identity):
        original(path, number, batch, identity)
        raise KeyboardInterrupt

    original = experiments.synthesis.make_shards.save_batch
    with monkeypatch.context() as patch:
        patch.setattr(experiments.synthesis.make_shards, "save_batch", interrupt)
        broken = by_own(*PARTS, *random, status=130)
    by_own(*PARTS, *random, "--out", broken)
    np.testing.assert_array_equal(load_images(broken).images, whole)


@pytest.mark.usefixtures("no_report")
def test_several_classifiers_are_elicited_in_the_mean(mine, data, tmp_path, elicit):
    words = ("--data", data, "--out", tmp_path / "set", "--stop", 6, "--batch-size", 6)
    assert elicit("synthesize", "--classifier", *mine[:2], *words) == 0
    own = importlib.import_module("linear_ones")
    images = imgopt.to_float(load_images(tmp_path / "set").images)
    shares = [scipy.special.softmax(f(images), axis=1) for f in (own.one, own.two)]
    columns = read_extras(tmp_path / "set", ("kl", "output"))
    np.testing.assert_allclose(columns["output"], np.mean(shares, 0), atol=1e-5)
    assert columns["kl"].mean() < 0.1
    found = json.loads((tmp_path / "set" / "manifest.json").read_text())["classifier"]["mean_of"]
    assert [found[number]["callable"] for number in ("0", "1")] == list(mine[:2])


REFUSED = {
    "other classes": (("one", "narrow"), (), "narrow gives logits of 2 classes.*has 3"),
    "the same twice": (("one", "one"), (), "classifiers must differ.*give each once"),
    "crop beyond": (("one",), ("--augmentations", "crop", "--pad-px", 16), "below.*16, 16.*got 16"),
    "crop of nothing": (("one",), ("--augmentations", "crop", "--pad-px", 0), "pad_px.*got 0"),
    "no views": (("one",), ("--augmentations", "flip", "--views", 0), "count of views.*got 0"),
    "views of nothing": (("one",), ("--views", 8), "--views 8 has no effect without --aug"),
    "padding of nothing": (
        ("one",), ("--augmentations", "flip", "--pad-px", 2), "--pad-px 2 has no effect without"
    ),
    "a flip twice": (("one",), ("--augmentations", "flip", "flip"), "augmentations must differ"),
    "an unknown one": (("one",), ("--augmentations", "blur"), "flip.*crop"),
    "no classifier": ((), (), "at least one classifier, a run or"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_does_not_fit_is_refused(case, mine, data, tmp_path, check_refusal):
    del mine
    names, words, message = REFUSED[case]
    own = [f"linear_ones:{name}" for name in names]
    given = ("--classifier", *own, "--data", data, "--out", tmp_path / "new")
    check_refusal(("synthesize", *given, *words), message, tmp_path)
