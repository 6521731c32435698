"""Linen modules of a user's: made by name or place, called in one way, refused with a reason."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from imgopt.errors import InputError
from train.models.linen import TRAINING_FLAGS, Network, make_module
from train.models.networks import (
    NETWORKS,
    build_network,
    check_image_shape,
    register_network,
)

SHAPE = (4, 6, 3)
MODULES = """
import flax.linen as nn
import jax
import jax.numpy as jnp


class Mlp(nn.Module):
    num_classes: int
    hidden: int = 5

    @nn.compact
    def __call__(self, images, train):
        x = nn.relu(nn.Dense(self.hidden)(images.reshape(len(images), -1)))
        return nn.Dense(self.num_classes)(nn.Dropout(0.5, deterministic=not train)(x))


class Outer:
    Inner = Mlp


class Tuple(Mlp):
    @nn.compact
    def __call__(self, images, train):
        return images.sum((1, 2)), images


class Growing(nn.Module):
    classes: int

    @nn.compact
    def __call__(self, images):
        seen = self.variable("state", "seen", lambda: jnp.zeros(1))
        if not self.is_initializing():
            seen.value = jnp.zeros(len(images))
        return nn.Dense(self.classes)(images.reshape(len(images), -1))


three = Mlp(3)
number = 7


def of(k):
    return Mlp(k, hidden=2)


def many(depth, size):
    return Mlp(depth)


def broken(num_classes):
    raise RuntimeError("no licence")


def other(num_classes):
    return jax.nn.relu


def wrong(num_classes):
    return Mlp(num_classes + 1)


def deep(num_classes):
    return nn.Sequential([nn.Conv(2, (9, 9), padding="VALID"), nn.Dense(num_classes)])
"""


@pytest.fixture
def own(tmp_path, monkeypatch):
    """A module of the user's in the working directory."""
    (tmp_path / "own_networks.py").write_text(MODULES)
    (tmp_path / "misspelt.py").write_text("class Net(:\n")
    (tmp_path / "train.py").write_text("net = 3\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.dont_write_bytecode", True)
    yield "own_networks"
    monkeypatch.delitem(__import__("sys").modules, "own_networks", raising=False)


@pytest.mark.parametrize("name", ["Mlp", "Outer.Inner", "three", "of"])
def test_a_module_a_class_and_a_function_make_a_network(own, name):
    network = build_network(f"{own}:{name}", num_classes=3)
    check_image_shape(f"{own}:{name}", SHAPE, num_classes=3)
    variables = network.init(jax.random.key(0), jnp.zeros((1, *SHAPE)))
    images = jnp.asarray(np.random.default_rng(0).normal(size=(2, *SHAPE)), jnp.float32)
    logits = network.apply(variables, images, train=False)
    assert logits.shape == (2, 3)
    dropped = network.apply(variables, images, train=True, rngs=jax.random.key(1))
    assert (dropped != logits).any()
    features = network.apply(variables, images, train=False, features=True)
    last = variables["params"]["Dense_1"]
    np.testing.assert_allclose(features @ last["kernel"] + last["bias"][None], logits, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("absent", "cannot import network '.*absent': AttributeError.*looked for in the working"),
        ("number", "must be a Flax Linen module, its class or a function.*got int"),
        ("three", r"logits of shape \(2, 4\) for 2 images of 4 classes, got \(2, 3\)"),
        ("wrong", r"logits of shape \(2, 4\) for 2 images of 4 classes, got \(2, 5\)"),
        ("many", r"a parameter num_classes, or a single required one, got \['depth', 'size'\]"),
        ("broken", "cannot be made with .*RuntimeError: no licence"),
        ("other", "must be a Flax Linen module .*, got "),
        ("Tuple", r"cannot take images of shape \(4, 6, 3\): "),
        ("deep", r"logits of shape \(2, 4\) for 2 images of 4 classes, got \(2, 0, 0, 4\)"),
        ("Growing", "other variables that keep their shapes in training, got .*'state'"),
    ],
)
def test_what_is_no_network_is_refused(own, name, message):
    with pytest.raises(InputError, match=message):
        check_image_shape(f"{own}:{name}", SHAPE, num_classes=4)


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ("misspelt:Net", "cannot import network 'misspelt:Net': SyntaxError"),
        ("nowhere:Net", "ModuleNotFoundError: No module named 'nowhere'; it is looked for in the"),
        ("train:net", "train is a package of Elicit, which hides a module of yours of that name"),
    ],
)
def test_a_module_that_cannot_be_imported_is_refused(own, place, message):
    assert own
    with pytest.raises(InputError, match=message):
        build_network(place, num_classes=3)


@pytest.mark.parametrize(("options", "flag"), [({"width": 0.5}, "width"), ({}, "precision")])
@pytest.mark.parametrize("name", ["Mlp", "three", "of"])
def test_an_option_that_a_network_does_not_take_is_refused(own, name, options, flag):
    options = options or {"dtype": jnp.bfloat16}
    with pytest.raises(InputError, match=f"takes no .*leave --{flag} at its default"):
        build_network(f"{own}:{name}", num_classes=3, **options)


class Precise(nn.Module):
    """Takes all options, and says which it was given."""

    num_classes: int = 0
    width: float = 1.0
    dtype: type = jnp.float32

    @nn.compact
    def __call__(self, images):
        return nn.Dense(self.num_classes, dtype=self.dtype)(images.mean((1, 2)).astype(self.dtype))


def test_options_reach_the_module():
    made = make_module(Precise, "mine", num_classes=3, width=0.5, dtype=jnp.bfloat16)
    assert (made.num_classes, made.width, made.dtype) == (3, 0.5, jnp.bfloat16)
    same = make_module(Precise(4), "mine", num_classes=4, width=1.0, dtype=jnp.bfloat16)
    assert (same.num_classes, same.dtype) == (4, jnp.bfloat16)
    network = Network("mine", same)
    variables = jax.eval_shape(network.init, jax.random.key(0), jnp.zeros((2, *SHAPE)))
    logits = jax.eval_shape(
        lambda v: network.apply(v, jnp.zeros((2, *SHAPE)), train=True), variables
    )
    assert logits.dtype == jnp.float32


@pytest.mark.parametrize(("name", "in_training"), TRAINING_FLAGS.items())
@pytest.mark.parametrize("train", [False, True])
def test_the_flag_of_training_mode_has_any_usual_name(name, in_training, train):
    given = []

    class Flagged(nn.Module):
        pass

    source = f"def call(self, images, *, {name}):\n    given.append({name})\n    return images\n"
    scope = {"given": given}
    exec(source, scope)
    Flagged.__call__ = scope["call"]
    Network("flagged", Flagged()).apply({}, jnp.zeros((1, 2, 2, 1)), train=train)
    assert given == [train == in_training]


def test_a_registered_name_builds_and_stays_what_it_is(monkeypatch):
    monkeypatch.setattr("train.models.networks.NETWORKS", networks := dict(NETWORKS))
    register_network("mine", Precise)
    register_network("mine", Precise)
    assert isinstance(build_network("mine", num_classes=2).module, Precise)
    assert "mine" in networks
    for name, make in (("mine", nn.Dense), ("vgg16", Precise), ("a:b", Precise)):
        with pytest.raises(InputError, match=f"new name without a colon.*got '{name}'"):
            register_network(name, make)
