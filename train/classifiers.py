"""A trained classifier: its description, its variables, and its logits or features."""

import functools
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, UInt8

from imgopt.errors import InputError
from train.checks import check_grey_levels
from train.models.linen import Network
from train.models.networks import build_network, check_image_shape
from train.recipes.train_options import Precision
from train.storage.checkpoints import (
    CHECKPOINTS,
    check_layout,
    digest_of,
    newest_checkpoint,
    save_checkpoint,
)
from train.storage.files import building_directory
from train.storage.runs import as_json, check_digest, write_result
from train.storage.strict_json import read_sealed, write_sealed
from train.storage.typed_json import from_json

SPEC_FILE = "classifier.json"

FIRST_BFLOAT16 = 8.0
"""Compute capability of the first NVIDIA GPUs that compute in bfloat16 (Ampere)."""


class ClassifierSpec(NamedTuple):
    """Everything needed to apply a classifier's variables.

    Attributes:
        network: Name of the architecture, or place of a Linen module, as `build_network` takes it.
        width: Factor on its channel counts.
        class_names: Names of the classes, in the order of the logits.
        image_shape: Height, width, channels.
        mean: Mean of each channel over the training images in [0, 1]; subtracted from the image.
        std: Standard deviation of each channel over them; the image is divided by it.
    """

    network: str
    width: float
    class_names: tuple[str, ...]
    image_shape: tuple[int, int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def build(self, *, precision: Precision = "float32") -> Network:
        """Builds the network, which computes in the given precision."""
        return build_network(
            self.network,
            num_classes=len(self.class_names),
            width=self.width,
            dtype=jnp.dtype(precision).type,
        )


class Classifier(NamedTuple):
    """A classifier: its spec and its variables ("params" and, with batch norm, "batch_stats")."""

    spec: ClassifierSpec
    variables: dict[str, Any]


@dataclass(frozen=True)
class Teacher:
    """A trained classifier whose outputs another one learns. Equal specs share a program.

    Attributes:
        spec: Its description.
        variables: Its variables, arguments of the compiled step.
    """

    spec: ClassifierSpec
    variables: dict[str, Any] = field(compare=False, repr=False)


class _Apply(NamedTuple):
    """Applies a classifier in evaluation mode.

    As a NamedTuple it is hashed by value, which a closure would not be. Equal specs are therefore
    equal functions, which share compiled programs.
    """

    spec: ClassifierSpec
    precision: Precision
    features: bool = False

    def __call__(
        self, variables: dict[str, Any], images: Float[Array, "n h w c"]
    ) -> Float[Array, "n k_or_d"]:
        """Normalises the images and applies the network."""
        network = self.spec.build(precision=self.precision)
        normalised = normalise(images, self.spec)
        return network.apply(variables, normalised, train=False, features=self.features)


def check_precision(precision: Precision) -> None:
    """Raises InputError for a precision that the device would only emulate.

    NVIDIA GPUs before Ampere have no bfloat16 arithmetic. XLA converts to float32 and back around
    every operation, which is slower than float32. Most CPUs emulate it too, but there it is
    allowed: a user may want to check in small what a GPU or TPU computes.
    """
    device = jax.local_devices()[0]
    capability = getattr(device, "compute_capability", "")  # AMD's is a name such as gfx90a
    is_nvidia = re.fullmatch(r"\d+\.\d+", capability)
    if precision == "bfloat16" and is_nvidia and float(capability) < FIRST_BFLOAT16:
        raise InputError(
            f"precision bfloat16 needs a GPU of compute capability {FIRST_BFLOAT16} or later, got "
            f"{device.device_kind} with {capability}; take --precision float32"
        )


def classify_function(
    classifier: Classifier, *, precision: Precision = "float32"
) -> jax.tree_util.Partial:
    """A classifier as a function from images to logits, for `imgopt.synthesize`.

    Args:
        classifier: Trained classifier.
        precision: Precision of the computation; the logits are always float32.

    Returns:
        A `Partial` from float32 images (n, h, w, c) in [0, 1] to logits (n, k). It normalises the
        images itself and applies the network in evaluation mode; the variables are its leaves.

    Example:
        >>> names, zeros, ones = ("cat", "dog"), (0.0,) * 3, (1.0,) * 3
        >>> spec = ClassifierSpec("kono-cnn", 1 / 64, names, (4, 4, 3), mean=zeros, std=ones)
        >>> images = jnp.zeros((2, 4, 4, 3))
        >>> variables = spec.build().init(jax.random.key(0), images, train=False)
        >>> classify_function(Classifier(spec, variables))(images).shape
        (2, 2)
    """
    return jax.tree_util.Partial(_Apply(classifier.spec, precision), classifier.variables)


def feature_function(
    classifier: Classifier, *, precision: Precision = "float32"
) -> jax.tree_util.Partial:
    """A classifier without its last dense layer, as a function from images to features.

    Images that look alike to the classifier have features close to each other.

    Args:
        classifier: Trained classifier.
        precision: Precision of the computation; the features are always float32.

    Returns:
        A `Partial` from float32 images (n, h, w, c) in [0, 1] to features (n, d), the flattened
        input of the last dense layer; the logits of a network that has none. The variables are its
        leaves.

    Example:
        >>> names, zeros, ones = ("cat", "dog"), (0.0,) * 3, (1.0,) * 3
        >>> spec = ClassifierSpec("kono-cnn", 1 / 64, names, (4, 4, 3), mean=zeros, std=ones)
        >>> images = jnp.zeros((2, 4, 4, 3))
        >>> variables = spec.build().init(jax.random.key(0), images, train=False)
        >>> feature_function(Classifier(spec, variables))(images).shape
        (2, 16)
    """
    function = _Apply(classifier.spec, precision, features=True)
    return jax.tree_util.Partial(function, classifier.variables)


def normalise(images: Float[Array, "n h w c"], spec: ClassifierSpec) -> Float[Array, "n h w c"]:
    """Subtracts the spec's mean from images in [0, 1] and divides by its std, for each channel."""
    levels = (jnp.array(v, jnp.float32) for v in (spec.mean, spec.std))
    mean, std = (jnp.broadcast_to(v, images.shape) for v in levels)
    return (images - mean) / std


def check_teacher_spec(teacher: ClassifierSpec, learner: ClassifierSpec) -> None:
    """Raises InputError unless a teacher has the classes and the image shape of a classifier.

    Args:
        teacher: The classifier whose outputs are learned.
        learner: The classifier that learns them.
    """
    for name in ("class_names", "image_shape"):
        known, wanted = getattr(teacher, name), getattr(learner, name)
        if known != wanted:
            raise InputError(
                f"a teacher must have the {name} {wanted} of the classifier, got {known}"
            )


def channel_statistics(
    images: UInt8[np.ndarray, "n h w c"],
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of each channel over a data set, for values in [0, 1].

    They are computed from exact counts of grey levels, so the order of the images does not matter.

    Returns:
        The means, and the standard deviations, which are at least 1e-3.

    Raises:
        InputError: The images are not uint8 of shape (n, h, w, c).

    Example:
        >>> half_white = np.array([[[[0, 0, 0], [255, 255, 255]]]], np.uint8)
        >>> channel_statistics(half_white)
        ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    """
    check_grey_levels(images)
    levels = np.arange(256, dtype=np.float64) / 255
    means, stds = [], []
    for channel in range(images.shape[-1]):
        counts = np.bincount(images[..., channel].ravel(), minlength=256)
        mean = float(counts @ levels / counts.sum())
        variance = float(counts @ (levels - mean) ** 2 / counts.sum())
        means.append(round(mean, 6))
        stds.append(round(max(variance**0.5, 1e-3), 6))
    return tuple(means), tuple(stds)


def digest(classifier: Classifier) -> str:
    """Sha256 of a classifier's spec and of every variable's name, type, shape and bytes."""
    return digest_of(repr(classifier.spec), classifier.variables)


def load_spec(run: str | Path) -> ClassifierSpec:
    """Reads the description of the classifier that a run trains.

    Raises:
        InputError: The directory is not a classifier's run, or its description is invalid.
    """
    path = Path(run) / SPEC_FILE
    if not path.is_file():
        raise InputError(
            f"{run} is not a classifier's run (it has no {SPEC_FILE}); make one with: elicit "
            "classifier train --out RUN"
        )
    fields = read_sealed(path)
    try:
        spec = from_json(ClassifierSpec, fields)
        _check_spec(spec)
    except InputError as error:
        raise InputError(f"{path} does not describe a classifier: {error}") from error
    return spec._replace(width=float(spec.width))


def _check_spec(spec: ClassifierSpec) -> None:
    """Raises InputError for a spec that no network can be built from."""
    spec.build()
    if min(spec.image_shape) < 1:
        raise InputError(f"image_shape must have numbers above 0, got {spec.image_shape}")
    check_image_shape(spec.network, spec.image_shape, num_classes=len(spec.class_names))
    channels = spec.image_shape[2]
    if not len(spec.mean) == len(spec.std) == channels or min(spec.std) <= 0:
        raise InputError(
            f"mean and std must have {channels} numbers, those of std above 0, got {spec.mean} "
            f"and {spec.std}"
        )


def load_classifier(run: str | Path) -> Classifier:
    """Loads the classifier of a run's newest checkpoint, and verifies all digests.

    Args:
        run: Directory written by `elicit classifier train`, complete or not.

    Raises:
        InputError: The directory is not a classifier's run; it holds no checkpoint, or one of
            another network; or its description, its checkpoint or its result is damaged.

    Example:
        >>> import tempfile
        >>> names, zeros, ones = ("cat", "dog"), (0.0,) * 3, (1.0,) * 3
        >>> spec = ClassifierSpec("kono-cnn", 1 / 64, names, (4, 4, 3), mean=zeros, std=ones)
        >>> variables = spec.build().init(jax.random.key(0), jnp.zeros((1, 4, 4, 3)), train=False)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     save_classifier(Path(folder) / "run", Classifier(spec, variables))
        ...     load_classifier(Path(folder) / "run").spec.network
        'kono-cnn'
    """
    spec = load_spec(run)
    checkpoint = newest_checkpoint(Path(run) / CHECKPOINTS)
    if checkpoint is None:
        raise InputError(f"{run} holds no checkpoint; train it again")
    variables: Any = checkpoint.state.get("variables")
    check_layout(run, variables, lambda: _expected_variables(spec), spec_file=SPEC_FILE)
    classifier = Classifier(spec, jax.tree.map(jnp.asarray, variables))
    check_digest(Path(run), "classifier_sha256", digest(classifier), of=CHECKPOINTS)
    return classifier


def save_classifier(run: str | Path, classifier: Classifier) -> None:
    """Saves a classifier in a new directory, which `load_classifier` and the command line read.

    Args:
        run: The directory, which must not exist; missing parents are made.
        classifier: Trained classifier.

    Raises:
        InputError: The directory exists, or the variables are not those that the spec describes.

    Example:
        >>> import tempfile
        >>> names, zeros, ones = ("cat", "dog"), (0.0,) * 3, (1.0,) * 3
        >>> spec = ClassifierSpec("kono-cnn", 1 / 64, names, (4, 4, 3), mean=zeros, std=ones)
        >>> variables = spec.build().init(jax.random.key(0), jnp.zeros((1, 4, 4, 3)), train=False)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     save_classifier(Path(folder) / "run", Classifier(spec, variables))
        ...     load_classifier(Path(folder) / "run").spec.class_names
        ('cat', 'dog')
    """
    spec, variables = classifier.spec, jax.tree.map(np.asarray, classifier.variables)
    check_layout(run, variables, lambda: _expected_variables(spec), spec_file="the spec")
    with building_directory(Path(run)) as partial:
        write_sealed(partial / SPEC_FILE, as_json(spec._asdict()))
        save_checkpoint(partial / CHECKPOINTS, 0, {"variables": variables})
        result = {"classifier_sha256": digest(classifier)}
        write_result(partial, result, of=(SPEC_FILE, CHECKPOINTS))


def _expected_variables(spec: ClassifierSpec) -> dict[str, Any]:
    """Shapes that a network's variables must have; nothing is computed."""
    images = jax.ShapeDtypeStruct((1, *spec.image_shape), jnp.float32)
    initialise = functools.partial(spec.build().init, train=False)
    return jax.eval_shape(initialise, jax.random.key(0), images)
