"""PyTorch's networks, filled with the variables of Elicit's, give the same results."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

torch = pytest.importorskip("torch")

from harness import jobs  # noqa: E402 - after the skip
from harness.job_table import JOBS  # noqa: E402
from harness.jobs import Case  # noqa: E402
from peers import classifiers, networks, peer_table  # noqa: E402
from peers.pytorch import EAGER  # noqa: E402

import gans  # noqa: E402
from gans.pairs import build_encoder  # noqa: E402
from train.augmentation import flip_and_crop  # noqa: E402
from train.models.networks import NETWORKS, build_network  # noqa: E402
from train.recipes.train_options import TrainConfig  # noqa: E402

# PyTorch's own code raises it.
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning")]


def perturbed(variables):
    """Variables without zeros and ones, which would hide a bias or a mean in the wrong place."""
    random = np.random.default_rng(0)
    return jax.tree.map(
        lambda leaf: np.float32(leaf + random.uniform(0.01, 0.1, leaf.shape)),
        jax.device_get(dict(variables)),
    )


def maps(array):
    return torch.tensor(np.asarray(array)).permute(0, 3, 1, 2)


def assert_close(found, wanted, tolerance=1e-4):
    scale = np.abs(np.asarray(wanted)).max()
    np.testing.assert_allclose(
        found.detach().numpy() / scale, np.asarray(wanted) / scale, atol=tolerance
    )


@pytest.mark.parametrize("name", ["vgg16", "vgg-small", "kono-cnn"])
@pytest.mark.parametrize("train", [False, True])
def test_classifiers_give_the_same_logits(name, train):
    network = build_network(name, num_classes=7, width=1 / 16)
    images = jax.random.normal(jax.random.key(0), (3, 32, 64, 3))
    variables = perturbed(network.init(jax.random.key(1), images, train=False))
    wanted = network.apply(
        variables, images, train=train, mutable=["batch_stats"] if train else False
    )
    wanted = wanted[0] if train else wanted
    peer = networks.classifier(NETWORKS[name].layout, variables, image_size=(32, 64))
    assert_close(peer.train(train)(maps(images)), wanted)


@pytest.mark.parametrize("classes", [None, 4])
def test_dcgans_give_the_same_images_and_logits(classes):
    config = gans.DcganConfig(image_size=16, num_classes=classes, width=3, noise_dim=9)
    pair = gans.DcganPair(config)
    made, judged = map(perturbed, pair.initial(jax.random.key(0)))
    noise = pair.draw_noise(jax.random.key(1), 5)
    labels = None if classes is None else jnp.array([0, 3, 1, 1, 2])
    images, _ = pair.generate(made, labels, noise)
    output, _ = pair.discriminate(jax.random.key(2), judged, images, labels)
    condition = None if labels is None else torch.tensor(np.asarray(labels))
    peer = networks.Generator(made, image_size=16)
    assert_close(peer(condition, torch.tensor(np.asarray(noise))).permute(0, 2, 3, 1), images)
    logits, guess = networks.Discriminator(judged, image_size=16)(maps(images), condition)
    assert_close(logits, output.logits)
    assert guess is None


def test_a_stack_s_level_of_images_gives_the_same():
    config = gans.StackConfig(width=4, encoder_width=3)
    level = gans.stack_levels(config)[0]
    pair = gans.LevelPair(config, level, gans.LossWeights())
    made, judged = map(perturbed, pair.initial(jax.random.key(0)))
    encoder = build_encoder(config)
    seen = jax.random.normal(jax.random.key(3), (5, 32, 32, 3))
    variables = perturbed(encoder.init(jax.random.key(4), seen))
    condition = encoder.apply(variables, seen)["pool2"]
    peer = networks.encoder_to_pool2(variables["params"])
    assert_close(peer(maps(seen)).permute(0, 2, 3, 1), condition)
    noise = pair.draw_noise(jax.random.key(1), 5)
    images, _ = pair.generate(made, condition, noise)
    peer = networks.LevelGenerator(made, start_side=level.start_size[0])
    assert_close(peer(maps(condition), torch.tensor(np.asarray(noise))).permute(0, 2, 3, 1), images)
    output, _ = pair.discriminate(jax.random.key(2), judged, images, condition)
    peer = networks.LevelDiscriminator(judged, map_size=(4, 4))
    logits, guess = peer(maps(images), maps(condition))
    assert_close(logits, output.logits)
    assert_close(guess, output.noise_guess)


@pytest.mark.parametrize("job", ["synthesis-step", "synthesis"])
def test_synthesis_ends_with_the_same_outputs(tiny, job):
    prepared = JOBS[job].prepare(Case(job, tiny[0], 3, images=5))
    found, wanted = peer_table.start(prepared, EAGER)(), prepared.start()()
    assert found.shape == wanted.shape
    np.testing.assert_allclose(found, wanted, atol=1e-4)


def test_crops_are_those_that_ours_can_give():
    image = np.arange(6 * 8 * 2, dtype=np.uint8).reshape(1, 6, 8, 2)
    cut = jax.jit(lambda key: flip_and_crop(key, jnp.asarray(image), flip=True, pad_px=1))
    wanted = {cut(jax.random.key(i)).tobytes() for i in range(200)}
    many = torch.tensor(np.repeat(image, 200, axis=0))
    found = {each.numpy().tobytes() for each in classifiers.flip_and_crop(many, pad_px=1)}
    assert found == wanted
    assert len(found) == 2 * 9


def test_the_learning_rate_equals_ours():
    config = TrainConfig(warmup_fraction=0.2)
    ours = optax.warmup_cosine_decay_schedule(0.0, 1.0, 6, 30)
    for step in range(30):
        factor = classifiers.rate_factor(config, 30, step)
        assert factor == pytest.approx(float(ours(step)), abs=1e-6)


@pytest.mark.parametrize(
    "job", ["training-step", "dcgan-step", "dcgan-per-class-step", "sgan-step"]
)
def test_trainings_run_and_move_their_networks(tiny, monkeypatch, job):
    if job != "training-step":
        monkeypatch.setattr(jobs.gans, "DcganConfig", small_dcgan)
        monkeypatch.setattr(jobs.gans, "StackConfig", small_stack)
    prepared = JOBS[job].prepare(Case(job, tiny[0], 2))
    parameters = []
    original = torch.optim.Optimizer.add_param_group

    def record(self, group):
        original(self, group)
        parameters.extend(self.param_groups[-1]["params"])

    monkeypatch.setattr(torch.optim.Optimizer, "add_param_group", record)
    call = peer_table.start(prepared, EAGER)
    before = [parameter.detach().clone() for parameter in parameters]
    call()
    assert all(torch.isfinite(parameter).all() for parameter in parameters)
    moved = [not torch.equal(now, then) for now, then in zip(parameters, before, strict=True)]
    assert all(moved)


def small_dcgan(**options):
    return gans.dcgan.DcganConfig(width=2, **options)


def small_stack():
    return gans.stacked.StackConfig(width=4, encoder_width=2)


def test_every_job_has_a_peer():
    assert set(peer_table.PEERS) == set(JOBS)
