"""A classifier trained from arrays, saved, loaded and measured, with `train`'s public names."""

import jax
import numpy as np
import pytest

import train
from experiments.cli import main
from imgopt.errors import InputError


def dark_and_bright(count):
    labels = np.arange(count, dtype=np.int32) % 2
    noise = np.random.default_rng(count).integers(0, 100, (count, 16, 16, 3))
    return (noise + 130 * labels[:, None, None, None]).astype(np.uint8), labels


@pytest.fixture(scope="module")
def classifier(tiny_networks):
    images, labels = dark_and_bright(64)
    names = ("dark", "bright")
    spec = train.ClassifierSpec(
        tiny_networks[0], 1.0, names, images.shape[1:], *train.channel_statistics(images)
    )
    data = train.ImageData(images, labels, ids=tuple(map(str, range(64))), class_names=names)
    config = train.TrainConfig(batch_size=16, epochs=4)
    learner = train.ClassifierLearner(spec, config)
    for epoch in train.fit(jax.random.key(0), learner, train.original_data(data), config.budget):
        state = epoch.state
    return train.Classifier(spec, state.variables)


@pytest.mark.slow
def test_it_is_saved_loaded_and_measured(classifier, tmp_path):
    train.save_classifier(tmp_path / "runs" / "mine", classifier)
    loaded = train.load_classifier(tmp_path / "runs" / "mine")
    result = train.evaluate(train.classify_function(loaded), *dark_and_bright(20))
    assert result.accuracy == 1
    for function in (train.classify_function, train.feature_function):
        features = [train.extract_features(function(c), dark_and_bright(3)[0])
                    for c in (classifier, loaded)]  # fmt: skip
        np.testing.assert_array_equal(*features)


@pytest.mark.slow
def test_the_command_line_reads_it(classifier, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    train.save_classifier("mine", classifier)
    assert main(["verify", "mine"]) == 0
    assert main(["classifier", "evaluate", "mine", "--data", "digits"]) == 2
    assert "takes images of shape (16, 16, 3)" in capsys.readouterr().err


@pytest.mark.slow
def test_a_place_that_is_taken_and_variables_of_another_network_are_refused(classifier, tmp_path):
    train.save_classifier(tmp_path / "mine", classifier)
    with pytest.raises(InputError, match="exists already"):
        train.save_classifier(tmp_path / "mine", classifier)
    spec = classifier.spec._replace(class_names=("a", "b", "c"))
    with pytest.raises(InputError, match="different networks"):
        train.save_classifier(tmp_path / "other", train.Classifier(spec, classifier.variables))
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]
