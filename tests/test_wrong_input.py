"""Wrong labels and images are refused wherever they come in, before anything is compiled."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gans import (
    DcganConfig,
    DcganPair,
    EncoderLearner,
    Gan,
    GanData,
    GanLearner,
    GanSpec,
    StackConfig,
    augment,
    sample,
)
from gans.options.training import EncoderConfig, GameConfig
from gans.selection import tally
from imgopt.errors import InputError, typed_key
from train import (
    ClassifierLearner,
    ClassifierSpec,
    TrainData,
    cross_entropy,
    evaluate,
    extract_features,
    fit,
    mixed_soft_label_loss,
    predict,
)
from train.augmentation import crop_and_zoom, flip_and_crop
from train.checks import one_hot
from train.recipes.train_options import Budget, TrainConfig

pytestmark = pytest.mark.usefixtures("unchecked")

COUNT, CLASSES, KEY = 6, 3, jax.random.key(0)
NAMES = ("a", "b", "c")
IMAGES = np.random.default_rng(0).integers(0, 256, (COUNT, 16, 16, 2), np.uint8)
LABELS = np.arange(COUNT) % CLASSES
KERNEL = np.random.default_rng(1).normal(size=(2, CLASSES)).astype(np.float32)
PROBABILITIES = np.full((COUNT, CLASSES), 1 / CLASSES, np.float32)
NONE_GENERATED = np.zeros(COUNT, bool)

SIZES = DcganConfig(image_size=16, channels=2, num_classes=CLASSES, width=2)
STACK = StackConfig((16, 16, 2), CLASSES, encoder_width=2, width=2)
LEARNERS = {
    "classifier": ClassifierLearner(
        ClassifierSpec("vgg-small", 0.1, NAMES, (16, 16, 2), (0.5,) * 2, (0.2,) * 2), TrainConfig()
    ),
    "GAN": GanLearner((DcganPair(SIZES),), GameConfig(), 1e-3),
    "encoder": EncoderLearner(STACK, EncoderConfig()),
}


def classify(images):
    return images.mean((1, 2)) @ KERNEL


def train(name, images=IMAGES, labels=LABELS):
    columns = (images, labels)
    data = TrainData(*columns, PROBABILITIES, NONE_GENERATED) if name == "classifier" else None
    return next(fit(KEY, LEARNERS[name], data or GanData(*columns), Budget(2, 1)))


TAKES_LABELS = {
    "cross entropy": lambda labels: cross_entropy(jnp.zeros((COUNT, CLASSES)), labels),
    "mixed loss": lambda labels: mixed_soft_label_loss(
        jnp.zeros((COUNT, CLASSES)), labels, PROBABILITIES, jnp.asarray(NONE_GENERATED)
    ),
    "evaluate": lambda labels: evaluate(classify, IMAGES, labels),
    "sample": lambda labels: sample(
        Gan(GanSpec("dcgan", NAMES, SIZES), {}), jax.random.split(KEY, COUNT), labels
    ),
    "tally": lambda labels: tally(
        labels, np.zeros(COUNT, int), NONE_GENERATED, num_classes=CLASSES
    ),
    **{name: lambda labels, name=name: train(name, labels=labels) for name in LEARNERS},
}

WRONG_LABELS = {
    "a column": (LABELS[:, None], r"labels must have shape .*; take labels\[:, 0\]"),
    "one-hot": (np.eye(CLASSES, dtype=int)[LABELS], r"labels must have shape .*argmax"),
    "too few": (LABELS[:-1], r"got \(5,\)|5 labels"),
    "negative": (LABELS - 1, r"labels must be .*got -1 at position 0"),
    "too large": (LABELS + 1, r"labels must be in \[0, 3\), got 3 at position 2"),
    "floats": (LABELS.astype(np.float32), "labels must be integers, got float32"),
}


@pytest.mark.parametrize("wrong", WRONG_LABELS)
@pytest.mark.parametrize("name", TAKES_LABELS)
def test_wrong_labels_are_refused(name, wrong, compilations):
    labels, message = WRONG_LABELS[wrong]
    with compilations() as compiled, pytest.raises(InputError, match=message):
        TAKES_LABELS[name](labels)
    assert not {*compiled} & {"run_steps", "initial", "generate"}


SEES = {
    "predict": lambda images: predict(classify, images),
    "evaluate": lambda images: evaluate(classify, images, LABELS[: len(images)]),
    "features": lambda images: extract_features(classify, images),
}
"""Functions that take grey levels, or floats in [0, 1]."""

LEARNS = {
    "flip and crop": lambda images: flip_and_crop(KEY, images, flip=True, pad_px=1),
    "crop and zoom": lambda images: crop_and_zoom(KEY, images, crop_px=9),
    **{name: lambda images, name=name: train(name, images) for name in LEARNERS},
}  # fmt: skip
"""Functions that take grey levels only."""

FLOATS = (IMAGES / 255).astype(np.float32)
WRONG_IMAGES = {
    "floats in [0, 255]": IMAGES.astype(np.float32),
    "integers": IMAGES.astype(np.int32),
    "images without channels": IMAGES[..., 0],
}


@pytest.mark.parametrize("wrong", WRONG_IMAGES)
@pytest.mark.parametrize("call", {**SEES, **LEARNS}.values(), ids={**SEES, **LEARNS})
def test_wrong_images_are_refused(call, wrong):
    with pytest.raises(InputError, match=r"images.* must (be|have)"):
        call(WRONG_IMAGES[wrong])


@pytest.mark.parametrize("name", [*SEES, "flip and crop", "crop and zoom"])
def test_a_list_of_images_is_refused(name):
    with pytest.raises(InputError, match="images must be one array, got a list; make one with"):
        (SEES | LEARNS)[name](list(IMAGES))


@pytest.mark.parametrize("name", LEARNS)
def test_floats_are_refused_where_grey_levels_are_learnt_from(name):
    with pytest.raises(InputError, match=r"uint8, got float32; .* imgopt.to_uint8"):
        LEARNS[name](FLOATS)


@pytest.mark.parametrize("dtype", [np.float32, np.float16, jnp.bfloat16, np.float64])
@pytest.mark.parametrize("name", SEES)
def test_floats_are_seen_as_they_are(name, dtype):
    found = SEES[name](FLOATS.astype(dtype))
    for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(SEES[name](IMAGES)), strict=True):
        np.testing.assert_allclose(one, other, rtol=3e-2)


@pytest.mark.parametrize("name", SEES)
def test_no_images_are_refused(name):
    with pytest.raises(InputError, match="at least one image"):
        SEES[name](IMAGES[:0])


@pytest.mark.parametrize("name", LEARNERS)
def test_no_training_images_are_refused(name):
    nothing = TrainData(IMAGES[:0], LABELS[:0], PROBABILITIES[:0], NONE_GENERATED[:0])
    data = nothing if name == "classifier" else GanData(*nothing[:2])
    with pytest.raises(InputError, match="has 0 images, less than one batch of 2"):
        next(fit(KEY, LEARNERS[name], data, Budget(2, 1)))


@pytest.mark.parametrize(
    ("returned", "found"),
    [(lambda x: (classify(x),), "tuple"), (lambda x: x, r"\(6, 16, 16, 2\)"),
     (lambda x: classify(x)[:, 0], r"\(6,\)"), (lambda x: classify(x)[:1], r"\(1, 3\)")],
    ids=["a tuple", "maps", "one number", "one row"],
)  # fmt: skip
def test_what_is_not_a_row_for_each_image_is_refused(returned, found):
    with pytest.raises(InputError, match=f"expected logits.* got {found}"):
        predict(returned, IMAGES)
    with pytest.raises(InputError, match=f"expected features.* got {found}"):
        extract_features(returned, IMAGES)


def test_probabilities_in_place_of_logits_are_warned_about(recwarn):
    evaluate(classify, IMAGES, LABELS)
    assert not recwarn
    with pytest.warns(UserWarning, match="expected logits, got .*sum to 1"):
        evaluate(lambda images: jax.nn.softmax(classify(images)), IMAGES, LABELS)


def test_columns_of_different_lengths_are_named():
    columns = (IMAGES, LABELS, PROBABILITIES[:4], NONE_GENERATED)
    with pytest.raises(InputError, match=r"6 images, 6 labels, 4 teacher_outputs, 6 is_generated"):
        next(fit(KEY, LEARNERS["classifier"], TrainData(*columns), Budget(2, 1)))


def test_images_of_another_shape_are_refused_before_anything_is_compiled(compilations):
    for name in ("classifier", "encoder"):
        with compilations() as compiled, pytest.raises(InputError, match=r"\(16, 16, 2\).*got"):
            train(name, IMAGES[:, :, :12])
        assert "run_steps" not in compiled


def test_augmentations_take_floats_only():
    with pytest.raises(InputError, match=r"floats in \[-1, 1\], got uint8"):
        augment(KEY, IMAGES, ("brightness",))


@pytest.mark.parametrize("no_key", [0, jnp.arange(2), np.float32(1), None])
def test_what_is_no_key_is_refused(no_key):
    with pytest.raises(InputError, match="expected a key"):
        typed_key(no_key)


def test_a_label_outside_has_no_one_hot_vector():
    found = np.asarray(jax.jit(lambda labels: one_hot(labels, 3))(jnp.array([2, -1, 3, 0])))
    np.testing.assert_array_equal(found[[0, 3]], [[0, 0, 1], [1, 0, 0]])
    assert np.isnan(found[[1, 2]]).all()
