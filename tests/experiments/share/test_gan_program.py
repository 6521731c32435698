"""GANs as programs of `jax.export`: they draw the images that `elicit gan sample` draws."""

import jax
import numpy as np
import pytest

from experiments.share.model import flat_params, gan_model, program
from gans.sampling import Gan, GanSpec, generator_shapes, image_keys, load_gan, sample
from gans.stacked import StackConfig
from tests.experiments.made_up_gans import write_gan, write_sampled_gan

numpy_tensors = pytest.importorskip("safetensors.numpy", reason="safetensors is not installed")
pytest.importorskip("flatbuffers", reason="flatbuffers is not installed")


def load(directory):
    content = bytearray((directory / "program.jax_export").read_bytes())
    params = numpy_tensors.load_file(directory / "params.safetensors")
    return jax.export.deserialize(content), params


@pytest.mark.parametrize("is_per_class", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_a_gan_draws_the_images_of_gan_sample(is_per_class, tmp_path, elicit):
    run, out = tmp_path / "gan", tmp_path / "out"
    write_sampled_gan(run)
    if not is_per_class:
        gan = load_gan(run)
        config = type(gan.spec.config)(**{**vars(gan.spec.config), "num_classes": 3})
        random = np.random.default_rng(0)
        write_gan(
            tmp_path / "conditional",
            config,
            gan.spec.class_names,
            lambda of: jax.tree.map(
                lambda leaf: random.uniform(0.1, 0.4, leaf.shape).astype(np.float32), of
            ),
        )
        run = tmp_path / "conditional"
    assert elicit("export", run, "--to", "jax", "--out", out) == 0
    loaded, params = load(out)
    gan = load_gan(run)
    numbers = np.arange(3, 6, dtype=np.int32)
    keys = image_keys(jax.random.key(7), 2, numbers)
    wanted = sample(gan, keys, np.full(3, 2), batch_size=3)
    found = loaded.call(params, np.uint32(7), np.int32(2), numbers)
    np.testing.assert_array_equal(found, wanted)
    assert len(np.unique(wanted)) > 1


@pytest.mark.slow
def test_a_stack_is_exported_too():
    config = StackConfig(num_classes=3, width=2)
    random = np.random.default_rng(0)
    variables = jax.tree.map(
        lambda leaf: random.uniform(0.1, 0.4, leaf.shape).astype(np.float32),
        generator_shapes(config),
    )
    gan = Gan(GanSpec("sgan", ("a", "b", "c"), config), variables)
    model = gan_model(gan)
    loaded = jax.export.deserialize(bytearray(program(model)))
    numbers = np.arange(2, dtype=np.int32)
    keys = image_keys(jax.random.key(1), 2, numbers)
    found = loaded.call(flat_params(variables), np.uint32(1), np.int32(2), numbers)
    np.testing.assert_array_equal(found, sample(gan, keys, np.full(2, 2), batch_size=2))
