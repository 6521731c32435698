"""GANs trained from arrays, saved, loaded and sampled, with the public names of `gans`."""

import jax
import numpy as np
import pytest

import gans
from experiments.cli import main
from imgopt.errors import InputError
from train import FitOptions, fit
from train.recipes.train_options import Budget

KEY, NAMES = jax.random.key(0), ("dark", "bright")
LABELS = np.arange(16) % 2
IMAGES = np.random.default_rng(0).integers(0, 120, (16, 16, 16, 1)).astype(np.uint8)
DATA = gans.GanData(IMAGES + (120 * LABELS).astype(np.uint8)[:, None, None, None], LABELS)


@pytest.fixture(scope="module")
def dcgan():
    sizes = gans.DcganConfig(image_size=16, channels=1, num_classes=2, width=2)
    learner = gans.GanLearner((gans.DcganPair(sizes),), gans.GameConfig(), 2e-4)
    for epoch in fit(KEY, learner, DATA, Budget(batch_size=8, epochs=2)):
        variables = epoch.state.variables
    return gans.Gan(gans.GanSpec("dcgan", NAMES, sizes), gans.trained_generators(variables))


@pytest.fixture(scope="module")
def stacked_gan():
    sizes = gans.StackConfig((16, 16, 1), 2, cut_points=("fc3",), encoder_width=2, width=2)
    budget, generators = Budget(batch_size=8, epochs=1), {}
    (epoch,) = fit(KEY, gans.EncoderLearner(sizes, gans.EncoderConfig()), DATA, budget)
    encoder = FitOptions(constants=epoch.state.variables)
    for number, level in enumerate(gans.stack_levels(sizes), 1):
        pair = gans.LevelPair(sizes, level, gans.LossWeights())
        learner = gans.GanLearner((pair,), gans.GameConfig(), 1e-4)
        (epoch,) = fit(jax.random.fold_in(KEY, number), learner, DATA, budget, encoder)
        generators |= gans.trained_generators(epoch.state.variables)
    return gans.Gan(gans.GanSpec("sgan", NAMES, sizes), generators)


@pytest.fixture(params=["dcgan", pytest.param("stacked_gan", marks=pytest.mark.slow)])
def gan(request):
    return request.getfixturevalue(request.param)


def test_it_is_saved_loaded_and_sampled(gan, tmp_path):
    gans.save_gan(tmp_path / "runs" / "mine", gan)
    loaded = gans.load_gan(tmp_path / "runs" / "mine")
    keys = gans.image_keys(KEY, 1, np.arange(4))
    images = gans.sample(loaded, keys, np.ones(4, int), batch_size=4)
    assert images.shape == (4, 16, 16, 1)
    assert gans.gan_digest(loaded) == gans.gan_digest(gan)
    np.testing.assert_array_equal(images, gans.sample(gan, keys, np.ones(4, int), batch_size=4))


def test_the_command_line_reads_it(dcgan, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    gans.save_gan("mine", dcgan)
    assert main(["verify", "mine"]) == 0
    words = "gan sample --gan mine --per-class 2 --batch-size 4 --out set"
    assert main(words.split()) == 0
    assert (tmp_path / "set" / "manifest.json").is_file()


def test_variables_of_another_gan_are_refused(dcgan, tmp_path):
    wrong = dcgan.spec._replace(config=gans.DcganConfig(image_size=32, channels=1, num_classes=2))
    with pytest.raises(InputError, match="different networks"):
        gans.save_gan(tmp_path / "mine", gans.Gan(wrong, dcgan.variables))
    assert not list(tmp_path.iterdir())


def test_noise_and_generator_give_the_image_of_the_key(dcgan):
    """What `sample` does for one image of a DCGAN, by hand."""
    vivid = jax.tree.map(lambda leaf: 5 * leaf, dcgan.variables["image"])
    (key,) = gans.image_keys(KEY, 1, np.arange(1))
    noise = gans.draw_dcgan_noise(key, 1, noise_dim=100)
    generator = gans.Generator(dcgan.spec.config)
    signed = jax.jit(generator.apply, static_argnames="train")(
        vivid, noise, np.array([1]), train=False
    )
    expected = gans.sample(
        dcgan._replace(variables={"image": vivid}), key[None], np.array([1]), batch_size=1
    )
    assert expected.std() > 5
    np.testing.assert_allclose(127.5 * (np.asarray(signed) + 1), expected, atol=0.51)
