"""Sampling of images from a trained GAN.

A run's directory holds the GAN's description in `gan.json` and its generators' variables in
`generator/`. Sampling needs nothing else. Each image has its own key; as text, the key is kept with
the image, so that the image can be generated again.
"""

import dataclasses
import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Int, Key, UInt8

from gans import dcgan, stacked
from gans.blocks import from_signed
from gans.dcgan import DcganConfig
from gans.options.training import GanKind
from gans.stacked import StackConfig, build_generator, stack_levels
from imgopt import to_uint8
from imgopt.errors import InputError, typed_key
from train.checks import check_labels, one_hot
from train.storage.checkpoints import check_layout, digest_of, newest_checkpoint, save_checkpoint
from train.storage.files import building_directory
from train.storage.runs import as_json, check_digest, write_result
from train.storage.strict_json import read_sealed, write_sealed
from train.storage.typed_json import from_json

SPEC_FILE = "gan.json"
GENERATOR = "generator"
"""Subdirectory of a run's directory that holds the variables."""

KEY_WORD = np.dtype(">u4")
"""Type of a key's words in text; big-endian, so that the text reads as a number."""

CONFIGS: dict[GanKind, type[DcganConfig] | type[StackConfig]] = {
    "dcgan": DcganConfig,
    "sgan": StackConfig,
}


class GanSpec(NamedTuple):
    """Description of a GAN, from which its networks can be built.

    Attributes:
        model: kind of GAN.
        class_names: names of the classes, in the order of the labels.
        config: sizes of a DCGAN or of a stack. A DCGAN without classes is one GAN for each class;
            the first axis of its variables is then the class.
    """

    model: GanKind
    class_names: tuple[str, ...]
    config: DcganConfig | StackConfig

    @property
    def num_classes(self) -> int:
        """Number of classes that it can sample."""
        return len(self.class_names)

    @property
    def is_per_class(self) -> bool:
        """Whether each class has its own GAN."""
        return isinstance(self.config, DcganConfig) and self.config.num_classes is None

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Height, width, channels."""
        if isinstance(self.config, StackConfig):
            return self.config.image_shape
        return (self.config.image_size, self.config.image_size, self.config.channels)


class Gan(NamedTuple):
    """A spec, and the generators' variables by the features that they generate."""

    spec: GanSpec
    variables: dict[str, Any]


def load_gan(run: str | Path) -> Gan:
    """Loads a finished run's generators, their digests verified.

    Args:
        run: directory written by `elicit gan train`.

    Raises:
        InputError: the directory is not a GAN's run, its training is not finished, or its files
            are damaged or differ from the run's result.

    Example:
        >>> config = DcganConfig(image_size=16, num_classes=2, noise_dim=2, label_dim=2, width=1)
        >>> shapes = generator_shapes(config)
        >>> untrained = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), shapes)
        >>> gan = Gan(GanSpec("dcgan", ("cat", "dog"), config), untrained)
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     save_gan(Path(folder) / "run", gan)
        ...     load_gan(Path(folder) / "run").spec.model
        'dcgan'
    """
    path = Path(run) / SPEC_FILE
    if not path.is_file():
        raise InputError(
            f"{run} is not a GAN's run (it has no {SPEC_FILE}); make one with: elicit gan train "
            "--out RUN"
        )
    spec = _read_spec(path)
    checkpoint = newest_checkpoint(Path(run) / GENERATOR)
    if checkpoint is None:
        raise InputError(
            f"{run} holds no generator: its training is not finished, or the files are gone; "
            "repeat the command that made it"
        )
    check_layout(run, checkpoint.state, lambda: expected_variables(spec), spec_file=SPEC_FILE)
    gan = Gan(spec, jax.tree.map(jnp.asarray, checkpoint.state))
    check_digest(Path(run), "gan_sha256", gan_digest(gan), of=GENERATOR)
    return gan


def save_gan(run: str | Path, gan: Gan) -> None:
    """Saves a GAN in a new directory, which `load_gan` and the command line read.

    Args:
        run: the directory, which must not exist; missing parents are made.
        gan: trained GAN.

    Raises:
        InputError: the directory exists, or the variables are not those that the spec describes.

    Example:
        >>> config = DcganConfig(image_size=16, num_classes=2, noise_dim=2, label_dim=2, width=1)
        >>> shapes = generator_shapes(config)
        >>> untrained = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), shapes)
        >>> gan = Gan(GanSpec("dcgan", ("cat", "dog"), config), untrained)
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     save_gan(Path(folder) / "run", gan)
        ...     load_gan(Path(folder) / "run").spec.class_names
        ('cat', 'dog')
    """
    expected = expected_variables(gan.spec)
    variables = jax.tree.map(np.asarray, gan.variables)
    check_layout(run, variables, lambda: expected, spec_file="the spec")
    with building_directory(Path(run)) as partial:
        write_sealed(partial / SPEC_FILE, as_json(gan.spec._asdict()))
        save_checkpoint(partial / GENERATOR, 0, variables)
        write_result(partial, {"gan_sha256": gan_digest(gan)}, of=(SPEC_FILE, GENERATOR))


def _read_spec(path: Path) -> GanSpec:
    fields = read_sealed(path)
    try:
        return _parse_spec(fields)
    except InputError as error:
        raise InputError(f"{path} does not describe a GAN: {error}") from error


def _parse_spec(fields: Any) -> GanSpec:
    if not isinstance(fields, dict) or fields.get("model") not in tuple(CONFIGS):
        raise InputError(f"expected a model among {tuple(CONFIGS)}, got {fields!r:.60}")
    config = from_json(CONFIGS[fields["model"]], fields.get("config"))
    names = fields.get("class_names")
    if not (isinstance(names, list) and names and all(isinstance(name, str) for name in names)):
        raise InputError(f"expected class_names, got {names!r:.60}")
    if config.num_classes not in (None, len(names)):
        raise InputError(f"expected {config.num_classes} class_names, got {len(names)}")
    return GanSpec(fields["model"], tuple(names), config)


def generator_shapes(config: DcganConfig | StackConfig) -> dict[str, Any]:
    """Shapes of the generators' variables by the features they generate; computes nothing."""
    if isinstance(config, StackConfig):
        return {
            level.target: _init_shapes(
                build_generator(level, width=config.width),
                _row(*level.condition_shape),
                _row(level.noise_dim),
            )
            for level in stack_levels(config)
        }
    labels = None if config.num_classes is None else jax.ShapeDtypeStruct((1,), jnp.int32)
    return {"image": _init_shapes(dcgan.Generator(config), _row(config.noise_dim), labels)}


def _init_shapes(generator: Any, *inputs: Any) -> dict[str, Any]:
    init = functools.partial(generator.init, train=False)
    return jax.eval_shape(init, jax.random.key(0), *inputs)


def _row(*shape: int) -> jax.ShapeDtypeStruct:
    """One example of a batch."""
    return jax.ShapeDtypeStruct((1, *shape), jnp.float32)


def expected_variables(spec: GanSpec) -> dict[str, Any]:
    """Shapes of a saved GAN's variables; with a GAN for each class, classes come first."""
    shapes = generator_shapes(spec.config)
    if not spec.is_per_class:
        return shapes
    return jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct((spec.num_classes, *leaf.shape), leaf.dtype), shapes
    )


def gan_digest(gan: Gan) -> str:
    """Computes the sha256 of the spec and of every variable's name, type, shape and bytes.

    Example:
        >>> gan = Gan(GanSpec("dcgan", ("cat", "dog"), DcganConfig(num_classes=2)), {})
        >>> len(gan_digest(gan))
        64
    """
    fields = (gan.spec.model, gan.spec.class_names, dataclasses.asdict(gan.spec.config))
    return digest_of(repr(fields), gan.variables)


@jax.jit
def image_keys(
    key: Key[Array, ""], label: int | Int[Array, ""], numbers: Int[Array | np.ndarray, " n"]
) -> Key[Array, " n"]:
    """Keys of some images of a class: fold_in(fold_in(key, label), number).

    Args:
        key: key of the whole set.
        label: the class.
        numbers: numbers of its images, at least 0.

    Example:
        >>> keys = image_keys(jax.random.key(7), 3, np.arange(4))
        >>> keys.shape
        (4,)
    """
    of_class = jax.random.fold_in(typed_key(key), label)
    return jax.vmap(jax.random.fold_in, (None, 0))(of_class, numbers)


def sample(
    gan: Gan, keys: Key[Array, " n"], labels: Int[np.ndarray, " n"], *, batch_size: int = 256
) -> UInt8[np.ndarray, "n h w c"]:
    """Generates images; each depends on its own key and label only.

    The generators run in evaluation mode, in batches of one compiled size; the last one is padded.

    Args:
        gan: trained GAN.
        keys: one for each image.
        labels: classes of the images, in [0, k).
        batch_size: images in a batch, at least 1.

    Raises:
        InputError: a label is no integer or outside its range, or there are more or fewer keys
            than labels.
        FloatingPointError: an image is not finite.

    Example:
        >>> config = DcganConfig(image_size=16, num_classes=2, noise_dim=2, label_dim=2, width=1)
        >>> shapes = generator_shapes(config)
        >>> untrained = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), shapes)
        >>> gan = Gan(GanSpec("dcgan", ("cat", "dog"), config), untrained)
        >>> keys, labels = image_keys(jax.random.key(7), 1, np.arange(3)), np.full(3, 1)
        >>> sample(gan, keys, labels, batch_size=4).shape
        (3, 16, 16, 3)
    """
    keys = typed_key(keys)
    if keys.ndim != 1:
        raise InputError(
            f"expected an array of keys, one for each image, got keys of shape {keys.shape}; make "
            "them with gans.image_keys"
        )
    if len(keys) != len(labels):
        raise InputError(f"expected a key for each of {len(labels)} labels, got {len(keys)} keys")
    check_labels(labels, num_classes=gan.spec.num_classes)
    if batch_size < 1:
        raise InputError(f"batch_size must be at least 1, got {batch_size}")
    labels = np.asarray(labels, np.int32)
    images = np.empty((len(labels), *gan.spec.image_shape), np.uint8)
    for rows, variables in _rows_by_gan(gan, labels):
        for start in range(0, len(rows), batch_size):
            batch = rows[start : start + batch_size]
            padded = np.pad(batch, (0, batch_size - len(batch)), mode="edge")
            found, is_finite = generate(gan.spec.config, variables, keys[padded], labels[padded])
            if not is_finite:
                raise FloatingPointError(
                    "the generator's images are not finite: its training diverged; a lower "
                    "--learning-rate may help"
                )
            images[batch] = np.asarray(found)[: len(batch)]
    return images


def _rows_by_gan(gan: Gan, labels: np.ndarray) -> list[tuple[np.ndarray, dict[str, Any]]]:
    """Splits images by the GAN that generates them: their rows, and the GAN's variables."""
    if not gan.spec.is_per_class:
        return [(np.arange(len(labels)), gan.variables)]
    return [
        (np.flatnonzero(labels == c), jax.tree.map(lambda leaf, c=c: leaf[c], gan.variables))
        for c in np.unique(labels).tolist()
    ]


@functools.partial(jax.jit, static_argnums=0)
def generate(
    config: DcganConfig | StackConfig,
    variables: dict[str, Any],
    keys: Key[Array, " n"],
    labels: Int[Array | np.ndarray, " n"],
) -> tuple[UInt8[Array, "n h w c"], Bool[Array, ""]]:
    """Generates one batch of images on the device, with one GAN.

    Args:
        config: sizes of the networks.
        variables: the generators' variables, by the features that they generate.
        keys: one for each image.
        labels: classes of the images; a GAN without classes ignores them.

    Returns:
        The images, and whether all were finite before rounding.

    Example:
        >>> config = DcganConfig(image_size=16, num_classes=2, noise_dim=2, label_dim=2, width=1)
        >>> shapes = generator_shapes(config)
        >>> untrained = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), shapes)
        >>> keys = image_keys(jax.random.key(7), 1, np.arange(4))
        >>> images, is_finite = generate(config, untrained, keys, np.full(4, 1, np.int32))
        >>> images.shape, bool(is_finite)
        ((4, 16, 16, 3), True)
    """
    of_kind = _generate_dcgan if isinstance(config, DcganConfig) else _generate_stack
    images = from_signed(of_kind(config, variables, keys, labels))
    return to_uint8(images), jnp.isfinite(images).all()


def _generate_dcgan(config, variables, keys, labels) -> Any:
    noise = _draw(dcgan.draw_dcgan_noise, keys, config.noise_dim)
    given = None if config.num_classes is None else labels
    return dcgan.Generator(config).apply(variables["image"], noise, given, train=False)


def _generate_stack(config, variables, keys, labels) -> Any:
    features = one_hot(labels, config.num_classes)
    for index, level in reversed(list(enumerate(stack_levels(config)))):
        level_keys = jax.vmap(jax.random.fold_in, (0, None))(keys, index)
        noise = _draw(stacked.draw_stack_noise, level_keys, level.noise_dim)
        network = build_generator(level, width=config.width)
        features = network.apply(variables[level.target], features, noise, train=False)
    return features


def _draw(draw, keys, noise_dim: int):
    """Draws the noise of each image by its own key."""
    return jax.vmap(lambda key: draw(key, 1, noise_dim=noise_dim)[0])(keys)


def keys_to_text(keys: Key[Array, " n"]) -> list[str]:
    """Writes the data of keys (`jax.random.key_data`) in hexadecimal, eight digits for each word.

    Args:
        keys: keys of any PRNG implementation.
    """
    words = np.asarray(jax.random.key_data(keys)).astype(KEY_WORD)
    return [word.tobytes().hex() for word in words]


def keys_from_text(texts: Sequence[str]) -> Key[Array, " n"]:
    """Reads keys that `keys_to_text` has written.

    Args:
        texts: at least one key of JAX's default PRNG implementation.

    Raises:
        InputError: a text is not such a key.

    Example:
        >>> keys = image_keys(jax.random.key(7), 3, np.arange(2))
        >>> bool((keys_from_text(keys_to_text(keys)) == keys).all())
        True
    """
    digits = 2 * KEY_WORD.itemsize * jax.random.key_data(jax.random.key(0)).size
    wrong = [text for text in texts if len(text) != digits or set(text) - set("0123456789abcdef")]
    if wrong or not texts:
        raise InputError(
            f"expected keys as {digits} hexadecimal digits, at least one, got "
            f"{repr(wrong[0]) if wrong else 'none'}"
        )
    words = np.frombuffer(bytes.fromhex("".join(texts)), KEY_WORD)
    data = jnp.asarray(words.astype(np.uint32)).reshape(len(texts), -1)
    return jax.random.wrap_key_data(data)
