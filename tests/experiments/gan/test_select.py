"""`elicit select`: the images of a set that a classifier predicts as intended, or not."""

import importlib
import json
import re
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
import tensorflow_datasets as tfds
from sklearn.neighbors import NearestNeighbors

from tests.experiments.conftest import write_columns
from tests.experiments.pages.reports import assert_is_report
from train.classifiers import classify_function, feature_function, load_classifier
from train.data.image_data import take_images
from train.data.load import load_images, read_extras
from train.data.verify import read_manifest, verify

CLASSES = ("ant", "bee", "cow")


@pytest.fixture(scope="module")
def said(data, run):
    """What the classifier says of the training images: probabilities, by softmax in float64."""
    images = jnp.asarray(load_images(data).images) / 255
    logits = np.asarray(classify_function(load_classifier(run))(images), np.float64)
    odds = np.exp(logits - logits.max(1, keepdims=True))
    return odds / odds.sum(1, keepdims=True)


@pytest.fixture
def select(data, run, tmp_path, elicit):
    def run_command(*words, images=data, name="kept", status=0):
        out = tmp_path / name
        given = ("--images", images, "--classifier", run, "--out", out)
        assert elicit("select", *given, *words) == status
        return out

    return run_command


@pytest.fixture(scope="module")
def mixed(tmp_path_factory, data, said):
    """The training images under labels of which about half are not what the classifier predicts."""
    source = load_images(data)
    shift = np.random.default_rng(0).integers(0, 2, len(source.labels))
    labels = (said.argmax(1) + shift) % 3
    columns = {
        "id": [f"mixed_{name}" for name in source.ids],
        "image": source.images,
        "label": labels,
        "source_id": source.ids,
    }
    return write_columns(tmp_path_factory.mktemp("mixed") / "mixed", {"train": columns})


def rows_by_hand(labels, accepted, keep, count):
    """The first rows of every class and kind among those accepted, ascending."""
    rows = []
    for label in range(3):
        for kind in {"tp": (True,), "fp": (False,), "both": (True, False)}[keep]:
            rows += np.flatnonzero(accepted[kind] & (labels == label))[:count].tolist()
    return sorted(rows)


def threshold(values: np.ndarray, share: float) -> float:
    """Half-way between two values, so that about this share of all lies below, and none near."""
    ordered = np.sort(values)
    rank = round(share * len(values))
    return float(ordered[rank - 1 : rank + 1].mean())


@pytest.mark.parametrize(
    ("keep", "count", "refused"), [("tp", 2, 0), ("fp", 3, 0), ("both", 4, 0), ("tp", 48, 0.3)]
)
def test_the_first_accepted_images_are_kept(select, mixed, said, keep, count, refused, capsys):
    ranked = np.sort(said)[:, ::-1]
    margin = ranked[:, 0] - ranked[:, 1]
    least = threshold(margin, refused) if refused else 0
    words = ("--keep", keep, "--min-margin", least)
    words += () if count == 48 else ("--per-class", count)
    out = select(*words, images=mixed)
    source, predicted = load_images(mixed), said.argmax(1)
    passing = margin >= least
    accepted = {kind: passing & ((predicted == source.labels) == kind) for kind in (True, False)}
    rows = rows_by_hand(source.labels, accepted, keep, count)
    builder: Any = tfds.builder_from_directory(out)
    made = list(builder.as_data_source("train"))
    assert [row["id"].decode() for row in made] == [source.ids[row] for row in rows]
    assert [row["source_id"].decode() for row in made] == [source.source_ids[row] for row in rows]
    assert [row["predicted"] for row in made] == predicted[rows].tolist()
    np.testing.assert_allclose([row["confidence"] for row in made], ranked[rows, 0], rtol=1e-5)
    kept = load_images(out)
    np.testing.assert_array_equal(kept.images, source.images[rows])
    np.testing.assert_array_equal(kept.labels, source.labels[rows])
    assert verify(out) == []
    assert f"{out}: {len(rows)} train, of 48 images" in capsys.readouterr().out


def test_what_it_came_to_is_written_beside_the_set(select, mixed, said, capsys):
    least = threshold(said.max(1), 0.2)
    out = select("--keep", "both", "--per-class", 3, "--min-confidence", least, images=mixed)
    labels, predicted = load_images(mixed).labels, said.argmax(1)
    passing = said.max(1) >= least
    written = json.loads((out / "selection.json").read_text())
    confusion = np.zeros((3, 3), int)
    for label, found in zip(labels, predicted, strict=True):
        confusion[label, found] += 1
    assert written["confusion"] == confusion.tolist()
    assert (written["keep"], written["per_class"]) == ("both", 3)
    printed = capsys.readouterr().out
    for label, name in enumerate(CLASSES):
        own, right = labels == label, predicted == labels
        counts = {"tp": (own & right & passing).sum(), "fp": (own & ~right & passing).sum()}
        assert written["classes"][name] == {
            "tried": own.sum(),
            "predicted_as_intended": (own & right).sum(),
            "accepted": counts,
            "acceptance_rate": {k: pytest.approx(n / own.sum()) for k, n in counts.items()},
            "kept": {"tp": 3, "fp": 3},
        }
        rate = f"{counts['tp'] / own.sum():.2%}"
        assert f"  {name}  3 of 3 true positives ({rate} of {own.sum()} tried), 3 of" in printed
    page = assert_is_report(out / "report.html")
    assert "true positives accepted" in page.words
    mistakes = [words for words in page.by_class["span"] if words.startswith("taken for")]
    assert 0 < len(mistakes) <= 9  # three false positives of each class
    assert {path.name for path in (out / "figures").iterdir()} == {
        "acceptance.svg",
        "confusion.svg",
    }


def test_a_large_set_is_read_and_written_in_parts(select, mixed, monkeypatch):
    at_once = select("--keep", "both", images=mixed, name="at-once")
    monkeypatch.setattr("experiments.gan.select.SHARD_IMAGES", 7)
    monkeypatch.setattr("train.data.image_data.PART_IMAGES", 5)
    in_parts = select("--keep", "both", images=mixed, name="in-parts")
    assert [shard["num_examples"] for shard in read_manifest(in_parts)["shards"]] == [7] * 6 + [6]
    for found, wanted in zip(load_images(in_parts), load_images(at_once), strict=True):
        np.testing.assert_array_equal(found, wanted)
    for name in ("predicted", "confidence"):
        found, wanted = (read_extras(out, [name])[name] for out in (in_parts, at_once))
        np.testing.assert_array_equal(found, wanted)
    for file in ("report.html", "selection.json"):
        assert (in_parts / file).read_bytes() == (at_once / file).read_bytes()


def test_near_copies_of_training_images_are_left_out(select, data, mixed, run, tmp_path):
    source = load_images(mixed)
    features = feature_function(load_classifier(run))
    test, train = (
        np.asarray(features(jnp.asarray(images) / 255), np.float64)
        for images in (source.images, load_images(data, "test").images)
    )
    usual = np.median(NearestNeighbors(n_neighbors=2).fit(train).kneighbors(train)[0][:, 1])
    nearest = NearestNeighbors(n_neighbors=1).fit(train).kneighbors(test)[0][:, 0] / usual
    least = float(np.median(nearest))
    small = write_train(tmp_path / "small", load_images(data, "test"))
    words = ("--keep", "both", "--min-distance", least, "--train-data", small)
    kept = load_images(select(*words, images=mixed))
    far = np.array([name in kept.ids for name in source.ids])
    clear = np.abs(nearest - least) > 1e-4
    np.testing.assert_array_equal(far[clear], (nearest > least)[clear])
    assert 20 < far.sum() < 28


def write_train(out, data):
    columns = {"id": data.ids, "image": data.images, "label": data.labels}
    return write_columns(out, {"train": columns})


def test_a_set_of_some_classes_is_selected_from_these(select, data, tmp_path):
    source = load_images(data)
    rows = source.labels != 1
    part = write_train(tmp_path / "some", take_images(source, np.flatnonzero(rows)))
    out = select(images=part)
    assert set(load_images(out).labels.tolist()) == {0, 2}
    assert load_images(out).class_names == CLASSES
    assert list(json.loads((out / "selection.json").read_text())["classes"]) == ["ant", "cow"]


def test_the_same_command_again(select, mixed, contents, capsys):
    words = ("--per-class", 2)
    out = select(*words, images=mixed)
    before = contents(out)
    select(*words, images=mixed)
    assert "complete; nothing to do" in capsys.readouterr().out
    assert contents(select(*words, images=mixed, name="again")) == before
    select("--per-class", 1, images=mixed, status=2)
    assert "set of another configuration: per_class was 2, now 1" in capsys.readouterr().err
    assert contents(out) == before
    manifest = read_manifest(out)
    assert len(manifest["classifier"]["sha256"]) == 64
    assert manifest["thresholds"] == {
        "min_confidence": 0, "min_margin": 0, "min_distance": None,
    }  # fmt: skip


def test_a_callable_selects_too(data, own_classifier, tmp_path, elicit):
    out = tmp_path / "kept"
    words = ("--images", data, "--split", "test", "--classifier", own_classifier)
    assert elicit("select", *words, "--keep", "both", "--out", out) == 0
    assert read_manifest(out)["classifier"]["callable"] == own_classifier
    source, kept = load_images(data, "test"), load_images(out)
    assert kept.ids == source.ids  # each is of either kind, and none is refused
    weights = importlib.import_module("own_classifiers").WEIGHTS.astype(np.float64)
    logits = (source.images.reshape(21, -1) / 255 - 0.5) @ weights
    predicted = read_extras(out, ["predicted"])["predicted"]
    np.testing.assert_array_equal(predicted, logits.argmax(1))


BAD_INPUT = {
    "--images absent": "expected a data set's directory with dataset_info.json, got 'absent'",
    "--images other": "classes ('ant', 'bee', 'cow'), the data set 3 ('ant', 'bee', 'dog')",
    "--images large": "takes images of shape (16, 16, 3), the data set has (32, 32, 3)",
    "--per-class 0": "per_class must be at least 1, got 0",
    "--min-confidence 1.5": "min_confidence must be in [0, 1], got 1.5",
    "--min-distance 1 --train-data other": "the training data 3 ('ant', 'bee', 'dog')",
    "--out data": "holds a run or set of another configuration",
}


@pytest.mark.parametrize("words", BAD_INPUT)
def test_wrong_input_is_refused_before_anything(words, check_wrong_input):
    given = "--images data --classifier run --out new"
    check_wrong_input(f"select {given} {words}", re.escape(BAD_INPUT[words]))
