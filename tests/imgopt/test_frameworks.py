"""Classifiers of all libraries, as docs/classifiers.md writes them: their own answers, never stale.

Every block of the page is run. Then the weights are changed in the way of that library's users, and
`synthesize` and `train.evaluate` have to give the answers of the new ones.
"""

import contextlib
import functools
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy.special

from imgopt import InputError, as_fixed_batch, iterate, polyak, sgd, split_classifier, synthesize
from imgopt.programs import standard_promotion
from train.evaluation import evaluate

os.environ["KERAS_BACKEND"] = "jax"

PAGE = (Path(__file__).parents[2] / "docs" / "classifiers.md").read_text()
BLOCKS = dict(
    re.findall(
        r"^## ([^\n]*)\n(?:(?!^## ).)*?^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL
    )
)
RANDOM = np.random.default_rng(3)
PIXELS = RANDOM.integers(0, 256, (3, 32, 32, 3), np.uint8)
IMAGES = PIXELS.astype(np.float32) / 255
LABELS = np.array([1, 5, 0])
TARGETS = np.full((3, 10), 0.02, np.float32)
TARGETS[np.arange(3), LABELS] = 0.82
OURS = {"_begin", "_update", "_finish", "_log_probabilities"}
"""Names of the compiled programs of `synthesize` and `evaluate`."""


class Kind(NamedTuple):
    """How a block's weights are changed, and what holds of the kind."""

    change: Callable[[dict[str, Any]], None]
    own: Callable[[dict[str, Any]], Callable] = lambda space: space["classify"]
    """The library's own answer; a jitted function gives that of its first trace."""
    atol: float = 1e-5
    is_compiled_once: bool = True


def reverse(space):
    space["kernel"] = space["kernel"][::-1]


def reverse_in_place(space):
    space["model"].kernel[:] = space["model"].kernel[::-1].copy()


def descend(params, loss):
    return jax.tree.map(lambda p, g: p - 0.02 * g, params, jax.grad(loss)(params))


def train_linen(space):
    net, variables = space["net"], space["variables"]

    def loss(params):
        return (net.apply({**variables, "params": params}, IMAGES, train=False) ** 2).sum()

    new = {**variables, "params": descend(variables["params"], loss)}
    space["classify"] = jax.tree_util.Partial(net.apply, new, train=False)


def train_nnx(space):
    from flax import nnx

    optimizer = nnx.Optimizer(space["model"], optax.adam(0.1), wrt=nnx.Param)
    gradients = nnx.grad(lambda model: (model(IMAGES) ** 2).sum())(space["model"])
    optimizer.update(space["model"], gradients)


def train_equinox(space):
    import equinox as eqx

    model = space["model"]
    gradients = eqx.filter_grad(lambda model: (jax.vmap(model)(flat(IMAGES)) ** 2).sum())(model)
    changes = jax.tree.map(lambda gradient: -0.02 * gradient, gradients)
    space["model"] = eqx.apply_updates(model, changes)


def update_equinox_state(space):
    for _ in range(2):
        _, space["state"] = space["apply"](space["model"], space["state"], jnp.asarray(3 * IMAGES))


def train_keras(space):
    import keras

    space["model"].compile(optimizer=keras.optimizers.SGD(0.1), loss="mse")
    space["model"].train_on_batch(IMAGES, np.ones((3, 10)))


def train_haiku(space):
    def loss(params):
        found, _ = space["transformed"].apply(params, space["state"], None, IMAGES, False)
        return (found**2).sum()

    space["params"] = descend(space["params"], loss)


def train_pytorch(space):
    import torch

    module = space["module"]
    optimizer = torch.optim.SGD(module.parameters(), lr=0.1)
    (module(torch.tensor(IMAGES).permute(0, 3, 1, 2)) ** 2).sum().backward()
    optimizer.step()


def pytorch_logits(space):
    module, tensor = space["module"], space["torch"].tensor
    return lambda images: module(tensor(images).permute(0, 3, 1, 2)).detach().numpy()


KINDS = {
    "A function": Kind(reverse),
    "A method of an object": Kind(reverse_in_place),
    "A jitted function": Kind(reverse, lambda space: space["classify"].__wrapped__),
    "Flax Linen": Kind(train_linen),
    "Flax NNX": Kind(train_nnx),
    "Equinox": Kind(train_equinox),
    "Equinox with state": Kind(update_equinox_state),
    "Keras": Kind(train_keras),
    "Haiku": Kind(train_haiku),
    "PyTorch": Kind(train_pytorch, pytorch_logits, is_compiled_once=False),
    "An exported function of a fixed batch size": Kind(reverse),
    "Half precision": Kind(reverse, atol=5e-3),
}


PLAIN = ("A function", "A method of an object", "A jitted function", "Flax Linen", "Flax NNX")
"""These need no promotion of types and ranks, and are passed as the page has them."""


def flat(images):
    return images.reshape(len(images), -1)


def block(title):
    """What a block of the page defines; its classifier with JAX's default promotion if needed."""
    if title == "PyTorch":
        pytest.importorskip("torch")
    space = {"__name__": "page"}
    with standard_promotion():
        exec(BLOCKS[title], space)
    if title not in PLAIN:
        space["classify"] = promoted(space["classify"])
    return space


def promoted(function):
    """Calls a function with JAX's default promotion, which many libraries need."""

    @functools.wraps(function)
    def call(images):
        with standard_promotion():
            return function(images)

    return call


def outputs_after(classify, steps):
    return synthesize(classify, IMAGES, TARGETS, steps=steps, optimizer=polyak(scale=0.5))


def assert_answers_of(classify, logits, atol=1e-5):
    """Compares `synthesize` and `evaluate` with a function's own logits; returns the outputs."""
    before, after = outputs_after(classify, 0), outputs_after(classify, 3)
    seen = np.round(np.asarray(before.images) * 255) / 255
    expected = scipy.special.softmax(np.float64(logits(np.float32(seen))), axis=1)
    np.testing.assert_allclose(before.outputs, expected, atol=atol)
    assert after.kl.mean() < before.kl.mean()
    measured = evaluate(classify, PIXELS, LABELS)
    log_p = scipy.special.log_softmax(np.float64(logits(IMAGES)), axis=1)
    assert measured.loss == pytest.approx(-log_p[np.arange(3), LABELS].mean(), abs=2 * atol)
    return before.outputs


def test_every_block_of_the_page_is_tested():
    assert set(BLOCKS) == set(KINDS)


@pytest.mark.parametrize("title", KINDS)
def test_answers_are_those_of_the_weights_of_the_moment(title, compilations):
    kind, space = KINDS[title], block(title)

    def answers():
        own = promoted(kind.own(space))
        return assert_answers_of(space["classify"], lambda x: np.asarray(own(x)), kind.atol)

    first = answers()
    with standard_promotion():
        kind.change(space)
    with compilations() as names:
        second = answers()
    assert np.abs(first - second).max() > 1e-3
    assert kind.is_compiled_once == (not OURS & set(names))


KERNEL = (RANDOM.normal(size=(32 * 32 * 3, 10)) / 50).astype(np.float32)
kernel, temperature = KERNEL, 1.0


def linear(images):
    return flat(images) @ KERNEL


def of_weights(kernel, images):
    return flat(images) @ kernel


jitted = jax.jit(functools.partial(of_weights, KERNEL))


def of_globals(scale, images):
    return flat(images) @ kernel * (scale * temperature)


def of_a_jitted_global(scale, images):
    return jitted(images) * scale


class WithJittedMethod:
    kernel = KERNEL

    @functools.partial(jax.jit, static_argnums=0)
    def logits(self, images):
        return flat(images) @ self.kernel


AFTER = {
    "kernel": -2 * KERNEL,
    "temperature": -2.0,
    "jitted": jax.jit(functools.partial(of_weights, -2 * KERNEL)),
}


@pytest.mark.parametrize(
    ("classify", "changed"),
    [
        (jax.tree_util.Partial(of_globals, np.float32(1)), "kernel"),
        (jax.tree_util.Partial(of_globals, np.float32(1)), "temperature"),
        (jax.tree_util.Partial(of_a_jitted_global, np.float32(1)), "jitted"),
        (functools.partial(of_globals, np.float32(1)), "kernel"),
        (functools.partial(of_a_jitted_global, np.float32(1)), "jitted"),
        (WithJittedMethod().logits, "kernel"),
        (as_fixed_batch(lambda images: flat(images) @ kernel, batch_size=2), "kernel"),
    ],
)
def test_what_a_function_uses_beside_its_arguments_is_never_stale(classify, changed, monkeypatch):
    assert_answers_of(classify, linear)
    monkeypatch.setitem(globals(), changed, AFTER[changed])
    monkeypatch.setattr(WithJittedMethod, "kernel", AFTER["kernel"])
    assert_answers_of(classify, lambda images: -2 * linear(images))


def test_equal_partials_share_their_lowering():
    classify = jax.tree_util.Partial(of_weights, KERNEL)
    other = jax.tree_util.Partial(of_weights, 2 * KERNEL)
    functions = {split_classifier(each, IMAGES[:1]).function for each in (classify, other)}
    assert len(functions) == 1
    assert_answers_of(classify, linear)
    assert_answers_of(other, lambda images: 2 * linear(images))


def test_weights_written_into_during_an_iteration_stay_those_of_its_beginning():
    own = KERNEL.copy()
    found = iterate(lambda images: flat(images) @ own, IMAGES, TARGETS, steps=1)
    own[:] = 0
    for result in found:
        expected = synthesize(linear, IMAGES, TARGETS, steps=int(result.steps[0])).outputs
        np.testing.assert_allclose(result.outputs, expected, atol=1e-5)


def on_host(images):
    """What the PyTorch example does, with NumPy in the place of PyTorch."""

    def logits(images):
        images = np.asarray(images)
        return images.reshape(*images.shape[:-3], -1) @ KERNEL

    def gradient(images, cotangents):
        return (np.asarray(cotangents) @ KERNEL.T).reshape(images.shape)

    @jax.custom_vjp
    def call(images):
        like = jax.ShapeDtypeStruct((len(images), 10), jnp.float32)
        return jax.pure_callback(logits, like, images, vmap_method="broadcast_all")

    def pull_back(images, change):
        like = jax.ShapeDtypeStruct(images.shape, images.dtype)
        call = functools.partial(jax.pure_callback, gradient, like, vmap_method="broadcast_all")
        return (call(images, change),)

    call.defvjp(lambda images: (call(images), images), pull_back)
    return call(images)


def keeping(images, kept=[]):  # noqa: B006
    """With a side effect, which leaves a tracer behind."""
    kept.append(images)
    return linear(images)


@pytest.mark.parametrize("classify", [on_host, keeping])
def test_unusual_functions_work(classify):
    assert_answers_of(classify, linear)


def test_a_thousand_classes():
    wide = RANDOM.normal(size=(32 * 32 * 3, 1000)).astype(np.float32) / 50
    targets = np.full((3, 1000), 0.2 / 999)
    targets[np.arange(3), [999, 0, 500]] = 0.8
    classify, options = functools.partial(of_weights, wide), {"optimizer": sgd(1)}
    before = synthesize(classify, IMAGES, targets, steps=0, **options)
    after = synthesize(classify, IMAGES, targets, steps=5, **options)
    expected = scipy.special.softmax(np.float64(flat(IMAGES) @ wide), axis=1)
    np.testing.assert_allclose(before.outputs, expected, atol=1e-4)
    assert (after.kl < before.kl).all()


@pytest.mark.parametrize("mode", [jax.disable_jit, jax.debug_nans, jax.enable_x64])
def test_modes_of_jax_change_no_answer(mode):
    options = {"steps": 1, "optimizer": sgd(0.5)}
    expected = synthesize(jax.jit(linear), IMAGES, TARGETS, **options)
    with mode(True):
        found = synthesize(jax.jit(linear), IMAGES, TARGETS, **options)
    np.testing.assert_allclose(found.images, expected.images, atol=1e-5)
    np.testing.assert_allclose(found.outputs, expected.outputs, atol=1e-4)
    assert found.images.dtype == np.float32


def linen_in_training():
    space = block("Flax Linen")
    return functools.partial(space["net"].apply, space["variables"], train=True)


def keras_after_training_mode():
    model = block("Keras")["model"]
    classify = promoted(lambda images: model(images, training=True))
    with contextlib.suppress(InputError):  # the first call may not notice what it does to the model
        synthesize(classify, IMAGES, TARGETS, steps=0)
    return classify


def keras_predict():
    return promoted(block("Keras")["model"].predict)


def nnx_dropout():
    model = block("Flax NNX")["model"]
    model.train()
    return model


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: lambda x: linear(x) if x.max() > 1 else -linear(x), "branch on their values"),
        (lambda: lambda x: np.asarray(x).reshape(len(x), -1) @ KERNEL, "nor|use NumPy"),
        (lambda: lambda x: linear(x) * float(x.mean()), "neither use NumPy"),
        (lambda: lambda x: (linear(x), x), "must return logits .* returned tuple"),
        (lambda: lambda images: undefined + images, "name 'undefined' is not defined"),
        (nnx_dropout, "evaluation mode"),
        (linen_in_training, "evaluation mode"),
        (keras_after_training_mode, "load it anew, and call it in evaluation mode"),
        (keras_predict, "neither use NumPy"),
    ],
)
def test_what_cannot_work_is_said_in_one_line(make, message, compilations):
    classify = make()
    with compilations() as names, pytest.raises(InputError, match=message) as caught:
        synthesize(classify, IMAGES, TARGETS)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500
    assert not OURS & set(names)


def test_a_fixed_batch_refuses_derivatives_with_respect_to_weights():
    def loss(kernel):
        classify = as_fixed_batch(lambda images: flat(images) @ kernel, batch_size=2)
        return classify(jnp.asarray(IMAGES)).sum()

    with pytest.raises(InputError, match="no derivative with respect to weights"):
        jax.grad(loss)(jnp.asarray(KERNEL))
    with pytest.raises(InputError, match="cannot be mapped over a classifier's weights"):
        jax.vmap(loss)(jnp.asarray(KERNEL)[None])
