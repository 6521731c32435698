"""`elicit gan evaluate`: measures of generated and real images, the report, and repetition."""

import re

import numpy as np
import pytest

import experiments.gan.evaluate
from gans.metrics import frechet_distance, kernel_distance, overlap, relative_distances
from tests.experiments.conftest import write_columns
from tests.experiments.pages.reports import assert_is_report
from train.classifiers import classify_function, feature_function, load_classifier
from train.data.image_data import take_images
from train.data.load import load_images
from train.evaluation import extract_features, predict
from train.storage.strict_json import read_json

AS_SETS = ("frechet", "kernel", "precision", "recall", "density", "coverage")
ONE_BY_ONE = ("acceptance", "near_copies")
TRAINING = ["--gan-train", "--epochs", 1, "--batch-size", 12, "--key", 4]


BATCH_SIZE = 7


@pytest.fixture(scope="module", autouse=True)
def one_batch_size():
    """All sets here share one compiled program, however few images they have."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(experiments.gan.evaluate, "BATCH_SIZE", BATCH_SIZE)
        yield


@pytest.fixture(scope="module")
def generated(tmp_path_factory, make_set):
    """30 images that have the data's classes but are not in the data."""
    return make_set(tmp_path_factory.mktemp("generated") / "set", counts={"left": 1, "train": 30})


@pytest.fixture(scope="module")
def words(generated, data, run):
    """Words of a command that measures, except --out."""
    given = ["gan", "evaluate", "--images", generated, "--data", data, "--classifier", run]
    return [*given, "--neighbours", 3]


@pytest.fixture(scope="module")
def quality(tmp_path_factory, words, elicit):
    """Directory of a complete run of that command, with --gan-train."""
    out = tmp_path_factory.mktemp("quality") / "run"
    assert elicit(*words, *TRAINING, "--out", out) == 0
    return out


def names(measures, count):
    return {f"{measure}_vgg-small_{count}" for measure in measures}


def features_of(classifier, data):
    return extract_features(feature_function(classifier), data.images, batch_size=BATCH_SIZE)


def test_every_measure_has_network_and_number_in_its_name(quality):
    result = read_json(quality / "result.json")
    of_all = names((*AS_SETS, *ONE_BY_ONE, "gan_train"), 30)
    assert set(result["generated"]["measures"]) == of_all | names(AS_SETS, 21)
    assert set(result["real_test"]["measures"]) == names((*AS_SETS, *ONE_BY_ONE), 21)
    counts = [result[name]["images"] for name in ("real_train", "generated", "real_test")]
    assert counts == [48, 30, 21]
    source = result["feature_source"]
    assert (source["network"], source["features"]) == ("vgg-small", 13)


def test_measures_are_those_of_the_features(quality, run, data, generated):
    classifier = load_classifier(run)
    sets = [load_images(data), load_images(generated), load_images(data, "test")]
    real, found, test = (features_of(classifier, images) for images in sets)
    result = read_json(quality / "result.json")
    for name, features, images in (("generated", found, sets[1]), ("real_test", test, sets[2])):
        measures, count = result[name]["measures"], len(features)
        expected = {
            "frechet": frechet_distance(real, features),
            "kernel": kernel_distance(real, features),
            **overlap(real, features, neighbours=3)._asdict(),
            "near_copies": (relative_distances(features, real) < 0.5).mean(),
        }
        for measure, value in expected.items():
            approximately = pytest.approx(value, rel=1e-4, abs=1e-6)
            assert measures[f"{measure}_vgg-small_{count}"] == approximately, measure
        log_p = predict(classify_function(classifier), images.images, batch_size=BATCH_SIZE)
        predicted = log_p.argmax(1)
        right = predicted == images.labels
        assert measures[f"acceptance_vgg-small_{count}"] == pytest.approx(right.mean())
        by_class = {
            name: right[images.labels == label].mean()
            for label, name in enumerate(("ant", "bee", "cow"))
        }
        assert result[name]["acceptance_by_class"] == pytest.approx(by_class)
        confusion = np.array(result[name]["confusion"])
        assert confusion.sum() == count
        assert confusion[0, 2] == ((images.labels == 0) & (predicted == 2)).sum()


def test_the_larger_set_is_cut_evenly_to_the_size_of_the_other(quality, run, data, generated):
    made, classifier = load_images(generated), load_classifier(run)
    by_class = [np.flatnonzero(made.labels == label) for label in range(3)]
    rows = np.concatenate([members[[0, 1, 2, 4, 5, 7, 8]] for members in by_class])  # 7 of each 10
    real, found = features_of(classifier, load_images(data)), features_of(classifier, made)
    measures = read_json(quality / "result.json")["generated"]["measures"]
    expected = frechet_distance(real, found[rows])
    assert measures["frechet_vgg-small_21"] == pytest.approx(expected, rel=1e-4)


def test_gan_train_learns_from_the_generated_images_and_is_tested_on_real_ones(quality):
    result, trained = read_json(quality / "result.json"), quality / "gan-train"
    accuracy = result["generated"]["measures"]["gan_train_vgg-small_30"]
    assert accuracy == read_json(trained / "result.json")["test_accuracy"]
    asked, evaluated = read_json(trained / "config.json"), read_json(quality / "config.json")
    assert (asked["model"], asked["width"], asked["key"]) == ("vgg-small", 0.05, 4)
    assert asked["dataset"]["train_sha256"] == evaluated["data_sha256"]["generated"]
    assert asked["dataset"]["test_sha256"] == evaluated["data_sha256"]["real_test"]
    assert evaluated["gan_train"]["train"]["batch_size"] == 12


def test_the_page_shows_the_table_the_confusion_and_the_nearest_images(quality):
    strips = assert_is_report(quality / "report.html").attributes("img")
    assert len(strips) == experiments.gan.evaluate.SHOWN_IMAGES
    page = (quality / "report.html").read_text()
    for name in ("frechet_vgg-small_30", "gan_train_vgg-small_30", "ant", "Nearest to training"):
        assert name in page
    files = {path.name for path in (quality / "figures").iterdir()}
    assert files == {"confusion.svg", "distances.svg"}
    assert "class asked for" in (quality / "figures" / "confusion.svg").read_text()


def test_the_same_command_prints_the_same_table_and_does_nothing(
    quality, words, elicit, contents, capsys
):
    before = contents(quality)
    assert elicit(*words, *TRAINING, "--out", quality) == 0
    printed = capsys.readouterr().out
    assert "complete; nothing to do" in printed
    assert re.search(r"(?m)^ +generated +real test$", printed)
    assert re.search(r"(?m)^frechet_vgg-small_30 +[\d.e-]+ *$", printed)
    assert re.search(r"(?m)^frechet_vgg-small_21 +[\d.e-]+ +[\d.e-]+$", printed)
    assert re.search(r"(?m)^acceptance_vgg-small_30 +[\d.]+% *$", printed)
    assert elicit(*words, "--out", quality) == 2
    assert "run of another configuration: gan_train was" in capsys.readouterr().err
    assert contents(quality) == before


def test_training_images_themselves_are_copies(words, data, elicit, tmp_path, capsys):
    copies = [data if word == words[3] else word for word in words]
    assert elicit(*copies, "--out", tmp_path / "copies") == 0
    result = read_json(tmp_path / "copies" / "result.json")
    measures = result["generated"]["measures"]
    assert measures["near_copies_vgg-small_48"] == 1
    assert measures["frechet_vgg-small_48"] == pytest.approx(0, abs=1e-6)
    shares = [measures[f"{name}_vgg-small_48"] for name in ("precision", "recall", "coverage")]
    assert shares == [1, 1, 1]
    assert measures["frechet_vgg-small_21"] > 0
    assert not any(name.startswith("gan_train") for name in measures)
    assert "gan_train" not in capsys.readouterr().out
    assert not (tmp_path / "copies" / "gan-train").exists()


def test_fewer_images_than_the_test_has_and_a_class_without_any(words, data, elicit, tmp_path):
    whole = load_images(data)
    rows = np.flatnonzero(whole.labels != 1)[:10]
    part = take_images(whole, rows)
    columns = {"id": part.ids, "image": part.images, "label": part.labels}
    small = write_columns(tmp_path / "few", {"train": columns})
    few = [small if word == words[3] else word for word in words]
    assert elicit(*few, "--out", tmp_path / "quality") == 0
    result = read_json(tmp_path / "quality" / "result.json")
    assert set(result["generated"]["measures"]) == names((*AS_SETS, *ONE_BY_ONE), 10)
    of_test = names((*AS_SETS, *ONE_BY_ONE), 21) | names(AS_SETS, 10)
    assert set(result["real_test"]["measures"]) == of_test
    rates = result["generated"]["acceptance_by_class"]
    assert [name for name, rate in rates.items() if rate is None] == ["bee"]
    assert result["generated"]["confusion"][1] == [0, 0, 0]
    row = r"<td[^>]*>bee</td>\s*<td[^>]*>0</td>\s*<td[^>]*>–</td>"
    assert re.search(row, (tmp_path / "quality" / "report.html").read_text())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("--images four", "classes differ.*'cow'. in the training set.*'dog'. in the generated"),
        ("--images large", r"image shapes differ: \(16, 16, 3\).*\(32, 32, 3\) in the generated"),
        ("--images fewer", "more images.*--neighbours, which is 3, got 3 in generated; give more"),
        ("--data fewer", "more images.*--neighbours, which is 3, got 3 in real_train"),
        ("--images absent", "data set's directory.*'absent'"),
        ("--images four --data four", "has 3 classes.*data set.* 4 .*'dog'"),
        ("--images large --data large", r"takes images of shape \(16, 16, 3\)"),
        ("--test-split dev", "split among.*'dev'"),
        ("--classifier plain", "plain is not a classifier's run"),
        ("--classifier callables:three", "expected a classifier's run.*callable callabl.*no"),
        ("--neighbours 0", "neighbours must be at least 1, got 0"),
        ("--key -1", "key must be at least 0.*-1"),
        ("--gan-train --batch-size 49", "generated set has 48 images, less than one batch of 49"),
        ("--gan-train --batch-size 12 --loss mixed", "loss mixed needs --replace"),
        ("--out plain", "plain is there already.*another --out"),
        ("--out run", "run holds a run of another configuration"),
    ],
)
def test_what_does_not_fit_is_refused_before_anything_is_compiled(
    change, message, check_wrong_input
):
    given = "--images data --data data --classifier run --neighbours 3"
    check_wrong_input(f"gan evaluate {given} --out new {change}", message)
