"""A trained classifier: what it is, its variables, and as a function to logits or features."""

import functools
import re
from pathlib import Path
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, UInt8

from imgopt.errors import InputError
from train.models.networks import ConvNet, build_network, check_image_shape
from train.storage.checkpoints import CHECKPOINTS, check_layout, digest_of, newest_checkpoint
from train.storage.runs import check_digest
from train.storage.strict_json import read_sealed
from train.storage.typed_json import from_json

Precision = Literal["float32", "bfloat16"]

SPEC_FILE = "classifier.json"

FIRST_BFLOAT16 = 8.0
"""Compute capability of the first NVIDIA GPUs that compute in bfloat16 (Ampere)."""


class ClassifierSpec(NamedTuple):
    """All that is needed to apply a classifier's variables.

    Attributes:
        network: name of the architecture.
        width: factor on its channel counts.
        class_names: in the order of the logits.
        image_shape: height, width, channels.
        mean: of the training images in [0, 1], for each channel; subtracted first.
        std: standard deviation likewise; divided by.
    """

    network: str
    width: float
    class_names: tuple[str, ...]
    image_shape: tuple[int, int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def build(self, *, precision: Precision = "float32") -> ConvNet:
        """The network itself, computing in the given precision."""
        return build_network(
            self.network,
            num_classes=len(self.class_names),
            width=self.width,
            dtype=jnp.dtype(precision).type,
        )


class Classifier(NamedTuple):
    """A spec and the variables ("params" and, with batch norm, "batch_stats")."""

    spec: ClassifierSpec
    variables: dict[str, Any]


class _Apply(NamedTuple):
    """The classifier in evaluation mode; equal specs are equal functions, so compiled code stays.

    As a NamedTuple it hashes by value, which a closure would not.
    """

    spec: ClassifierSpec
    precision: Precision
    features: bool = False

    def __call__(
        self, variables: dict[str, Any], images: Float[Array, "n h w c"]
    ) -> Float[Array, "n k_or_d"]:
        """Normalises and applies."""
        network = self.spec.build(precision=self.precision)
        normalised = normalise(images, self.spec)
        return jnp.asarray(
            network.apply(variables, normalised, train=False, features=self.features)
        )


def check_precision(precision: Precision) -> None:
    """Raises InputError for a precision that the device would only imitate.

    NVIDIA GPUs before Ampere have no bfloat16 arithmetic: XLA converts to float32 and back around
    every operation, which is slower than float32 itself. So it is on most CPUs, but there it may be
    wanted, to check on a small scale what a GPU or TPU does on a large one.
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
    """A classifier as `imgopt.synthesize` wants it.

    Args:
        classifier: trained.
        precision: of the computation; the logits are float32 all the same.

    Returns:
        A `Partial` from float32 images (n, h, w, c) in [0, 1] to logits (n, k), in evaluation
        mode, normalisation inside, with the variables as its leaves.
    """
    return jax.tree_util.Partial(_Apply(classifier.spec, precision), classifier.variables)


def feature_function(
    classifier: Classifier, *, precision: Precision = "float32"
) -> jax.tree_util.Partial:
    """A classifier up to its last dense layer, whose input tells how alike two images are to it.

    Args:
        classifier: trained.
        precision: of the computation; the features are float32 all the same.

    Returns:
        As `classify_function`, but to features (n, d): what the last ReLU or pooling gives, flat.
    """
    function = _Apply(classifier.spec, precision, features=True)
    return jax.tree_util.Partial(function, classifier.variables)


def normalise(images: Float[Array, "n h w c"], spec: ClassifierSpec) -> Float[Array, "n h w c"]:
    """Images in [0, 1], minus the spec's mean, over its standard deviation, for each channel."""
    mean, std = (jnp.broadcast_to(jnp.array(v), images.shape) for v in (spec.mean, spec.std))
    return (images - mean) / std


def channel_statistics(
    images: UInt8[np.ndarray, "n h w c"],
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of every channel over a data set, of values in [0, 1].

    The sums are of whole numbers, hence exact, whatever the order.

    Returns:
        The means and the standard deviations, the latter at least 1e-3.
    """
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
    """Sha256 over the spec and every variable's name, type, shape and bytes."""
    return digest_of(repr(classifier.spec), classifier.variables)


def load_spec(run: str | Path) -> ClassifierSpec:
    """Reads what a run trains.

    Raises:
        InputError: the directory is not a classifier's run.
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
    except ValueError as error:
        raise InputError(f"{path} does not describe a classifier: {error}") from error
    return spec._replace(width=float(spec.width))


def _check_spec(spec: ClassifierSpec) -> None:
    """Raises InputError for what no network could be built of."""
    spec.build()
    if min(spec.image_shape) < 1:
        raise InputError(f"image_shape must be of numbers above 0, got {spec.image_shape}")
    check_image_shape(spec.network, spec.image_shape)
    channels = spec.image_shape[2]
    if not len(spec.mean) == len(spec.std) == channels or min(spec.std) <= 0:
        raise InputError(
            f"mean and std must have {channels} numbers, those of std above 0, got {spec.mean} "
            f"and {spec.std}"
        )


def load_classifier(run: str | Path) -> Classifier:
    """Loads a run's newest checkpoint, its digests verified.

    Args:
        run: directory written by `elicit classifier train`, finished or not.

    Raises:
        InputError: the directory is not a classifier's run, or holds no checkpoint of the network
            that it describes; or something that decides what the classifier is is damaged, or is
            not what the run's result says.
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


def _expected_variables(spec: ClassifierSpec) -> dict[str, Any]:
    """The shapes that a network's variables must have; nothing is computed."""
    images = jax.ShapeDtypeStruct((1, *spec.image_shape), jnp.float32)
    initialise = functools.partial(spec.build().init, train=False)
    return jax.eval_shape(initialise, jax.random.key(0), images)
