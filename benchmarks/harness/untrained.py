"""Untrained classifiers, random images and random targets for the benchmarks."""

import jax
import jax.numpy as jnp
import numpy as np

from train.classifiers import Classifier, ClassifierSpec

NUM_CLASSES = 10
CLASS_NAMES = tuple(map(str, range(NUM_CLASSES)))
IMAGE_SHAPE = (32, 32, 3)


def describe_classifier(
    network: str, *, width: float = 1.0, image_shape: tuple[int, int, int] = IMAGE_SHAPE
) -> ClassifierSpec:
    """Describes a classifier of ten classes; by default of images of CIFAR-10's size."""
    return ClassifierSpec(network, width, CLASS_NAMES, image_shape, (0.5,) * 3, (0.25,) * 3)


def untrained(spec: ClassifierSpec) -> Classifier:
    """Initialises a classifier."""
    network, images = spec.build(), jnp.zeros((1, *spec.image_shape))
    initialise = jax.jit(lambda key: network.init(key, images, train=False))
    return Classifier(spec, dict(initialise(jax.random.key(0))))


def random_images(count: int, image_shape: tuple[int, int, int] = IMAGE_SHAPE) -> np.ndarray:
    """8-bit images of noise."""
    return np.random.default_rng(0).integers(0, 256, (count, *image_shape), dtype=np.uint8)


def random_targets(count: int) -> np.ndarray:
    """Targets drawn evenly from all distributions over the classes."""
    return np.random.default_rng(0).dirichlet(np.ones(NUM_CLASSES), count).astype(np.float32)
