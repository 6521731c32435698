"""A Stacked GAN's encoder and levels: sizes worked out by hand, cut points, ranges."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gans.encoder import FEATURES, Encoder, feature_shapes
from gans.options.training import PRESETS
from gans.stacked import (
    Level,
    LevelDiscriminator,
    StackConfig,
    build_generator,
    draw_stack_noise,
    stack_levels,
)

pytestmark = pytest.mark.usefixtures("compiled_as_users_do")

# 5×5 convolutions 3 → 64 → 128, then 5×5×128 → 256 → 10, all with biases.
ENCODER = 25 * 3 * 64 + 64 + 25 * 64 * 128 + 128 + (5 * 5 * 128 + 1) * 256 + (256 + 1) * 10


# Two dense layers of 128 for the noise, each with batch norm.
def embedding(noise_dim):
    return noise_dim * 128 + 128 * 128 + 2 * (128 + 128)


# Batch norm of the maps with 256, 256, 128 and 128 channels; 5×5 convolutions between the last.
NORMS = 2 * (256 + 256 + 128 + 128)
MIDDLE = 25 * (256 * 128 + 128 * 128)
# Convolutions 3 → 64 → 128 → 256 down to 4×4, first bias, batch norm, dense 256, logit, guess.
IMAGE_DISCRIMINATOR = (
    25 * (3 * 64 + 64 * 128 + 128 * 256)
    + 64
    + 2 * (128 + 256)
    + (4 * 4 * 256 + 1) * 256
    + (256 + 1) * (1 + 16)
)

# Generator and discriminator of each level, from the image up.
PARAMETERS = {
    "paper": [
        (
            # The dense layer makes 5×5×256 of the noise; the 128 channels of pool2 join them.
            embedding(16)
            + 128 * 5 * 5 * 256
            + 25 * (256 + 128) * 256
            + MIDDLE
            + 25 * 128 * 3
            + 3
            + NORMS,
            IMAGE_DISCRIMINATOR,
        ),
        (
            # The dense layer makes 5×5×256 of the noise and ten classes.
            embedding(50)
            + (128 + 10) * 5 * 5 * 256
            + 25 * 256 * 256
            + MIDDLE
            + 25 * 128 * 128
            + 128
            + NORMS,
            # One convolution 128 → 64 to 3×3.
            25 * 128 * 64 + 64 + (3 * 3 * 64 + 1) * 256 + (256 + 1) * (1 + 50),
        ),
    ],
    "official": [
        (
            embedding(16)
            + (128 + 256) * 5 * 5 * 256
            + 25 * 256 * 256
            + MIDDLE
            + 25 * 128 * 3
            + 3
            + NORMS,
            IMAGE_DISCRIMINATOR,
        ),
        (
            # Noise 50 → 256, label 10 → 512, together → 512 → 512, each with batch norm, → 256.
            50 * 256
            + 10 * 512
            + (256 + 512) * 512
            + 512 * 512
            + 2 * (256 + 512 + 512 + 512)
            + (512 + 1) * 256,
            (256 + 1) * 512 + 512 * 512 + 2 * 512 + (512 + 1) * (1 + 50),
        ),
    ],
}

SMALL = {"image_shape": (16, 20, 2), "num_classes": 3, "encoder_width": 2, "width": 4}
STACKS = [("pool2",), ("fc3",), ("pool2", "fc3"), ("pool1", "pool2", "fc3"), ("pool1",)]


def inputs(level, count=3):
    condition = jnp.ones((count, *level.condition_shape))
    return condition, draw_stack_noise(jax.random.key(0), count, noise_dim=level.noise_dim)


def start(level, width, dtype=jnp.float32):
    """Outputs of generator and discriminator, with the variables of both."""

    def run(key):
        generator = build_generator(level, width=width, dtype=dtype)
        made, variables = generator.init_with_output(key, *inputs(level), train=True)
        discriminator = LevelDiscriminator(level, width=width, dtype=dtype)
        output, others = discriminator.init_with_output(key, made, train=True)
        return made, output, variables, others

    return run


def count(variables):
    return sum(leaf.size for leaf in jax.tree.leaves(variables["params"]))


@pytest.mark.parametrize("preset", PRESETS)
def test_number_of_parameters(preset):
    config = StackConfig(cut_points=PRESETS[preset])
    levels = stack_levels(config)
    assert len(levels) == len(PARAMETERS[preset]) == 2
    for level, expected in zip(levels, PARAMETERS[preset], strict=True):
        _, _, *variables = jax.eval_shape(start(level, config.width), jax.random.key(0))
        assert tuple(map(count, variables)) == expected
        assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {np.dtype(np.float32)}


def test_the_presets_levels():
    shapes = {"image": (32, 32, 3), "pool2": (5, 5, 128), "fc3": (256,), "label": (10,)}
    for preset, (cut,) in {"paper": ("pool2",), "official": ("fc3",)}.items():
        found = stack_levels(StackConfig(cut_points=PRESETS[preset]))
        assert found == (
            Level("image", cut, shapes["image"], shapes[cut], (5, 5), 16),
            Level(cut, "label", shapes[cut], shapes["label"], (5, 5), 50),
        )


@pytest.mark.parametrize("cut_points", STACKS)
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_levels_fit_on_each_other(cut_points, dtype):
    config = StackConfig(cut_points=cut_points, **SMALL)
    levels = stack_levels(config)
    assert [level.target for level in levels] == ["image", *cut_points]
    assert [level.condition for level in levels] == [*cut_points, "label"]
    assert [level.noise_dim for level in levels] == [16] + [50] * len(cut_points)
    for level in levels:
        made, output, *_ = jax.eval_shape(
            start(level, config.width, dtype=dtype), jax.random.key(0)
        )
        assert made.shape == (3, *level.target_shape)
        assert output.logits.shape == (3,)
        assert output.noise_guess.shape == (3, level.noise_dim)
        assert {leaf.dtype for leaf in (made, *output)} == {np.dtype(np.float32)}


def test_encoder_is_pytorchs_layers_in_this_order(vectors):
    images = jnp.asarray(vectors["conv_k5_valid_input"], jnp.float32)
    encoder = Encoder(num_classes=10)
    shapes = jax.eval_shape(encoder.init, jax.random.key(0), images)
    assert count(shapes) == ENCODER
    kernel = jnp.asarray(vectors["conv_k5_valid_kernel"], jnp.float32)
    params = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape), shapes["params"])
    padded = params["conv1"]["kernel"].at[..., : kernel.shape[-1]].set(kernel)
    params = {**params, "conv1": {**params["conv1"], "kernel": padded}}
    found = jax.jit(encoder.apply)({"params": params}, images)
    output = vectors["conv_k5_valid_output"]
    expected = np.maximum(output.reshape(2, 14, 2, 14, 2, -1).max((2, 4)), 0)
    np.testing.assert_allclose(
        found["pool1"][..., : kernel.shape[-1]], expected, rtol=1e-6, atol=1e-5
    )
    shapes = feature_shapes((32, 32, 3), num_classes=10)
    assert {name: array.shape[1:] for name, array in found.items()} == shapes
    assert list(shapes) == list(FEATURES)


def test_a_stretch_of_the_encoder_gives_what_the_whole_gives():
    encoder = Encoder(num_classes=3, width=2)
    images = jax.random.normal(jax.random.key(1), (2, 16, 20, 1))
    variables = jax.jit(encoder.init)(jax.random.key(0, impl="rbg"), images)

    @jax.jit
    def run():
        whole = encoder.apply(variables, images)
        return whole, [encoder.apply(variables, whole[name], start=name) for name in FEATURES]

    whole, stretches = run()
    assert {name: array.shape[1:] for name, array in whole.items()} == feature_shapes(
        (16, 20, 1), num_classes=3, width=2
    )
    for index, stretch in enumerate(stretches):
        assert set(stretch) == set(FEATURES[index:])
        np.testing.assert_allclose(stretch["label"], whole["label"], atol=1e-5)


def drawn(level):
    """A generator's variables of any value, without compiling an initialisation."""
    random = np.random.default_rng(0)
    shapes = jax.eval_shape(start(level, 4), jax.random.key(0))[2]
    drawn = jax.tree.map(lambda leaf: random.normal(size=leaf.shape).astype(np.float32) / 5, shapes)
    return {**drawn, "batch_stats": jax.tree.map(np.square, drawn["batch_stats"])}


def test_images_stay_between_minus_one_and_one_and_features_at_least_zero():
    for level in stack_levels(StackConfig(cut_points=("pool2",), **SMALL)):
        generator, variables = build_generator(level, width=4), drawn(level)
        condition, noise = inputs(level)
        run = jax.jit(lambda *a, g=generator, v=variables: g.apply(v, *a, train=False))
        made = run(1e7 * condition, noise)
        assert made.min() >= (-1 if level.target == "image" else 0)
        assert made.max() <= (1 if level.target == "image" else np.inf)
        assert made.max() > 0.5
        for other in (run(0 * condition, noise), run(1e7 * condition, 1e7 * noise)):
            assert (np.asarray(made) != np.asarray(other)).any((1, 2, 3)).all()


def test_noise_is_uniform_between_zero_and_one():
    noise = draw_stack_noise(jax.random.key(0), 500, noise_dim=50)
    assert noise.shape == (500, 50)
    assert 0 <= noise.min() < noise.max() < 1
    np.testing.assert_allclose([noise.mean(), noise.var()], [0.5, 1 / 12], atol=0.01)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"cut_points": ("pool2", "pool3")}, "unknown cut points pool3; expected some of pool1, "),
        ({"cut_points": ("label",)}, "unknown cut points label"),
        ({"cut_points": ()}, r"one or more of .* got \(\)"),
        ({"cut_points": ("fc3", "pool2")}, r"in this order; got \('fc3', 'pool2'\)"),
        ({"cut_points": ("fc3", "fc3")}, "each once"),
        ({"image_shape": (30, 32, 3)}, "16, 20, 24, 28, 32 or .* got 30×32"),
        ({"image_shape": (32, 33, 3)}, "got 32×33"),
        ({"image_shape": (16, 12, 3)}, "got 16×12"),
        ({"image_shape": (4, 32, 3)}, "got 4×32"),
        ({"image_shape": (32, 32, 0)}, "at least 1, got 64 and 0"),
        ({"num_classes": 1}, "at least 2 classes, got 1"),
        ({"encoder_width": 0}, "at least 1, got 0 and 3"),
        ({"width": 0}, "width must be at least 1, got 0"),
        ({"top_noise_dim": 0}, "top_noise_dim must be at least 1, got 0"),
    ],
)
def test_stacks_that_cannot_be_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        StackConfig(**options)


@pytest.mark.usefixtures("unchecked")
def test_shapes_that_are_not_the_levels_are_refused():
    bottom, _ = stack_levels(StackConfig(cut_points=("fc3",), **SMALL))
    generator, discriminator = build_generator(bottom, width=4), LevelDiscriminator(bottom, width=4)
    key, (condition, noise) = jax.random.key(0), inputs(bottom)
    for call, message in [
        (lambda: generator.init(key, noise, noise, train=True), r"fc3 .* \(n, 8\), got \(3, 16\)"),
        (lambda: generator.init(key, condition, condition, train=True), r"noise .* got \(3, 8\)"),
        (lambda: generator.init(key, condition, noise[:1], train=True), "each of 3 .* got 1"),
        (lambda: discriminator.init(key, condition, train=True), r"\(n, 16, 20, 2\), got \(3, 8\)"),
        (lambda: Encoder(3).init(key, condition, start="fc4"), "unknown feature 'fc4'"),
    ]:
        with pytest.raises(ValueError, match=message):
            call()
