"""The batch job: the same bits however the images fall into batches."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from imgopt import sgd, synthesize, synthesize_in_batches, to_float

RANDOM = np.random.default_rng(11)
IMAGES = RANDOM.integers(0, 256, (7, 5, 4, 3), np.uint8)
TARGETS = RANDOM.dirichlet(np.ones(3), 7).astype(np.float32)
KERNEL = jnp.asarray(RANDOM.normal(size=(60, 3)), jnp.float32)
ORDER = np.array([6, 2, 0, 4, 1, 5, 3])
OPTIONS = {"steps": 9, "optimizer": sgd(learning_rate=0.5)}


def classify(images):
    return jnp.tanh(2 * images - 1).reshape(len(images), -1) @ KERNEL


def job(images, targets, batch_size=4, **options):
    parts = list(
        synthesize_in_batches(classify, images, targets, batch_size=batch_size, **OPTIONS | options)
    )
    return parts, jax.tree.map(lambda *columns: np.concatenate(columns), *parts)


def assert_same_bits(found, expected):
    jax.tree.map(np.testing.assert_array_equal, found, expected)


@pytest.mark.parametrize("chosen", [*map(np.arange, range(1, 8)), ORDER, ORDER[:3], ORDER[3:]])
@pytest.mark.parametrize("tolerance", [None, 0.1])
def test_padding_splitting_and_reordering_leave_no_trace(chosen, tolerance):
    _, whole = job(IMAGES, TARGETS, tolerance=tolerance)
    parts, part = job(IMAGES[chosen], TARGETS[chosen], tolerance=tolerance)
    sizes = [len(chosen[i : i + 4]) for i in range(0, len(chosen), 4)]
    assert [len(each.images) for each in parts] == sizes
    assert_same_bits(part, jax.tree.map(lambda column: column[chosen], whole))


def test_a_batch_is_what_synthesize_makes_of_it():
    (first, _), _ = job(IMAGES, TARGETS)
    expected = synthesize(classify, to_float(IMAGES[:4]), TARGETS[:4], **OPTIONS)
    assert all(isinstance(column, np.ndarray) for column in jax.tree.leaves(first))
    assert_same_bits(first, expected)


def test_all_batches_share_one_compilation(compilations):
    with compilations() as names:
        job(IMAGES, TARGETS, batch_size=2)
    assert names.count("_update") == 1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"batch_size": 0}, "batch_size must be an integer of at least 1, got 0"),
        ({"images": IMAGES / np.float32(255)}, "images must be uint8 grey levels, got float32"),
        ({"targets": TARGETS[:5]}, r"targets must have shape \(7, .*got \(5, 3\)"),
        ({"targets": np.concatenate([TARGETS, TARGETS])}, r"shape \(7, .*got \(14, 3\)"),
        ({"targets": np.where(np.arange(7)[:, None] == 6, 2, TARGETS)}, "sum to 1; row 6"),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_wrong_input_is_refused_before_the_first_batch(changes, message):
    arguments = {"images": IMAGES, "targets": TARGETS, "batch_size": 4, **changes}
    with pytest.raises(ValueError, match=message):
        synthesize_in_batches(classify, **arguments)
