"""GANs on the page: the ends of a way are the images of its keys, and verdicts the classifier's."""

import jax
import numpy as np
import pytest

from experiments.explore.gan_samples import SHOWN_IMAGES, WAY_IMAGES, ShownGan, interpolate
from gans.dcgan import DcganConfig
from gans.sampling import Gan, GanSpec, generator_shapes, image_keys, sample
from gans.stacked import StackConfig
from imgopt.errors import InputError

CLASSES = ("ant", "bee", "cow")

CONFIGS = {
    "one a class": ("dcgan", DcganConfig(image_size=16, noise_dim=5, width=2)),
    "conditional": ("dcgan", DcganConfig(image_size=16, noise_dim=5, width=2, num_classes=3)),
    "stacked": ("sgan", StackConfig(image_shape=(32, 32, 3), num_classes=3, width=2)),
}


def made_up(name):
    model, config = CONFIGS[name]
    random = np.random.default_rng(5)
    per_class = (3,) if name == "one a class" else ()

    def fill(path, leaf):
        shape = (*per_class, *leaf.shape)
        if path[-1].key in ("kernel", "embedding"):
            return random.normal(0, 0.3, shape).astype(np.float32)
        return np.full(shape, path[-1].key in ("scale", "var"), np.float32)

    variables = jax.tree_util.tree_map_with_path(fill, generator_shapes(config))
    return Gan(GanSpec(model, CLASSES, config), variables)


@pytest.mark.parametrize("name", CONFIGS)
def test_a_way_begins_and_ends_with_the_images_of_its_keys(name):
    gan = made_up(name)
    keys = jax.numpy.concatenate(
        [image_keys(jax.random.key(seed), 1, np.arange(1)) for seed in (3, 8)]
    )
    way = interpolate(gan, keys, 1, count=5)
    ends = sample(gan, keys, np.array([1, 1]), batch_size=2)
    # Other batch sizes may round otherwise.
    assert np.abs(way[[0, -1]].astype(int) - ends).max() <= 1
    steps = np.abs(np.diff(way.astype(int), axis=0)).sum((1, 2, 3))
    assert (steps > 0).all()


@pytest.fixture(scope="module")
def shown():
    return ShownGan("gan", made_up("one a class"))


def test_samples_are_those_of_the_command(shown):
    keys = image_keys(jax.random.key(4), 2, np.arange(SHOWN_IMAGES))
    labels = np.full(SHOWN_IMAGES, 2)
    wanted = sample(shown.gan, keys, labels, batch_size=SHOWN_IMAGES)
    found = shown.samples(4, 2, None)
    assert len(found["images"]) == len(wanted)
    assert found["images"] == shown.samples(4, 2, None)["images"]
    assert found["images"] != shown.samples(5, 2, None)["images"]
    assert not found["is_sorted"]


def test_verdicts_are_the_classifiers(shown, subject):
    found = shown.samples(0, 1, subject)
    assert found["is_sorted"]
    for image in found["images"]:
        assert image["is_tp"] == (image["predicted"] == 1)
        assert 1 / 3 <= image["confidence"] <= 1
    assert len(shown.way((0, 1), 1, subject)["images"]) == WAY_IMAGES


@pytest.mark.parametrize("label", [-1, 3])
def test_there_is_no_other_class(label, shown):
    with pytest.raises(InputError, match="0 to 2"):
        shown.samples(0, label, None)
    with pytest.raises(InputError, match="0 to 2"):
        shown.way((0, 1), label, None)


@pytest.mark.parametrize("key", [-1, 2**32])
def test_keys_have_32_bits(key, shown):
    with pytest.raises(InputError, match="key must be"):
        shown.samples(key, 0, None)
    with pytest.raises(InputError, match="key must be"):
        shown.way((0, key), 0, None)


def test_a_gan_of_other_classes_is_not_judged(shown, subject):
    spec = shown.gan.spec._replace(class_names=("ant", "bee", "dog"))
    other = ShownGan("gan", shown.gan._replace(spec=spec))
    assert not other.samples(0, 0, subject)["is_sorted"]
