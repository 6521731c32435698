"""A trained GAN: what it is, its generators' variables, and images from it.

A run keeps the first in `gan.json` and the second in `generator/`; both together are all that is
needed to sample.
"""

import dataclasses
import functools
from pathlib import Path
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Int, Key, UInt8

from gans import dcgan, stacked
from gans.blocks import from_signed
from gans.dcgan import DcganConfig
from gans.stacked import Level, StackConfig, build_generator, stack_levels
from imgopt import to_uint8
from imgopt.errors import InputError
from train.storage.checkpoints import check_layout, digest_of, newest_checkpoint
from train.storage.runs import check_digest
from train.storage.strict_json import read_sealed
from train.storage.typed_json import from_json

SPEC_FILE = "gan.json"
GENERATOR = "generator"
"""Name of the directory in a run's that holds the variables."""

Model = Literal["dcgan", "sgan"]
CONFIGS: dict[Model, type[DcganConfig] | type[StackConfig]] = {
    "dcgan": DcganConfig,
    "sgan": StackConfig,
}


class GanSpec(NamedTuple):
    """All that is needed to apply a GAN's variables.

    Attributes:
        model: its kind.
        class_names: in the order of the labels.
        config: sizes of a DCGAN or of a stack. A DCGAN that knows no classes is one for each class;
            its variables have an axis of classes in front.
    """

    model: Model
    class_names: tuple[str, ...]
    config: DcganConfig | StackConfig

    @property
    def num_classes(self) -> int:
        """Classes that it can sample."""
        return len(self.class_names)

    @property
    def is_per_class(self) -> bool:
        """Whether it is a GAN for each class."""
        return isinstance(self.config, DcganConfig) and self.config.num_classes is None

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Height, width, channels."""
        if isinstance(self.config, StackConfig):
            return self.config.image_shape
        return (self.config.image_size, self.config.image_size, self.config.channels)


class Gan(NamedTuple):
    """A spec and the generators' variables, by what they make."""

    spec: GanSpec
    variables: dict[str, Any]


def load_gan(run: str | Path) -> Gan:
    """Loads a finished run's generators, their digests verified.

    Args:
        run: directory written by `elicit gan train`.

    Raises:
        InputError: the directory is not a GAN's run, or its training isn't finished; or its files
            are damaged, or are not what the run's result says.
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


def _read_spec(path: Path) -> GanSpec:
    fields = read_sealed(path)
    try:
        return _parse_spec(fields)
    except ValueError as error:
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
    """Shapes of the generators' variables, by what each generator makes; nothing is computed."""
    if isinstance(config, StackConfig):
        levels = stack_levels(config)
        return {level.target: _level_generator_shapes(config, level) for level in levels}
    labels = None if config.num_classes is None else jax.ShapeDtypeStruct((1,), jnp.int32)
    return {"image": _init_shapes(dcgan.Generator(config), _row(config.noise_dim), labels)}


def _level_generator_shapes(config: StackConfig, level: Level) -> dict[str, Any]:
    generator = build_generator(level, width=config.width)
    return _init_shapes(generator, _row(*level.condition_shape), _row(level.noise_dim))


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
    """Sha256 over the spec and every variable's name, type, shape and bytes."""
    fields = (gan.spec.model, gan.spec.class_names, dataclasses.asdict(gan.spec.config))
    return digest_of(repr(fields), gan.variables)


def image_keys(key: Key[Array, ""], label: int, numbers: Int[np.ndarray, " n"]) -> Key[Array, " n"]:
    """Keys of the images with the given numbers of a class: fold_in(fold_in(key, label), number).

    Args:
        key: of the whole set.
        label: the class.
        numbers: of its images, at least 0.
    """
    return _image_keys(key, label, jnp.asarray(numbers))


@jax.jit
def _image_keys(key, label, numbers):
    return jax.vmap(jax.random.fold_in, (None, 0))(jax.random.fold_in(key, label), numbers)


def sample(
    gan: Gan, keys: Key[Array, " n"], labels: Int[np.ndarray, " n"], *, batch_size: int = 256
) -> UInt8[np.ndarray, "n h w c"]:
    """Makes images, each of its own key and label alone.

    The generators run in evaluation mode, in batches of one compiled size, the last one filled up.

    Args:
        gan: trained.
        keys: one an image.
        labels: what to make, in [0, k).
        batch_size: images in a batch, at least 1.

    Raises:
        InputError: a label is outside its range.
        FloatingPointError: an image is not finite.
    """
    if labels.size and not 0 <= labels.min() <= labels.max() < gan.spec.num_classes:
        raise InputError(
            f"labels must be in [0, {gan.spec.num_classes}), got {labels.min()} to {labels.max()}"
        )
    images = np.empty((len(labels), *gan.spec.image_shape), np.uint8)
    for rows, variables in _parts(gan, labels):
        for start in range(0, len(rows), batch_size):
            batch = rows[start : start + batch_size]
            padded = np.pad(batch, (0, batch_size - len(batch)), mode="edge")
            made, is_finite = generate(gan.spec.config, variables, keys[padded], labels[padded])
            if not is_finite:
                raise FloatingPointError(
                    "the generator's images are not finite: its training diverged; a lower "
                    "--learning-rate may help"
                )
            images[batch] = np.asarray(made)[: len(batch)]
    return images


def _parts(gan: Gan, labels: np.ndarray) -> list[tuple[np.ndarray, dict[str, Any]]]:
    """Rows that one set of variables makes, and these; a set for each class or one for all."""
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
    """Makes one batch of images on the device, by one GAN.

    Args:
        config: sizes of the networks.
        variables: of the generators, by what each makes.
        keys: one an image.
        labels: classes of the images; a GAN without classes ignores them.

    Returns:
        The images, and whether all of them were finite before rounding.
    """
    of_kind = _generate_dcgan if isinstance(config, DcganConfig) else _generate_stack
    images = from_signed(of_kind(config, variables, keys, labels))
    return to_uint8(images), jnp.isfinite(images).all()


def _generate_dcgan(config, variables, keys, labels) -> Any:
    noise = _draw(dcgan.draw_noise, keys, config.noise_dim)
    given = None if config.num_classes is None else labels
    return dcgan.Generator(config).apply(variables["image"], noise, given, train=False)


def _generate_stack(config, variables, keys, labels) -> Any:
    features = jax.nn.one_hot(labels, config.num_classes)
    for index, level in reversed(list(enumerate(stack_levels(config)))):
        level_keys = jax.vmap(jax.random.fold_in, (0, None))(keys, index)
        noise = _draw(stacked.draw_noise, level_keys, level.noise_dim)
        network = build_generator(level, width=config.width)
        features = network.apply(variables[level.target], features, noise, train=False)
    return features


def _draw(draw_noise, keys, noise_dim: int):
    """Noise of each image by its own key."""
    return jax.vmap(lambda key: draw_noise(key, 1, noise_dim=noise_dim)[0])(keys)
