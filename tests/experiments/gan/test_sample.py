"""`elicit gan sample`: each image of its own key, sorted by a classifier if asked."""

import json
import re
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tensorflow_datasets as tfds

from gans.sampling import image_keys, keys_from_text, load_gan, sample
from tests.experiments.made_up_gans import SAMPLED_CLASSES as CLASSES
from tests.experiments.made_up_gans import write_sampled_gan
from tests.experiments.pages.reports import assert_is_report
from train.data.load import load_images, read_extras
from train.data.verify import read_manifest, verify


@pytest.fixture(scope="module")
def pool(tmp_path_factory, gan, elicit):
    """The first 120 images of every class."""
    out = tmp_path_factory.mktemp("pools") / "pool"
    words = ("--key", 7, "--batch-size", 8, "--per-class", 120)
    assert elicit("gan", "sample", "--gan", gan, "--out", out, *words) == 0
    return out


def rows(directory) -> list[dict[str, Any]]:
    builder: Any = tfds.builder_from_directory(directory)
    return list(builder.as_data_source("train"))


def by_id(directory) -> dict[str, np.ndarray]:
    data = load_images(directory)
    return dict(zip(data.ids, data.images, strict=True))


def test_every_class_has_its_images_in_order(draw, capsys):
    out = draw("--per-class", 3)
    assert f"{out}: 9 train, 3 classes" in capsys.readouterr().out
    made = load_images(out)
    assert made.class_names == CLASSES
    assert made.ids == tuple(f"{name}_{number:05d}" for number in range(3) for name in CLASSES)
    np.testing.assert_array_equal(made.labels, np.tile([0, 1, 2], 3))
    assert verify(out) == []
    manifest = read_manifest(out)
    assert [manifest[name] for name in ("classes", "per_class", "key", "keep")] == [
        list(CLASSES), 3, 7, None,
    ]  # fmt: skip
    assert len(manifest["gan"]["sha256"]) == 64
    assert not (out / "selection.json").exists()
    assert len({image.tobytes() for image in made.images}) == 9


def test_any_image_is_made_again_from_its_recorded_key(draw, gan):
    loaded = load_gan(gan)
    for row in rows(draw("--per-class", 2)):
        key = keys_from_text([row["key"].decode()])
        again = sample(loaded, key, np.array([row["label"]]), batch_size=8)
        np.testing.assert_array_equal(again[0], row["image"])


@pytest.mark.parametrize(
    "words",
    [
        ("--per-class", 5),
        ("--per-class", 5, "--batch-size", 3),
        ("--per-class", 4, "--class", "hot dog", "1"),
        ("--per-class", 1, "--class", "0"),
    ],
)
def test_an_image_depends_on_its_own_key_alone(draw, pool, words):
    known, made = by_id(pool), by_id(draw(*words))
    assert len(made) == words[1] * len({name[:3] for name in made})
    # Another size of batch is another compiled program, which may round another way.
    slack = 1 if "--batch-size" in words else 0
    for name, image in made.items():
        np.testing.assert_allclose(image.astype(int), known[name], rtol=0, atol=slack)


def test_a_set_of_more_begins_with_one_of_fewer(draw, pool):
    few, many = load_images(draw("--per-class", 4)), load_images(pool)
    assert few.ids == many.ids[:12]
    np.testing.assert_array_equal(few.images, many.images[:12])


def test_keys_are_folded_from_class_and_number(draw):
    out = draw("--class", "bee", "--per-class", 3)
    assert set(load_images(out).labels.tolist()) == {1}
    keys = keys_from_text([row["key"].decode() for row in rows(out)])
    for number in range(3):
        wanted = jax.random.fold_in(jax.random.fold_in(jax.random.key(7), 1), number)
        assert jnp.array_equal(jax.random.key_data(keys[number]), jax.random.key_data(wanted))
    again = image_keys(jax.random.key(7), 1, np.arange(3))
    assert jnp.array_equal(jax.random.key_data(keys), jax.random.key_data(again))


@pytest.fixture(scope="module")
def predict():
    """The user's callable in NumPy: predicted classes and confidence of grey levels."""
    weights = np.random.default_rng(0).normal(size=(16 * 16 * 3, 3)).astype(np.float32) / 9

    def answer(images):
        logits = (images.reshape(len(images), -1) / 255 - 0.5) @ weights.astype(np.float64)
        odds = np.exp(logits - logits.max(1, keepdims=True))
        return logits.argmax(1), (odds / odds.sum(1, keepdims=True)).max(1)

    return answer


def test_a_classifier_says_what_it_sees(draw, own_classifier, predict):
    out = draw("--per-class", 8, "--classifier", own_classifier)
    made, extras = load_images(out), read_extras(out, ("predicted", "confidence"))
    predicted, confidence = predict(made.images)
    np.testing.assert_array_equal(extras["predicted"], predicted)
    np.testing.assert_allclose(extras["confidence"], confidence, rtol=1e-4)
    assert made.ids == tuple(f"{name}_{number:05d}" for number in range(8) for name in CLASSES)
    written = json.loads((out / "selection.json").read_text())
    assert (written["keep"], written["per_class"]) == (None, None)
    for label, name in enumerate(CLASSES):
        own = written["classes"][name]
        right = int((predicted[made.labels == label] == label).sum())
        assert own["predicted_as_intended"] == own["kept"]["tp"] == right
        assert own["tried"] == own["kept"]["tp"] + own["kept"]["fp"] == 8


@pytest.mark.parametrize("keep", ["tp", "fp", "both"])
def test_sampling_goes_on_until_every_class_has_its_number(
    draw, pool, own_classifier, predict, keep
):
    out = draw("--per-class", 5, "--keep", keep, "--classifier", own_classifier)
    made = load_images(pool)
    predicted, _ = predict(made.images)
    wanted, tried = [], []
    for label in range(3):
        own = np.flatnonzero(made.labels == label)
        right = predicted[own] == label
        kinds = {"tp": [right], "fp": [~right], "both": [right, ~right]}[keep]
        numbers = np.concatenate([np.flatnonzero(kind)[:5] for kind in kinds])
        wanted += own[numbers].tolist()
        tried.append(numbers.max() + 1)
    assert load_images(out).ids == tuple(made.ids[row] for row in sorted(wanted))
    written = json.loads((out / "selection.json").read_text())
    assert [written["classes"][name]["tried"] for name in CLASSES] == tried
    assert sum(map(sum, written["confusion"])) == sum(tried)
    assert read_manifest(out)["max_tries_per_class"] == 100


def test_the_size_of_the_batches_does_not_matter(draw, own_classifier):
    words = ("--per-class", 4, "--keep", "both", "--classifier", own_classifier)
    first, other = draw(*words), draw(*words, "--batch-size", 3, name="other")
    assert_is_report(first / "report.html")
    for file in ("selection.json", "report.html"):
        assert (first / file).read_bytes() == (other / file).read_bytes()
    shard = "generated-train.array_record-00000"
    assert (first / shard).read_bytes() == (other / shard).read_bytes()


def test_selecting_from_a_sampled_set_comes_to_the_same(
    draw, pool, own_classifier, elicit, tmp_path
):
    judge = ("--classifier", own_classifier, "--min-confidence", 0.36, "--per-class", 6)
    direct, kept = draw("--keep", "tp", *judge), tmp_path / "kept"
    assert elicit("select", "--images", pool, "--keep", "tp", *judge, "--out", kept) == 0
    for left, right in zip(rows(direct), rows(kept), strict=True):
        assert left["id"] == right["id"] == right["source_id"]
        np.testing.assert_array_equal(left["image"], right["image"])
        for name in ("label", "predicted", "confidence"):
            assert left[name] == right[name]


@pytest.mark.filterwarnings("default:fewer images")
def test_a_class_that_runs_dry_is_warned_of(draw, pool, own_classifier, predict, capfd):
    words = ("--keep", "tp", "--per-class", 20, "--max-tries-per-class", 30)
    out = draw(*words, "--classifier", own_classifier)
    made = load_images(pool)
    right = (predict(made.images)[0] == made.labels)[: 3 * 30]
    counts = np.bincount(made.labels[: 3 * 30][right], minlength=3)
    assert counts.min() < 20
    complaint = capfd.readouterr().err
    for name, count in zip(CLASSES, counts, strict=True):
        words = f"{name} has {count} of 20 true positives ({count / 30:.2%} of 30 tried)"
        assert (words in complaint) == (count < 20)
    assert "elicit: warning: fewer images than asked for: " in complaint
    np.testing.assert_array_equal(np.bincount(load_images(out).labels), np.minimum(counts, 20))


@pytest.fixture
def stubborn(tmp_path, monkeypatch):
    """A user's callable that predicts the second class for every image."""
    (tmp_path / "stubborn.py").write_text(
        "import jax.numpy as jnp\n"
        "bee = lambda images: jnp.tile(jnp.array([0., 5., 0.]), (len(images), 1))\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.dont_write_bytecode", True)
    return "stubborn:bee"


def test_a_class_without_any_stops_it_and_nothing_is_left(draw, stubborn, tmp_path, capsys):
    words = ("--keep", "tp", "--per-class", 2, "--max-tries-per-class", 9)
    draw(*words, "--classifier", stubborn, status=2)
    complaint = capsys.readouterr().err
    assert "got none of ant (of 9 tried), hot dog (of 9 tried); nothing was written" in complaint
    assert [path.name for path in tmp_path.iterdir()] == ["stubborn.py"]


@pytest.mark.filterwarnings("default:fewer images")
def test_a_class_without_any_may_be_left_out(draw, stubborn, capsys):
    words = ("--per-class", 2, "--max-tries-per-class", 9, "--skip-dry-classes")
    words = (*words, "--classifier", stubborn)
    assert load_images(draw("--keep", "tp", *words)).labels.tolist() == [1, 1]
    assert "ant has 0 of 2 true positives (0.00% of 9 tried)" in capsys.readouterr().err
    others = load_images(draw("--keep", "fp", *words, name="others"))
    assert sorted(others.labels.tolist()) == [0, 0, 2, 2]


def test_the_same_command_again(draw, own_classifier, contents, capsys):
    words = ("--per-class", 2, "--keep", "fp", "--classifier", own_classifier)
    out = draw(*words)
    before = contents(out)
    draw(*words)
    assert "complete; nothing to do" in capsys.readouterr().out
    assert contents(draw(*words, name="again")) == before
    draw(*words, "--max-tries-per-class", 39, status=2)
    assert "max_tries_per_class was 40, now 39" in capsys.readouterr().err


BAD_INPUT = {
    "--class cat": "unknown class 'cat'; expected one of ant, bee, hot dog",
    "--class 3": "unknown class '3'; expected one of ant, bee, hot dog",
    "--class ant 0": "classes must be distinct, got ant, 0",
    "--per-class 0": "per_class must be at least 1, got 0",
    "--batch-size 0": "batch_size must be at least 1, got 0",
    f"--key {2**32}": f"key must be at least 0 and below 2**32, got {2**32}",
    "--gan run": "is not a GAN's run (it has no gan.json)",
    "--classifier absent": "no classifier at 'absent'",
    "--classifier run": "has 3 classes ('ant', 'bee', 'cow'), the GAN 3 ('ant', 'bee', 'hot dog')",
    "--keep tp": "--keep tp needs --classifier",
    "--min-confidence 0.5": "thresholds such as --min-confidence need --keep",
    "--min-margin 2": "min_margin must be in [0, 1], got 2.0",
    "--max-tries-per-class 9": "--max-tries-per-class needs --keep",
    "--skip-dry-classes": "--skip-dry-classes needs --keep",
    "--min-distance 0.5": "--min-distance needs --train-data",
    "--train-data data": "--train-data is for --min-distance, which is not given",
    "--classifier callables:three --keep tp --min-distance 0.5 --train-data data": (
        "features, which the callable callables:three does not give; give a run of elicit"
    ),
}


@pytest.mark.parametrize("words", BAD_INPUT)
def test_wrong_input_is_refused_before_anything(words, gan, check_wrong_input):
    given = f"--gan {gan} --out new"
    check_wrong_input(f"gan sample {given} {words}", re.escape(BAD_INPUT[words]))


@pytest.mark.filterwarnings("default:fewer images")  # one kind may be rare
def test_samples_keep_their_distance_from_training_images(tmp_path, run, data, elicit, capsys):
    gan = write_sampled_gan(tmp_path / "gan", ("ant", "bee", "cow"))
    given = ("--gan", gan, "--batch-size", 8, "--class", "0", "--per-class", 1, "--classifier", run)
    words = (*given, "--keep", "both", "--train-data", data, "--out", tmp_path / "made")
    assert elicit("gan", "sample", *words, "--min-distance", 1e6) == 2
    assert "got none of ant (of 20 tried)" in capsys.readouterr().err
    assert elicit("gan", "sample", *words, "--min-distance", 0.01) == 0
    manifest = read_manifest(tmp_path / "made")
    assert manifest["thresholds"]["min_distance"] == 0.01
    assert len(manifest["train_data"]) == 64
