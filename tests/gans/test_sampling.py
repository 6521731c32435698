"""Sampling: every image of its own key and label alone, and runs that tell whether they are whole.

The variables are drawn by NumPy in the shapes that the modules ask for; nothing is trained.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gans import dcgan, stacked
from gans.dcgan import DcganConfig
from gans.sampling import (
    GENERATOR,
    SPEC_FILE,
    Gan,
    GanSpec,
    expected_variables,
    gan_digest,
    generate,
    image_keys,
    load_gan,
    sample,
)
from gans.stacked import StackConfig, build_generator, stack_levels
from imgopt.errors import InputError
from train.storage.checkpoints import save_checkpoint
from train.storage.runs import as_json
from train.storage.strict_json import write_json

CLASSES = ("ant", "bee", "hot dog")

WIDTH = 6
"""Width of a stack's generators: with fewer channels, all features of an image may be 0."""

DCGAN = DcganConfig(image_size=16, channels=2, num_classes=3, noise_dim=5, label_dim=4, width=2)
STACK = StackConfig(image_shape=(16, 20, 2), num_classes=3, encoder_width=4, width=WIDTH)
CUT_POINTS = {2: ("pool2",), 3: ("pool2", "fc3"), 4: ("pool1", "pool2", "fc3")}

SPECS = {
    "dcgan": GanSpec("dcgan", CLASSES, DCGAN),
    "dcgan per class": GanSpec("dcgan", CLASSES, dataclasses.replace(DCGAN, num_classes=None)),
    **{
        f"sgan of {levels} levels": GanSpec(
            "sgan", CLASSES, dataclasses.replace(STACK, cut_points=cut_points)
        )
        for levels, cut_points in CUT_POINTS.items()
    },
}
SHAPES = {"dcgan": (16, 16, 2), "sgan": (16, 20, 2)}


def draw_variables(spec, seed=1):
    """Draws variables large enough that images are neither grey nor black and white."""
    random = np.random.default_rng(seed)

    def draw(path, leaf):
        name, shape = path[-1].key, leaf.shape
        if name == "bias":  # above 0: features are not all 0 after the last ReLU
            return jnp.asarray(random.uniform(0, 0.5, shape), jnp.float32)
        if name in ("scale", "var"):
            return jnp.asarray(random.uniform(0.5, 1.5, shape), jnp.float32)
        inputs = np.prod(shape[1 if spec.is_per_class else 0 : -1])
        deviations = {"kernel": np.sqrt(2 / inputs), "embedding": 1.0}
        return jnp.asarray(random.normal(0, deviations.get(name, 0.2), shape), jnp.float32)

    return jax.tree_util.tree_map_with_path(draw, expected_variables(spec))


@pytest.fixture(scope="module")
def gans():
    return {name: Gan(spec, draw_variables(spec)) for name, spec in SPECS.items()}


@pytest.fixture(params=SPECS)
def gan(request, gans):
    return gans[request.param]


LABELS = np.array([2, 0, 0, 1, 2, 1, 0], np.int32)
KEYS = jax.random.split(jax.random.key(5), len(LABELS))


def made_by(gan, rows, batch_size=3):
    rows = np.asarray(rows)
    return sample(gan, KEYS[rows], LABELS[rows], batch_size=batch_size)


def save(gan, run):
    run.mkdir(parents=True)
    write_json(run / SPEC_FILE, as_json(gan.spec._asdict()))
    save_checkpoint(run / GENERATOR, 3, gan.variables)
    return run


# ---- samples


def test_an_image_depends_on_its_own_key_and_label_alone(gan):
    """On its place, its neighbours and how many they are it doesn't."""
    images = made_by(gan, range(7))
    assert images.dtype == np.uint8
    assert images.shape == (7, *SHAPES[gan.spec.model])
    assert len({image.tobytes() for image in images}) == 7
    order = np.array([4, 6, 1, 0, 3, 5, 2])
    np.testing.assert_array_equal(made_by(gan, order), images[order])
    for rows in ([5], [1, 2], [0, 3, 6]):
        np.testing.assert_array_equal(made_by(gan, rows), images[rows])


@pytest.mark.parametrize("name", ["dcgan", "sgan of 2 levels"])
@pytest.mark.parametrize("batch_size", [1, 8])
def test_the_size_of_the_batches_is_seen_in_rounding_at_most(name, batch_size, gans):
    """A batch of another size is another program; in float32 its last bits may differ."""
    found, wanted = (made_by(gans[name], range(7), size).astype(int) for size in (batch_size, 3))
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1)
    assert (found != wanted).mean() < 1e-3


def test_both_key_and_label_count(gan):
    images = made_by(gan, range(7))
    others = [
        sample(gan, KEYS[::-1], LABELS, batch_size=3),
        sample(gan, KEYS, (LABELS + 1) % 3, batch_size=3),
    ]
    assert all((other != images).any((1, 2, 3)).mean() > 0.5 for other in others)


def to_grey_levels(images):
    return np.rint((np.asarray(images, np.float64) + 1) * 255 / 2)


def test_samples_of_a_dcgan_are_what_its_generator_makes(gans):
    gan = gans["dcgan"]
    noise = jnp.stack([jax.random.uniform(key, (1, 5), minval=-1.0)[0] for key in KEYS])
    apply = jax.jit(dcgan.Generator(DCGAN).apply, static_argnames="train")
    images = apply(gan.variables["image"], noise, LABELS, train=False)
    np.testing.assert_allclose(made_by(gan, range(7)), to_grey_levels(images), rtol=0, atol=1)


def test_a_gan_of_one_class_is_applied_with_its_own_variables(gans):
    gan = gans["dcgan per class"]
    network = dcgan.Generator(gan.spec.config)
    apply = jax.jit(network.apply, static_argnames="train")
    for row, label in enumerate(LABELS[:4]):
        own = jax.tree.map(lambda leaf, label=label: leaf[label], gan.variables["image"])
        noise = jax.random.uniform(KEYS[row], (1, 5), minval=-1.0)
        image = apply(own, noise, None, train=False)
        np.testing.assert_allclose(made_by(gan, [row]), to_grey_levels(image), rtol=0, atol=1)


def test_samples_of_a_stack_go_down_its_levels(gans):
    gan = gans["sgan of 4 levels"]
    levels = stack_levels(gan.spec.config)
    assert [level.target for level in levels] == ["image", "pool1", "pool2", "fc3"]
    features = jnp.eye(3)[LABELS]
    for index in (3, 2, 1, 0):
        level = levels[index]
        noise = jnp.stack(
            [
                stacked.draw_stack_noise(
                    jax.random.fold_in(key, index), 1, noise_dim=50 if index else 16
                )[0]
                for key in KEYS
            ]
        )
        apply = jax.jit(build_generator(level, width=WIDTH).apply, static_argnames="train")
        features = apply(gan.variables[level.target], features, noise, train=False)
    np.testing.assert_allclose(made_by(gan, range(7)), to_grey_levels(features), rtol=0, atol=1)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("keys", [KEYS[:3], KEYS[0], KEYS[:0]], ids=["fewer", "one", "none"])
def test_an_image_without_a_key_of_its_own_is_refused(keys, gan):
    with pytest.raises(InputError, match=r"expected (a key for each of 7 labels|an array of keys)"):
        sample(gan, keys, LABELS, batch_size=3)


@pytest.mark.usefixtures("unchecked")
def test_keys_of_the_old_style_draw_the_same_images(gans):
    old = image_keys(jax.random.PRNGKey(5), 1, np.arange(3))
    typed = image_keys(jax.random.key(5), 1, np.arange(3))
    found = sample(gans["dcgan"], jax.random.key_data(typed), LABELS[:3], batch_size=3)
    for keys in (old, typed):
        np.testing.assert_array_equal(sample(gans["dcgan"], keys, LABELS[:3], batch_size=3), found)


@pytest.mark.parametrize("name", ["dcgan", "sgan of 2 levels"])
def test_a_label_outside_gives_no_image_of_another_class(name, gans):
    """Where it cannot be refused, within a compiled function."""
    gan = gans[name]
    labels = jnp.array([0, -1, 1])
    _, is_finite = generate(gan.spec.config, gan.variables, KEYS[:3], labels)
    assert not is_finite


@pytest.mark.parametrize("name", ["dcgan", "dcgan per class", "sgan of 2 levels"])
def test_nothing_is_made_of_nothing(name, gans):
    images = sample(gans[name], KEYS[:0], LABELS[:0])
    assert images.shape == (0, *SHAPES[gans[name].spec.model])


@pytest.mark.parametrize(("labels", "got"), [([0, 3], "3 at position 1"), ([-1, 2], "-1")])
def test_labels_outside_the_classes_are_refused(labels, got, gan):
    with pytest.raises(ValueError, match=rf"labels must be in \[0, 3\), got {got}"):
        sample(gan, KEYS[:2], np.array(labels))


@pytest.mark.parametrize("name", ["dcgan", "sgan of 2 levels"])
def test_images_that_are_not_finite_are_refused(name, gans):
    broken = jax.tree.map(lambda leaf: leaf * jnp.nan, gans[name].variables)
    with pytest.raises(FloatingPointError, match="lower --learning-rate"):
        made_by(Gan(gans[name].spec, broken), range(2))


# ---- keys


def test_keys_are_folded_from_label_and_number():
    key = jax.random.key(9)
    keys = jax.random.key_data(image_keys(key, 2, np.array([4, 0, 7])))
    for own, number in zip(keys, (4, 0, 7), strict=True):
        wanted = jax.random.fold_in(jax.random.fold_in(key, 2), number)
        np.testing.assert_array_equal(own, jax.random.key_data(wanted))


# ---- runs


def test_a_saved_gan_is_loaded_as_it_was(gan, tmp_path):
    again = load_gan(save(gan, tmp_path / "run"))
    assert again.spec == gan.spec
    assert hash(again.spec) == hash(gan.spec)  # a list among the sizes would have none
    assert gan_digest(again) == gan_digest(gan)
    found, wanted = (jax.tree_util.tree_leaves_with_path(g.variables) for g in (again, gan))
    for (path, leaf), (wanted_path, wanted_leaf) in zip(found, wanted, strict=True):
        assert jax.tree_util.keystr(path) == jax.tree_util.keystr(wanted_path)
        np.testing.assert_array_equal(leaf, wanted_leaf)


def test_what_a_spec_says(gans):
    for name, gan in gans.items():
        assert gan.spec.num_classes == 3
        assert gan.spec.is_per_class == (name == "dcgan per class")
        assert gan.spec.image_shape == SHAPES[gan.spec.model]


def test_the_digest_knows_every_variable_and_the_classes(gans):
    gan = gans["dcgan"]
    leaves, tree = jax.tree.flatten(gan.variables)
    digests = {gan_digest(gan)}
    for index, leaf in enumerate(leaves):
        changed = [*leaves]
        changed[index] = leaf.at[(0,) * leaf.ndim].add(1)
        digests.add(gan_digest(gan._replace(variables=jax.tree.unflatten(tree, changed))))
    for spec in (
        gan.spec._replace(class_names=("ant", "hot dog", "bee")),
        gan.spec._replace(config=dataclasses.replace(DCGAN, label_dim=5)),
    ):
        digests.add(gan_digest(Gan(spec, gan.variables)))
    assert len(digests) == 1 + len(leaves) + 2
    assert gan_digest(gan) == gan_digest(Gan(SPECS["dcgan"], draw_variables(SPECS["dcgan"])))


def test_a_directory_without_a_gan_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"is not a GAN's run \(it has no gan.json\); make one"):
        load_gan(tmp_path)


def test_an_unfinished_run_is_refused(gans, tmp_path):
    write_json(tmp_path / SPEC_FILE, as_json(gans["dcgan"].spec._asdict()))
    with pytest.raises(ValueError, match="holds no generator: its training is not finished"):
        load_gan(tmp_path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"model": "dcg', "gan.json, got something else"),
        ("[]", "gan.json does not describe a GAN: expected a model"),
        ("{}", "gan.json does not describe a GAN: expected a model"),
        ('{"model": "vae", "class_names": ["a", "b"], "config": {}}', "not describe a GAN.*vae"),
        ('{"model": "dcgan", "class_names": ["a"], "config": {"depth": 3}}', "depth"),
        ('{"model": "dcgan", "class_names": ["a"], "config": {"width": 0}}', "width.*least 1"),
        ('{"model": "sgan", "class_names": ["a"], "config": {"cut_points": []}}', "one or more of"),
    ],
)
def test_a_spec_that_describes_no_gan_is_refused(text, message, tmp_path):
    (tmp_path / SPEC_FILE).write_text(text)
    with pytest.raises(ValueError, match=message):
        load_gan(tmp_path)
