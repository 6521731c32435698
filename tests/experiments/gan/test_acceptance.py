"""Acceptance during a GAN's training: what is counted, when, and how sure it is."""

import jax
import numpy as np
import pytest

from experiments.gan.acceptance import (
    AcceptanceMeter,
    acceptance_line,
    best_epoch,
    measured,
    measured_lines,
)
from experiments.gan.selector import Classified
from gans.sampling import image_keys, load_gan, sample
from gans.selection import Predictions

KEY, IMAGES = jax.random.key(4), 7


def classes_of(images):
    """Some class, which an image's pixels decide."""
    return (images.astype(int).sum((1, 2, 3)) % 3).astype(np.int32)


def classify(images):
    certain = np.ones(len(images), np.float32)
    return Classified(Predictions(classes_of(images), certain, certain), certain > 0)


def test_it_is_the_share_of_samples_taken_for_their_class(gan):
    trained = load_gan(gan)
    meter = AcceptanceMeter(KEY, trained.spec, classify, every=1, images=IMAGES)
    found = meter.measure(trained.variables)
    for label, share in enumerate(found):
        keys = image_keys(KEY, label, np.arange(IMAGES))
        images = sample(trained, keys, np.full(IMAGES, label), batch_size=IMAGES)
        assert share == (classes_of(images) == label).mean()
    assert 0 < found.mean() < 1
    np.testing.assert_array_equal(found, meter.measure(trained.variables))


@pytest.mark.parametrize(
    ("every", "epochs", "due"),
    [(1, 3, [1, 2, 3]), (2, 5, [2, 4, 5]), (3, 6, [3, 6]), (9, 4, [4])],
)
def test_every_so_many_epochs_and_the_last_are_measured(every, epochs, due, gan):
    meter = AcceptanceMeter(KEY, load_gan(gan).spec, classify, every=every, images=1)
    assert [e for e in range(1, epochs + 1) if meter.is_due(e, epochs=epochs)] == due


SHARES = {2: [0.2, 0.6], 4: [0.9, 0.1], 6: [0.9, 0.1], 7: [0.0, 0.8]}
LINES = [
    {"stage": "gan", "epoch": 1, "step": 9},
    *(
        {"stage": "gan", "epoch": epoch, **acceptance_line(np.array(shares))}
        for epoch, shares in SHARES.items()
    ),
]


def wilson(count, images, z=1.959963985):
    """Wilson 1927: where |p̂ − p| = z √(p (1 − p) / n)."""
    roots = np.roots(
        [1 + z**2 / images, -2 * count / images - z**2 / images, (count / images) ** 2]
    )
    return sorted(roots.real)


def test_the_best_epoch_is_the_first_with_the_largest_share():
    lines = measured_lines(LINES)
    assert [line["epoch"] for line in lines] == list(SHARES)
    best = best_epoch(lines, images=20)
    assert (best.stage, best.epoch, best.share, best.images) == ("gan", 4, 0.5, 40)
    np.testing.assert_allclose([best.low, best.high], wilson(20, 40), rtol=1e-6)
    assert best.words == "50.0% [35.2%, 64.8%]"
    of_class = [best_epoch(lines, images=20, label=label) for label in range(2)]
    assert [(best.epoch, best.share, best.images) for best in of_class] == [
        (4, 0.9, 20),
        (7, 0.8, 20),
    ]
    np.testing.assert_allclose([of_class[1].low, of_class[1].high], wilson(16, 20), rtol=1e-6)


def test_an_interval_of_none_and_of_all():
    none, every = (
        measured({**LINES[1], **acceptance_line(np.full(2, share))}, images=20) for share in (0, 1)
    )
    assert none.low == 0 < none.high == pytest.approx(1 - every.low)
    np.testing.assert_allclose(none.high, wilson(0, 40)[1], rtol=1e-6)
