"""The laws that every pixel map and every filter keeps: they are functions of one image at a time.

Values lie off the ends, where clipping has no derivative.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

import imgopt

pytestmark = pytest.mark.usefixtures("compiled_as_users_do")

MEMBERS = {
    "arctan to weights": imgopt.arctan_map().to_weights,
    "arctan to image": imgopt.arctan_map().to_image,
    "tanh to weights": imgopt.tanh_map().to_weights,
    "tanh to image": imgopt.tanh_map().to_image,
    "sigmoid to weights": imgopt.sigmoid_map().to_weights,
    "sigmoid to image": imgopt.sigmoid_map().to_image,
    "low-pass": imgopt.low_pass(2.5),
    "Gaussian": imgopt.gaussian_low_pass(0.8),
}
SHAPE = (3, 5, 8, 2)

every_member = pytest.mark.parametrize("name", MEMBERS)


def images(dtype=np.float32):
    return jnp.asarray(np.random.default_rng(1).uniform(0.3, 0.7, SHAPE), dtype)


@every_member
def test_mapped_equals_looped(name):
    mapped = jax.vmap(MEMBERS[name])(images())
    looped = np.stack([MEMBERS[name](image) for image in images()])
    np.testing.assert_allclose(mapped, looped, rtol=1e-6, atol=1e-6)


@every_member
def test_compiled_equals_eager(name):
    compiled = jax.jit(MEMBERS[name])(images())
    np.testing.assert_allclose(compiled, MEMBERS[name](images()), rtol=1e-6, atol=1e-6)


@every_member
def test_gradient_is_the_finite_difference(name):
    with jax.enable_x64(True):
        member = jax.jit(MEMBERS[name])
        check_grads(member, (images(np.float64)[:1],), order=1, modes=["fwd", "rev"])


@every_member
def test_second_call_compiles_nothing(name, compilations):
    compiled = jax.jit(lambda values: MEMBERS[name](values))
    first, second = images(), images() / 2
    with compilations() as names:
        compiled(first).block_until_ready()
    assert len(names) == 1
    with compilations() as names:
        compiled(second).block_until_ready()
    assert not names
