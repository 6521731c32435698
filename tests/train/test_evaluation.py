"""Evaluation: every image counts once; confusion and calibration by hand; features."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from train.evaluation import evaluate, extract_features, predict

pytestmark = pytest.mark.usefixtures("compiled_as_users_do")

# A classifier that reads its probabilities off the first three grey levels of the image.
LEVELS = np.array(
    [
        [195, 45, 10],
        [90, 80, 80],
        [10, 230, 10],
        [100, 20, 130],
        [5, 5, 240],
        [120, 125, 5],
        [83, 84, 83],
    ],
    np.uint8,
)
LABELS = np.array([0, 2, 1, 0, 2, 1, 0])
P = LEVELS / LEVELS.sum(1, keepdims=True)


def read_off(images):
    return jnp.log(images[:, 0, :3, 0])


def images():
    whole = np.zeros((7, 2, 5, 3), np.uint8)
    whole[:, 0, :3, 0] = LEVELS
    return whole


@pytest.mark.parametrize("batch_size", [1, 3, 4, 7, 500])
def test_every_image_counts_once_however_the_batches_fall(batch_size):
    result = evaluate(read_off, images(), LABELS, batch_size=batch_size)
    assert result.accuracy == pytest.approx(4 / 7)
    assert result.loss == pytest.approx(-np.log(P[np.arange(7), LABELS]).mean(), rel=1e-5)
    # Images 1, 3 and 6 are taken for 0, 2 and 1.
    assert result.confusion.tolist() == [[1, 1, 1], [0, 2, 0], [1, 0, 1]]
    np.testing.assert_allclose(
        predict(read_off, images(), batch_size=batch_size), np.log(P), atol=1e-5
    )


@pytest.mark.parametrize("batch_size", [1, 3, 500])
def test_features_are_of_every_image_however_the_batches_fall(batch_size):
    features = jax.tree_util.Partial(lambda scale, batch: scale * batch[:, 0, :3, 0], 2.0)
    found = extract_features(features, images(), batch_size=batch_size)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, LEVELS / 127.5, rtol=1e-6)


@pytest.mark.parametrize(
    ("run", "program"), [(evaluate, "_log_probabilities"), (extract_features, "_features")]
)
def test_batches_share_one_compilation(run, program, compilations):
    function = jax.tree_util.Partial(lambda batch: read_off(batch) * 2)
    with compilations() as names:
        run(function, images(), *([LABELS] if run is evaluate else []), batch_size=3)
    assert names.count(program) == 1


def test_calibration_is_as_by_hand():
    result = evaluate(read_off, images(), LABELS)
    # Confidences 0.78, 0.36, 0.92, 0.52, 0.96, 0.5 and 0.336, in fifteenths: 11.7, 5.4 and so on.
    assert result.bin_counts.tolist() == [0] * 5 + [2, 0, 2] + [0] * 3 + [1, 0, 1, 1]
    assert result.bin_accuracy[[5, 7, 11, 13, 14]].tolist() == [0, 0.5, 1, 1, 1]
    expected = [(0.36 + 0.336) / 2, (0.52 + 0.5) / 2, 0.78, 0.92, 0.96]
    np.testing.assert_allclose(result.bin_confidence[[5, 7, 11, 13, 14]], expected, atol=1e-5)
    assert np.isnan(result.bin_accuracy[0])
    assert np.isnan(result.bin_confidence[0])
    gaps = 0.696 + abs(1 - 1.02) + 0.22 + 0.08 + 0.04
    assert result.calibration_error == pytest.approx(gaps / 7, abs=1e-5)


def test_full_confidence_falls_into_the_last_bin():
    result = evaluate(lambda batch: 1000 * read_off(batch), images()[2:3], LABELS[2:3])
    assert result.bin_counts.tolist() == [0] * 14 + [1]
    assert result.calibration_error == pytest.approx(0, abs=1e-6)
