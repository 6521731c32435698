"""A classifier of a user's own, which compiles in no time."""

import jax.numpy as jnp
import numpy as np

WEIGHTS = np.random.default_rng(0).normal(size=(16 * 16 * 3, 3)).astype(np.float32) / 9


def linear(images):
    return (images.reshape(len(images), -1) - 0.5) @ jnp.asarray(WEIGHTS)
